"""What policy_node says: the command, by its outputs, and all that is told about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Float64
from visualization_msgs.msg import Marker, MarkerArray

from ebt_policy_ros.core.settings import RobotSettings
from ebt_policy_ros.core.types import SafeChunk
from ebt_policy_ros.messages import PlanMarkers, ToolKinematics
from ebt_policy_ros.messages.status import cycle_level, cycle_values, diagnostic_array
from ebt_policy_ros.nodes.incompatible import Incompatible
from ebt_policy_ros.nodes.outputs import make_outputs
from ebt_policy_ros.nodes.worker import Round

DIAGNOSTIC_CLASSES = (DiagnosticArray, DiagnosticStatus, KeyValue)


class Reporter:
    """Turns rounds into messages. Only a SafeChunk becomes a command, and only when it is told to be one."""

    def __init__(
        self,
        node: Any,
        robot: RobotSettings,
        tool: ToolKinematics | None,
        incompatible: Incompatible,
    ) -> None:
        """SettingsError when the robot cannot be commanded in the way that the parameters ask for."""
        self._node = node
        self._incompatible = incompatible
        self._robot_name = robot.name
        self._markers = PlanMarkers(tool, MarkerArray, Marker, Point)
        self._outputs = make_outputs(node, self._publisher, robot)
        hz = max(output.hz for output in self._outputs)
        self._timer = node.create_timer(1.0 / hz, self._tick) if hz > 0.0 else None
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
        """Takes the outputs and publishers off the graph."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        for output in self._outputs:
            output.destroy()
        for publisher in (self._energy, self._uncertainty, self._status, self._plan):
            self._node.destroy_lifecycle_publisher(publisher)

    def use_tool(self, tool: ToolKinematics) -> None:
        """Draws the plan as the path of ``tool`` from now on."""
        self._markers.use(tool)

    def command(self, chunk: SafeChunk) -> None:
        """Sends a command."""
        for output in self._outputs:
            output.send(chunk)

    def finish(self) -> None:
        """Brings the arm to rest where nobody but this node follows the last command."""
        for output in self._outputs:
            output.finish(self._now_ns())

    def forget(self) -> None:
        """The clock is another one."""
        for output in self._outputs:
            output.forget()

    def counts(self) -> dict[str, int]:
        """What became of commands, by name, for ``/diagnostics``: only what went wrong."""
        return {name: count for output in self._outputs for name, count in output.counts().items()}

    def _tick(self) -> None:
        for output in self._outputs:
            output.tick(self._now_ns())

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def report(
        self, done: Round, *, enabled: bool, commanded: bool, now_ns: int, latency: Mapping[str, float] | None = None
    ) -> None:
        """Energy, uncertainty, status and plan of one round; ``now_ns`` is ROS time, ``latency`` as of
        ``latency_parts``."""
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
            latency=latency,
            stamp_age_ms=None if stamp_ns is None else (now_ns - stamp_ns) / 1e6,
        )
        entry = (f"{self._node.get_name()}: chunk", self._robot_name, cycle_level(cycle, DiagnosticStatus))
        text = cycle.state.value + (f": {cycle.reason}" if cycle.reason else "")
        self._status.publish(diagnostic_array(DIAGNOSTIC_CLASSES, now_ns, [(*entry, text, values)]))
        markers = self._markers.make(cycle, now_ns)
        if markers is not None:
            self._plan.publish(markers)
