"""Intervals and tests: Wilson's interval, two policies compared on the same seeds, areas under the curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import SettingsError

Z95 = 1.959963984540054
"""Normal quantile of a two-sided interval of 95 %."""


def wilson(successes: int, count: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a success rate (J. Am. Stat. Assoc. 22, 1927); (0, 1) without episodes."""
    if not 0 <= successes <= count:
        raise SettingsError(f"successes: expected 0 to {count}, got {successes}")
    if count == 0:
        return 0.0, 1.0
    rate = successes / count
    centre = rate + z * z / (2 * count)
    reach = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    # Rounding must not leave the rate itself outside, as it would at 300 of 300.
    return max(0.0, min((centre - reach) / scale, rate)), min(1.0, max((centre + reach) / scale, rate))


@dataclass(frozen=True, slots=True)
class Paired:
    """Two policies on the same episodes."""

    both: int
    only_first: int
    only_second: int
    neither: int
    z: float = Z95

    @property
    def count(self) -> int:
        """Episodes that both played."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def difference(self) -> float:
        """Success rate of the first less that of the second."""
        return (self.only_first - self.only_second) / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Newcombe's interval of the difference: Wilson's, squared and added (Stat. Med. 17, 1998, 2635; method 10).

        Wald's shrinks to a point where no episode, or all, tell the two apart; this one does not.
        """
        n, a, b, c = self.count, self.both, self.only_first, self.only_second
        p, q = (a + b) / n, (a + c) / n
        (p_low, p_high), (q_low, q_high) = wilson(a + b, n, self.z), wilson(a + c, n, self.z)
        phi = self._correlation()

        def reach(first: float, second: float) -> float:
            return math.sqrt(max(0.0, first * first - 2 * phi * first * second + second * second))

        low = self.difference - reach(p - p_low, q_high - q)
        high = self.difference + reach(p_high - p, q - q_low)
        return max(-1.0, low), min(1.0, high)

    @property
    def p_value(self) -> float:
        """McNemar's exact test, two-sided: how often equal policies would differ in at least so many episodes."""
        told_apart = self.only_first + self.only_second
        fewer = min(self.only_first, self.only_second)
        tail = sum(math.comb(told_apart, k) for k in range(fewer + 1)) / 2**told_apart
        return min(1.0, 2 * tail)

    def _correlation(self) -> float:
        """phi of the 2 x 2 table, corrected for continuity where it is positive."""
        a, b, c, d = self.both, self.only_first, self.only_second, self.neither
        margins = (a + b) * (c + d) * (a + c) * (b + d)
        if margins == 0:
            return 0.0
        product = float(a * d - b * c)
        if product > 0:
            product = max(0.0, product - self.count / 2)
        return product / math.sqrt(margins)

    def as_json(self) -> dict[str, object]:
        """The comparison for a result file; rates and probabilities rounded."""
        return {
            "episodes": self.count,
            "both": self.both,
            "only_first": self.only_first,
            "only_second": self.only_second,
            "neither": self.neither,
            "difference": round(self.difference, 4),
            "interval": [round(value, 4) for value in self.interval],
            "p_value": round(self.p_value, 4),
        }


def pair(first: Mapping[int, bool], second: Mapping[int, bool]) -> Paired:
    """Two policies' successes by seed, compared on the seeds that both played; SettingsError when there is none."""
    seeds = sorted(set(first) & set(second))
    if not seeds:
        raise SettingsError(
            f"the results have no seed in common: the first has {_span(first)}, the second {_span(second)}; evaluate "
            "both with the same --seed"
        )
    outcomes = [(first[seed], second[seed]) for seed in seeds]
    return Paired(*(outcomes.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))))


def pooled(pairs: Sequence[Paired]) -> Paired:
    """Comparisons of several pairs of training runs as one; their episodes count as independent."""
    return Paired(
        sum(p.both for p in pairs),
        sum(p.only_first for p in pairs),
        sum(p.only_second for p in pairs),
        sum(p.neither for p in pairs),
    )


def _span(results: Mapping[int, bool]) -> str:
    return f"{min(results)} to {max(results)}" if results else "none"


def auroc(negatives: Sequence[float], positives: Sequence[float]) -> float | None:
    """Probability that a positive scores above a negative (ties count half); None where either is empty."""
    if not len(negatives) or not len(positives):
        return None
    return float(_wins(negatives, positives).mean())


def auroc_interval(
    negatives: Sequence[float], positives: Sequence[float], *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float, float] | None:
    """``auroc`` with its bootstrapped 95 % interval (value, low, high); None where fewer than two are on either side.

    Episodes are drawn again with replacement, positives and negatives apart. The same seed draws the same episodes, so
    that scores of the same episodes move together.
    """
    if len(negatives) < 2 or len(positives) < 2:
        return None
    wins, rng = _wins(negatives, positives), np.random.default_rng(seed)
    drawn = [rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count for count in wins.shape]
    areas = np.einsum("rn,rn->r", drawn[0] @ wins, drawn[1])
    low, high = np.quantile(areas, (0.025, 0.975))
    return float(wins.mean()), float(low), float(high)


def _wins(negatives: Sequence[float], positives: Sequence[float]) -> NDArray[np.float64]:
    """(N, P): 1 where the positive scores higher, 0.5 where they tie."""
    low, high = np.array(negatives, dtype=float)[:, None], np.array(positives, dtype=float)[None, :]
    return np.asarray((high > low) + 0.5 * (high == low))
