"""Score heads: how familiar an observation is, and what is usual for the policy's energies and expected errors.

The reconstruction loss fixes E(o, a) only up to an offset f(o), so energies of two observations cannot be compared.
These heads depend on the observation alone and leave dE/da untouched. They read detached encoder features and joint
positions, never the trunk: a head on trunk features follows E off the data, where it is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HEADS_PREFIX = "heads."


class ScoreHeads(nn.Module):
    """(features (B, cameras, F), positions (B, D)) -> (B, 4): expected energy, its spread, unfamiliarity, usual error.

    Unfamiliarity is the energy of the observation: its distance to the nearest centre of a mixture of Gaussians with
    one common covariance (Mahalanobis), in units of what is exceeded by one in twenty familiar observations. The usual
    error, the same for every observation, is the unit of the critic's expected error: exceeded as rarely. NaN where
    there was no critic.
    """

    TERMS = ("expected_energy", "energy_scale", "unfamiliarity", "usual_error")

    def __init__(self, inputs: int, centres: int, width: int = 128) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.register_buffer("energy_centre", torch.zeros(()))
        self.register_buffer("energy_unit", torch.ones(()))
        self.register_buffer("whitening", torch.eye(inputs))
        self.register_buffer("centres", torch.zeros(centres, inputs))
        self.register_buffer("usual_distance", torch.ones(()))
        self.register_buffer("usual_error", torch.full((), torch.nan))
        self.expectation = _perceptron(inputs, width, 1)
        self.deviation = _perceptron(inputs, width // 4, 1)

    def standardise(self, features: Tensor, positions: Tensor) -> Tensor:
        """(B, inputs) zero mean and unit deviation on familiar observations."""
        return (torch.cat([features.flatten(1), positions], 1) - self.centre) / self.scale

    def energy_statistics(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log deviation (B,) of the minimised energy, in units of ``energy_unit`` around ``energy_centre``."""
        near = inputs.clamp(-8, 8)
        return self.expectation(near)[:, 0], self.deviation(near)[:, 0].clamp(-6, 6)

    def distance(self, inputs: Tensor) -> Tensor:
        """(B,) Mahalanobis distance to the nearest centre."""
        away = torch.cdist(inputs @ self.whitening, self.centres, compute_mode="donot_use_mm_for_euclid_dist")
        return away.amin(1)

    def forward(self, features: Tensor, positions: Tensor) -> Tensor:
        inputs = self.standardise(features, positions)
        mean, log_deviation = self.energy_statistics(inputs)
        return torch.stack(
            [
                self.energy_centre + self.energy_unit * mean,
                self.energy_unit * log_deviation.exp(),
                self.distance(inputs) / self.usual_distance,
                self.usual_error.expand(len(inputs)),
            ],
            1,
        )


def _perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, outputs))
