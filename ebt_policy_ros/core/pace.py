"""Keeping the deadline of a thought: whether there is time for another gradient step."""

from __future__ import annotations

from collections.abc import Callable

from ebt_policy_ros.core.minimise import MayStep

STEPS_AHEAD = 2.0
"""What has to fit before the deadline, in steps: the next one, and judging its result."""
FADING = 0.9
"""Part of a long step's duration that is still expected at the next one."""


class Pace:
    """How long the steps of a descent take, told apart by the number of candidates, and so whether another one fits."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._passed_s: Callable[[], float] = float
        self._step_s: dict[int, float] = {}

    def begin(self, passed_s: Callable[[], float]) -> None:
        """A thought begins; ``passed_s`` says how long ago [s]."""
        self._passed_s = passed_s

    def of(self, starts: int, steps_before: int, max_steps: int | None) -> MayStep:
        """What a descent of ``starts`` candidates is to ask. ``steps_before`` were taken in this thought; it ends at
        ``max_steps`` in all, whatever the time."""
        last_s: float | None = None

        def may_step(taken: int) -> bool:
            nonlocal last_s
            now_s = self._passed_s()
            if last_s is not None:
                self._step_s[starts] = max(now_s - last_s, FADING * self._step_s.get(starts, 0.0))
            last_s = now_s
            if max_steps is not None and steps_before + taken >= max_steps:
                return False
            return now_s + STEPS_AHEAD * self._step_s.get(starts, 0.0) <= self._deadline_s

        return may_step


def stopwatch(clock: Callable[[], float] | None) -> Callable[[], float]:
    """Seconds since now by a steady clock; always 0 without one."""
    if clock is None:
        return float
    began_s = clock()
    return lambda: clock() - began_s
