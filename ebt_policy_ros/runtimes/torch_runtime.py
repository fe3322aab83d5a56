"""Runs a bundle's energy descent with torch, on the GPU when there is one."""

from __future__ import annotations

import torch
from torch import Tensor

from ebt_policy_ros.core.types import Floats, Minimum, NormalisedObservation, as_floats
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.fast import FastCritic, FastEnergy, prepare, repeat
from ebt_policy_ros.policy.heads import ScoreHeads
from ebt_policy_ros.policy.load import load_critic, load_heads, load_network
from ebt_policy_ros.runtimes.choose import choose
from ebt_policy_ros.runtimes.torch_base import Observed, Stopwatch, TorchRuntime

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
        numbers = flat.cpu().double().numpy()  # the one transfer
        count, horizon, size = start.shape[0], start.shape[1], (steps + 1) * start.numel()
        scalars = numbers[size:].tolist()
        first = (2 * steps + 1) * count
        rest = first + ((steps + 1) * count * horizon if judged else 0)

        def judge(step: int, candidate: int) -> Floats:
            begin = size + first + (step * count + candidate) * horizon
            return numbers[begin : begin + horizon]

        return choose(
            numbers[:size].reshape(steps + 1, *start.shape),
            scalars[: (steps + 1) * count],
            scalars[(steps + 1) * count : first],
            dict(zip(ScoreHeads.TERMS, scalars[rest:], strict=False)),
            judge if judged else None,
        )

    def _distances(self, observed: Observed, chunks: list[Tensor]) -> list[Tensor]:
        """[(steps + 1, K, H)] that the critic expects, squared, normalised units; [] where no critic looked on."""
        if self._judge is None or not observed.critic:
            return []
        candidates = torch.cat(chunks)
        return [self._judge.distances(repeat(observed.critic, len(candidates)), candidates)]
