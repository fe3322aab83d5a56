"""From the evidence of a minimisation to a score in [0, 1] whose threshold has been measured.

A score is read over a time window: the mean of the raw scores of the chunks planned in it, above what is usual. One odd
picture is noise, several in a row are trouble. Calibration is split conformal: the highest windowed score of every
held-out successful episode is one sample, so that the threshold is exceeded at least once in about a fraction alpha of
such episodes. An uncalibrated bundle has no score (None, not 0): retry then acts on outcomes only, and the status says
so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebt_policy_ros.core.errors import BundleError, SettingsError
from ebt_policy_ros.core.types import Floats, Minimum, as_floats

MAX_WINDOW_S = 60.0
FEW_EPISODES = 100
"""Below this number a threshold is a lottery: on 40 episodes false alarms of 0 to .14 were measured at alpha .05."""


STILL = 1e-3
"""Motion [normalised units] that counts as standing still."""


def score_name(terms: Mapping[str, float]) -> str:
    """Which raw score the terms of a bundle allow: doubt, unfamiliarity or energy."""
    if "unfamiliarity" not in terms:
        return "energy"
    return "doubt" if "expected_error" in terms else "unfamiliarity"


def motion(chunk: Floats) -> float:
    """How far a chunk (H, D) leads away from its first row: root mean square, normalised units."""
    return float(np.sqrt(np.square(chunk - chunk[0]).mean()))


def raw_score(minimum: Minimum, change: float | None) -> float | None:
    """How doubtful one chunk is; higher is worse, infinite when anything is not finite.

    ``doubt``, with a critic and score heads: log of expected error x unfamiliarity x change / motion, the change being
    the one from the plan before (``core.cycle.plan_change``; None without a plan before: then there is no score). A
    policy about to fail plans what the critic takes for wrong, at a sight that is not familiar, otherwise than a moment
    ago, and hardly dares to move; each factor alone says less (docs/uncertainty.md). ``unfamiliarity``: its logarithm,
    where there is no critic. ``energy``: of the chunk, where a bundle has neither.
    """
    name = score_name(minimum.terms)
    if not (math.isfinite(minimum.energy) and np.isfinite(minimum.chunk).all()):
        return math.inf
    if name == "energy":
        return minimum.energy
    score = _log(minimum.terms["unfamiliarity"])
    if name == "doubt":
        if change is None:
            return None
        score += _log(minimum.terms["expected_error"]) + _log(change) - math.log(motion(minimum.chunk) + STILL)
    return score if math.isfinite(score) else math.inf


def _log(value: float) -> float:
    return math.log(max(value, 1e-6)) if math.isfinite(value) else math.inf


def episodes_needed(alpha: float) -> int:
    """The smallest number of calibration episodes with which alpha means anything."""
    return math.ceil(1.0 / alpha - 1e-9) - 1


def conformal_threshold(scores: Sequence[float] | Floats, alpha: float) -> float:
    """The k-th smallest score, k = ceil((n + 1)(1 - alpha)): a new exchangeable score exceeds it with P <= alpha.

    SettingsError when n is too small for alpha (k > n: no finite threshold keeps the promise) or a score is no number.
    """
    if not 0.0 < alpha < 1.0:
        raise SettingsError(f"alpha: expected a number between 0 and 1, got {alpha}")
    ordered = np.sort(as_floats("calibration scores", scores, (None,)))
    rank = math.ceil((len(ordered) + 1) * (1.0 - alpha) - 1e-9)
    if rank > len(ordered):
        raise SettingsError(
            f"calibration: alpha {alpha} needs {episodes_needed(alpha)} episodes or more, got {len(ordered)}; "
            f"run more episodes or choose a larger alpha"
        )
    return float(ordered[rank - 1])


@dataclass(frozen=True, slots=True)
class Window:
    """Raw scores averaged over time, above what is usual, and never worse than the present one: doubt takes several
    chunks to rise, and ends with the first one that looks as usual."""

    centre: float
    """What is usual; a window that is not full yet counts as filled up with it."""
    length_s: float
    """[s]"""
    chunks: int
    """Chunks in a full window."""

    def score(self, raw_scores: Sequence[float] | Floats) -> float:
        """Of the chunks in one window (one at least), the present one last."""
        above = np.asarray(raw_scores, dtype=float) - self.centre
        return float(min(above.sum() / max(len(above), self.chunks), above[-1]))

    def scores(self, times_s: Sequence[float] | Floats, raw_scores: Sequence[float] | Floats) -> Floats:
        """(T,) of the chunks planned at most ``length_s`` before each of T chunks, itself included."""
        times, scores = np.asarray(times_s, dtype=float), np.asarray(raw_scores, dtype=float)
        since = times[:, None] - times[None, :]
        return np.array([self.score(scores[(row >= -1e-9) & (row <= self.length_s + 1e-9)]) for row in since])


CHUNK_BY_CHUNK = Window(0.0, 0.0, 1)
CALIBRATION_KEYS = (
    *("score", "alpha", "n", "threshold", "quantiles", "weights_sha256"),
    *("centre", "window_s", "window_chunks", "plan_change", "row_error"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The measured meaning of a bundle's raw score; stored in policy.json beside the weights it belongs to."""

    score: str
    """Which raw score: a ``score_name``."""
    alpha: float
    """Wanted fraction of good episodes with a false alarm."""
    n: int
    """Number of calibration episodes."""
    threshold: float
    """Windowed score above which a chunk is doubtful."""
    quantiles: Floats
    """(n,) sorted: the highest windowed score of every calibration episode."""
    weights_sha256: str
    """Hash of the weights file that was calibrated."""
    centre: float = 0.0
    """Mean raw score of the calibration episodes: what a window not yet filled is filled up with."""
    window_s: float = 0.0
    """Time over which raw scores are averaged [s]; 0: every chunk counts alone."""
    window_chunks: int = 1
    """Chunks in a full window."""
    plan_change: float | None = None
    """What successive plans of a good episode differ by at most, except with probability alpha (see
    ``core.cycle.plan_change``); None: not measured, nothing is a surprise."""
    row_error: float | None = None
    """Expected error of a chunk's rows that all but a fraction alpha of the rows of good episodes keep below,
    normalised units; None without a critic."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantiles", as_floats("calibration quantiles", self.quantiles, (None,)))
        if (np.diff(self.quantiles) < 0.0).any():
            raise BundleError("calibration quantiles: expected sorted scores, got a falling one")
        if not 0.0 < self.alpha < 1.0 or len(self.quantiles) == 0 or not math.isfinite(self.threshold):
            raise BundleError(
                f"calibration: expected 0 < alpha < 1, quantiles and a finite threshold, got alpha {self.alpha}, "
                f"{len(self.quantiles)} quantiles, threshold {self.threshold}"
            )
        is_window = 0.0 <= self.window_s <= MAX_WINDOW_S and self.window_chunks >= 1 and math.isfinite(self.centre)
        if not is_window or not (self.plan_change is None or self.plan_change > 0.0):
            raise BundleError(
                f"calibration: expected a window of 0 to {MAX_WINDOW_S:g} s and one chunk or more, a finite centre and "
                f"a positive plan_change, got {self.window_s}, {self.window_chunks}, {self.centre}, {self.plan_change}"
            )

    @classmethod
    def from_scores(
        cls,
        maxima: Sequence[float],
        alpha: float,
        *,
        score: str,
        weights_sha256: str,
        window: Window = CHUNK_BY_CHUNK,
        plan_changes: Sequence[float] | None = None,
        row_error: float | None = None,
    ) -> Calibration:
        """The calibration that good held-out episodes give, by each one's highest windowed score and largest plan
        change; SettingsError when there are too few."""
        return cls(
            score,
            alpha,
            len(maxima),
            conformal_threshold(maxima, alpha),
            np.sort(np.asarray(maxima, dtype=float)),
            weights_sha256,
            window.centre,
            window.length_s,
            window.chunks,
            None if plan_changes is None else max(conformal_threshold(plan_changes, alpha), 1e-9),
            row_error,
        )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Calibration:
        """The ``calibration`` entry of policy.json; BundleError names what is missing or unknown."""
        if set(mapping) != set(CALIBRATION_KEYS):
            raise BundleError(
                f"calibration: expected {', '.join(CALIBRATION_KEYS)}, got {', '.join(mapping)}; calibrate again with "
                "this version"
            )
        return cls(**mapping)

    def to_mapping(self) -> dict[str, Any]:
        """What ``from_mapping`` reads, as JSON can hold it."""
        mapping = {name: getattr(self, name) for name in CALIBRATION_KEYS}
        return {**mapping, "quantiles": self.quantiles.tolist()}

    @property
    def window(self) -> Window:
        """The window that the score is averaged over."""
        return Window(self.centre, self.window_s, self.window_chunks)

    @property
    def caution(self) -> str | None:
        """Why this calibration should not be trusted far, or None."""
        if self.n >= FEW_EPISODES:
            return None
        return (
            f"calibrated on {self.n} episodes: false alarms may be far from {self.alpha}; take {FEW_EPISODES} or more"
        )


class Uncertainty:
    """The score of a minimum in [0, 1], monotone in the windowed score; the threshold lies at 1 - alpha.

    The map follows the calibration episodes' maxima: a score u below the threshold says that about a fraction u of the
    good episodes never looked worse than this. Without a calibration there is no score.
    """

    def __init__(self, calibration: Calibration | None, weights_sha256: str | None = None) -> None:
        """BundleError when the calibration belongs to other weights than ``weights_sha256`` (None: not checked)."""
        if calibration is not None and weights_sha256 is not None and calibration.weights_sha256 != weights_sha256:
            raise BundleError(
                f"calibration: belongs to weights {calibration.weights_sha256[:12]}, but these are "
                f"{weights_sha256[:12]}; calibrate again"
            )
        self.calibration = calibration
        if calibration is not None:
            self._raw, self._level = _anchors(calibration)
            self._scale = max(float(self._raw[-1] - self._raw[0]), 1e-9, abs(float(self._raw[-1])) * 1e-6)

    @property
    def threshold(self) -> float:
        """The score above which a chunk is doubtful: 1 - alpha; NaN when uncalibrated."""
        return math.nan if self.calibration is None else 1.0 - self.calibration.alpha

    @property
    def window_s(self) -> float:
        """Time over which raw scores are averaged [s]."""
        return 0.0 if self.calibration is None else self.calibration.window_s

    def score(self, minimum: Minimum, change: float | None = None, before: Sequence[float] = ()) -> float | None:
        """Doubt in [0, 1] about a chunk and those before it, whose raw scores in the window are ``before``.

        ``change``: see ``raw_score``. None when uncalibrated, or when nothing in the window has a raw score.
        BundleError when the minimum lacks the calibrated score's terms.
        """
        if self.calibration is None:
            return None
        if score_name(minimum.terms) != self.calibration.score:
            raise BundleError(
                f"calibration: made for the score '{self.calibration.score}', but this runtime gives "
                f"'{score_name(minimum.terms)}'; calibrate with this runtime"
            )
        raw = raw_score(minimum, change)
        known = before if raw is None else [*before, raw]
        return self.level(self.calibration.window.score(known)) if known else None

    def present(self, minimum: Minimum, change: float | None) -> float | None:
        """The score of a chunk alone, whatever came before; None when uncalibrated or nothing can be compared."""
        raw = None if self.calibration is None else raw_score(minimum, change)
        return None if self.calibration is None or raw is None else self.level(raw - self.calibration.centre)

    def surprise(self, plan_change: float | None) -> float | None:
        """A plan change in units of the calibrated one: above 1 something happened; None when either is unknown."""
        known = None if self.calibration is None else self.calibration.plan_change
        return None if known is None or plan_change is None else plan_change / known

    def trusted_rows(self, minimum: Minimum, trust: float) -> int:
        """How many rows from the first one on are expected to be wrong by at most ``trust`` times the usual; all where
        there is no critic or no calibration."""
        usual = None if self.calibration is None else self.calibration.row_error
        if usual is None or minimum.row_errors is None:
            return len(minimum.chunk)
        is_far = minimum.row_errors > trust * usual
        return int(np.argmax(is_far)) if is_far.any() else len(is_far)

    def level(self, raw: float) -> float:
        """The monotone map itself: windowed score -> [0, 1]; needs a calibration."""
        low, high = float(self._raw[0]), float(self._raw[-1])
        if raw < low:
            return float(self._level[0] * math.exp((raw - low) / self._scale))
        if raw > high:
            return float(1.0 - (1.0 - self._level[-1]) * math.exp((high - raw) / self._scale))
        return float(np.interp(raw, self._raw, self._level))


def _anchors(calibration: Calibration) -> tuple[Floats, Floats]:
    """Raw scores, strictly rising, and their levels: ranks of the maxima, stretched so that the threshold is exact.

    Scores within 1e-9 of each other count as equal: between neighbours closer than that a slope can overflow.
    """
    raw, last = np.unique(np.round(calibration.quantiles, 9), return_index=True)
    ranks = np.append(last[1:], len(calibration.quantiles)) / (len(calibration.quantiles) + 1.0)
    at, limit = calibration.threshold, 1.0 - calibration.alpha
    pivot = float(np.interp(at, raw, ranks))
    below, above = raw < at - 1e-9, raw > at + 1e-9
    lower = ranks[below] * (limit / max(pivot, 1e-9))
    upper = 1.0 - (1.0 - ranks[above]) * (calibration.alpha / max(1.0 - pivot, 1e-9))
    levels = np.concatenate([np.minimum(lower, limit), [limit], np.clip(upper, limit, 1.0 - 1e-9)])
    return np.concatenate([raw[below], [at], raw[above]]), levels
