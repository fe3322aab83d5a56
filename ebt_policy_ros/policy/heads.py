"""Score heads: the energy of an observation itself, that is how unfamiliar it is.

The reconstruction loss fixes E(o, a) only up to an offset f(o), so energies of two observations cannot be compared.
This term depends on the observation alone and leaves dE/da untouched. It reads detached encoder features and joint
positions, never the trunk: a head on trunk features follows E off the data, where it is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HEADS_PREFIX = "heads."


class ScoreHeads(nn.Module):
    """(features (B, cameras, F), positions (B, D)) -> (B, 1): unfamiliarity.

    Its distance to the nearest centre of a mixture of Gaussians with one common covariance (Mahalanobis), in units of
    what is exceeded by one in twenty familiar observations.
    """

    TERMS = ("unfamiliarity",)

    def __init__(self, inputs: int, centres: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.register_buffer("whitening", torch.eye(inputs))
        self.register_buffer("centres", torch.zeros(centres, inputs))
        self.register_buffer("usual_distance", torch.ones(()))

    def standardise(self, features: Tensor, positions: Tensor) -> Tensor:
        """(B, inputs) zero mean and unit deviation on familiar observations."""
        return (torch.cat([features.flatten(1), positions], 1) - self.centre) / self.scale

    def distance(self, inputs: Tensor) -> Tensor:
        """(B,) Mahalanobis distance to the nearest centre."""
        away = torch.cdist(inputs @ self.whitening, self.centres, compute_mode="donot_use_mm_for_euclid_dist")
        return away.amin(1)

    def forward(self, features: Tensor, positions: Tensor) -> Tensor:
        return self.distance(self.standardise(features, positions))[:, None] / self.usual_distance
