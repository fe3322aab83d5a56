"""A node that hands every message of some topics on as the bytes that came, to be put into a bag."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

Write = Callable[[str, int, bytes], None]
"""Called with full topic name, time of receipt [ns since 1970] and CDR bytes."""

_DEPTH = 500
"""Messages of a topic that may wait while the machine is busy."""


class Recorder(Node):  # type: ignore[misc]
    """Subscribes to ``topics`` (name -> message class and whether its publisher is reliable)."""

    def __init__(self, topics: Mapping[str, tuple[type[Any], bool]], write: Write) -> None:
        super().__init__("ebt_recorder")
        self._write = write
        for topic, (message_class, is_reliable) in topics.items():
            reliability = ReliabilityPolicy.RELIABLE if is_reliable else ReliabilityPolicy.BEST_EFFORT
            qos = QoSProfile(depth=_DEPTH, history=HistoryPolicy.KEEP_LAST, reliability=reliability)
            self.create_subscription(message_class, topic, functools.partial(self._on_message, topic), qos, raw=True)

    def _on_message(self, topic: str, data: Any) -> None:
        self._write(topic, time.time_ns(), bytes(data))


def type_name(message_class: type[Any]) -> str:
    """Such as sensor_msgs/msg/Image."""
    return f"{message_class.__module__.split('.')[0]}/msg/{message_class.__name__}"
