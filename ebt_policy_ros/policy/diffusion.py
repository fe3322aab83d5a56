"""Diffusion Policy on the shared trunk, method "dp": the noise in a chunk, predicted from the chunk and its step.

Chi et al., Diffusion Policy (RSS 2023), as its public configurations have it: 100 training steps, the cosine
schedule ``squaredcos_cap_v2``, epsilon prediction, samples clipped to [-1, 1]. Chunks are normalised to [-1, 1].
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from ebt_policy_ros.policy.network import Architecture, ObservationCache, Trunk

TRAINING_STEPS = 100
"""Diffusion steps; step 0 is the least noisy."""


class DiffusionNetwork(Trunk):
    """epsilon(observation, noisy chunk, step).

    The step enters as a sinusoidal code through a small perceptron: added to every action token, and as a factor on
    what attention, mixing and head read, the same in every layer (adaptive scales as in DiT, shared by the layers as
    in PixArt: the parameters of DiT's own would be half of this trunk's). The factors start at one.
    """

    def __init__(self, architecture: Architecture, codes: int = 64) -> None:
        super().__init__(architecture)
        width = architecture.model_width
        self.action_token = nn.Linear(architecture.joints, width)
        self.step_token = nn.Sequential(nn.Linear(codes, codes), nn.SiLU(), nn.Linear(codes, 4 * width))
        nn.init.zeros_(self.step_token[2].weight[width:])
        nn.init.zeros_(self.step_token[2].bias)
        self.head = nn.Linear(width, architecture.joints)
        self.codes = codes

    def condition(self, steps: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        """steps (B,) -> the addend of the tokens, the factors of ``Trunk.act``, the head's factor: (B, 1, d) each."""
        frequencies = torch.exp(
            -math.log(10_000.0) / (self.codes // 2) * torch.arange(self.codes // 2, device=steps.device)
        )
        angles = steps[:, None].to(frequencies.dtype) * frequencies
        code = torch.cat([angles.sin(), angles.cos()], 1).to(self.head.weight.dtype)
        added, attention, mixing, head = self.step_token(code)[:, None].chunk(4, 2)
        return added, (1 + attention, 1 + mixing), 1 + head

    def forward(self, cache: ObservationCache, noisy: Tensor, steps: Tensor) -> Tensor:
        """Noisy chunks (B, H, D) at diffusion steps (B,) int64 -> the predicted noise (B, H, D)."""
        added, scales, head_scale = self.condition(steps)
        return self.head(self.act(cache, self.action_token(noisy) + added, scales) * head_scale)


def alphas_cumulative(steps: int = TRAINING_STEPS, device: torch.device | str = "cpu") -> Tensor:
    """(steps,) share of the signal's variance left at every step: ``squaredcos_cap_v2`` (Nichol and Dhariwal, eq. 17).

    The same numbers as diffusers' schedulers, computed here so that training does without them.
    """
    level = [math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(steps + 1)]
    betas = [min(1 - after / before, 0.999) for before, after in itertools.pairwise(level)]
    return torch.cumprod(1.0 - torch.tensor(betas, dtype=torch.float32), 0).to(device)


def diffusion_loss(
    network: DiffusionNetwork,
    cache: ObservationCache,
    chunks: Tensor,
    alphas: Tensor,
    generator: torch.Generator,
    *,
    repeats: int = 1,
    joint_weights: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the predicted noise, with its graph.

    ``cache`` of B observations, ``chunks`` (B, H, D) the expert's, normalised to [-1, 1]. Each chunk is noised
    ``repeats`` times at steps drawn uniformly; all of them share the observation's cache. ``alphas`` (steps,) from
    ``alphas_cumulative``. ``generator`` lives on the CPU: every device sees the same noise. ``joint_weights`` (D,).
    """
    cache, chunks = cache.repeat(repeats), chunks.repeat_interleave(repeats, 0)
    noise = torch.randn(chunks.shape, generator=generator).to(chunks)
    steps = torch.randint(0, len(alphas), (len(chunks),), generator=generator).to(chunks.device)
    kept = alphas.to(chunks)[steps][:, None, None]
    noisy = kept.sqrt() * chunks + (1 - kept).sqrt() * noise
    error = (network(cache, noisy, steps) - noise).square()
    return (error if joint_weights is None else error * joint_weights).mean()
