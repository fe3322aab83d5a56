"""A network and a bundle small enough for tests: 16x16 pictures of one camera, 3 joints, chunks of 4 rows."""

from __future__ import annotations

import numpy as np
import torch

from ebt_policy_ros.core.types import NormalisedObservation
from ebt_policy_ros.policy.bundle import Bounds, Bundle, CameraSpec, ChunkSpec, JointSpec
from ebt_policy_ros.policy.network import Architecture, EnergyNetwork, Trunk

HORIZON, JOINTS, SIZE = 4, 3, 16


def architecture(**changes: object) -> Architecture:
    values: dict[str, object] = {
        "cameras": ("front",), "height": SIZE, "width": SIZE, "joints": JOINTS, "horizon": HORIZON,
        "model_width": 16, "layers": 2, "heads": 2, "channels": (8, 8, 8), "keypoints": 4, "camera_tokens": 1,
        "joint_tokens": 1,
    }  # fmt: skip
    return Architecture(**{**values, **changes})  # type: ignore[arg-type]


def network(seed: int = 0, **changes: object) -> EnergyNetwork:
    torch.manual_seed(seed)
    return EnergyNetwork(architecture(**changes))


def bundle_of(trained: Trunk, **changes: object) -> Bundle:
    limits = Bounds((-1.0,) * JOINTS, (1.0,) * JOINTS)
    values: dict[str, object] = {
        "name": "small",
        "architecture": trained.architecture.as_mapping(),
        "cameras": tuple(CameraSpec(name, SIZE, SIZE) for name in trained.architecture.cameras),
        "joints": (JointSpec("shoulder", "rad"), JointSpec("elbow", "rad"), JointSpec("finger", "m")),
        "positions": limits,
        "actions": limits,
        "chunk": ChunkSpec(HORIZON, 0.05, 2),
        "tensors": {f"network.{k}": v.detach().numpy().copy() for k, v in trained.state_dict().items()},
    }
    return Bundle(**{**values, **changes}).with_hash()  # type: ignore[arg-type]


def observation(seed: int = 0, size: int = SIZE) -> NormalisedObservation:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    return NormalisedObservation({"front": image}, rng.uniform(-1, 1, JOINTS))


def encoded(network: Trunk, seen: NormalisedObservation) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and positions of an observation, by the network itself."""
    pictures = (torch.from_numpy(seen.images[name].copy())[None] for name in network.architecture.cameras)
    features = network.features(tuple(network.prepare(picture) for picture in pictures))
    return features, torch.from_numpy(seen.positions.copy()).float()[None]
