"""Makes `import rclpy` work: the real one where it is installed, else the embedded subset. Imported before rclpy."""

import importlib.util
import os

# Humble always checks what is assigned to a field, Jazzy on request; the subset does always.
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"
if importlib.util.find_spec("rclpy") is None:
    import ebt_policy_ros.embedded

    ebt_policy_ros.embedded.install()
