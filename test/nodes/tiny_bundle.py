"""A bundle with random weights: everything a node needs but a clue."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ebt_policy_ros.policy.bundle import Bounds, Bundle, CameraSpec, ChunkSpec, JointSpec
from ebt_policy_ros.policy.critic import CriticNetwork
from ebt_policy_ros.policy.network import Architecture, EnergyNetwork

JOINTS = (*(f"panda_joint{i}" for i in range(1, 8)), "panda_finger_joint1")
HOME = np.array([0.0, 0.2, 0.0, -2.4, 0.0, 2.6, 0.8, 0.03])
CAMERAS = ("front", "wrist")
SIZE = 32


def make_tiny_bundle(directory: Path) -> Path:
    torch.manual_seed(0)
    architecture = Architecture(
        CAMERAS, SIZE, SIZE, len(JOINTS), 16, model_width=16, layers=1, heads=2, channels=(8, 8, 8), keypoints=4
    )
    network, critic = EnergyNetwork(architecture), CriticNetwork(architecture).without_encoders()
    # A random descent may go several units far; it must stay within the limits on jumps.
    reach = np.array([0.02] * 7 + [0.001])
    bounds = Bounds(tuple(HOME - reach), tuple(HOME + reach))
    bundle = Bundle(
        name="tiny",
        architecture=architecture.as_mapping(),
        cameras=tuple(CameraSpec(name, SIZE, SIZE) for name in CAMERAS),
        joints=tuple(JointSpec(name, "m" if "finger" in name else "rad") for name in JOINTS),
        positions=bounds,
        actions=bounds,
        chunk=ChunkSpec(16, 0.05, 8),
        tensors={
            **{f"network.{name}": value.numpy() for name, value in network.state_dict().items()},
            **{f"critic.{name}": value.numpy() for name, value in critic.state_dict().items()},
        },
    ).with_hash()
    calibration = {
        "score": "energy",
        "alpha": 0.05,
        "n": 100,
        "threshold": 950.0,
        "quantiles": np.linspace(-1000.0, 1000.0, 100).tolist(),
        "weights_sha256": bundle.weights_sha256,
        "centre": 0.0,
        "window_s": 0.0,
        "window_chunks": 1,
        "plan_change": None,
        "row_error": None,
    }
    replace(bundle, calibration=calibration).save(directory)
    return directory
