"""What scores are worth: do they foresee failures, notice disturbances, and stay quiet otherwise?

A score of an episode in a window is its worst (highest) value among the chunks planned then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.played import CALM, Played
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.uncertainty import conformal_threshold
from ebt_policy_ros.training.statistics import auroc_interval, wilson

WINDOWS_S = (1.0, 3.0)
ALPHA = 0.05
ALL = "all"

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scored:
    """An episode and its scores, one value a chunk."""

    episode: Played
    scores: Mapping[str, Values]

    def worst(self, name: str, begin_s: float, end_s: float) -> float:
        """Highest value of a score among the chunks planned from ``begin_s`` to ``end_s``; NaN when there is none."""
        times = np.array(self.episode.times_s)
        values = self.scores[name][(times >= begin_s - 1e-9) & (times <= end_s + 1e-9)]
        values = values[np.isfinite(values)]
        return float(values.max()) if len(values) else float("nan")


def judged(scored: Sequence[Scored], seed: int = 0) -> dict[str, Any]:
    """Everything about every score: see ``foresight``, ``notice``, ``overall`` and ``alarms``."""
    test = [one for one in scored if one.episode.purpose == "test"]
    hit = [one for one in test if one.episode.was_disturbed]
    calm = [one for one in test if one.episode.kind == CALM]
    names = list(scored[0].scores)
    kinds = [ALL, *dict.fromkeys(one.episode.kind for one in hit)]
    found: dict[str, Any] = {"episodes": _counts(test), "fails": {}, "happened": {}}
    for window_s in WINDOWS_S:
        of_kind = {kind: [one for one in hit if kind in (ALL, one.episode.kind)] for kind in kinds}
        label = f"{window_s:g}s"
        found["fails"][label] = {
            kind: {name: foresight(some, name, window_s) for name in names} for kind, some in of_kind.items()
        }
        found["happened"][label] = {
            kind: {name: notice(calm, some, name, window_s, seed) for name in names} for kind, some in of_kind.items()
        }
    found["overall"] = {name: overall(test, name) for name in names}
    quiet = [one for one in scored if one.episode.purpose == "threshold" and one.episode.success]
    found["alarms"] = {name: alarms(quiet, calm, hit, name) for name in names}
    return found


def _counts(test: Sequence[Scored]) -> dict[str, Any]:
    counts = {}
    for kind in dict.fromkeys(one.episode.kind for one in test):
        some = [one.episode for one in test if one.episode.kind == kind]
        counts[kind] = {
            "episodes": len(some),
            "successes": sum(one.success for one in some),
            "disturbed": sum(one.was_disturbed for one in some),
            "disturbed_successes": sum(one.was_disturbed and one.success for one in some),
        }
    return counts


def _area(negatives: Sequence[float], positives: Sequence[float]) -> list[float] | None:
    """[area, low, high, negatives, positives], or None where there are too few of either."""
    low, high = ([value for value in values if np.isfinite(value)] for values in (negatives, positives))
    area = auroc_interval(low, high)
    return None if area is None else [*(round(value, 4) for value in area), len(low), len(high)]


def foresight(hit: Sequence[Scored], name: str, window_s: float) -> list[float] | None:
    """AUROC of failed against succeeded disturbed episodes by the worst value within the window."""
    worst = [(one.worst(name, *_window(one.episode, window_s)), one.episode.success) for one in hit]
    return _area([value for value, success in worst if success], [value for value, success in worst if not success])


def _window(episode: Played, window_s: float) -> tuple[float, float]:
    begin_s = episode.disturbed_s or 0.0
    return begin_s, begin_s + window_s


def notice(
    calm: Sequence[Scored], hit: Sequence[Scored], name: str, window_s: float, seed: int = 0
) -> list[float] | None:
    """AUROC of disturbed against calm episodes by the worst value in the window after the disturbance.

    A calm episode's window begins when one of the disturbed ones (drawn from those that fit into it) was disturbed.
    """
    rng = np.random.default_rng([seed, 7])
    times = np.array([one.episode.disturbed_s for one in hit], dtype=float)
    negatives = []
    for one in calm:
        fitting = times[times < one.episode.duration_s - 0.5]
        if len(fitting):
            begin_s = float(rng.choice(fitting))
            negatives.append(one.worst(name, begin_s, begin_s + window_s))
    return _area(negatives, [one.worst(name, *_window(one.episode, window_s)) for one in hit])


def overall(test: Sequence[Scored], name: str) -> list[float] | None:
    """AUROC of all failed against all succeeded episodes by the worst value up to the median time of success: beyond
    that the longer episodes of failures would score higher for being longer."""
    good = [one.episode.duration_s for one in test if one.episode.success]
    if not good:
        return None
    until_s = float(np.median(good))
    worst = [(one.worst(name, 0.0, until_s), one.episode.success) for one in test]
    return _area([value for value, success in worst if success], [value for value, success in worst if not success])


def alarms(quiet: Sequence[Scored], calm: Sequence[Scored], hit: Sequence[Scored], name: str) -> dict[str, Any] | None:
    """False alarms and useful ones at the conformal threshold of the ``quiet`` episodes; None where they are too few.

    ``lead_s``: the median time from the first alarm after the disturbance to the hand first seen closed on nothing,
    over the failures in which both happened; negative where the alarm came later.
    """
    maxima = [one.worst(name, 0.0, np.inf) for one in quiet]
    try:
        threshold = conformal_threshold([value for value in maxima if np.isfinite(value)], ALPHA)
    except SettingsError:
        return None
    good = [one for one in calm if one.episode.success]
    false = sum(bool(one.worst(name, 0.0, np.inf) > threshold) for one in good)
    failed = [one for one in hit if not one.episode.success]
    passed = [one for one in hit if one.episode.success]
    delays = {id(one): delay_s(one, name, threshold) for one in hit}
    leads = [
        one.episode.emptied_s - (one.episode.disturbed_s or 0.0) - delays[id(one)]
        for one in failed
        if one.episode.emptied_s is not None and math.isfinite(delays[id(one)])
    ]
    return {
        "threshold": round(threshold, 5),
        "false_alarms": [false, len(good), *(round(value, 3) for value in wilson(false, len(good)))],
        "failures_alarmed_3s": [sum(delays[id(one)] <= 3.0 for one in failed), len(failed)],
        "failures_alarmed": [sum(math.isfinite(delays[id(one)]) for one in failed), len(failed)],
        "successes_alarmed": [sum(math.isfinite(delays[id(one)]) for one in passed), len(passed)],
        "lead_s": round(float(np.median(leads)), 2) if leads else None,
        "lead_n": len(leads),
        "ahead": sum(bool(lead > 0) for lead in leads),
    }


def delay_s(one: Scored, name: str, threshold: float) -> float:
    """From the disturbance to the first chunk above the threshold after it [s]; infinite when there is none."""
    begin_s = one.episode.disturbed_s or 0.0
    for time_s, value in zip(one.episode.times_s, one.scores[name], strict=True):
        if time_s >= begin_s - 1e-9 and value > threshold:
            return float(time_s) - begin_s
    return float("inf")
