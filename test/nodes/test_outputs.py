"""Ways out of policy_node beside the trajectory topic: actions, and positions at a rate."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ebt_policy_ros.core.settings import RobotSettings

from .test_policy_node import enable
from .tiny_bundle import HOME, JOINTS

pytestmark = pytest.mark.graph


@pytest.fixture
def robot() -> RobotSettings:
    from ebt_policy_ros.assemble import load_robot

    return load_robot("panda_sim")[0]


def action(name: str) -> Any:
    """An action of control_msgs; skips where ROS 2 is installed without them."""
    return getattr(pytest.importorskip("control_msgs.action"), name)


class Server:
    """An action server on a node and a thread of its own."""

    def __init__(self, kind: Any, name: str, on_goal: Callable[[Any], None], *, accepts: bool, ends: str) -> None:
        from rclpy.action import ActionServer, GoalResponse
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node

        self.goals: list[Any] = []
        self._node = Node("controller")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._closing = False

        def execute(handle: Any) -> Any:
            self.goals.append(handle.request)
            on_goal(handle.request)
            getattr(handle, ends)()
            result = kind.Result()
            if hasattr(result, "error_string"):
                result.error_string = "elbow is 0.3 rad off its path"
            return result

        response = GoalResponse.ACCEPT if accepts else GoalResponse.REJECT
        self._server = ActionServer(self._node, kind, name, execute, goal_callback=lambda _goal: response)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._closing:
            self._executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        self._closing = True
        self._thread.join(10.0)
        self._server.destroy()
        self._executor.shutdown()
        self._node.destroy_node()


@pytest.fixture
def serve(ros: None) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(
        kind: Any, name: str, on_goal: Any = lambda _goal: None, accepts: bool = True, ends: str = "succeed"
    ) -> Server:
        servers.append(Server(kind, name, on_goal, accepts=accepts, ends=ends))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_trajectories_go_out_as_goals(arm: Any, start_node: Callable[..., Any], serve: Callable[..., Server]) -> None:
    follow = action("FollowJointTrajectory")

    server = serve(follow, "arm/follow_joint_trajectory", lambda goal: arm.obey(goal.trajectory))
    start_node(command_output="action", trajectory_action="arm/follow_joint_trajectory")
    arm.wait(lambda: len(arm.trajectories) >= 5, "five goals")  # a goal is there before it is obeyed
    assert arm.violations() == []
    assert len(server.goals) >= 5  # nothing came by topic
    assert arm.count_publishers("joint_trajectory") == 0
    point = server.goals[-1].trajectory.points[0]
    assert len(point.positions) == len(point.velocities) == len(point.accelerations) == len(JOINTS)
    enable(arm, False)
    arm.wait(lambda: arm.statuses[-1]["enabled"] == "false", "disabled")


@pytest.mark.parametrize(
    ("accepts", "ends", "counted"),
    [(False, "succeed", "refused_goals"), (True, "abort", "aborted_goals"), (None, "", "unsent_goals")],
)
def test_goals_that_are_not_followed_are_counted(
    arm: Any,
    start_node: Callable[..., Any],
    serve: Callable[..., Server],
    accepts: bool | None,
    ends: str,
    counted: str,
) -> None:
    follow = action("FollowJointTrajectory")

    if accepts is not None:
        serve(follow, "follow_joint_trajectory", accepts=accepts, ends=ends)
    start_node(command_output="action")
    name = f"/follow_joint_trajectory.{counted}"
    arm.wait(lambda: any(int(told.get(name, "0")) > 0 for told in arm.diagnostics), name)


def test_positions_go_out_at_a_rate_and_come_to_rest(
    arm: Any, start_node: Callable[..., Any], robot: RobotSettings
) -> None:
    from std_msgs.msg import Float64MultiArray

    heard: list[np.ndarray] = []

    def follow(message: Any) -> None:
        heard.append(np.array(message.data))
        arm.command(heard[-1])

    arm.create_subscription(Float64MultiArray, "commands", follow, 100)
    node = start_node(command_output="positions", positions_hz=50.0)
    arm.wait(lambda: len(heard) >= 100, "a hundred positions")
    assert arm.trajectories == []
    np.testing.assert_allclose(heard[0], HOME, atol=0.05)
    # Between two neighbours lies 0.02 s, on a loaded machine a few times that: no jump is larger.
    steps = np.abs(np.diff(heard, axis=0)).max(axis=0)
    assert (steps <= robot.per_joint("velocity") * 0.25).all()
    assert node.trigger_deactivate() is not None  # from this thread: the executor goes on spinning
    arm.wait(lambda: arm.statuses[-1]["reason"] == "deactivated", "the end")
    number = len(heard)
    assert np.abs(heard[-1] - heard[-2]).max() < 1e-3  # it came to rest, it was not cut off
    arm.wait_for_new(arm.diagnostics, "two seconds", 2)
    assert len(heard) - number <= 2  # what was still on its way


def test_a_hand_with_an_action_is_told_where_it_goes(
    arm: Any,
    start_node: Callable[..., Any],
    serve: Callable[..., Server],
) -> None:
    grip = action("GripperCommand")

    server = serve(grip, "hand/gripper_cmd")
    start_node(gripper_output="gripper_command", gripper_action="hand/gripper_cmd", gripper_max_effort=20.0)
    arm.wait(lambda: server.goals, "a goal")
    assert 0.0 <= server.goals[0].command.position <= 0.04
    assert server.goals[0].command.max_effort == 20.0
    arm.wait(lambda: arm.trajectories, "the arm's part")
    assert arm.trajectories[0].joint_names == JOINTS[:-1]


def test_positions_are_those_of_the_trajectory_in_force(robot: RobotSettings) -> None:
    from ebt_policy_ros.core.safety import Admitted, SafetyStage
    from ebt_policy_ros.core.settings import SafetySettings
    from ebt_policy_ros.core.types import MotionState, Splice
    from ebt_policy_ros.nodes.outputs import PositionStream, resting_ns

    stage, second = SafetyStage(robot, SafetySettings(), 50_000_000), 10**9

    def moved(start_ns: int, begin: MotionState, by: float) -> Any:
        targets = begin.positions + np.linspace(0.0, by, 16)[:, None] * ([1.0] * 7 + [0.0])
        made = stage.make(targets, start_ns, Splice.at_once(start_ns, begin))
        assert isinstance(made, Admitted)
        return made.chunk

    sent: list[np.ndarray] = []
    publisher = SimpleNamespace(publish=lambda message: sent.append(np.array(message.data)))
    stream = PositionStream(SimpleNamespace(), lambda *_: publisher, "commands", robot.joint_names[::-1], 100.0)
    stream.tick(second)
    assert sent == []
    first = moved(second, MotionState.at_rest(HOME), 0.3)
    second_start = second + 400_000_000
    second_chunk = moved(second_start, first.next_point(second_start)[1], -0.2)
    stream.send(first)
    stream.send(second_chunk)  # to come: the first is in force until then
    stream.tick(second + 200_000_000)
    np.testing.assert_array_equal(sent[-1], first.sample(second + 200_000_000).positions[::-1])
    stream.tick(second_start + 100_000_000)
    np.testing.assert_array_equal(sent[-1], second_chunk.sample(second_start + 100_000_000).positions[::-1])
    end_ns = resting_ns(second_chunk)
    assert end_ns <= second_chunk.end_ns
    stream.tick(end_ns)
    np.testing.assert_array_equal(sent[-1], second_chunk.positions[-1][::-1])
    number = len(sent)
    stream.tick(end_ns + 1)
    assert len(sent) == number
    stream.send(moved(end_ns + 2, second_chunk.sample(end_ns), 0.3))
    stream.forget()  # the clock jumped
    stream.tick(end_ns + 100)
    assert len(sent) == number


@pytest.mark.parametrize("reads", ["alike", "otherwise", "not at all"])
def test_bytes_are_sent_only_where_they_are_read_as_the_message(
    ros: None, robot: RobotSettings, monkeypatch: pytest.MonkeyPatch, reads: str
) -> None:
    import rclpy.serialization
    from trajectory_msgs.msg import JointTrajectory

    from ebt_policy_ros.core.safety import SafetyStage
    from ebt_policy_ros.core.settings import SafetySettings
    from ebt_policy_ros.core.types import MotionState, Splice
    from ebt_policy_ros.nodes import outputs

    def misread(raw: bytes, kind: type) -> Any:
        if reads == "not at all":
            raise RuntimeError("not enough memory in the buffer stream")
        return kind()

    if reads != "alike":
        monkeypatch.setattr(outputs, "deserialize_message", misread)
    targets = HOME + np.linspace(0.0, 0.02, 4)[:, None]
    made = SafetyStage(robot, SafetySettings(), 50_000_000).make(
        targets, 0, Splice.at_once(0, MotionState.at_rest(HOME))
    )
    sent: list[Any] = []
    publisher = SimpleNamespace(publish=sent.append)
    output = outputs.TrajectoryTopic(SimpleNamespace(), lambda *_: publisher, "joint_trajectory", robot.joint_names)
    for _ in range(3):
        output.send(made.chunk)  # type: ignore[union-attr]
    assert [type(item) for item in sent] == [JointTrajectory, *[bytes if reads == "alike" else JointTrajectory] * 2]
    if reads == "alike":
        assert rclpy.serialization.deserialize_message(sent[1], JointTrajectory) == sent[0]
    else:
        assert sent[1] == sent[2] == sent[0]
