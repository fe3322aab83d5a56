"""Messages with something in every field, so that a round trip shows what gets lost."""

from __future__ import annotations

import array
import importlib
import re
from typing import Any

import numpy as np

USED_TYPES = (
    "builtin_interfaces/msg/Time",
    "diagnostic_msgs/msg/DiagnosticArray",
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/TransformStamped",
    "lifecycle_msgs/msg/TransitionEvent",
    "rcl_interfaces/msg/Log",
    "rcl_interfaces/msg/ParameterEvent",
    "rosgraph_msgs/msg/Clock",
    "sensor_msgs/msg/CameraInfo",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/JointState",
    "std_msgs/msg/Bool",
    "std_msgs/msg/Empty",
    "std_msgs/msg/Float64",
    "std_msgs/msg/Float64MultiArray",
    "std_msgs/msg/Int64",
    "std_msgs/msg/String",
    "tf2_msgs/msg/TFMessage",
    "trajectory_msgs/msg/JointTrajectory",
    "visualization_msgs/msg/MarkerArray",
)


def message_class(name: str) -> Any:
    """The class of 'package/msg/Type' or 'package/Type'."""
    package, *_, short = name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), short)


class _Counter:
    def __init__(self) -> None:
        self.value = 0

    def next(self) -> int:
        self.value = self.value % 100 + 1
        return self.value


def fill(kind: Any, counter: _Counter | None = None) -> Any:
    """An instance of `kind`, every field set to something that differs from its default."""
    counter = counter or _Counter()
    message = kind()
    for field, text in kind.get_fields_and_field_types().items():
        setattr(message, field, _value(text, getattr(message, field), counter))
    return message


def _value(text: str, default: Any, counter: _Counter) -> Any:
    sequence = re.fullmatch(r"sequence<([^,]+?)(?:, (\d+))?>", text)
    if sequence:
        elements = [_scalar(sequence[1], counter) for _ in range(min(3, int(sequence[2] or 3)))]
        return array.array(default.typecode, elements) if isinstance(default, array.array) else elements
    if isinstance(default, np.ndarray):
        return np.array([counter.next() for _ in default], dtype=default.dtype)
    fixed = re.fullmatch(r"(.+)\[(\d+)\]", text)
    if fixed:
        return [_scalar(fixed[1], counter) for _ in range(int(fixed[2]))]
    return _scalar(text, counter)


def _scalar(text: str, counter: _Counter) -> Any:
    number = counter.next()
    if "/" in text:
        return fill(message_class(text), counter)
    if text == "boolean":
        return True
    if text in ("float", "double"):
        return number + 0.5
    if text == "octet":
        return bytes((number,))
    return f"tëxt {number}" if text.startswith("string") else number
