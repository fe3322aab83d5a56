"""The robot description: from it comes the tool whose path is drawn. It changes nothing but the drawing."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import String

from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.settings import RobotSettings
from ebt_policy_ros.messages import ToolKinematics, ToolSettings
from ebt_policy_ros.messages.urdf_tool import UrdfTool, import_pinocchio
from ebt_policy_ros.nodes.incompatible import Incompatible

TOPIC = "robot_description"
_OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)
"""The usual ones, and durability: some publishers repeat a description, but do not keep it for those who come late."""
_MAX_REFUSALS = 20
"""Reasons that are logged before the log falls silent."""


class Description:
    """Hands the tool of every usable description on; a description that is of no use is warned of once."""

    def __init__(
        self,
        node: Any,
        robot: RobotSettings,
        settings: ToolSettings,
        use: Callable[[ToolKinematics], None],
        incompatible: Incompatible,
    ) -> None:
        self._node, self._robot, self._settings, self._use = node, robot, settings, use
        self._text: str | None = None
        self._drawn = "the chain of the robot file" if settings.chain is not None else ""
        """What the plan is drawn with; empty: nothing."""
        self._refusals: set[str] = set()
        self._received = self._refused = 0
        self._missing = ""
        try:
            # Now, not when a description comes: trying and importing it takes longer than an arm may be left unwatched.
            import_pinocchio()
        except EbtPolicyError as error:
            self._missing = str(error)
        quality = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._subscription = node.create_subscription(
            String,
            TOPIC,
            self._on_description,
            quality,
            event_callbacks=incompatible.for_subscription(TOPIC),
            qos_overriding_options=QoSOverridingOptions(_OVERRIDABLE),
        )

    def destroy(self) -> None:
        """Takes the subscription off the graph."""
        self._node.destroy_subscription(self._subscription)

    def values(self) -> dict[str, str]:
        """For ``/diagnostics``."""
        return {
            f"{TOPIC}.topic": self._node.resolve_topic_name(TOPIC),
            f"{TOPIC}.received": str(self._received),
            f"{TOPIC}.refused": str(self._refused),
            "plan.tool": self._drawn,
        }

    def _on_description(self, message: Any) -> None:
        if message.data == self._text:  # said again
            return
        self._text = message.data
        if self._missing:
            self._refuse(self._missing, is_surprise=False)
            return
        try:
            tool = UrdfTool(message.data, self._robot, self._settings)
        except EbtPolicyError as error:
            self._refuse(str(error))
        except Exception:  # noqa: BLE001 - whatever is wrong with a text must not stop the arm's watch
            self._refuse(traceback.format_exc())
        else:
            self._use(tool)
            self._received += 1
            self._refusals.clear()
            self._drawn = f"{tool.tool_frame} in {tool.base_frame}"
            zero = f"; nobody commands {', '.join(tool.assumed)}, taken to be at zero" if tool.assumed else ""
            self._node.get_logger().info(f"{TOPIC}: the plan is drawn as the path of {self._drawn}{zero}")

    def _refuse(self, reason: str, *, is_surprise: bool = True) -> None:
        self._refused += 1
        if reason in self._refusals or len(self._refusals) >= _MAX_REFUSALS:
            return
        self._refusals.add(reason)
        goes_on = f"goes on with {self._drawn}" if self._drawn else "is not drawn"
        text = f"{TOPIC} is not used, the plan {goes_on}: {reason}"
        if is_surprise:
            self._node.get_logger().warning(text)
        else:
            self._node.get_logger().info(text)
