"""Training examples: normalised, augmented, in an order that is a function of seed and step alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ebt_policy_ros.policy.bundle import Bounds
from ebt_policy_ros.training import dataset
from ebt_policy_ros.training.dataset import Demonstrations
from ebt_policy_ros.training.optimise import unit_of
from ebt_policy_ros.training.representation import next_keyframes
from ebt_policy_ros.training.settings import TrainSettings

Rows = NDArray[np.int64]


class Batch(NamedTuple):
    """Normalised training examples on the device."""

    images: tuple[Tensor, ...]
    """Per camera (B, 3, h, w) in [-1, 1]; empty where frozen encoders have already made features of them."""
    features: Tensor | None
    """(B, cameras, F) of frozen encoders."""
    positions: Tensor
    """(B, D)."""
    chunks: Tensor
    """(B, H, D) the expert's."""
    keyframes: Tensor
    """(B, 2, D) joint positions at the coming keyframes."""


class Examples:
    """The rows of a data set as one run sees them: split, statistics, augmentation."""

    def __init__(
        self,
        settings: TrainSettings,
        data: Demonstrations,
        device: torch.device,
        bounds: tuple[Bounds, Bounds] | None = None,
    ) -> None:
        """``bounds``: statistics of positions and actions of a policy to fit to; None: the data's own."""
        self.settings, self.data, self.device = settings, data, device
        training, held_out = dataset.split_episodes(data.num_episodes, settings.held_out, settings.seed)
        self.rows, self.held_out_rows = data.rows(training), data.rows(held_out or training)
        self.num_training, self.num_held_out = len(training), len(held_out)
        self.units = data.units or tuple(unit_of(name) for name in data.joint_names)
        self.position_bounds, self.action_bounds = bounds or (
            dataset.bounds_of(data.positions[self.rows], margin=0.05, min_range=0.02),
            dataset.bounds_of(data.actions[self.rows], margin=0.05, min_range=0.02),
        )
        self.positions = dataset.normalise(data.positions, self.position_bounds)
        self.keyframes = dataset.normalise(next_keyframes(data, self.units), self.position_bounds)
        self.features: NDArray[np.float32] | None = None
        """(copies, N, cameras, F) of frozen encoders; copy 0 is not augmented."""

    def joint_weights(self) -> Tensor:
        """(D,) loss weights, one on average."""
        weights = torch.tensor([self.settings.gripper_weight if unit == "m" else 1.0 for unit in self.units])
        return (weights / weights.mean()).to(self.device)

    def shard(self, step: int, shard: int) -> tuple[Batch, torch.Generator]:
        """A shard of a gradient step's augmented examples, and the generator for whatever else is random in it."""
        s = self.settings
        epoch_length = max(1, len(self.rows) // s.batch)
        order = np.random.default_rng([s.seed, 1, step // epoch_length]).permutation(len(self.rows))
        begin = (step % epoch_length) * s.batch
        rows = np.sort(self.rows[order[begin + shard : begin + s.batch : s.shards]])
        rng = np.random.default_rng([s.seed, 2, step, shard])
        batch = self.at(rows, rng)
        return batch, torch.Generator().manual_seed(int(rng.integers(2**62)))

    def at(self, rows: Rows, rng: np.random.Generator | None) -> Batch:
        """Examples of the given rows; augmented when there is an ``rng``."""
        s = self.settings
        features, images = None, tuple[Tensor, ...]()
        if self.features is not None:
            copies = rng.integers(len(self.features), size=len(rows)) if rng is not None else np.zeros(len(rows), int)
            features = self._on_device(self.features[copies, rows])
        else:
            images = tuple(self._images(camera, rows, rng) for camera in self.data.cameras)
        positions = self.positions[rows]
        if rng is not None:
            positions = positions + s.position_noise * rng.standard_normal(positions.shape, dtype=np.float32)
        chunks = dataset.normalise(self.data.chunks(rows, s.horizon), self.action_bounds)
        rest = (self._on_device(array) for array in (positions, chunks, self.keyframes[rows]))
        return Batch(images, features, *rest)

    def held_out(self, limit: int, seed: int) -> Rows:
        """Up to ``limit`` rows of held-out episodes."""
        rng = np.random.default_rng([seed, 3])
        return np.sort(rng.choice(self.held_out_rows, min(limit, len(self.held_out_rows)), replace=False))

    def _images(self, camera: str, rows: Rows, rng: np.random.Generator | None) -> Tensor:
        pixels = self.data.images[camera][rows]
        if rng is None:
            floats = (pixels / np.float32(127.5) - 1).astype(np.float32)
        else:
            floats = dataset.jittered(dataset.shifted(pixels, self.settings.shift, rng), self.settings.jitter, rng)
        return self._on_device(floats).permute(0, 3, 1, 2)

    def _on_device(self, array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def encode_once(
        self, network: nn.Module, folder: Path, autocast: torch.dtype | None, say: Callable[[str], None]
    ) -> None:
        """Run the frozen encoders of ``network`` over ``feature_copies`` copies of every frame, or read what an
        earlier run on the same frames, encoders and augmentation has left in ``folder``."""
        s = self.settings
        digest = hashlib.sha256(repr((s.feature_copies, s.shift, s.jitter, len(self.positions))).encode())
        digest.update(np.ascontiguousarray(self.data.positions).tobytes())
        for tensor in network.encoders.state_dict().values():  # type: ignore[operator, union-attr]
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        path = folder / f"features-{digest.hexdigest()[:12]}.npy"
        if not path.exists():
            say(f"encoding {len(self.positions)} frames, {s.feature_copies} augmented copies each, once")
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.save(file, self._encode(network, autocast))
            partial.replace(path)
        self.features = np.load(path, mmap_mode="r", allow_pickle=False)

    @torch.no_grad()
    def _encode(self, network: nn.Module, autocast: torch.dtype | None) -> NDArray[np.float32]:
        features = []
        for copy in range(self.settings.feature_copies):
            parts = []
            for index, rows in enumerate(np.array_split(np.arange(len(self.positions)), len(self.positions) // 64 + 1)):
                rng = np.random.default_rng([4, copy, index]) if copy else None
                images = tuple(self._images(camera, rows, rng) for camera in self.data.cameras)
                with torch.autocast(self.device.type, autocast or torch.bfloat16, enabled=autocast is not None):
                    parts.append(network.features(images).float().cpu().numpy())  # type: ignore[operator]
            features.append(np.concatenate(parts))
        return np.stack(features)
