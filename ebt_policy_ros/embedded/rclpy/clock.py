"""Clocks, jumps of ROS time, and sleeping on a clock."""

from __future__ import annotations

import threading
import time as _time
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from ebt_policy_ros.embedded.unsupported import module_getattr

from ._clock_type import ClockType
from .duration import Duration
from .time import Time


class ClockChange(IntEnum):
    """What happened to the source of a clock (a public name in Jazzy only)."""

    ROS_TIME_NO_CHANGE = 1
    ROS_TIME_ACTIVATED = 2
    ROS_TIME_DEACTIVATED = 3
    SYSTEM_TIME_NO_CHANGE = 4


class JumpThreshold:
    """When a jump callback is called: durations are None, positive (forward) or negative (backward)."""

    def __init__(
        self, *, min_forward: Duration | None, min_backward: Duration | None, on_clock_change: bool = True
    ) -> None:
        if min_forward is not None and min_forward.nanoseconds <= 0:
            raise ValueError("min_forward must be a positive non-zero duration")
        if min_backward is not None and min_backward.nanoseconds >= 0:
            raise ValueError("min_backward must be a negative non-zero duration")
        if min_forward is None and min_backward is None and not on_clock_change:
            raise ValueError("At least one jump threshold must be enabled")
        self.min_forward = min_forward
        self.min_backward = min_backward
        self.on_clock_change = on_clock_change


class TimeJump:
    """One jump: what changed, and by how much [Duration]."""

    def __init__(self, clock_change: ClockChange, delta: Duration) -> None:
        if not isinstance(clock_change, ClockChange):
            raise TypeError("clock_change must be an instance of rclpy.clock.ClockChange")
        self._clock_change = clock_change
        self._delta = delta

    @property
    def clock_change(self) -> ClockChange:
        return self._clock_change

    @property
    def delta(self) -> Duration:
        return self._delta


class JumpHandle:
    """A registered jump callback; `unregister` or use as a context manager."""

    def __init__(
        self,
        *,
        clock: Clock,
        threshold: JumpThreshold,
        pre_callback: Callable[[], None] | None,
        post_callback: Callable[[TimeJump], None] | None,
    ) -> None:
        if pre_callback is None and post_callback is None:
            raise ValueError("One of pre_callback or post_callback must be callable")
        for name, callback in (("pre_callback", pre_callback), ("post_callback", post_callback)):
            if callback is not None and not callable(callback):
                raise ValueError(f"{name} must be callable if given")
        self._clock: Clock | None = clock
        self._threshold = threshold
        self._pre_callback = pre_callback
        self._post_callback = post_callback
        clock._jump_handles.append(self)

    def unregister(self) -> None:
        if self._clock is not None:
            if self in self._clock._jump_handles:
                self._clock._jump_handles.remove(self)
            self._clock = None

    def __enter__(self) -> JumpHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()

    def _concerns(self, change: ClockChange, delta_ns: int) -> bool:
        if change in (ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED):
            return self._threshold.on_clock_change
        forward, backward = self._threshold.min_forward, self._threshold.min_backward
        return (forward is not None and delta_ns >= forward.nanoseconds) or (
            backward is not None and delta_ns <= backward.nanoseconds
        )


