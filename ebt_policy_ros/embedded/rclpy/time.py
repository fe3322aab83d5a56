"""Points in time of one clock type, in integer nanoseconds."""

from __future__ import annotations

from functools import total_ordering
from typing import Any

from builtin_interfaces.msg import Time as TimeMessage

from ebt_policy_ros.embedded.unsupported import module_getattr

from ._clock_type import ClockType
from .constants import S_TO_NS
from .duration import Duration


@total_ordering
class Time:
    """A point in time [ns]; comparing or subtracting times of different clock types is a TypeError."""

    def __init__(
        self, *, seconds: int | float = 0, nanoseconds: int = 0, clock_type: ClockType = ClockType.SYSTEM_TIME
    ) -> None:
        if not isinstance(clock_type, ClockType):
            raise TypeError("Clock type must be a ClockType enum")
        if seconds < 0:
            raise ValueError("Seconds value must not be negative")
        if nanoseconds < 0:
            raise ValueError("Nanoseconds value must not be negative")
        total = int(seconds * S_TO_NS) + int(nanoseconds)
        if total >= 2**63:
            raise OverflowError("Total nanoseconds value is too large to store in C time point.")
        self._nanoseconds = total
        self._clock_type = clock_type

    @property
    def nanoseconds(self) -> int:
        return self._nanoseconds

    @property
    def clock_type(self) -> ClockType:
        return self._clock_type

    def seconds_nanoseconds(self) -> tuple[int, int]:
        return divmod(self._nanoseconds, S_TO_NS)

    def __repr__(self) -> str:
        return f"Time(nanoseconds={self._nanoseconds}, clock_type={self._clock_type.name})"

    def __add__(self, other: object) -> Any:
        if isinstance(other, Duration):
            return Time(nanoseconds=self._nanoseconds + other.nanoseconds, clock_type=self._clock_type)
        return NotImplemented

    __radd__ = __add__

    def __sub__(self, other: object) -> Any:
        if isinstance(other, Time):
            if self._clock_type != other._clock_type:
                raise TypeError("Can't subtract times with different clock types")
            return Duration(nanoseconds=self._nanoseconds - other._nanoseconds)
        if isinstance(other, Duration):
            try:
                return Time(nanoseconds=self._nanoseconds - other.nanoseconds, clock_type=self._clock_type)
            except ValueError as error:
                raise ValueError("Subtraction leads to negative time.") from error
        return NotImplemented

    def _comparable(self, other: Time) -> int:
        if self._clock_type != other._clock_type:
            raise TypeError("Can't compare times with different clock types")
        return other._nanoseconds

    def __eq__(self, other: object) -> Any:
        return self._nanoseconds == self._comparable(other) if isinstance(other, Time) else NotImplemented

    def __lt__(self, other: object) -> Any:
        return self._nanoseconds < self._comparable(other) if isinstance(other, Time) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def to_msg(self) -> Any:
        seconds, nanoseconds = self.seconds_nanoseconds()
        return TimeMessage(sec=seconds, nanosec=nanoseconds)

    @classmethod
    def from_msg(cls, msg: Any, clock_type: ClockType = ClockType.ROS_TIME) -> Time:
        if not isinstance(msg, TimeMessage):
            raise TypeError("Must pass a builtin_interfaces.msg.Time object")
        return cls(seconds=msg.sec, nanoseconds=msg.nanosec, clock_type=clock_type)


__getattr__ = module_getattr(__name__)
