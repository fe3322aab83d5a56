"""Entry points of the nodes: plain rclpy where ROS 2 is installed, the embedded subset over Cyclone DDS elsewhere."""

from __future__ import annotations

import importlib


def policy_node() -> int:
    """Runs the lifecycle node ``ebt_policy`` until it is interrupted; returns the exit status."""
    return _run("policy_node")


def sim_node() -> int:
    """Runs the simulated arm as a node until it is interrupted; returns the exit status."""
    return _run("sim_node")


def provide_rclpy() -> None:
    """Makes ``import rclpy`` and the message packages work; real ROS 2 always wins over the embedded subset."""
    import ebt_policy_ros.embedded

    ebt_policy_ros.embedded.install()


def _run(module: str) -> int:
    provide_rclpy()
    try:
        return int(importlib.import_module(f"ebt_policy_ros.nodes.{module}").main() or 0)
    except KeyboardInterrupt:
        return 130
