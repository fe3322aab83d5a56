"""The three kinds of clock (imported from rclpy.clock by users)."""

from enum import IntEnum


class ClockType(IntEnum):
    """ROS time follows /clock when use_sim_time is set and is system time otherwise."""

    ROS_TIME = 1
    SYSTEM_TIME = 2
    STEADY_TIME = 3
