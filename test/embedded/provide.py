"""Makes `import rclpy` work: the real one where it is installed, else the embedded subset. Imported before rclpy."""

import importlib.util

if importlib.util.find_spec("rclpy") is None:
    import ebt_policy_ros.embedded

    ebt_policy_ros.embedded.install()
