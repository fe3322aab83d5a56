"""Demonstrations in memory: episodes, statistics, chunk windows and cheap whole-batch augmentation.

A data set is a folder of ``episode_*.npz`` (stamp_ns (T,), positions (T, D), actions (T, D), image.<camera>
(T, h, w, 3) uint8) and a ``dataset.json`` that lists them. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.policy.bundle import Bounds

Images = NDArray[np.uint8]
Array32 = NDArray[np.float32]


class DatasetError(EbtPolicyError):
    """A data set is missing, incomplete or inconsistent; the message names the file."""


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """All time steps of all episodes, one after the other (N rows)."""

    task: str
    joint_names: tuple[str, ...]
    cameras: tuple[str, ...]
    period_s: float
    images: Mapping[str, Images]
    """Camera -> (N, h, w, 3) uint8 RGB."""
    positions: Array32
    """(N, D) measured [rad or m]."""
    actions: Array32
    """(N, D) commanded targets [rad or m]."""
    ends: NDArray[np.int64]
    """(E,) one past the last row of every episode."""
    records: Sequence[Mapping[str, Any]]
    """(E,) entries of dataset.json: seed, mode, noise, ..."""

    @property
    def num_episodes(self) -> int:
        return len(self.ends)

    def rows(self, episodes: Sequence[int]) -> NDArray[np.int64]:
        """Row numbers of the given episodes."""
        begins = np.concatenate([[0], self.ends[:-1]])
        return np.concatenate([np.arange(begins[e], self.ends[e]) for e in episodes])

    def chunks(self, rows: NDArray[np.int64], horizon: int) -> Array32:
        """(B, H, D) actions from each row on; the last action is repeated past the end of the episode."""
        last = self.ends[np.searchsorted(self.ends, rows, side="right")] - 1
        index = np.minimum(rows[:, None] + np.arange(horizon), last[:, None])
        return self.actions[index]

    @classmethod
    def load(cls, directory: str | Path, *, limit: int | None = None) -> Demonstrations:
        """Read a data set (its first ``limit`` episodes); DatasetError says what is missing or does not fit."""
        directory = Path(directory)
        try:
            index = json.loads((directory / "dataset.json").read_text())
            records = index["episodes"][:limit]
            joints, cameras = tuple(index["joint_names"]), tuple(index["cameras"])
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(f"{directory / 'dataset.json'} cannot be read as a data set: {error}") from error
        if not records:
            raise DatasetError(f"{directory / 'dataset.json'} lists no episodes; collect demonstrations first")
        episodes = [_read_episode(directory / record["file"], joints, cameras) for record in records]
        return cls(
            task=str(index["task"]),
            joint_names=joints,
            cameras=cameras,
            period_s=float(index["period_s"]),
            images={c: np.concatenate([e[f"image.{c}"] for e in episodes]) for c in cameras},
            positions=np.concatenate([e["positions"] for e in episodes]).astype(np.float32),
            actions=np.concatenate([e["actions"] for e in episodes]).astype(np.float32),
            ends=np.cumsum([len(e["positions"]) for e in episodes]),
            records=records,
        )


def _read_episode(path: Path, joints: Sequence[str], cameras: Sequence[str]) -> dict[str, NDArray[Any]]:
    wanted = ["positions", "actions", *(f"image.{camera}" for camera in cameras)]
    try:
        with np.load(path, allow_pickle=False) as file:
            episode = {key: file[key] for key in wanted}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} cannot be read as an episode: {error}") from error
    length = len(episode["positions"])
    for key, array in episode.items():
        shape = (length, len(joints)) if not key.startswith("image.") else (length, *array.shape[1:3], 3)
        if array.shape != shape or length == 0:
            raise DatasetError(f"{path}: {key} has shape {array.shape}, expected {shape}")
        if not key.startswith("image.") and not np.isfinite(array).all():
            raise DatasetError(f"{path}: {key} has values that are not finite")
    return episode


def split_episodes(count: int, held_out: float, seed: int) -> tuple[list[int], list[int]]:
    """Episode numbers (training, held out), shuffled by ``seed``; at least one held out where there are two."""
    order = np.random.default_rng(seed).permutation(count)
    num_held = min(count - 1, max(1, round(count * held_out))) if count > 1 and held_out > 0 else 0
    return sorted(int(i) for i in order[num_held:]), sorted(int(i) for i in order[:num_held])


def bounds_of(values: Array32, *, margin: float, min_range: float) -> Bounds:
    """Per-joint extremes, widened by ``margin`` of the range on both sides; never narrower than ``min_range``."""
    low, high = values.min(0).astype(float), values.max(0).astype(float)
    widen = np.maximum(margin * (high - low), (min_range - (high - low)) / 2)
    return Bounds(tuple((low - widen).tolist()), tuple((high + widen).tolist()))


def normalise(values: Array32, bounds: Bounds) -> Array32:
    """Robot units -> about [-1, 1]."""
    low, high = np.array(bounds.low), np.array(bounds.high)
    return (2 * (values - low) / (high - low) - 1).astype(np.float32)


def shifted(images: Images, max_shift: int, rng: np.random.Generator) -> Images:
    """(B, h, w, 3) images, each moved by up to ``max_shift`` pixels both ways, edge pixels repeated."""
    if max_shift == 0:
        return images
    batch, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (max_shift, max_shift), (max_shift, max_shift), (0, 0)), mode="edge")
    moves = rng.integers(0, 2 * max_shift + 1, (batch, 2))
    out = np.empty_like(images)
    for i, (down, right) in enumerate(moves):
        out[i] = padded[i, down : down + height, right : right + width]
    return out


def jittered(images: Images, strength: float, rng: np.random.Generator) -> Array32:
    """(B, h, w, 3) uint8 -> float32 in about [-1, 1] with random brightness, contrast and colour cast per image."""
    batch = len(images)
    gain = 1 + strength * rng.uniform(-1, 1, (batch, 1, 1, 1)) + strength / 2 * rng.uniform(-1, 1, (batch, 1, 1, 3))
    offset = strength * rng.uniform(-1, 1, (batch, 1, 1, 1)) - 1
    return images * (gain / 127.5).astype(np.float32) + offset.astype(np.float32)
