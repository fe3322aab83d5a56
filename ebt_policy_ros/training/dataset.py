"""Demonstrations in memory: episodes, statistics, chunk windows and cheap whole-batch augmentation.

``Demonstrations.load`` reads rosbag2 bags, LeRobot data sets and robomimic files, named by a path or by a YAML file
that describes one (docs/data.md). Nothing in them is ever unpickled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import DatasetError
from ebt_policy_ros.policy.bundle import Bounds, Bundle
from ebt_policy_ros.training.findings import warnings_of
from ebt_policy_ros.training.quality import Quality, examine
from ebt_policy_ros.training.readers import Array32, Images, Joint, Recording, Source, check_episode
from ebt_policy_ros.training.readers.source import describe_source

__all__ = ["DatasetError", "Demonstrations", "bounds_of", "jittered", "normalise", "shifted", "split_episodes"]


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
    """(E,) what else is known of the episodes: seed, mode, success, ..."""
    joints: tuple[Joint, ...] = ()
    """(D,) names, keys and units."""
    kind: str = ""
    """'rosbag2', 'lerobot', 'robomimic'."""
    quality: tuple[Quality, ...] = ()
    """(E,) rates, gaps, frozen cameras, ...: see ``warnings``."""

    @property
    def num_episodes(self) -> int:
        return len(self.ends)

    @property
    def units(self) -> tuple[str, ...]:
        """(D,) 'rad' or 'm'."""
        return tuple(joint.robot_unit for joint in self.joints)

    def warnings(self) -> list[str]:
        """What should be looked at before training, in plain words; empty when nothing was found."""
        if not self.quality:
            return []
        return warnings_of(self.quality, self.joints, self.positions, self.actions, self.period_s)

    def check_bundle(self, bundle: Bundle) -> None:
        """DatasetError unless these are the joints, in this order, and at least the cameras of ``bundle``."""
        advice = "take the data it was trained on, or describe them (docs/data.md)"
        if self.joint_names != bundle.joint_names:
            order = " in another order" if set(self.joint_names) == set(bundle.joint_names) else ""
            raise DatasetError(
                f"bundle '{bundle.name}' has the joints {', '.join(bundle.joint_names)}, the data have "
                f"{', '.join(self.joint_names)}{order}; {advice}"
            )
        missing = [camera.name for camera in bundle.cameras if camera.name not in self.cameras]
        if missing:
            cameras = ", ".join(self.cameras) or "none"
            raise DatasetError(
                f"bundle '{bundle.name}' has the camera '{missing[0]}', the data have {cameras}; {advice}"
            )

    def fingerprint(self) -> str:
        """SHA-256 of positions, actions, episode ends and every 16th picture: for a bundle's provenance."""
        digest = hashlib.sha256(repr((self.joint_names, self.cameras, self.period_s)).encode())
        for array in (self.positions, self.actions, self.ends, *(self.images[c][::16] for c in self.cameras)):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

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
    def load(
        cls,
        source: str | Path | Source,
        *,
        limit: int | None = None,
        task: str | None = None,
        period_s: float | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> Demonstrations:
        """Read a data set (its first ``limit`` episodes): a directory, a file, a YAML file or a name in config/data/.

        ``task``, ``period_s`` and ``image_size`` (height, width) win over what the YAML says. Pictures are brought to
        one size (``Source.size_for``), rows to one period. DatasetError names file, episode and field, what was
        expected, and what to do.
        """
        if not isinstance(source, Source):
            source = describe_source(source, task=task, period_s=period_s, image_size=image_size)
        return cls.of(_read(source, limit))

    @classmethod
    def of(cls, recording: Recording) -> Demonstrations:
        """Checks, judges and joins the episodes of a recording, whose pictures it takes over."""
        episodes, joints, cameras = recording.episodes, recording.joints, recording.cameras
        if not episodes:
            raise DatasetError("the data set has no episodes to read; record some, or look at 'skip' in its YAML")
        for episode in episodes:
            check_episode(episode, joints, cameras)
        quality = tuple(examine(episode, joints, recording.period_s) for episode in episodes)
        ends = np.cumsum([len(episode.positions) for episode in episodes])
        images = {
            camera: _joined([episode.images for episode in episodes], camera, int(ends[-1])) for camera in cameras
        }
        sizes = {pictures.shape[1:3] for pictures in images.values()}
        if len(sizes) > 1:
            found = ", ".join(f"{camera} {pictures.shape[1:3]}" for camera, pictures in images.items())
            raise DatasetError(f"cameras have different sizes ({found}); set image_size: [height, width] in the YAML")
        return cls(
            task=recording.task,
            joint_names=tuple(joint.name for joint in joints),
            cameras=cameras,
            period_s=recording.period_s,
            images=images,
            positions=np.concatenate([episode.positions for episode in episodes]).astype(np.float32),
            actions=np.concatenate([episode.actions for episode in episodes]).astype(np.float32),
            ends=ends,
            records=[{"name": episode.name, **episode.record} for episode in episodes],
            joints=joints,
            kind=recording.kind,
            quality=quality,
        )


def _read(source: Source, limit: int | None) -> Recording:
    """The kind's reader, imported only now: each needs libraries that the others do not."""
    try:
        if source.kind == "lerobot":
            from ebt_policy_ros.training.readers.lerobot import read_lerobot

            return read_lerobot(source, limit)
        if source.kind == "robomimic":
            from ebt_policy_ros.training.readers.robomimic import read_robomimic

            return read_robomimic(source, limit)
        if source.kind == "rosbag2":
            from ebt_policy_ros.training.readers.rosbag import read_bags

            return read_bags(source, limit)
    except ImportError as error:
        if (error.name or "").startswith("ebt_policy_ros"):
            raise
        raise DatasetError(
            f"{source.path}: a Python package that {source.kind} data needs cannot be used ({error}); install it with "
            "pip install 'ebt_policy_ros[data]'"
        ) from error
    raise DatasetError(f"{source.path}: kind '{source.kind}' is not known; expected rosbag2, lerobot or robomimic")


def _joined(parts: Sequence[dict[str, Images]], camera: str, rows: int) -> Images:
    """(N, h, w, 3): the pictures of all episodes, each freed as soon as it is copied (a data set fills gigabytes)."""
    out: Images | None = None
    begin = 0
    for number, part in enumerate(parts):
        pictures = part.pop(camera)
        if out is None:
            out = np.empty((rows, *pictures.shape[1:]), dtype=np.uint8)
        if pictures.shape[1:] != out.shape[1:]:
            raise DatasetError(
                f"camera '{camera}': episode {number} has pictures of {pictures.shape[1:3]}, the first "
                f"{out.shape[1:3]}; set image_size: [height, width] in the YAML"
            )
        out[begin : begin + len(pictures)] = pictures
        begin += len(pictures)
    assert out is not None
    return out


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
