"""What every reader of recorded demonstrations takes (``Source``) and gives (``Recording`` of ``Episode``).

A reader is one function ``read_<kind>(source, limit) -> Recording``, imported only when its kind is met: ``rosbag``
(rosbag2), ``lerobot`` (v2.x and v3.0), ``robomimic`` (HDF5). Joining, checking and judging episodes is not theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import DatasetError

__all__ = [
    "DEFAULT_SIZE", "NEXT_POSITION", "UNITS", "DatasetError", "Episode", "Joint", "Recording", "Source",
    "check_episode", "gathered", "next_positions", "on_grid", "resampled", "resized",
]  # fmt: skip

Images = NDArray[np.uint8]
Array32 = NDArray[np.float32]
Stamps = NDArray[np.int64]

NEXT_POSITION = "next_position"
"""Value of ``Source.action``: the joints measured one period later stand for the target. A gripper that closes on an
object never reaches its target, so a position read from it does not squeeze: prefer recorded commands."""

DEFAULT_SIZE = (96, 96)

UNITS = {"rad": ("rad", 1.0), "m": ("m", 1.0), "deg": ("rad", float(np.pi / 180)), "mm": ("m", 1e-3)}
"""Unit in the file -> (unit in memory and on the robot, factor)."""


@dataclass(frozen=True)
class Joint:
    """A joint of the robot and where it is in the data."""

    name: str
    """As the robot's joint_states and joint_trajectory name it."""
    key: str
    """As the data set names it."""
    unit: str
    """Of the numbers in the data set: a key of ``UNITS``."""

    @property
    def robot_unit(self) -> str:
        return UNITS[self.unit][0]

    @property
    def factor(self) -> float:
        """Data set's unit -> robot's unit."""
        return UNITS[self.unit][1]


@dataclass(frozen=True)
class Source:
    """Where demonstrations are and how to read them; empty fields mean 'as the data set itself says'."""

    path: Path
    kind: str
    """``rosbag2``, ``lerobot`` or ``robomimic``."""
    task: str | None = None
    cameras: Mapping[str, str] = field(default_factory=dict)
    """Our camera name -> topic, feature or observation key. Empty: every camera there is."""
    joints: tuple[Joint, ...] = ()
    """In the order of the policy. Empty: every joint there is, in the data set's order."""
    state: str | None = None
    """Topic, feature or observation key of the measured positions. None: the kind's usual one."""
    action: str | None = None
    """Topic, feature or key of the commanded joint targets, or ``next_position``. None: the kind's usual one."""
    period_s: float | None = None
    """Resample to this period. None: the data set's own."""
    image_size: tuple[int, int] | None = None
    """(height, width) of every camera. None: see ``size_for``."""
    skip: frozenset[int] = frozenset()
    """Numbers of episodes to leave out, counted from 0 in the data set's order."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keys that only this kind knows."""

    def check_options(self, known: Iterable[str]) -> None:
        """Raises DatasetError for an option that is not ``known``."""
        known = sorted(known)
        for key in self.options:
            if key not in known:
                common = "kind, path, task, cameras, joints, state, action, period_s, image_size, skip"
                also = f"; for {self.kind} also {', '.join(known)}" if known else ""
                raise DatasetError(
                    f"data set description of {self.path}: unknown key '{key}'; known are {common}{also}"
                )

    def size_for(self, shapes: Iterable[tuple[int, int]]) -> tuple[int, int]:
        """(height, width) that images of these shapes are brought to: ``image_size`` where set; else their own if it
        is one size within 96 x 96, else 96 x 96 whatever the aspect (the node stretches its pictures just so)."""
        if self.image_size is not None:
            return self.image_size
        found = set(shapes)
        if len(found) == 1 and max(next(iter(found))) <= max(DEFAULT_SIZE):
            return next(iter(found))
        return DEFAULT_SIZE

    def chosen(self, count: int, limit: int | None) -> list[int]:
        """Numbers of the episodes to read of ``count``: ``skip`` left out, then the first ``limit``."""
        return [number for number in range(count) if number not in self.skip][:limit]


@dataclass(frozen=True, eq=False)
class Episode:
    """One demonstration on one time axis: row i of everything belongs to ``stamps_ns[i]``."""

    name: str
    """Of the file and the episode in it, for messages."""
    stamps_ns: Stamps
    """(T,) int64, increasing by the recording's period."""
    positions: Array32
    """(T, D) measured [rad or m]."""
    actions: Array32
    """(T, D) target in force at the row's stamp [rad or m]."""
    images: dict[str, Images]
    """Camera -> (T, h, w, 3) uint8 RGB, already of the final size."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What else is known: seed, mode, success, task."""
    streams: Mapping[str, Stamps] = field(default_factory=dict)
    """'joints', 'actions', 'camera <name>' -> (N,) int64 [ns] stamps as recorded, before resampling. Quality is judged
    by them; where a format stores rows on one axis there are none, and ``stamps_ns`` serves for all."""


