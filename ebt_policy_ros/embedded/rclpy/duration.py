"""Spans of time in integer nanoseconds."""

from __future__ import annotations

from functools import total_ordering
from typing import Any

from builtin_interfaces.msg import Duration as DurationMessage

from ebt_policy_ros.embedded.unsupported import module_getattr

from .constants import S_TO_NS


@total_ordering
class Duration:
    """A span of time [ns], may be negative; OverflowError beyond 64 bits."""

    def __init__(self, *, seconds: int | float = 0, nanoseconds: int = 0) -> None:
        total = int(seconds * S_TO_NS) + int(nanoseconds)
        if not -(2**63) <= total < 2**63:
            raise OverflowError("Total nanoseconds value is too large to store in C duration.")
        self._nanoseconds = total

    @property
    def nanoseconds(self) -> int:
        return self._nanoseconds

    def __repr__(self) -> str:
        return f"Duration(nanoseconds={self._nanoseconds})"

    def __str__(self) -> str:
        return "Infinite" if self == Infinite else f"{self._nanoseconds} nanoseconds"

    def __eq__(self, other: object) -> Any:
        return self._nanoseconds == other.nanoseconds if isinstance(other, Duration) else NotImplemented

    def __lt__(self, other: object) -> Any:
        return self._nanoseconds < other.nanoseconds if isinstance(other, Duration) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def to_msg(self) -> Any:
        seconds, nanoseconds = divmod(self._nanoseconds, S_TO_NS)
        return DurationMessage(sec=seconds, nanosec=nanoseconds)

    @classmethod
    def from_msg(cls, msg: Any) -> Duration:
        if not isinstance(msg, DurationMessage):
            raise TypeError("Must pass a builtin_interfaces.msg.Duration object")
        return cls(seconds=msg.sec, nanoseconds=msg.nanosec)


Infinite = Duration(nanoseconds=2**63 - 1)

__getattr__ = module_getattr(__name__)
