"""Finding a chunk of low energy: what every runtime offers, and a reference descent in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.types import Floats, Minimum, NormalisedObservation, Outcome, Pixels

EnergyAndGradient = Callable[[Floats], tuple[Floats, Floats]]
"""Chunks (K, H, D) -> energies (K,) and dE/da (K, H, D), normalised units."""
MayStep = Callable[[int], bool]
"""Gradient steps taken in this descent -> whether there is time for another one."""


class EnergyMinimiser(Protocol):
    """A bundle made runnable: the only thing of a policy that the pipeline knows."""

    def minimise(
        self,
        observation: NormalisedObservation,
        *,
        steps: int,
        starts: int,
        seed: int,
        warm_start: Floats | None = None,
        frozen_rows: int = 0,
        may_step: MayStep | None = None,
    ) -> Minimum:
        """The best of ``starts`` candidates after ``steps`` gradient steps each.

        ``seed`` alone decides the random starts. ``warm_start`` (H, D), normalised, takes the place of the first
        start; its first ``frozen_rows`` rows are those of every candidate and never move, because they will have been
        executed before the result is there. ``may_step`` is asked before every step but the first, with the number of
        steps taken; the descent ends where it says no, unless it can only be run as a whole. A non-finite energy or
        gradient is an Outcome, never an exception; the energy returned is never above that of the candidate's start.
        """
        ...

    def encode_ahead(self, images: Mapping[str, Pixels]) -> None:
        """Encodes pictures from which an observation may soon be made: camera name -> (height, width, 3) uint8. An
        observation that has the very same arrays finds them encoded. Cameras it does not know are passed over."""
        ...

    def score(self, observation: NormalisedObservation, chunk: Floats) -> float:
        """Energy of a given chunk (H, D), normalised, at an observation."""
        ...


def starting_noise(seed: int, starts: int, horizon: int, joints: int) -> NDArray[np.float32]:
    """(K, H, D) standard normal starts of a descent: the same for a seed (any integer from 0) in every runtime and on
    every device. All of its bits count, which is not so where torch seeds its own generator."""
    return np.random.default_rng(seed).standard_normal((starts, horizon, joints), dtype=np.float32)


def minimise_numpy(energy_and_gradient: EnergyAndGradient, starts: Floats, step_size: float, steps: int) -> Minimum:
    """The best candidate seen while descending from ``starts`` (K, H, D), normalised.

    Plain gradient descent a <- a - step_size * dE/da, all candidates in one batch; of every candidate the best chunk so
    far is kept, not the last (a step too long must not make things worse). A candidate whose energy or gradient is
    not finite stops where it last was finite; the outcome is NON_FINITE when that happened to the chosen candidate or
    to all of them.
    """
    chunks = np.array(starts, dtype=np.float64)
    num_starts = len(chunks)
    best, best_energies = chunks.copy(), np.full(num_starts, np.inf)
    alive = np.ones(num_starts, dtype=bool)
    trace = np.full((steps + 1, num_starts), np.nan)
    gradient_norms = np.zeros(num_starts)
    for step in range(steps + 1):
        energies, gradients = energy_and_gradient(chunks)
        alive &= np.isfinite(energies) & np.isfinite(gradients).all(axis=(1, 2))
        trace[step] = np.where(alive, energies, trace[step - 1] if step else np.nan)
        improved = alive & (energies < best_energies)
        best[improved], best_energies[improved] = chunks[improved], energies[improved]
        gradient_norms = np.where(alive, np.sqrt(np.mean(np.square(gradients), axis=(1, 2))), gradient_norms)
        if step < steps:
            chunks = np.where(alive[:, None, None], chunks - step_size * gradients, chunks)
    chosen = int(np.argmin(best_energies))
    if not np.isfinite(best_energies[chosen]) or not alive[chosen]:
        outcome = Outcome.NON_FINITE
    elif best_energies[chosen] < trace[0, chosen]:
        outcome = Outcome.DESCENDED
    else:
        outcome = Outcome.NO_DESCENT
    others = np.delete(best, chosen, axis=0)
    spread = float(np.sqrt(np.square(others - best[chosen]).mean(axis=(1, 2))).mean()) if num_starts > 1 else 0.0
    return Minimum(
        chunk=best[chosen],
        energy=float(best_energies[chosen]),
        trace=trace[:, chosen],
        outcome=outcome,
        steps=steps,
        network_evaluations=steps + 1,
        candidate_energies=best_energies,
        spread=spread,
        gradient_norm=float(gradient_norms[chosen]),
    )
