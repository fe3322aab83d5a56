"""A bundle's tensors as torch modules."""

from __future__ import annotations

import numpy as np
import torch

from ebt_policy_ros.core.errors import BundleError
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.critic import CRITIC_PREFIX, CriticNetwork
from ebt_policy_ros.policy.diffusion import DiffusionNetwork
from ebt_policy_ros.policy.heads import HEADS_PREFIX, ScoreHeads
from ebt_policy_ros.policy.network import Architecture, EnergyNetwork, Trunk
from ebt_policy_ros.policy.regression import RegressionNetwork

NETWORK_PREFIX = "network."
NETWORKS: dict[str, type[Trunk]] = {
    "ebt": EnergyNetwork,
    "dp": DiffusionNetwork,
    "regression": RegressionNetwork,
    "critic": CriticNetwork,
}
"""``Bundle.method`` -> its network."""


def make_network(method: str, architecture: Architecture) -> Trunk:
    """A fresh network of a method; BundleError names an unknown one."""
    if method not in NETWORKS:
        raise BundleError(f"method '{method}': expected one of {', '.join(NETWORKS)}")
    return NETWORKS[method](architecture)


def load_network(bundle: Bundle) -> Trunk:
    """The bundle's network on the CPU, in evaluation, without parameter gradients. BundleError names what misfits."""
    network = make_network(bundle.method, Architecture.from_mapping(bundle.architecture))
    _fill(network, bundle, NETWORK_PREFIX)
    return network.eval().requires_grad_(False)


def load_heads(bundle: Bundle) -> ScoreHeads | None:
    """The bundle's score heads on the CPU, or None when it has none."""
    if not any(name.startswith(HEADS_PREFIX) for name in bundle.tensors):
        return None
    a = Architecture.from_mapping(bundle.architecture)
    centres = bundle.tensors.get(f"{HEADS_PREFIX}centres")
    heads = ScoreHeads(len(a.cameras) * a.camera_features + a.joints, 0 if centres is None else len(centres))
    _fill(heads, bundle, HEADS_PREFIX)
    return heads.eval().requires_grad_(False)


def load_critic(bundle: Bundle) -> CriticNetwork | None:
    """The critic of an 'ebt' bundle on the CPU, without encoders, or None when it has none."""
    if not any(name.startswith(CRITIC_PREFIX) for name in bundle.tensors):
        return None
    critic = CriticNetwork(Architecture.from_mapping(bundle.architecture)).without_encoders()
    _fill(critic, bundle, CRITIC_PREFIX)
    return critic.eval().requires_grad_(False)


def _fill(module: torch.nn.Module, bundle: Bundle, prefix: str) -> None:
    state = {
        name.removeprefix(prefix): torch.from_numpy(np.array(tensor))
        for name, tensor in bundle.tensors.items()
        if name.startswith(prefix)
    }
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise BundleError(f"bundle '{bundle.name}': the weights do not fit the architecture: {error}") from error
