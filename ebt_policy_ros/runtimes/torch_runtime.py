"""Runs a bundle's energy descent with torch, on the GPU when there is one."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ebt_policy_ros.core.minimise import MayStep
from ebt_policy_ros.core.types import Floats, Minimum, NormalisedObservation, as_floats
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.fast import FastCritic, FastEnergy, repeat
from ebt_policy_ros.policy.heads import ScoreHeads
from ebt_policy_ros.policy.load import load_critic, load_heads, load_network
from ebt_policy_ros.runtimes.choose import choose
from ebt_policy_ros.runtimes.torch_base import Observed, Stopwatch, TorchRuntime
from ebt_policy_ros.runtimes.torch_programs import Function

__all__ = ["TorchMinimiser", "load_heads", "load_network"]

WHOLE_DESCENTS = 2
"""Numbers of steps whose descent is recorded as one: the first that are asked for, which are those of ordinary chunks
and of thinking more. Any other number replays the recorded step so often."""


class TorchMinimiser(TorchRuntime):
    """The EnergyMinimiser of a bundle, in torch.

    All starts descend in one batch and the best candidate seen is kept. Nothing is read back from the device before
    the descent is over: what became of every candidate, non-finite ones included, is judged from its whole path.
    """

    METHOD = "ebt"

    def __init__(self, bundle: Bundle, device: str = "auto", **options: Any) -> None:
        """See ``TorchRuntime``."""
        super().__init__(bundle, device, **options)
        programs = self._programs
        step, energy, judge = (programs.compiled(one) for one in (self._step, self._energy, self._distances))
        self._parts: tuple[Function, Function, Function] = (step, energy, judge)
        self._recorded_parts: tuple[Function, ...] = tuple(programs.recorded(one) for one in self._parts)
        self._descents: dict[int, Function] = {}
        self._walks: dict[int, Function] = {}

    def _make_trunk(self) -> FastEnergy:
        critic = load_critic(self.bundle)
        self._judge = None if critic is None else FastCritic(critic.to(self.device), self.dtype)
        self.energy = FastEnergy(self.network, self.dtype)
        return self.energy

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
        """The best of ``starts`` candidates after ``steps`` gradient steps each; see core.minimise.

        ``network_evaluations`` counts forward-and-gradient passes and equals ``steps``; the result is scored by one
        more forward pass without a gradient, and by one of the critic's where there is one.
        """
        frozen = frozen_rows if warm_start is not None else 0
        watch = Stopwatch()
        observed = self.observe(observation)
        watch.encoded()
        start = self.starts(starts, seed, warm_start, frozen)
        return watch.timed(self.descend(observed, start, steps, frozen, may_step))

    @torch.inference_mode()
    def score(self, observation: NormalisedObservation, chunk: Floats) -> float:
        """Energy of ``chunk`` (H, D), normalised, at ``observation``."""
        a = self.network.architecture
        values = torch.from_numpy(as_floats("chunk", chunk, (a.horizon, a.joints)).copy())[None].float()
        (energies,) = self._recorded_parts[1](self.observe(observation).cache, values.to(self.device))
        return float(energies[0])

    @torch.inference_mode()
    def descend(
        self, observed: Observed, start: Tensor, steps: int, frozen_rows: int = 0, may_step: MayStep | None = None
    ) -> Minimum:
        """The minimum from candidates ``start`` (K, H, D) at one observation: the sampler, the encoder apart. The
        first ``frozen_rows`` stay as they are. ``may_step`` is not asked where a descent is recorded as a whole."""
        count, horizon = start.shape[0], start.shape[1]
        moves = torch.ones(horizon, 1)
        moves[:frozen_rows] = 0.0
        descent = self._descent(steps, may_step)
        (flat,) = descent(observed.cache, observed.critic, observed.terms, start, moves)
        numbers = flat.cpu().double().numpy()  # the one transfer
        told = observed.terms.numel() + (1 + horizon if self._has_judge(observed) else 0)
        steps = (len(numbers) - told - start.numel() - count) // (start.numel() + 2 * count)  # taken, perhaps fewer
        size = (steps + 1) * start.numel()
        path, scalars = numbers[:size].reshape(steps + 1, *start.shape), numbers[size:].tolist()
        first = (2 * steps + 1) * count
        rest = first + (1 + horizon if self._has_judge(observed) else 0)

        def judge(step: int, candidate: int) -> Floats:
            if step * count + candidate == scalars[first]:
                return numbers[size + first + 1 : size + rest]
            chunk = torch.from_numpy(path[step, candidate][None]).float()  # the device took another one for the best
            (distances,) = self._recorded_parts[2](observed.critic, chunk.to(self.device))
            return distances[0].cpu().double().numpy()

        return choose(
            path,
            scalars[: (steps + 1) * count],
            scalars[(steps + 1) * count : first],
            dict(zip(ScoreHeads.TERMS, scalars[rest:], strict=False)),
            judge if self._has_judge(observed) else None,
        )

    @torch.inference_mode()
    def advance(self, observed: Observed, start: Tensor, steps: int) -> Floats:
        """Candidates (K, H, D) after ``steps`` gradient steps from ``start``, and nothing else: without the energy of
        the result, which tells whether it can be trusted. For measurements."""
        if steps not in self._walks:
            self._walks[steps] = self._programs.recorded(partial(self._walk, steps))
        (chunks,) = self._walks[steps](observed.cache, start, torch.ones(start.shape[1], 1))
        return chunks.cpu().double().numpy()

    def _walk(self, steps: int, cache: Tensor, start: Tensor, moves: Tensor) -> tuple[Tensor]:
        chunks, moves = (part.to(self.device, non_blocking=True) for part in (start, moves))
        for _ in range(steps):
            _, _, chunks = self._parts[0](cache, chunks, moves)
        return (chunks,)

    def _descent(self, steps: int, may_step: MayStep | None) -> Function:
        """What takes so many steps: recorded as a whole, or by recorded steps, or just called."""
        if self._programs.records and steps not in self._descents:
            if len(self._descents) < WHOLE_DESCENTS:
                self._descents[steps] = self._programs.recorded(partial(self._path, self._parts, steps, None))
            else:
                return partial(self._path, self._recorded_parts, steps, may_step)
        return self._descents.get(steps) or partial(self._path, self._parts, steps, may_step)

    def _path(
        self,
        parts: tuple[Function, ...],
        steps: int,
        may_step: MayStep | None,
        cache: Tensor,
        critic: Tensor,
        terms: Tensor,
        start: Tensor,
        moves: Tensor,
    ) -> tuple[Tensor]:
        """All numbers of a descent one after the other: chunks and energies before every step and after the last, norms
        of the gradients, which of the chunks has the lowest energy and the critic's distances of it, terms."""
        take_step, energy_of, distances_of = parts
        start, moves = (part.to(self.device, non_blocking=True) for part in (start, moves))
        chunks, energies, norms = [start], [], []
        for step in range(steps):
            if step and may_step is not None and not may_step(step):
                break
            energy, norm, following = take_step(cache, chunks[-1], moves)
            energies.append(energy)
            norms.append(norm)
            chunks.append(following)
        energies += energy_of(cache, chunks[-1])
        parts_of_it = [*chunks, *energies, *norms]
        if critic.numel():
            best = torch.cat(energies).nan_to_num(nan=torch.inf).argmin().view(1)
            parts_of_it += [best.to(terms.dtype), *distances_of(critic, torch.cat(chunks).index_select(0, best))]
        return (torch.cat([part.reshape(-1) for part in (*parts_of_it, terms)]),)

    def _step(self, cache: Tensor, chunks: Tensor, moves: Tensor) -> tuple[Tensor, ...]:
        return self.energy.step(repeat(cache, chunks.shape[0]), chunks, moves)

    def _energy(self, cache: Tensor, chunks: Tensor) -> tuple[Tensor, ...]:
        return (self.energy.energy(repeat(cache, chunks.shape[0]), chunks),)

    def _distances(self, cache: Tensor, chunks: Tensor) -> tuple[Tensor, ...]:
        """(N, H) that the critic expects of chunks (N, H, D), squared, normalised units."""
        assert self._judge is not None
        return (self._judge.distances(repeat(cache, chunks.shape[0]), chunks),)

    def _has_judge(self, observed: Observed) -> bool:
        return self._judge is not None and observed.critic.numel() > 0

    def _tell(self, positions: Tensor, *features: Tensor) -> tuple[Tensor, ...]:
        cache, nothing, terms, seen = super()._tell(positions, *features)
        return cache, nothing if self._judge is None else self._judge.observe(seen, positions), terms, seen
