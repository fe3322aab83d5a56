"""Demonstrations as measured, episode by episode: rates, gaps, frozen cameras, lags. ``findings`` says it in words."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.training.readers import Episode, Images, Joint, Stamps

Floats = NDArray[np.float64]

MOVING = {"rad": 0.05, "m": 0.005}
"""Motion that a camera must show [of the joint that moves most, or a finger]."""
LONGEST_LAG_S = 1.0


@dataclass(frozen=True)
class Quality:
    """One episode as measured. Streams are 'joints', 'actions' and 'camera <name>'."""

    name: str
    length: int
    """Rows."""
    duration_s: float
    rate_hz: Mapping[str, float]
    """Stream -> samples a second (of the median interval)."""
    largest_gap_s: Mapping[str, float]
    """Stream -> longest time between two samples."""
    skew_s: Mapping[str, float]
    """Stream -> greatest age of the sample that a row was made of."""
    duplicated: Mapping[str, float]
    """Camera -> share of the pictures that are the one before, while the arm moved."""
    frozen: Mapping[str, float]
    """Camera -> share of the episode that its longest unchanged stretch takes, while the arm moved."""
    saturated: Mapping[str, float]
    """Camera -> share of values that are 255."""
    dark: Mapping[str, float]
    """Camera -> share of values that are 4 or less."""
    contrast: Mapping[str, float]
    """Camera -> spread of the grey levels within a picture, mean over the pictures."""
    ranges: tuple[float, ...]
    """Joint by joint: highest minus lowest position [rad or m]."""
    largest_speed: tuple[float, ...]
    """Joint by joint, from one row to the next [rad/s or m/s]."""
    lag_s: float | None
    """By how much positions follow actions best; None where nothing moves."""
    delta_likeness: float
    """0..1: correlation of actions with position *changes* where they have little to do with positions; else 0."""
    offset: float = 0.0
    """Median distance of actions from the positions ``lag_s`` later, over the joint's range, worst joint."""
    trouble: Mapping[str, Any] = field(default_factory=dict)
    """What the reader noted: messages doubled, out of order or refused by the controller, rows left out in gaps."""


def examine(episode: Episode, joints: Sequence[Joint], period_s: float) -> Quality:
    """The measures of one checked episode."""
    positions, actions = episode.positions.astype(float), episode.actions.astype(float)
    names = ["joints", "actions", *(f"camera {camera}" for camera in episode.images)]
    streams = {name: episode.streams.get(name, episode.stamps_ns) for name in names}
    is_moving = _is_moving(positions, joints)
    pictures = {camera: _Pictures.measure(images, is_moving) for camera, images in episode.images.items()}
    lag = _lag(positions, actions, joints, period_s)
    return Quality(
        name=episode.name,
        length=len(positions),
        duration_s=float(episode.stamps_ns[-1] - episode.stamps_ns[0]) * 1e-9,
        rate_hz={name: _rate(stamps) for name, stamps in streams.items()},
        largest_gap_s={name: float(np.diff(s).max()) * 1e-9 if len(s) > 1 else 0.0 for name, s in streams.items()},
        skew_s={name: _oldest(episode.stamps_ns, stamps) for name, stamps in streams.items()},
        duplicated={camera: p.duplicated for camera, p in pictures.items()},
        frozen={camera: p.frozen for camera, p in pictures.items()},
        saturated={camera: p.saturated for camera, p in pictures.items()},
        dark={camera: p.dark for camera, p in pictures.items()},
        contrast={camera: p.contrast for camera, p in pictures.items()},
        ranges=tuple(float(r) for r in np.ptp(positions, axis=0)),
        largest_speed=tuple(float(v) for v in np.abs(np.diff(positions, axis=0)).max(0) / period_s),
        lag_s=lag,
        delta_likeness=_delta_likeness(positions, actions, joints),
        offset=_offset(positions, actions, joints, 0 if lag is None else round(lag / period_s)),
        trouble=dict(episode.record.get("trouble") or {}),
    )


