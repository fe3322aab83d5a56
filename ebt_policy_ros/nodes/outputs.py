"""The ways in which a command leaves the node: trajectories, actions, or positions at a rate.

Only a SafeChunk goes in, and only while commands flow.
"""

from __future__ import annotations

import abc
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.hand import hand_goal
from ebt_policy_ros.core.settings import RobotSettings
from ebt_policy_ros.core.types import SafeChunk
from ebt_policy_ros.messages import trajectory_cdr, trajectory_message

HAND_HZ = 50.0
"""How often the hand's command is looked at for a GripperCommand."""
WARN_EVERY_S = 5.0
"""Shortest time between two warnings of the same kind [s]."""
FINISH_S = 3.0
"""Longest time for which positions are still sent after work has ended, to bring the arm to rest [s]."""

Publish = Callable[..., Any]
"""Makes a publisher: (message class, topic, depth)."""


class Output(abc.ABC):
    """One way out; sent to from the model's thread, ticked from the executor's."""

    hz: float = 0.0
    """How often ``tick`` is wanted; 0: never."""

    @abc.abstractmethod
    def send(self, chunk: SafeChunk) -> None:
        """The command from now on."""

    def tick(self, now_ns: int) -> None:
        """What is due at ``now_ns`` [ROS time]."""
        del now_ns  # most controllers follow a trajectory by themselves

    def finish(self, now_ns: int) -> None:
        """Work has ended: what is left to do until the arm rests."""
        del now_ns

    def forget(self) -> None:
        """The clock is another one: nothing sent before is in force."""
        return

    @abc.abstractmethod
    def destroy(self) -> None:
        """Takes it off the graph."""

    def counts(self) -> dict[str, int]:
        """What went wrong so far, by name, for ``/diagnostics``."""
        return {}


def _is_read_as(message: Any, serialised: bytes) -> bool:
    """Whether the middleware reads these bytes as this message."""
    try:
        return bool(deserialize_message(serialised, type(message)) == message)
    except Exception:  # noqa: BLE001 - whatever a middleware raises for bytes that it does not understand
        return False


class TrajectoryTopic(Output):
    """A JointTrajectory for a joint_trajectory_controller."""

    def __init__(self, node: Any, publish: Publish, topic: str, joints: Sequence[str]) -> None:
        self._node, self._joints = node, joints
        self._publisher = publish(JointTrajectory, topic, 1)
        self._as_bytes: bool | None = None

    def send(self, chunk: SafeChunk) -> None:
        """Publishes it; nothing leaves while the node is not active.

        The first as a message. If this ROS reads ``trajectory_cdr`` as that very message, all others go out as bytes:
        that takes a tenth of the time.
        """
        if self._as_bytes:
            self._publisher.publish(trajectory_cdr(chunk, self._joints))
            return
        message = trajectory_message(chunk, JointTrajectory, JointTrajectoryPoint, self._joints)
        self._publisher.publish(message)
        if self._as_bytes is None:
            self._as_bytes = _is_read_as(message, trajectory_cdr(chunk, self._joints))

    def destroy(self) -> None:
        """Takes the publisher off the graph."""
        self._node.destroy_lifecycle_publisher(self._publisher)


