"""A second, anchored energy beside the policy's: how far from the expert's a chunk is expected to be.

The policy's energy is trained by reconstruction, which leaves its level free; anchoring it costs the policy success
(docs/energies.md). So the level is learned apart, by a network of its own on the policy's frozen camera features: it
never touches the descent.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ebt_policy_ros.policy.network import Architecture, ObservationCache, Trunk

CRITIC_PREFIX = "critic."
CRITIC_LAYERS = 2


class CriticNetwork(Trunk):
    """log E(observation, chunk), method "critic": an expected squared distance for every row of the chunk.

    Its encoders are the policy's, so a bundle that has both keeps only the policy's: ``without_encoders``.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(replace(architecture, layers=CRITIC_LAYERS))
        self.action_token = nn.Linear(architecture.joints, architecture.model_width)
        self.head = nn.Linear(architecture.model_width, 1)

    def without_encoders(self) -> CriticNetwork:
        """Itself, its encoders dropped: it observes features alone."""
        self.encoders = nn.ModuleList()
        return self

    def log_distances(self, cache: ObservationCache, chunks: Tensor) -> Tensor:
        """chunks (B, H, D) normalised -> (B, H) logarithm of the expected mean squared distance of every row to the
        expert's."""
        rows: Tensor = self.head(self.act(cache, self.action_token(chunks)))[..., 0]
        return rows


def critic_loss(log_distances: Tensor, chunks: Tensor, targets: Tensor) -> Tensor:
    """Exponential likelihood of the squared distance d of every row: d exp(-s) + s for the predicted log distance s.

    Its minimum is s = log of d's mean, and it weighs relative errors, so that distances of a thousandth and of one
    count alike. chunks, targets: (B, H, D); returns the mean.
    """
    distance = (chunks - targets).square().mean(2) + 1e-6
    return (distance * torch.exp(-log_distances) + log_distances).mean()


def questionable(results: Tensor, generator: torch.Generator) -> Tensor:
    """(3, B, H, D) chunks to judge, made of a policy's ``results`` (B, H, D): these themselves, these on the way to
    another observation's result, and these with a smooth offset. How far is drawn over two decades."""
    batch, _, joints = results.shape

    def far(*shape: int) -> Tensor:
        return (10 ** (-2 * torch.rand(shape, generator=generator))).to(results)

    mixed = results + far(batch, 1, 1) * (results.roll(1, 0) - results)
    offset = torch.randn((batch, 2, joints), generator=generator).to(results)
    ramp = torch.linspace(0, 1, results.shape[1], device=results.device)[:, None]
    offset = offset[:, :1] * (1 - ramp) + offset[:, 1:] * ramp
    return torch.stack([results, mixed, results + 0.5 * far(batch, 1, 1) * offset])
