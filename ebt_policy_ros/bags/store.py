"""The message types of bags: ROS 2 Jazzy's, with their CDR, as rosbags has them."""

from __future__ import annotations

import functools

from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE = "sensor_msgs/msg/Image"
JOINT_STATE = "sensor_msgs/msg/JointState"
JOINT_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
TRAJECTORY_POINT = "trajectory_msgs/msg/JointTrajectoryPoint"
BOOL = "std_msgs/msg/Bool"
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
MULTI_ARRAY = "std_msgs/msg/Float64MultiArray"


@functools.cache
def type_store() -> Typestore:
    """The process's one type store (made on first use: about 0.1 s)."""
    return get_typestore(Stores.ROS2_JAZZY)
