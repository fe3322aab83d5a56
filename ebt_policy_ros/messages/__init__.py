"""ROS messages <-> arrays, by attribute.

Nothing here imports a middleware: readers take any object with the fields of the ROS message, writers take the message
classes as arguments. The same code therefore serves rclpy's classes, the embedded ones and messages read from a bag.
A message that cannot be read raises ``MessageError``, never anything else.
"""

from ebt_policy_ros.messages.images import decode_image, encode_image
from ebt_policy_ros.messages.joints import JointReading, joint_state_message, read_joint_state
from ebt_policy_ros.messages.kinematics import ToolChain, ToolKinematics, ToolSettings
from ebt_policy_ros.messages.markers import PlanMarkers
from ebt_policy_ros.messages.stamps import read_stamp_ns, set_duration_ns, set_stamp_ns
from ebt_policy_ros.messages.trajectory import TrajectoryReading, read_trajectory, trajectory_message
from ebt_policy_ros.messages.trajectory_cdr import trajectory_cdr

__all__ = [
    "PlanMarkers",
    "JointReading",
    "ToolChain",
    "ToolKinematics",
    "ToolSettings",
    "TrajectoryReading",
    "decode_image",
    "encode_image",
    "joint_state_message",
    "read_joint_state",
    "read_stamp_ns",
    "read_trajectory",
    "set_duration_ns",
    "set_stamp_ns",
    "trajectory_cdr",
    "trajectory_message",
]
