"""A ROS 2 node that drives a robot arm with an Energy-Based Transformer policy (EBT-Policy, arXiv 2510.27545)."""

__version__ = "0.1.0"
