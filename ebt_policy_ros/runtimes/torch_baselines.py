"""Runs the bundles of other methods behind the same protocol, so that pipeline, safety and evaluation are the same.

These methods have no energy. Their minima say so by constants: energy 0, a trace without a step, the outcome
DESCENDED (a finite chunk is all there is to know), no terms; ``score`` is 0 for every chunk, so that no plan ever
surprises. There is nothing a retry could decide on: ``assemble`` switches it off and ignores calibrations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebt_policy_ros.core.errors import SettingsError, UnsupportedError
from ebt_policy_ros.core.minimise import MayStep
from ebt_policy_ros.core.types import Floats, Minimum, NormalisedObservation, Outcome
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.diffusion import TRAINING_STEPS
from ebt_policy_ros.policy.fast import FastDiffusion, FastRegression, repeat
from ebt_policy_ros.runtimes.choose import spread_of
from ebt_policy_ros.runtimes.torch_base import TorchRuntime, generator_of

SAMPLERS = {"ddpm100": ("DDPMScheduler", 100), "ddim16": ("DDIMScheduler", 16), "ddim10": ("DDIMScheduler", 10)}
"""Name -> diffusers' class and its number of denoising steps."""


class WithoutEnergy(TorchRuntime):
    """What methods that only give chunks have in common: nothing to descend, nothing to score."""

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
        """The method's chunk; its steps are its own. UnsupportedError when there is a ``warm_start``."""
        if warm_start is not None:
            raise UnsupportedError("warm_start: only an energy can be descended from a given chunk; switch it off")
        return self.answer(self.observe(observation).cache, starts, seed)

    def answer(self, cache: Tensor, starts: int, seed: int) -> Minimum:
        """The chunk at one observation, the encoder apart."""
        raise NotImplementedError

    def score(self, observation: NormalisedObservation, chunk: Floats) -> float:
        """0: there is no energy."""
        return 0.0


class DiffusionSampler(WithoutEnergy):
    """Diffusion Policy: denoises a chunk with one of diffusers' schedulers, configured as in Diffusion Policy.

    ``steps`` of ``minimise`` is not used: the sampler has its own. ``starts`` chunks are sampled in one batch and the
    first is taken; the others only tell the spread.
    """

    METHOD = "dp"

    def __init__(self, bundle: Bundle, device: str = "auto", *, sampler: str = "ddpm100", **options: Any) -> None:
        """``sampler``: one of ``SAMPLERS``; SettingsError when unknown or when diffusers is missing. ``options`` as of
        ``TorchRuntime``."""
        self.scheduler = make_scheduler(sampler)
        super().__init__(bundle, device, **options)
        self.sampler = sampler
        self.steps: list[int] = self.scheduler.timesteps.tolist()
        self._predict = self._programs.recorded(self._programs.compiled(self._noise))

    def _make_trunk(self) -> FastDiffusion:
        self.noise = FastDiffusion(self.network, self.scheduler.timesteps, self.dtype)
        return self.noise

    def predict(self, cache: Tensor, chunks: Tensor, index: int) -> Tensor:
        """The noise in ``chunks`` (K, H, D) at the ``index``-th of the sampler's steps: one network pass."""
        return self._predict(cache, chunks, self.noise.conditions[index])[0]

    def _noise(self, cache: Tensor, chunks: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        return (self.noise.noise(repeat(cache, chunks.shape[0]), chunks, condition),)

    def answer(self, cache: Tensor, starts: int, seed: int) -> Minimum:
        """A sampled chunk; ``network_evaluations`` is the sampler's number of denoising steps."""
        return self.sample(cache, self.starts(starts, seed), generator_of(seed))

    @torch.inference_mode()
    def sample(self, cache: Tensor, noise: Tensor, generator: torch.Generator) -> Minimum:
        """Chunks from ``noise`` (K, H, D) at one observation: the sampler, the encoder apart.

        ``generator`` (CPU) gives the noise that DDPM adds at every step.
        """
        chunks = noise = noise.to(self.device)
        # DDIM takes no generator: without its eta it adds no noise.
        extra = {"generator": generator} if self.sampler.startswith("ddpm") else {}
        for index, step in enumerate(self.steps):
            predicted = self.predict(cache, chunks, index)
            (chunks, *_) = self.scheduler.step(predicted, step, chunks, return_dict=False, **extra)
        return _minimum(chunks, noise, len(self.steps))


class RegressionRunner(WithoutEnergy):
    """Plain behaviour cloning: one pass, the same chunk for every seed; ``steps`` and ``starts`` are not used."""

    METHOD = "regression"

    def __init__(self, bundle: Bundle, device: str = "auto", **options: Any) -> None:
        """See ``TorchRuntime``."""
        super().__init__(bundle, device, **options)
        self._predict = self._programs.recorded(self._programs.compiled(self._chunk))

    def _make_trunk(self) -> FastRegression:
        self.regression = FastRegression(self.network, self.dtype)
        return self.regression

    def answer(self, cache: Tensor, starts: int, seed: int) -> Minimum:
        """The chunk; ``network_evaluations`` is 1."""
        return self.predict(cache)

    @torch.inference_mode()
    def predict(self, cache: Tensor) -> Minimum:
        """The chunk at one observation: the encoder apart."""
        (chunk,) = self._predict(cache)
        return _minimum(chunk, torch.zeros_like(chunk), 1)

    def _chunk(self, cache: Tensor) -> tuple[Tensor, ...]:
        return (self.regression.chunk(cache),)


def make_scheduler(sampler: str) -> Any:
    """diffusers' scheduler of a sampler with its steps set; SettingsError when unknown or diffusers is missing.

    Training schedule and clipping as in Diffusion Policy; DDIM with eta 0 and 'leading' steps, its default there.
    """
    if sampler not in SAMPLERS:
        raise SettingsError(f"sampler '{sampler}': expected one of {', '.join(SAMPLERS)}")
    try:
        import diffusers
    except ImportError as error:
        raise SettingsError(
            f"sampler '{sampler}' needs diffusers ({error}); install it: pip install 'ebt_policy_ros[baselines]'"
        ) from error
    kind, steps = SAMPLERS[sampler]
    scheduler = getattr(diffusers, kind)(
        num_train_timesteps=TRAINING_STEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="epsilon",
        clip_sample=True,
    )
    scheduler.set_timesteps(steps)
    return scheduler


def _minimum(chunks: Tensor, start: Tensor, passes: int) -> Minimum:
    """The first of ``chunks`` (K, H, D); where it is not finite, the first of ``start`` and the outcome NON_FINITE."""
    values = chunks.cpu().double().numpy()
    is_finite = bool(np.isfinite(values[0]).all())
    return Minimum(
        chunk=values[0] if is_finite else start[0].cpu().double().numpy(),
        energy=0.0,
        trace=np.zeros(1),
        outcome=Outcome.DESCENDED if is_finite else Outcome.NON_FINITE,
        steps=0,
        network_evaluations=passes,
        candidate_energies=np.zeros(len(values)),
        spread=spread_of(values, 0),
    )
