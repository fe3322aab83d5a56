"""What was planned lately: the plan before, and the raw scores of this attempt."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from ebt_policy_ros.core.cycle import continued, plan_change, shifted, slowed
from ebt_policy_ros.core.types import Floats


@dataclass(frozen=True, slots=True, eq=False)
class PlanBefore:
    """A chunk that a new one is compared with."""

    chunk: Floats
    """(H, D) as it is executed, normalised."""
    stamp_ns: int | None
    """Of its observation [ns, ROS time]; None: it was not executed, the arm stands where it was planned."""
    speed: float = 1.0
    """Share of its own pace at which it is executed."""


class Recent:
    """Not thread-safe: the pipeline's lock guards what changes it."""

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._plan: PlanBefore | None = None
        self._raw_scores: deque[tuple[int, float]] = deque(maxlen=512)

    def plan(self, before: PlanBefore | None) -> None:
        """From now on ``before`` is the plan before; None: there is none."""
        self._plan = before

    def score(self, stamp_ns: int, raw: float) -> None:
        """Remembers the raw score of the chunk planned from an observation."""
        self._raw_scores.append((stamp_ns, raw))

    def forget_scores(self) -> None:
        """Another attempt begins."""
        self._raw_scores.clear()

    def scores_before(self, stamp_ns: int, window_s: float) -> list[float]:
        """Raw scores of this attempt's chunks in the window before a time, oldest first."""
        begin_ns = stamp_ns - round(window_s * 1e9)
        return [raw for at_ns, raw in tuple(self._raw_scores) if begin_ns <= at_ns < stamp_ns]

    def warm_start(self, now_ns: int) -> Floats | None:
        """The plan before, shifted by the time gone; None when nothing of it is left."""
        return None if self._plan is None else shifted(self._plan.chunk, self._rows(self._plan, now_ns))

    def change(self, chunk: Floats, now_ns: int) -> float | None:
        """How far a new chunk differs from what is left of the plan before (``plan_change``), at their own pace."""
        if self._plan is None:
            return None
        rows = self._rows(self._plan, now_ns)
        change = plan_change(self._plan.chunk, slowed(chunk, self._plan.speed, 0), rows)
        return None if change is None else change / self._plan.speed

    def rest(self, chunk: Floats, now_ns: int) -> Floats | None:
        """(H, D) what is left of the plan before, completed by the last rows of a new chunk; None without any."""
        return None if self._plan is None else continued(self._plan.chunk, chunk, self._rows(self._plan, now_ns))

    def _rows(self, plan: PlanBefore, now_ns: int) -> int:
        """How many rows of it lie behind."""
        return 0 if plan.stamp_ns is None else int(np.round((now_ns - plan.stamp_ns) / self._period_ns))
