"""One message from a topic."""

from __future__ import annotations

from typing import Any

from ebt_policy_ros.embedded.unsupported import module_getattr

from . import spin_until_future_complete
from .executors import SingleThreadedExecutor
from .qos import QoSProfile
from .task import Future


def wait_for_message(
    msg_type: Any, node: Any, topic: str, *, qos_profile: QoSProfile | int = 1, time_to_wait: float = -1
) -> tuple[bool, Any]:
    """(True, message), or (False, None) when none came within `time_to_wait` seconds (-1: no limit)."""
    future = Future()
    subscription = node.create_subscription(
        msg_type, topic, lambda message: None if future.done() else future.set_result(message), qos_profile
    )
    previous = node.executor
    executor = SingleThreadedExecutor(context=node.context)
    try:
        spin_until_future_complete(node, future, executor, None if time_to_wait < 0 else time_to_wait)
    finally:
        node.destroy_subscription(subscription)
        executor.shutdown()
        if previous is not None:
            previous.add_node(node)
    return (True, future.result()) if future.done() else (False, None)


__getattr__ = module_getattr(__name__)
