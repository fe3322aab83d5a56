"""How much the policy thinks at which doubt: chunks by their uncertainty score, with steps and rungs of the ladder."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebt_policy_ros.cli.demo_record import CycleRecord

EDGES = (0.5, 0.9)
"""Between ranges of the score below the threshold; those above it are left out."""


@dataclass(frozen=True, slots=True)
class ScoreRange:
    """Chunks whose score lies in one range."""

    name: str
    chunks: int
    steps_mean: float | None
    """Gradient steps a chunk, all thought together; None without chunks."""
    network_evaluations_mean: float | None
    """Passes of the network a chunk; None without chunks."""
    rungs: Mapping[str, int]
    """Rung of the ladder (``CycleRecord.rung``) -> chunks."""


def thought_by_score(cycles: Iterable[CycleRecord], threshold: float | None) -> list[ScoreRange]:
    """Chunks by score, the calmest range first and what is above the threshold last; empty when uncalibrated.

    The score is the one after all thought: a chunk that was doubted first and then cleared counts as cleared.
    """
    if threshold is None:
        return []
    edges = [*(edge for edge in EDGES if edge < threshold), threshold]
    names = [f"below {edges[0]:.2f}" if len(edges) > 1 else f"up to {threshold:.2f}"]
    names += [f"{low:.2f} to {high:.2f}" for low, high in itertools.pairwise(edges)]
    names.append(f"above {threshold:.2f}")
    members: list[list[CycleRecord]] = [[] for _ in names]
    for cycle in cycles:
        if cycle.uncertainty is not None and cycle.network_evaluations > 0:
            is_above = cycle.uncertainty > threshold
            place = sum(cycle.uncertainty >= edge for edge in edges[:-1])
            members[len(edges) if is_above else place].append(cycle)
    return [_range(name, chunks) for name, chunks in zip(names, members, strict=True)]


def _range(name: str, chunks: list[CycleRecord]) -> ScoreRange:
    count = len(chunks)
    return ScoreRange(
        name,
        count,
        sum(chunk.steps for chunk in chunks) / count if count else None,
        sum(chunk.network_evaluations for chunk in chunks) / count if count else None,
        dict(Counter(chunk.rung for chunk in chunks)),
    )
