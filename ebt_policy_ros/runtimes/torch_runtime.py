"""Runs a bundle's energy descent with torch, on the GPU when there is one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ebt_policy_ros.core.types import Floats, Minimum, NormalisedObservation, Outcome, as_floats
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.fast import FastCache, FastEnergy, repeat
from ebt_policy_ros.policy.heads import ScoreHeads
from ebt_policy_ros.policy.load import load_heads, load_network
from ebt_policy_ros.runtimes.torch_base import TorchRuntime, generator_of, spread_of

__all__ = ["TorchMinimiser", "load_heads", "load_network"]


class TorchMinimiser(TorchRuntime):
    """The EnergyMinimiser of a bundle, in eager torch.

    All starts descend in one batch and the best candidate seen is kept. Nothing is read back from the device before
    the descent is over: what became of every candidate, non-finite ones included, is judged from its whole path.
    """

    METHOD = "ebt"

    def __init__(self, bundle: Bundle, device: str = "auto", *, num_threads: int | None = None) -> None:
        super().__init__(bundle, device, num_threads=num_threads)
        self.energy = FastEnergy(self.network)
        self.step_size = float(self.network.step_size)

    def minimise(
        self,
        observation: NormalisedObservation,
        *,
        steps: int,
        starts: int,
        seed: int,
        warm_start: Floats | None = None,
    ) -> Minimum:
        """The best of ``starts`` candidates after ``steps`` gradient steps each; see core.minimise.

        ``network_evaluations`` counts forward-and-gradient passes and equals ``steps``; the result is scored by one
        more forward pass without a gradient.
        """
        cache, terms = self.observe(observation)
        return self.descend(cache, terms, self.starts(starts, generator_of(seed), warm_start), steps)

    def score(self, observation: NormalisedObservation, chunk: Floats) -> float:
        """Energy of ``chunk`` (H, D), normalised, at ``observation``."""
        a = self.network.architecture
        values = as_floats("chunk", chunk, (a.horizon, a.joints))
        cache, _ = self.observe(observation)
        with torch.inference_mode():
            return float(self.energy.energy(cache, torch.from_numpy(values.copy())[None].float().to(self.device))[0])

    @torch.inference_mode()
    def descend(self, cache: FastCache, terms: Tensor, start: Tensor, steps: int) -> Minimum:
        """The minimum from candidates ``start`` (K, H, D) at one observation: the sampler, the encoder apart."""
        cache = repeat(cache, len(start))
        chunks, energies, gradients = [start], [], []
        for _ in range(steps):
            energy, gradient = self.energy.energy_and_gradient(cache, chunks[-1])
            energies.append(energy)
            gradients.append(gradient)
            chunks.append(torch.add(chunks[-1], gradient, alpha=-self.step_size))
        energies.append(self.energy.energy(cache, chunks[-1]))
        flat = [part.reshape(-1) for part in (*chunks, *energies, *gradients, terms)]
        numbers = torch.cat(flat).cpu().double().numpy()  # one transfer
        shape = (steps + 1, *start.shape)
        size = int(np.prod(start.shape))
        parts = np.split(numbers, np.cumsum([len(chunks) * size, len(chunks) * len(start), steps * size]))
        gradients_read = parts[2].reshape(steps, *start.shape)
        norms = np.sqrt(np.square(gradients_read).mean(axis=(2, 3)))
        path = _Path(parts[0].reshape(shape), parts[1].reshape(steps + 1, -1), norms)
        return _choose(path, dict(zip(ScoreHeads.TERMS, parts[3].tolist(), strict=False)))


class _Path(NamedTuple):
    """A descent of K candidates, as read from the device."""

    chunks: Floats
    """(steps + 1, K, H, D)."""
    energies: Floats
    """(steps + 1, K)."""
    norms: Floats
    """(steps, K) root mean square of dE/da."""


def _choose(path: _Path, terms: dict[str, float]) -> Minimum:
    """The best candidate seen. One whose energy or gradient is not finite counts as standing where it last was."""
    steps, count = path.norms.shape
    finite = np.isfinite(path.energies)
    finite[:steps] &= np.isfinite(path.norms)
    alive = np.logical_and.accumulate(finite, 0)
    every, alive_steps = np.arange(count), alive.sum(0)
    energies = np.where(alive, path.energies, np.inf)
    best_step = energies.argmin(0)
    best, best_energies = path.chunks[best_step, every], energies[best_step, every]
    chosen = int(best_energies.argmin())
    lived = int(alive_steps[chosen])
    trace = path.energies[np.minimum(np.arange(steps + 1), lived - 1), chosen] if lived else np.full(steps + 1, np.nan)
    norm_step = min(lived, steps) - 1
    if lived <= steps:
        outcome = Outcome.NON_FINITE
    elif best_energies[chosen] < trace[0]:
        outcome = Outcome.DESCENDED
    else:
        outcome = Outcome.NO_DESCENT
    return Minimum(
        chunk=best[chosen],
        energy=float(best_energies[chosen]),
        trace=trace,
        outcome=outcome,
        steps=steps,
        network_evaluations=steps,
        candidate_energies=best_energies,
        spread=spread_of(best, chosen),
        gradient_norm=float(path.norms[norm_step, chosen]) if norm_step >= 0 else 0.0,
        terms=terms,
    )
