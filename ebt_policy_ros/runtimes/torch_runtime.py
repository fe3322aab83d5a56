"""Runs a bundle's energy descent with torch, on the GPU when there is one."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ebt_policy_ros.core.types import Floats, Minimum, NormalisedObservation, Outcome, as_floats
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.critic import EXPECTED_ERROR
from ebt_policy_ros.policy.fast import FastCritic, FastEnergy, prepare, repeat
from ebt_policy_ros.policy.heads import ScoreHeads
from ebt_policy_ros.policy.load import load_critic, load_heads, load_network
from ebt_policy_ros.runtimes.torch_base import Observed, Stopwatch, TorchRuntime, spread_of

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
        critic = load_critic(bundle)
        self._critic = None if critic is None else critic.to(self.device)
        self._judge = None if self._critic is None else FastCritic(self._critic)

    def minimise(
        self,
        observation: NormalisedObservation,
        *,
        steps: int,
        starts: int,
        seed: int,
        warm_start: Floats | None = None,
        frozen_rows: int = 0,
    ) -> Minimum:
        """The best of ``starts`` candidates after ``steps`` gradient steps each; see core.minimise.

        ``network_evaluations`` counts forward-and-gradient passes and equals ``steps``; the result is scored by one
        more forward pass without a gradient, and by one of the critic's where there is one.
        """
        frozen = frozen_rows if warm_start is not None else 0
        watch = Stopwatch()
        observed = self.observe(observation)
        watch.encoded()
        start = self.starts(starts, seed, warm_start, frozen)
        return watch.timed(self.descend(observed, start, steps, frozen))

    def score(self, observation: NormalisedObservation, chunk: Floats) -> float:
        """Energy of ``chunk`` (H, D), normalised, at ``observation``."""
        a = self.network.architecture
        values = as_floats("chunk", chunk, (a.horizon, a.joints))
        cache = self.observe(observation).cache
        with torch.inference_mode():
            return float(self.energy.energy(cache, torch.from_numpy(values.copy())[None].float().to(self.device))[0])

    def _observed(self, features: Tensor, positions: Tensor) -> Observed:
        observed = super()._observed(features, positions)
        if self._critic is None:
            return observed
        return observed._replace(critic=prepare(self._critic.observe(features, positions)))

    @torch.inference_mode()
    def descend(self, observed: Observed, start: Tensor, steps: int, frozen_rows: int = 0) -> Minimum:
        """The minimum from candidates ``start`` (K, H, D) at one observation: the sampler, the encoder apart. The
        first ``frozen_rows`` stay as they are."""
        cache = repeat(observed.cache, len(start))
        chunks, energies, gradients = [start], [], []
        for _ in range(steps):
            energy, gradient = self.energy.energy_and_gradient(cache, chunks[-1])
            if frozen_rows:
                gradient[:, :frozen_rows] = 0.0
            energies.append(energy)
            gradients.append(gradient)
            chunks.append(torch.add(chunks[-1], gradient, alpha=-self.step_size))
        energies.append(self.energy.energy(cache, chunks[-1]))
        norms = [torch.linalg.vector_norm(gradient, 2, (1, 2)) for gradient in gradients]
        judged = self._distances(observed, chunks)
        flat = torch.cat([part.reshape(-1) for part in (*chunks, *energies, *norms, *judged, observed.terms)])
        return _choose(flat.cpu().double().numpy(), tuple(start.shape), steps, bool(judged))  # the one transfer

    def _distances(self, observed: Observed, chunks: list[Tensor]) -> list[Tensor]:
        """[(steps + 1, K, H)] that the critic expects, squared, normalised units; [] where no critic looked on."""
        if self._judge is None or not observed.critic:
            return []
        candidates = torch.cat(chunks)
        return [self._judge.distances(repeat(observed.critic, len(candidates)), candidates)]


def _choose(numbers: Floats, shape: tuple[int, ...], steps: int, has_critic: bool) -> Minimum:
    """The best candidate seen. One whose energy or gradient is not finite counts as standing where it last was.

    ``numbers``: chunks (steps + 1, K, H, D), energies (steps + 1, K), gradients' norms (steps, K), with a critic
    expected distances (steps + 1, K, H), and terms, in a row. Plain loops over a few numbers: numpy takes 0.2 ms for
    them, a third of a descent step.
    """
    count, size = shape[0], shape[0] * shape[1] * shape[2]
    chunks = numbers[: (steps + 1) * size].reshape(steps + 1, *shape)
    scalars = numbers[(steps + 1) * size :].tolist()
    energies, norms = scalars[: (steps + 1) * count], scalars[(steps + 1) * count : (2 * steps + 1) * count]
    rest = scalars[(2 * steps + 1) * count :]
    judged = (steps + 1) * count * shape[1] if has_critic else 0
    paths = [_Path(energies[k::count], norms[k::count]) for k in range(count)]
    chosen = min(range(count), key=lambda k: paths[k].best_energy)
    path = paths[chosen]
    terms, row_errors = dict(zip(ScoreHeads.TERMS, rest[judged:], strict=False)), None
    if has_critic:
        first = (path.best_step * count + chosen) * shape[1]
        distances = np.array(rest[first : first + shape[1]])
        terms[EXPECTED_ERROR], row_errors = math.sqrt(distances.mean()), np.sqrt(distances)
    candidates = np.array([chunks[own.best_step, k] for k, own in enumerate(paths)])
    return Minimum(
        chunk=candidates[chosen],
        energy=path.best_energy,
        trace=np.array(path.trace),
        outcome=path.outcome,
        steps=steps,
        network_evaluations=steps,
        candidate_energies=np.array([own.best_energy for own in paths]),
        spread=spread_of(candidates, chosen),
        gradient_norm=path.norm / math.sqrt(size / count),
        row_errors=row_errors,
        terms=terms,
    )


class _Path:
    """What became of one candidate, from its energies (steps + 1,) and the norms (steps,) of its gradients."""

    def __init__(self, energies: list[float], norms: list[float]) -> None:
        lived, self.best_step, self.best_energy = 0, 0, math.inf
        for energy, norm in zip(energies, [*norms, 0.0], strict=True):
            if not math.isfinite(energy) or not math.isfinite(norm):
                break
            if energy < self.best_energy:
                self.best_step, self.best_energy = lived, energy
            lived += 1
        # From the point on that was not finite, it counts as standing at the last one that was.
        self.trace = energies[:lived] + [energies[lived - 1] if lived else math.nan] * (len(energies) - lived)
        self.norm = norms[min(lived, len(norms)) - 1] if lived and norms else 0.0
        if lived < len(energies):
            self.outcome = Outcome.NON_FINITE
        else:
            self.outcome = Outcome.DESCENDED if self.best_step else Outcome.NO_DESCENT
