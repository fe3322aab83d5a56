"""builtin_interfaces Time and Duration <-> integer nanoseconds."""

from __future__ import annotations

import operator
from typing import Any

from ebt_policy_ros.core.errors import MessageError

SECOND_NS = 1_000_000_000


def _integer(field: str, value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise MessageError(f"{field}: expected an integer, got {value!r}") from error


def read_nanoseconds(field: str, time: Any) -> int:
    """Nanoseconds of a Time or Duration; MessageError when ``nanosec`` is outside 0..999999999."""
    try:
        seconds, nanoseconds = _integer(f"{field}.sec", time.sec), _integer(f"{field}.nanosec", time.nanosec)
    except AttributeError as error:
        raise MessageError(f"{field}: expected sec and nanosec, got {type(time).__name__}") from error
    if not 0 <= nanoseconds < SECOND_NS:
        raise MessageError(f"{field}.nanosec: expected 0..{SECOND_NS - 1}, got {nanoseconds}")
    return seconds * SECOND_NS + nanoseconds


def read_stamp_ns(message: Any) -> int:
    """``header.stamp`` of a message [ns, ROS time]."""
    try:
        stamp = message.header.stamp
    except AttributeError as error:
        raise MessageError(f"expected a message with header.stamp, got {type(message).__name__}") from error
    return read_nanoseconds("header.stamp", stamp)


def set_stamp_ns(stamp: Any, time_ns: int) -> None:
    """Writes ``time_ns`` [ns] into a builtin_interfaces Time."""
    stamp.sec, stamp.nanosec = divmod(int(time_ns), SECOND_NS)


def set_duration_ns(duration: Any, time_ns: int) -> None:
    """Writes ``time_ns`` [ns] into a builtin_interfaces Duration (``sec`` may be negative, ``nanosec`` never is)."""
    duration.sec, duration.nanosec = divmod(int(time_ns), SECOND_NS)