class Running:
    """The chunks in force and to come. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunks: list[SafeChunk] = []

    def take_over(self, chunk: SafeChunk) -> None:
        """``chunk`` is in force from its start on."""
        with self._lock:
            self._chunks = [*(one for one in self._chunks if one.start_ns < chunk.start_ns), chunk]

    def at(self, now_ns: int) -> SafeChunk | None:
        """The chunk in force; those before it are forgotten."""
        with self._lock:
            begun = [chunk for chunk in self._chunks if chunk.start_ns <= now_ns]
            if not begun:
                return None
            self._chunks = self._chunks[len(begun) - 1 :]
            return self._chunks[0]

    def forget(self, chunk: SafeChunk) -> None:
        """It has ended."""
        with self._lock:
            self._chunks = [one for one in self._chunks if one is not chunk]

    def clear(self) -> None:
        """Nothing is in force."""
        with self._lock:
            self._chunks = []

    def __bool__(self) -> bool:
        return bool(self._chunks)


class PositionStream(Output):
    """Positions at a rate, for controllers that forward them: the trajectory is followed here.

    Such a controller knows no limits and no time: it gets the command as of now, and the last one stays in force.
    """

    def __init__(self, node: Any, publish: Publish, topic: str, joints: Sequence[str], hz: float) -> None:
        self._node, self._joints, self.hz = node, joints, hz
        self._publisher = publish(Float64MultiArray, topic, 1)
        self._running = Running()

    def send(self, chunk: SafeChunk) -> None:
        """From its start on, in place of what runs."""
        self._running.take_over(chunk)

    def tick(self, now_ns: int) -> None:
        """The position of now, until the motion has ended."""
        chunk = self._running.at(now_ns)
        if chunk is None:
            return
        columns = [chunk.joint_names.index(name) for name in self._joints]
        self._publisher.publish(Float64MultiArray(data=chunk.sample(now_ns).positions[columns].tolist()))
        if now_ns >= resting_ns(chunk):
            self._running.forget(chunk)

    def finish(self, now_ns: int) -> None:
        """Goes on by the steady clock until the arm rests: whoever calls may keep ROS time from advancing."""
        began_s = time.monotonic()
        while self._running and time.monotonic() - began_s < FINISH_S:
            self.tick(now_ns + round((time.monotonic() - began_s) * 1e9))
            time.sleep(1.0 / self.hz)
        self._running.clear()

    def forget(self) -> None:
        """What was sent last stays in force: a time is no longer known for the rest."""
        self._running.clear()

    def destroy(self) -> None:
        """Takes the publisher off the graph."""
        self._node.destroy_lifecycle_publisher(self._publisher)


class Action(Output):
    """Goals of one action: the newest counts, what became of those before it is no news."""

    def __init__(self, node: Any, action_type: Any, name: str) -> None:
        from rclpy.action import ActionClient

        self._node = node
        self.name = node.resolve_service_name(name)
        self._type = action_type
        self._client = ActionClient(node, action_type, name)
        self._counts: Counter[str] = Counter()
        self._warned_s: dict[str, float] = {}
        self._number = 0

    def _send_goal(self, goal: Any) -> None:
        if not self._client.server_is_ready():
            self._count("unsent", "no action server answers: is its controller active?")
            return
        self._number += 1
        number = self._number
        self._client.send_goal_async(goal).add_done_callback(lambda future: self._on_answer(future, number))

    def _on_answer(self, future: Any, number: int) -> None:
        handle = future.result()
        if not handle.accepted:
            self._count("refused", "the controller refused a goal; its own log says why")
            return
        handle.get_result_async().add_done_callback(lambda result: self._on_result(result, number))

    def _on_result(self, future: Any, number: int) -> None:
        from action_msgs.msg import GoalStatus

        answer = future.result()
        if number == self._number and answer.status == GoalStatus.STATUS_ABORTED:
            text = str(getattr(answer.result, "error_string", ""))
            self._count("aborted", "the controller aborted the newest goal" + (f": {text}" if text else ""))

    def _count(self, what: str, words: str) -> None:
        self._counts[f"{self.name}.{what}_goals"] += 1
        if time.monotonic() - self._warned_s.get(what, -WARN_EVERY_S) >= WARN_EVERY_S:
            self._warned_s[what] = time.monotonic()
            self._node.get_logger().warning(f"{self.name}: {words}")

    def counts(self) -> dict[str, int]:
        """Goals that nobody took, that were refused, and that were aborted."""
        return dict(self._counts)

    def destroy(self) -> None:
        """Takes the client off the graph."""
        self._client.destroy()


class TrajectoryAction(Action):
    """FollowJointTrajectory: the same trajectories as goals, and what the controller says to them."""

    def __init__(self, node: Any, name: str, joints: Sequence[str]) -> None:
        super().__init__(node, _control_actions().FollowJointTrajectory, name)
        self._joints = joints

    def send(self, chunk: SafeChunk) -> None:
        """A goal, which replaces the one before."""
        trajectory = trajectory_message(chunk, JointTrajectory, JointTrajectoryPoint, self._joints)
        self._send_goal(self._type.Goal(trajectory=trajectory))


class GripperAction(Action):
    """GripperCommand: where the hand is going, each time that changes."""

    hz = HAND_HZ

    def __init__(self, node: Any, name: str, robot: RobotSettings, max_effort: float) -> None:
        super().__init__(node, _control_actions().GripperCommand, name)
        assert robot.gripper is not None
        self._hand, self._max_effort = robot.gripper, max_effort
        self._running = Running()
        self._sent: float | None = None

    def send(self, chunk: SafeChunk) -> None:
        """From its start on, in place of what runs."""
        self._running.take_over(chunk)

    def forget(self) -> None:
        """The last goal stays."""
        self._running.clear()

    def tick(self, now_ns: int) -> None:
        """A goal when the hand sets out for somewhere else."""
        chunk = self._running.at(now_ns)
        if chunk is None:
            return
        goal = hand_goal(chunk, self._hand.joint, now_ns)
        if self._sent is None or abs(goal - self._sent) > self._hand.tolerance:
            self._sent = goal
            made = self._type.Goal()
            made.command.position, made.command.max_effort = goal, self._max_effort
            self._send_goal(made)


def resting_ns(chunk: SafeChunk) -> int:
    """When the motion of a chunk has ended; it may go on at rest after that [ns, ROS time]."""
    moving = np.flatnonzero(chunk.velocities.any(axis=1) | chunk.accelerations.any(axis=1))
    last = min(int(moving[-1]) + 1, len(chunk.times_s) - 1) if len(moving) else 0
    return chunk.start_ns + round(float(chunk.times_s[last]) * 1e9)


def make_outputs(node: Any, publish: Publish, robot: RobotSettings) -> list[Output]:
    """The outputs that the node's parameters ask for. SettingsError when the robot or the installation lacks one."""

    def value(name: str) -> Any:
        return node.get_parameter(name).value

    hand = None if robot.gripper is None else robot.gripper.joint
    way, hand_way = value("command_output"), value("gripper_output")
    if hand_way != "in_trajectory" and hand is None:
        raise SettingsError(
            f"gripper_output {hand_way}: robot '{robot.name}' has no gripper; name one in its file, "
            "or leave the parameter out"
        )
    joints = [name for name in robot.joint_names if hand_way == "in_trajectory" or name != hand]
    outputs: list[Output] = []
    try:
        if way == "action":
            outputs.append(TrajectoryAction(node, value("trajectory_action"), joints))
        elif way == "positions":
            outputs.append(PositionStream(node, publish, "commands", joints, float(value("positions_hz"))))
        else:
            outputs.append(TrajectoryTopic(node, publish, "joint_trajectory", joints))
        if hand_way == "own_trajectory":
            assert hand is not None
            outputs.append(TrajectoryTopic(node, publish, "gripper_trajectory", [hand]))
        elif hand_way == "gripper_command":
            outputs.append(GripperAction(node, value("gripper_action"), robot, float(value("gripper_max_effort"))))
    except SettingsError:
        for output in outputs:
            output.destroy()
        raise
    return outputs


def _control_actions() -> Any:
    try:
        import control_msgs.action
    except ImportError as error:
        raise SettingsError(f"commands by action need the package control_msgs ({error}); install it") from error
    return control_msgs.action
