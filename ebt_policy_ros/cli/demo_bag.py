"""``demo --record``: everything the demo's nodes say, in a bag that trains a policy as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import TransitionEvent
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool, Float64
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import MarkerArray

from ebt_policy_ros.bags.record import BagRecorder
from ebt_policy_ros.bags.write import BEST_EFFORT, RELIABLE
from ebt_policy_ros.cli.demo_monitor import POLICY, Spinner
from ebt_policy_ros.cli.demo_sim import SIM
from ebt_policy_ros.nodes.recorder import Recorder, type_name


class DemoBag:
    """Records from its making to ``close``, on a thread of its own."""

    def __init__(self, path: Path, cameras: Sequence[str], task: str) -> None:
        topics = _topics(cameras)
        self._bag = BagRecorder(path, task=task)
        for topic, (message_class, is_reliable) in topics.items():
            self._bag.add_topic(topic, type_name(message_class), RELIABLE if is_reliable else BEST_EFFORT)
        self._node = Recorder(topics, self._bag.write)
        self._spinner = Spinner(self._node)

    def close(self) -> str:
        """Ends the bag; says what was recorded."""
        self._spinner.close()
        self._node.destroy_node()
        self._bag.close()
        return f"{self._bag.num_messages} messages in {self._bag.path}"


def _topics(cameras: Sequence[str]) -> dict[str, tuple[type[Any], bool]]:
    """Topic -> (message class, whether its publisher is reliable)."""
    pictures = {f"/camera/{camera}/image_raw": (Image, False) for camera in cameras}
    infos = {f"/camera/{camera}/camera_info": (CameraInfo, False) for camera in cameras}
    return {
        "/clock": (Clock, True),
        "/joint_states": (JointState, True),
        **pictures,
        **infos,
        "/joint_trajectory": (JointTrajectory, True),
        f"{SIM}/success": (Bool, True),
        f"{SIM}/episode": (DiagnosticArray, True),
        f"{POLICY}/energy": (Float64, True),
        f"{POLICY}/uncertainty": (Float64, True),
        f"{POLICY}/status": (DiagnosticArray, True),
        f"{POLICY}/plan": (MarkerArray, True),
        f"{POLICY}/transition_event": (TransitionEvent, True),
        "/diagnostics": (DiagnosticArray, True),
    }
