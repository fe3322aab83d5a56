"""Timers on any clock, and rates."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ebt_policy_ros.embedded.unsupported import UnsupportedMember, module_getattr

from .clock import Clock, ClockChange, JumpThreshold, ROSClock, TimeJump
from .duration import Duration
from .exceptions import InvalidHandle, ROSInterruptException


class Timer:
    """Calls back every `timer_period_ns` of its clock; calls that were missed are skipped, the phase is kept."""

    handle = UnsupportedMember()

    def __init__(
        self,
        callback: Callable[[], Any],
        callback_group: Any,
        timer_period_ns: int,
        clock: Clock,
        *,
        context: Any = None,
    ) -> None:
        self.callback = callback
        self.callback_group = callback_group
        self._clock = clock
        self._period_ns = int(timer_period_ns)
        if self._period_ns < 0:
            raise ValueError(f"timer period must not be negative, got {self._period_ns} ns")
        self._is_canceled = False
        self._is_destroyed = False
        self._last_ns = clock._now_ns()
        self._next_ns = self._last_ns + self._period_ns
        self._wake: Callable[[], None] = lambda: None
        threshold = JumpThreshold(min_forward=Duration(nanoseconds=1), min_backward=Duration(nanoseconds=-1))
        self._jump = None
        if isinstance(clock, ROSClock):
            self._jump = clock.create_jump_callback(threshold, post_callback=self._on_jump)

    def _on_jump(self, jump: TimeJump) -> None:
        now_ns = self._clock._now_ns()
        # Further back than one period, or another epoch: start again from here, as rcl does.
        if jump.clock_change is not ClockChange.ROS_TIME_NO_CHANGE or now_ns < self._last_ns:
            self._last_ns = now_ns
            self._next_ns = now_ns + self._period_ns
        if now_ns >= self._next_ns or jump.clock_change is not ClockChange.ROS_TIME_NO_CHANGE:
            self._wake()

    def destroy(self) -> None:
        self._is_destroyed = True
        if self._jump is not None:
            self._jump.unregister()

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def timer_period_ns(self) -> int:
        return self._period_ns

    @timer_period_ns.setter
    def timer_period_ns(self, value: int) -> None:
        self._period_ns = int(value)

    def is_ready(self) -> bool:
        return not self._is_canceled and not self._is_destroyed and self._clock._now_ns() >= self._next_ns

    def is_canceled(self) -> bool:
        return self._is_canceled

    def cancel(self) -> None:
        self._is_canceled = True

    def reset(self) -> None:
        self._is_canceled = False
        self._last_ns = self._clock._now_ns()
        self._next_ns = self._last_ns + self._period_ns
        self._wake()

    def time_since_last_call(self) -> int:
        return self._clock._now_ns() - self._last_ns

    def time_until_next_call(self) -> int | None:
        return None if self._is_canceled else self._next_ns - self._clock._now_ns()

    def _wait_ns(self) -> int | None:
        """Nanoseconds until the executor must look again; None when only a clock message can make it ready."""
        if self._is_canceled or self._is_destroyed:
            return None
        left = self._next_ns - self._clock._now_ns()
        if isinstance(self._clock, ROSClock) and self._clock.ros_time_is_active and left > 0:
            return None
        return max(0, left)

    def _is_ready(self) -> bool:
        return self.is_ready()

    def _take(self) -> Callable[[], Any] | None:
        now_ns = self._clock._now_ns()
        if self._is_canceled or self._is_destroyed or now_ns < self._next_ns:
            return None
        self._last_ns = now_ns
        self._next_ns += self._period_ns
        if self._next_ns < now_ns:
            if self._period_ns == 0:
                self._next_ns = now_ns
            else:
                missed = (now_ns - self._next_ns + self._period_ns - 1) // self._period_ns
                self._next_ns += missed * self._period_ns
        return self.callback


class Rate:
    """Sleeps until the next tick of a timer that another thread spins."""

    def __init__(self, timer: Timer, *, context: Any) -> None:
        self._timer = timer
        self._is_shutdown = False
        self._is_destroyed = False
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sleepers = 0
        timer.callback = self._event.set
        context._wakers.append(self._on_shutdown)

    def _on_shutdown(self) -> None:
        self._is_shutdown = True
        self.destroy()

    def destroy(self) -> None:
        self._is_destroyed = True
        self._event.set()

    def sleep(self) -> None:
        """Blocks until the timer fires; ROSInterruptException when ROS is shut down."""
        if self._is_shutdown:
            raise ROSInterruptException()
        if self._is_destroyed:
            raise RuntimeError("Rate cannot sleep because it has been destroyed")
        if self._timer._is_destroyed:
            self.destroy()
            raise InvalidHandle("Rate cannot sleep because the timer has been destroyed")
        with self._lock:
            self._sleepers += 1
        try:
            self._event.wait()
        finally:
            with self._lock:
                self._sleepers -= 1
                if self._sleepers == 0:
                    self._event.clear()
        if self._is_shutdown:
            self.destroy()
            raise ROSInterruptException()


__getattr__ = module_getattr(__name__)
