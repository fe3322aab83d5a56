"""Answers `import rclpy` and `import sensor_msgs.msg` on machines without ROS 2, over Cyclone DDS from PyPI.

>>> from ebt_policy_ros import embedded
>>> embedded.install()
>>> import rclpy            # the real one where ROS 2 is installed and sourced, else the subset
"""

from .finder import install, is_active

__all__ = ["install", "is_active"]
