"""The ROS 2 nodes: idiomatic rclpy, thin. Callbacks decode and store; everything slow has a thread of its own."""
