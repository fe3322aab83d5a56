"""The first stage of training: camera encoders that know where things are, before any policy method sees them.

Every gradient step of a policy on two cameras spends most of its time in the encoders, whatever the method. So they
are trained once a data set, by behaviour cloning with a cheap head, and kept: the policies then train on features.

The head predicts two things from features and joint positions: the demonstrated chunk, and the joint positions at the
next two *keyframes* - the moments at which the gripper changes its mind, or the episode ends (keyframes as in James &
Davison, "Q-attention", arXiv 2105.14829, here only as targets). Where the arm will grasp and release is the
same as where things lie, known in hindsight from any recording: it forces the encoder to find the object long before
the hand is near it, without labels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.files import write_atomically
from ebt_policy_ros.policy.load import NETWORK_PREFIX
from ebt_policy_ros.policy.network import Architecture, CameraEncoder
from ebt_policy_ros.training.dataset import Demonstrations

KEYFRAMES = 2
WEIGHTS_FILE, NOTES_FILE = "encoder.safetensors", "encoder.json"


class EncoderError(EbtPolicyError):
    """A folder holds no trained encoder, or one that does not fit the data."""


class RepresentationNetwork(nn.Module):
    """Camera encoders with a small head: (features, positions) -> chunk (B, H, D) and keyframes (B, 2, D)."""

    def __init__(self, architecture: Architecture, width: int = 512) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.encoders = nn.ModuleList([CameraEncoder(a.channels, a.keypoints) for _ in a.cameras])
        self.head = nn.Sequential(
            nn.Linear(len(a.cameras) * a.camera_features + a.joints, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, (a.horizon + KEYFRAMES) * a.joints),
        )

    def features(self, images: tuple[Tensor, ...]) -> Tensor:
        """Per camera (B, 3, height, width) in [-1, 1] -> (B, cameras, F)."""
        return torch.stack([encode(x) for encode, x in zip(self.encoders, images, strict=True)], 1)

    def forward(self, features: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        a = self.architecture
        rows = self.head(torch.cat([features.flatten(1), positions], 1)).unflatten(1, (-1, a.joints))
        return rows[:, : a.horizon], rows[:, a.horizon :]


def next_keyframes(data: Demonstrations, units: Sequence[str]) -> NDArray[np.float32]:
    """(N, KEYFRAMES, D) measured joint positions [rad, m] at the coming keyframes of every row; the episode's last
    row where there are no more."""
    grippers = [index for index, unit in enumerate(units) if unit == "m"]
    result = np.empty((len(data.positions), KEYFRAMES, data.positions.shape[1]), np.float32)
    begin = 0
    for end in data.ends:
        command = data.actions[begin:end][:, grippers]
        middle = (command.max(0, initial=-np.inf) + command.min(0, initial=np.inf)) / 2
        changes = np.flatnonzero((np.diff((command > middle).astype(np.int8), axis=0) != 0).any(1)) + 1
        frames = np.append(changes, [end - begin - 1] * KEYFRAMES)
        coming = np.searchsorted(frames[: len(changes)], np.arange(end - begin), side="right")
        for k in range(KEYFRAMES):
            result[begin:end, k] = data.positions[begin + frames[np.minimum(coming + k, len(frames) - 1)]]
        begin = end
    return result


@dataclass(frozen=True)
class Encoder:
    """Trained camera encoders on disk: what they were made for, and their tensors as every network names them."""

    architecture: Architecture
    tensors: dict[str, Tensor]
    """``encoders.<camera number>.*``."""
    provenance: dict[str, Any]

    def save(self, folder: Path) -> None:
        """The weights first, then the notes, whose presence says that the training was finished."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / WEIGHTS_FILE, save(self.tensors))
        notes = {"architecture": self.architecture.as_mapping(), "provenance": self.provenance}
        write_atomically(folder / NOTES_FILE, (json.dumps(notes, indent=1) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> Encoder:
        """EncoderError when there is no finished encoder in ``folder``."""
        try:
            notes = json.loads((folder / NOTES_FILE).read_text())
            tensors = load_file(folder / WEIGHTS_FILE)
        except (OSError, ValueError, SafetensorError) as error:
            raise EncoderError(f"{folder} holds no trained encoder: {error}") from error
        return cls(Architecture.from_mapping(notes["architecture"]), tensors, notes["provenance"])

    @classmethod
    def of(cls, bundle: Bundle) -> Encoder:
        """The encoders of a trained policy."""
        tensors = {
            name.removeprefix(NETWORK_PREFIX): torch.from_numpy(np.array(tensor))
            for name, tensor in bundle.tensors.items()
            if name.startswith(f"{NETWORK_PREFIX}encoders.")
        }
        notes = {"policy_sha256": bundle.policy_sha256, "training_cpu_s": bundle.provenance.get("encoder_cpu_s")}
        return cls(Architecture.from_mapping(bundle.architecture), tensors, notes)

    def fill(self, network: nn.Module) -> None:
        """Put these encoders into ``network`` and freeze them there; EncoderError when they do not fit."""
        architecture: Any = network.architecture
        for name in ("cameras", "height", "width", "channels", "keypoints"):
            ours, wanted = getattr(self.architecture, name), getattr(architecture, name)
            if ours != wanted:
                raise EncoderError(f"the encoder was trained for {name} {ours}, expected {wanted}")
        encoders: Any = network.encoders
        encoders.load_state_dict({name.removeprefix("encoders."): tensor for name, tensor in self.tensors.items()})
        encoders.requires_grad_(False)
