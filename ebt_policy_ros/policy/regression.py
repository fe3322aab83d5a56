"""Plain behaviour cloning on the shared trunk, method "regression": the chunk in one pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ebt_policy_ros.policy.network import Architecture, ObservationCache, Trunk


class RegressionNetwork(Trunk):
    """chunk(observation): the places of the action tokens are learned queries, a linear head reads the answer."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.head = nn.Linear(architecture.model_width, architecture.joints)

    def forward(self, cache: ObservationCache) -> Tensor:
        """The cache of B observations -> chunks (B, H, D), normalised."""
        a = self.architecture
        return self.head(self.act(cache, cache.keys[0].new_zeros((len(cache.keys[0]), a.horizon, a.model_width))))


def regression_loss(
    network: RegressionNetwork,
    cache: ObservationCache,
    chunks: Tensor,
    *,
    beta: float = 0.05,
    joint_weights: Tensor | None = None,
) -> Tensor:
    """Mean smooth-L1 to the expert's ``chunks`` (B, H, D), with its graph; square below ``beta``, absolute above it
    (0: absolute everywhere). ``joint_weights`` (D,)."""
    error = torch.nn.functional.smooth_l1_loss(network(cache), chunks, beta=beta, reduction="none")
    return (error if joint_weights is None else error * joint_weights).mean()