def _is_moving(positions: Floats, joints: Sequence[Joint]) -> NDArray[np.bool_]:
    """(T-1,) whether the arm moves noticeably from one row to the next."""
    least = np.array([MOVING[joint.robot_unit] for joint in joints]) / 20
    return np.asarray((np.abs(np.diff(positions, axis=0)) > least).any(1))


def _rate(stamps: Stamps) -> float:
    gaps = np.diff(stamps)
    return float(1e9 / np.median(gaps)) if len(gaps) and np.median(gaps) > 0 else 0.0


def _oldest(rows: Stamps, stamps: Stamps) -> float:
    """Greatest distance of a row to the sample at or before it [s]."""
    if len(stamps) == 0:
        return float("inf")
    before = stamps[np.clip(np.searchsorted(stamps, rows, side="right") - 1, 0, None)]
    return float(np.abs(rows - before).max()) * 1e-9


@dataclass(frozen=True)
class _Pictures:
    duplicated: float
    frozen: float
    saturated: float
    dark: float
    contrast: float

    @classmethod
    def measure(cls, images: Images, is_moving: NDArray[np.bool_]) -> _Pictures:
        small = images[:, ::3, ::3]
        change = np.array([np.abs(b.astype(np.int16) - a).mean() for a, b in itertools.pairwise(small)])
        same = change < 0.02  # an encoder's noise on an unchanged picture; a moving arm changes far more
        longest = begin = 0
        for row, unchanged in enumerate([*same, False]):
            if not unchanged:
                if is_moving[begin:row].any():
                    longest = max(longest, row - begin)
                begin = row + 1
        moved = max(1, int(is_moving.sum()))
        return cls(
            duplicated=float((same & is_moving).sum() / moved),
            frozen=longest / len(same),
            saturated=float((small == 255).mean()),
            dark=float((small <= 4).mean()),
            contrast=float(small.std(axis=(1, 2)).mean()),
        )


def _movers(positions: Floats, joints: Sequence[Joint]) -> NDArray[np.int64]:
    """Joints that move enough to compare with their commands; a gripper, which stops at what it holds, only alone."""
    ranges = np.ptp(positions, axis=0)
    found = [i for i, joint in enumerate(joints) if ranges[i] > MOVING[joint.robot_unit]]
    arm = [i for i in found if joints[i].robot_unit == "rad"]
    return np.array(arm or found, dtype=np.int64)


def _lag(positions: Floats, actions: Floats, joints: Sequence[Joint], period_s: float) -> float | None:
    """Shift of the positions that fits the actions best [s], constant offsets apart."""
    movers = _movers(positions, joints)
    longest = min(round(LONGEST_LAG_S / period_s), len(positions) // 2)
    if len(movers) == 0 or longest < 1:
        return None
    scale = np.ptp(positions[:, movers], axis=0)
    errors = []
    for shift in range(longest + 1):
        error = (positions[shift:, movers] - actions[: len(actions) - shift, movers]) / scale
        errors.append(float((error - np.median(error, axis=0)).std()))
    return float(np.argmin(errors) * period_s)


def _offset(positions: Floats, actions: Floats, joints: Sequence[Joint], shift: int) -> float:
    movers = _movers(positions, joints)
    if len(movers) == 0:
        return 0.0
    error = positions[shift:, movers] - actions[: len(actions) - shift, movers]
    return float((np.abs(np.median(error, axis=0)) / np.ptp(positions[:, movers], axis=0)).max())


def _delta_likeness(positions: Floats, actions: Floats, joints: Sequence[Joint]) -> float:
    movers = _movers(positions, joints)
    if len(movers) == 0:
        return 0.0
    before, wanted, after = positions[:-1, movers], actions[:-1, movers], positions[1:, movers]
    if (wanted.std(0) < 1e-9).any():
        return 0.0
    absolute = np.mean([_correlation(a, p) for a, p in zip(wanted.T, after.T, strict=True)])
    change = np.mean([_correlation(a, p) for a, p in zip(wanted.T, (after - before).T, strict=True)])
    return float(change) if change > 0.6 and absolute < 0.6 else 0.0


def _correlation(a: Floats, b: Floats) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0
