"""Publishers of policy_node: the command, and all that is said about it."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Float64
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from visualization_msgs.msg import Marker, MarkerArray

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.settings import RobotSettings
from ebt_policy_ros.core.types import SafeChunk
from ebt_policy_ros.messages import PlanMarkers, ToolChain, trajectory_message
from ebt_policy_ros.messages.status import cycle_level, cycle_values, diagnostic_array
from ebt_policy_ros.nodes.incompatible import Incompatible
from ebt_policy_ros.nodes.worker import Round

DIAGNOSTIC_CLASSES = (DiagnosticArray, DiagnosticStatus, KeyValue)


class Reporter:
    """Turns rounds into messages. Only a SafeChunk becomes a trajectory, and only when it is told to be a command."""

    def __init__(
        self,
        node: Any,
        robot: RobotSettings,
        chain: ToolChain | None,
        incompatible: Incompatible,
        *,
        has_own_hand: bool,
    ) -> None:
        """``has_own_hand``: the hand is commanded by a trajectory of its own. SettingsError when the robot has none."""
        self._node = node
        self._incompatible = incompatible
        self._robot_name = robot.name
        self._joints: dict[Any, list[str] | None] = {}
        self._markers = None if chain is None else PlanMarkers(chain, MarkerArray, Marker, Point)
        hand = None if robot.gripper is None else robot.gripper.joint
        if has_own_hand and hand is None:
            raise SettingsError(
                f"gripper_output own_trajectory: robot '{robot.name}' has no gripper; name one in its file, "
                "or leave the parameter out"
            )
        arm = [name for name in robot.joint_names if name != hand]
        self._joints[self._publisher(JointTrajectory, "joint_trajectory", 1)] = arm if has_own_hand else None
        if has_own_hand and hand is not None:
            self._joints[self._publisher(JointTrajectory, "gripper_trajectory", 1)] = [hand]
        self._energy = self._publisher(Float64, "~/energy")
        self._uncertainty = self._publisher(Float64, "~/uncertainty")
        self._status = self._publisher(DiagnosticArray, "~/status")
        self._plan = self._publisher(MarkerArray, "~/plan", 1)

    def _publisher(self, message_class: Any, topic: str, depth: int = 10) -> Any:
        return self._node.create_lifecycle_publisher(
            message_class,
            topic,
            QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE),
            event_callbacks=self._incompatible.for_publisher(topic),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def destroy(self) -> None:
        """Takes the publishers off the graph."""
        for publisher in (*self._joints, self._energy, self._uncertainty, self._status, self._plan):
            self._node.destroy_lifecycle_publisher(publisher)

    def command(self, chunk: SafeChunk) -> None:
        """Sends a command; nothing leaves while the node is not active."""
        for publisher, joints in self._joints.items():
            publisher.publish(trajectory_message(chunk, JointTrajectory, JointTrajectoryPoint, joints))

    def report(
        self, done: Round, *, enabled: bool, commanded: bool, now_ns: int, latency_ms: float | None = None
    ) -> None:
        """Energy, uncertainty, status and plan of one round; ``now_ns`` is ROS time."""
        cycle = done.cycle
        if cycle.energy is not None:
            self._energy.publish(Float64(data=float(cycle.energy)))
        if cycle.uncertainty is not None:
            self._uncertainty.publish(Float64(data=float(cycle.uncertainty)))
        stamp_ns = cycle.observation_stamp_ns
        values = cycle_values(
            cycle,
            enabled=enabled,
            commanded=commanded,
            think_ms=done.think_s * 1e3,
            latency_ms=latency_ms,
            stamp_age_ms=None if stamp_ns is None else (now_ns - stamp_ns) / 1e6,
        )
        entry = (f"{self._node.get_name()}: chunk", self._robot_name, cycle_level(cycle, DiagnosticStatus))
        text = cycle.state.value + (f": {cycle.reason}" if cycle.reason else "")
        self._status.publish(diagnostic_array(DIAGNOSTIC_CLASSES, now_ns, [(*entry, text, values)]))
        markers = None if self._markers is None else self._markers.make(cycle, now_ns)
        if markers is not None:
            self._plan.publish(markers)
