"""sim_node over the real graph: what a policy, or anybody else, sees of the arm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from .conftest import use_own_domain
from .needs import needs_robosuite

pytestmark = [pytest.mark.graph, pytest.mark.sim]
PATIENCE_S = 240.0


class Watcher:
    """Hears everything of sim_node."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import qos_profile_sensor_data
        from rosgraph_msgs.msg import Clock
        from sensor_msgs.msg import CameraInfo, Image, JointState
        from std_msgs.msg import Bool, Int64, String
        from trajectory_msgs.msg import JointTrajectory

        self.node = rclpy.create_node("watcher")
        self.simulator: Any = None
        self.heard: dict[str, list[Any]] = {}
        for topic, message_class in (
            ("/clock", Clock),
            ("/joint_states", JointState),
            ("/camera/front/image_raw", Image),
            ("/camera/wrist/camera_info", CameraInfo),
            ("/sim_node/success", Bool),
            ("/sim_node/episode", DiagnosticArray),
        ):
            self.heard[topic] = []
            self.node.create_subscription(message_class, topic, self.heard[topic].append, qos_profile_sensor_data)
        self.trajectory = self.node.create_publisher(JointTrajectory, "/joint_trajectory", 10)
        self.perturb = self.node.create_publisher(String, "/sim_node/perturb", 10)
        self.new_episode = self.node.create_publisher(Int64, "/sim_node/new_episode", 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._closing = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        import rclpy

        while not self._closing and rclpy.ok():
            self._executor.spin_once(timeout_sec=0.05)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"never happened: {what}"
            time.sleep(0.02)

    def episode(self) -> dict[str, str]:
        from ebt_policy_ros.messages.status import read_values

        return read_values(self.heard["/sim_node/episode"][-1]) if self.heard["/sim_node/episode"] else {}

    def close(self) -> None:
        self._closing = True
        self._thread.join(10.0)
        self._executor.shutdown()
        self.node.destroy_node()


@pytest.fixture(scope="module")
def watcher() -> Iterator[Watcher]:
    """One simulator for all tests here: making one takes seconds."""
    needs_robosuite()
    import rclpy
    from rclpy.parameter import Parameter

    from ebt_policy_ros.nodes.sim_node import SimNode

    environment = pytest.MonkeyPatch()
    use_own_domain(environment)
    rclpy.init(args=[])
    watcher = Watcher()
    overrides = {"image_size": 32, "episode_seed": 7}
    node = SimNode(parameter_overrides=[Parameter(name, value=value) for name, value in overrides.items()])
    watcher.simulator = node
    stop = threading.Event()
    thread = threading.Thread(target=lambda: node.prepare() and node.run_until(stop), daemon=True)
    thread.start()
    try:
        watcher.wait(lambda: all(watcher.heard.values()), "everything is published")
        yield watcher
    finally:
        stop.set()
        thread.join(30.0)
        watcher.close()
        assert not thread.is_alive(), "the node does not end"
        node.destroy_node()
        rclpy.try_shutdown()
        environment.undo()


def test_it_looks_like_an_arm(watcher: Watcher) -> None:
    from ebt_policy_ros.messages import decode_image, read_joint_state
    from ebt_policy_ros.messages.stamps import read_nanoseconds, read_stamp_ns

    watcher.wait(lambda: len(watcher.heard["/clock"]) > 3, "the clock runs")
    stamps = [read_nanoseconds("clock", message.clock) for message in watcher.heard["/clock"]]
    assert (np.diff(stamps) > 0).all()
    image = watcher.heard["/camera/front/image_raw"][-1]
    assert decode_image(image).shape == (32, 32, 3)
    assert decode_image(image).std() > 10.0
    assert read_stamp_ns(image) in [read_stamp_ns(message) for message in watcher.heard["/joint_states"]]
    joints = watcher.heard["/joint_states"][-1]
    assert read_joint_state(joints, list(joints.name)).velocities is not None
    assert watcher.heard["/camera/wrist/camera_info"][-1].k[0] > 0.0
    assert watcher.episode()["seed"] == "7"


def test_it_follows_a_trajectory_and_refuses_a_bad_one(watcher: Watcher) -> None:
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

    from ebt_policy_ros.messages.stamps import set_duration_ns

    joints = watcher.heard["/joint_states"][-1]
    target = list(joints.position)
    target[0] += 0.2
    point = JointTrajectoryPoint(positions=target, velocities=[0.0] * len(target))
    set_duration_ns(point.time_from_start, 500_000_000)
    watcher.wait(lambda: watcher.trajectory.get_subscription_count() > 0, "the controller listens")
    watcher.trajectory.publish(JointTrajectory(joint_names=list(joints.name), points=[point]))
    watcher.wait(lambda: watcher.heard["/joint_states"][-1].position[0] > target[0] - 0.02, "the arm moved")
    watcher.trajectory.publish(JointTrajectory(joint_names=["elbow"], points=[]))
    watcher.wait(lambda: watcher.episode().get("trajectories_rejected") == "1", "the refusal is told")
    assert watcher.episode()["last_rejection"]


def test_its_action_follows_a_goal_to_its_end_and_aborts_what_is_replaced(watcher: Watcher) -> None:
    pytest.importorskip("control_msgs.action")
    from action_msgs.msg import GoalStatus
    from control_msgs.action import FollowJointTrajectory
    from rclpy.action import ActionClient
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

    from ebt_policy_ros.messages.stamps import set_duration_ns

    def answer(future: Any) -> Any:
        watcher.wait(future.done, "an answer")
        return future.result()

    joints = watcher.heard["/joint_states"][-1]
    names = list(joints.name)

    def goal(names: list[str], seconds: float) -> Any:
        point = JointTrajectoryPoint(positions=list(joints.position), velocities=[0.0] * len(joints.name))
        set_duration_ns(point.time_from_start, round(seconds * 1e9))
        return FollowJointTrajectory.Goal(trajectory=JointTrajectory(joint_names=names, points=[point]))

    client = ActionClient(watcher.node, FollowJointTrajectory, "/follow_joint_trajectory")
    watcher.wait(client.server_is_ready, "the action")
    assert not answer(client.send_goal_async(goal(names[:-1], 0.5))).accepted
    short = answer(client.send_goal_async(goal(names, 0.5)))
    assert short.accepted
    result = answer(short.get_result_async())
    assert (result.status, result.result.error_code) == (GoalStatus.STATUS_SUCCEEDED, 0)
    long = answer(client.send_goal_async(goal(names, 300.0)))
    waiting = long.get_result_async()
    assert answer(client.send_goal_async(goal(names, 0.5))).accepted
    assert answer(waiting).status == GoalStatus.STATUS_ABORTED
    assert "took its place" in answer(waiting).result.error_string
    client.destroy()


def test_episodes_begin_by_service_and_by_topic_and_are_disturbed(watcher: Watcher) -> None:
    from std_msgs.msg import Int64, String
    from std_srvs.srv import Trigger

    client = watcher.node.create_client(Trigger, "/sim_node/reset")
    assert client.wait_for_service(timeout_sec=PATIENCE_S)
    answered = threading.Event()
    future = client.call_async(Trigger.Request())
    future.add_done_callback(lambda _future: answered.set())
    assert answered.wait(PATIENCE_S)
    assert (future.result().success, future.result().message) == (True, "episode with seed 8")
    watcher.wait(lambda: watcher.new_episode.get_subscription_count() > 0, "sim_node listens")
    watcher.new_episode.publish(Int64(data=42))
    watcher.wait(lambda: watcher.episode().get("seed") == "42", "the episode by topic")
    watcher.wait(lambda: watcher.perturb.get_subscription_count() > 0, "sim_node listens")
    watcher.perturb.publish(String(data="nonsense:x"))
    watcher.perturb.publish(String(data="teleport@0"))
    watcher.wait(lambda: watcher.episode().get("perturbed") == "teleport", "the cube was moved")


@pytest.mark.parametrize(
    ("text", "refused"), [("late:2", None), ("rain", "'rain': expected one of teleport"), ("late:0", "above 0")]
)
def test_what_disturbs_every_episode_is_checked(watcher: Watcher, text: str, refused: str | None) -> None:
    from rclpy.parameter import Parameter

    result = watcher.simulator._check_parameters([Parameter("perturb", value=text)])
    assert result.successful == (refused is None)
    assert (refused or "") in result.reason


def test_senses_are_disturbed_on_the_graph_and_late_pictures_say_so(watcher: Watcher) -> None:
    from std_msgs.msg import Int64, String

    from ebt_policy_ros.messages.stamps import read_stamp_ns

    def ages_ns() -> list[int]:
        """How far the last pictures lie behind the last joints."""
        newest_ns = read_stamp_ns(watcher.heard["/joint_states"][-1])
        return [newest_ns - read_stamp_ns(image) for image in watcher.heard["/camera/front/image_raw"][-3:]]

    watcher.wait(lambda: watcher.perturb.get_subscription_count() > 0, "sim_node listens")
    watcher.perturb.publish(String(data="late:2@0"))
    watcher.perturb.publish(String(data="biased@0"))
    watcher.wait(lambda: watcher.episode().get("perturbed") == "biased", "a joint is measured wrong")
    watcher.wait(lambda: min(ages_ns()) >= 350_000_000, "pictures are 0.4 s late")
    stamps = [read_stamp_ns(image) for image in watcher.heard["/camera/front/image_raw"]]
    assert (np.diff(stamps) > 0).all()
    watcher.new_episode.publish(Int64(data=43))
    watcher.wait(lambda: watcher.episode().get("seed") == "43", "the next episode")
    watcher.wait(lambda: max(ages_ns()) <= 150_000_000, "pictures are on time again")
