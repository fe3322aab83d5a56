"""Score heads: what the minimised energy is expected to be at an observation, and how familiar the observation is.

The reconstruction loss fixes E(o, a) only up to an offset f(o), so energies of two observations cannot be compared.
These heads depend on the observation alone, leave dE/da untouched, and make the joint energy
|E - F(o)| / S(o) + G(o) of core.uncertainty. They read detached encoder features and joint positions, never the
trunk: a head on trunk features follows E off the data, where it is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HEADS_PREFIX = "heads."


class ScoreHeads(nn.Module):
    """(features (B, cameras, F), positions (B, D)) -> (B, 3): expected energy F, its spread S, unfamiliarity G.

    G is the error of a network that learned to predict a fixed random one on familiar observations (random network
    distillation), in units of the error expected at this observation: about one where the data is.
    """

    TERMS = ("expected_energy", "energy_scale", "unfamiliarity")

    def __init__(self, inputs: int, width: int = 128, codes: int = 64) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.register_buffer("energy_centre", torch.zeros(()))
        self.register_buffer("energy_unit", torch.ones(()))
        self.expectation = _perceptron(inputs, width, 1)
        self.deviation = _perceptron(inputs, width // 4, 1)
        self.random = _perceptron(inputs, width, codes)
        with torch.no_grad():
            # Torch's initialisation leaves SiLU almost linear here, and a linear code extrapolates: no surprise.
            self.random[0].weight.mul_(3.0)
        self.predictor = nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), _perceptron(width, width, codes))
        self.familiar_error = _perceptron(inputs, width // 4, 1)

    def standardise(self, features: Tensor, positions: Tensor) -> Tensor:
        """(B, inputs) zero mean and unit deviation on familiar observations, limited to +-8 deviations."""
        raw = torch.cat([features.flatten(1), positions], 1)
        return ((raw - self.centre) / self.scale).clamp(-8, 8)

    def energy_statistics(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log deviation (B,) of the minimised energy, in units of ``energy_unit`` around ``energy_centre``."""
        return self.expectation(inputs)[:, 0], self.deviation(inputs)[:, 0].clamp(-6, 6)

    def log_familiar_error(self, inputs: Tensor) -> Tensor:
        """(B,) logarithm of the surprise expected where the observation is familiar."""
        return self.familiar_error(inputs)[:, 0].clamp(-12, 6)

    def surprise(self, inputs: Tensor) -> Tensor:
        """(B,) root mean square error in predicting the random network."""
        return (self.predictor(inputs) - self.random(inputs)).square().mean(1).sqrt()

    def forward(self, features: Tensor, positions: Tensor) -> Tensor:
        inputs = self.standardise(features, positions)
        mean, log_deviation = self.energy_statistics(inputs)
        return torch.stack(
            [
                self.energy_centre + self.energy_unit * mean,
                self.energy_unit * log_deviation.exp(),
                self.surprise(inputs) / self.log_familiar_error(inputs).exp(),
            ],
            1,
        )


def _perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, outputs))