@dataclass(frozen=True, eq=False)
class Recording:
    """Everything a reader found."""

    kind: str
    task: str
    joints: tuple[Joint, ...]
    cameras: tuple[str, ...]
    period_s: float
    episodes: Sequence[Episode]


def resized(images: Images, size: tuple[int, int]) -> Images:
    """(N, h, w, 3) -> (N, *size, 3) uint8, as the network resizes what the cameras send at run time."""
    if images.shape[1:3] == tuple(size):
        return np.ascontiguousarray(images)
    import torch

    from ebt_policy_ros.policy.network import resized as network_resized

    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return np.ascontiguousarray(network_resized(pixels, tuple(size)).permute(0, 2, 3, 1).numpy())


def resampled(episode: Episode, period_s: float) -> Episode:
    """The episode on a grid of ``period_s`` from its first stamp on: positions and targets interpolated linearly,
    pictures the latest at or before the stamp, as a node would have them. The stamps before are kept as streams."""
    period_ns = round(period_s * 1e9)
    old = episode.stamps_ns
    stamps = np.arange(old[0], old[-1] + period_ns // 100, period_ns, dtype=np.int64)
    latest = np.clip(np.searchsorted(old, stamps + period_ns // 100, side="right") - 1, 0, len(old) - 1)

    def interpolated(values: Array32) -> Array32:
        seconds, grid = (old - old[0]) * 1e-9, (stamps - old[0]) * 1e-9
        return np.stack([np.interp(grid, seconds, column) for column in values.T], 1).astype(np.float32)

    names = ["joints", "actions", *(f"camera {camera}" for camera in episode.images)]
    return Episode(
        name=episode.name,
        stamps_ns=stamps,
        positions=interpolated(episode.positions),
        actions=interpolated(episode.actions),
        images={camera: pictures[latest] for camera, pictures in episode.images.items()},
        record=episode.record,
        streams=episode.streams or dict.fromkeys(names, old),
    )


def on_grid(episode: Episode, period_s: float) -> Episode:
    """The episode itself where its rows already are ``period_s`` apart (to a tenth), else resampled."""
    gaps = np.diff(episode.stamps_ns) * 1e-9
    if len(gaps) == 0 or np.abs(gaps - period_s).max() < 0.1 * period_s or (gaps <= 0).any():
        return episode
    return resampled(episode, period_s)


def gathered(pictures: Iterable[NDArray[np.uint8]], count: int, size: tuple[int, int]) -> Images:
    """``count`` pictures (h, w, 3) of one size, one after the other, as (count, *size, 3); few are held at once."""
    out, waiting, begin = np.empty((count, *size, 3), dtype=np.uint8), [], 0
    for picture in pictures:
        waiting.append(picture)
        if len(waiting) == 16 or begin + len(waiting) == count:
            out[begin : begin + len(waiting)] = resized(np.stack(waiting), size)
            begin, waiting = begin + len(waiting), []
    return out


def next_positions(positions: Array32) -> Array32:
    """(T, D) -> (T, D): each row's successor; the last repeats itself."""
    return np.concatenate([positions[1:], positions[-1:]])


def check_episode(episode: Episode, joints: Sequence[Joint], cameras: Sequence[str]) -> None:
    """Raises DatasetError, naming the field, unless shapes agree, numbers are finite and there are two rows or more."""
    length, name = len(episode.stamps_ns), episode.name
    leave_out = "repair it or leave the episode out with 'skip' in the data set's YAML"
    if length < 2:
        raise DatasetError(f"{name}: expected at least 2 rows, got {length}; {leave_out}")
    if not (np.diff(episode.stamps_ns) > 0).all():
        row = int(np.argmin(np.diff(episode.stamps_ns) > 0)) + 1
        raise DatasetError(f"{name}: expected increasing stamps, got one that is not at row {row}; {leave_out}")
    for what, values in (("positions", episode.positions), ("actions", episode.actions)):
        if values.shape != (length, len(joints)):
            expected = f"{(length, len(joints))} (rows, joints)"
            raise DatasetError(f"{name}: {what} have shape {values.shape}, expected {expected}; {leave_out}")
        if not np.isfinite(values).all():
            row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
            got = f"{values[row, column]} for joint '{joints[column].name}' at row {row}"
            raise DatasetError(f"{name}: {what}: expected finite numbers, got {got}; {leave_out}")
    for camera in cameras:
        pictures = episode.images.get(camera)
        shape = None if pictures is None else pictures.shape
        if shape is None or len(shape) != 4 or (shape[0], shape[3]) != (length, 3):
            raise DatasetError(
                f"{name}: camera '{camera}' has shape {shape}, expected {(length, 'h', 'w', 3)}; {leave_out}"
            )