class Clock:
    """A clock; `Clock(clock_type=ClockType.ROS_TIME)` gives a ROSClock."""

    def __new__(cls, *, clock_type: ClockType = ClockType.SYSTEM_TIME) -> Clock:
        if not isinstance(clock_type, ClockType):
            raise TypeError("Clock type must be a ClockType enum")
        self: Any = super().__new__(ROSClock if clock_type is ClockType.ROS_TIME else cls)
        self._clock_type = clock_type
        self._jump_handles: list[JumpHandle] = []
        self._is_active = False
        self._override_ns = 0
        return self

    @property
    def clock_type(self) -> ClockType:
        return self._clock_type  # type: ignore[attr-defined, no-any-return]

    def __repr__(self) -> str:
        return f"Clock(clock_type={self.clock_type.name})"

    def _now_ns(self) -> int:
        return _time.monotonic_ns() if self.clock_type is ClockType.STEADY_TIME else _time.time_ns()

    def now(self) -> Time:
        return Time(nanoseconds=self._now_ns(), clock_type=self.clock_type)

    def create_jump_callback(
        self,
        threshold: JumpThreshold,
        *,
        pre_callback: Callable[[], None] | None = None,
        post_callback: Callable[[TimeJump], None] | None = None,
    ) -> JumpHandle:
        return JumpHandle(clock=self, threshold=threshold, pre_callback=pre_callback, post_callback=post_callback)

    def sleep_until(self, until: Time, context: Any = None) -> bool:
        """True when `until` was reached; False when a shutdown or a change of the time source ended the sleep."""
        from .exceptions import NotInitializedException
        from .utilities import get_default_context

        context = get_default_context() if context is None else context
        if not context.ok():
            raise NotInitializedException()
        if until.clock_type != self.clock_type:
            raise ValueError("until's clock type does not match this clock's type")
        return self._sleep(until, context)

    def _sleep(self, until: Time, context: Any) -> bool:
        woken = threading.Event()
        changed = False

        def on_jump(jump: TimeJump) -> None:
            nonlocal changed
            changed = changed or jump.clock_change is not ClockChange.ROS_TIME_NO_CHANGE
            if changed or self.now() >= until:
                woken.set()

        context._wakers.append(woken.set)
        is_simulated = isinstance(self, ROSClock) and self.ros_time_is_active
        threshold = JumpThreshold(min_forward=Duration(nanoseconds=1), min_backward=None)
        with self.create_jump_callback(threshold, post_callback=on_jump):
            while not woken.is_set() and context.ok() and self.now() < until:
                left_s = (until.nanoseconds - self._now_ns()) * 1e-9
                woken.wait(None if is_simulated else max(left_s, 0.0))
        context._wakers.remove(woken.set)
        return bool(context.ok()) and not changed and self.now() >= until

    def sleep_for(self, rel_time: Duration, context: Any = None) -> bool:
        return self.sleep_until(self.now() + rel_time, context)


class ROSClock(Clock):
    """System time, or the last time set by /clock while ROS time is active."""

    def __new__(cls) -> ROSClock:  # type: ignore[misc]
        return super().__new__(cls, clock_type=ClockType.ROS_TIME)  # type: ignore[no-any-return]

    @property
    def ros_time_is_active(self) -> bool:
        return self._is_active  # type: ignore[attr-defined, no-any-return, has-type]

    def _now_ns(self) -> int:
        return self._override_ns if self._is_active else _time.time_ns()  # type: ignore[has-type]

    def _set_ros_time_is_active(self, enabled: bool) -> None:
        if enabled == self._is_active:  # type: ignore[has-type]
            return
        change = ClockChange.ROS_TIME_ACTIVATED if enabled else ClockChange.ROS_TIME_DEACTIVATED
        concerned = [handle for handle in self._jump_handles if handle._concerns(change, 0)]
        self._jump(concerned, change, lambda: setattr(self, "_is_active", enabled))

    def set_ros_time_override(self, time: Time) -> None:
        if not isinstance(time, Time):
            raise TypeError("Time must be specified as rclpy.time.Time")
        delta = time.nanoseconds - self._override_ns  # type: ignore[has-type]
        change = ClockChange.ROS_TIME_NO_CHANGE
        concerned = [handle for handle in self._jump_handles if self._is_active and handle._concerns(change, delta)]
        self._jump(concerned, change, lambda: setattr(self, "_override_ns", time.nanoseconds), delta)

    def _jump(
        self, concerned: list[JumpHandle], change: ClockChange, apply: Callable[[], None], delta: int = 0
    ) -> None:
        for handle in concerned:
            if handle._pre_callback is not None:
                handle._pre_callback()
        before = self._now_ns()
        apply()
        if change is not ClockChange.ROS_TIME_NO_CHANGE:
            delta = self._now_ns() - before
        for handle in concerned:
            if handle._post_callback is not None:
                handle._post_callback(TimeJump(change, Duration(nanoseconds=delta)))


__getattr__ = module_getattr(__name__)
