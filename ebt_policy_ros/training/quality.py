"""What is wrong with demonstrations, before anybody trains on them: numbers per episode, warnings in plain words."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.training.readers import Array32, Episode, Images, Joint, Stamps

Floats = NDArray[np.float64]

STILL_RANGE = {"rad": 1e-3, "m": 1e-4}
"""A joint that moves less than this never moves."""
MOVING = {"rad": 0.05, "m": 0.005}
"""Motion that a camera must show [of the joint that moves most, or a finger]."""
LONGEST_LAG_S = 1.0
FROZEN_SHARE, DUPLICATED_SHARE, SATURATED_SHARE, DARK_SHARE = 0.5, 0.3, 0.5, 0.8
FASTEST = {"rad": 12.0, "m": 3.0}
"""No arm moves faster [1/s]: what does is a jump in the data."""


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
        ranges=tuple(float(r) for r in np.ptp(positions, axis=0)),
        largest_speed=tuple(float(v) for v in np.abs(np.diff(positions, axis=0)).max(0) / period_s),
        lag_s=lag,
        delta_likeness=_delta_likeness(positions, actions, joints),
        offset=_offset(positions, actions, joints, 0 if lag is None else round(lag / period_s)),
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


# ---- in plain words --------------------------------------------------------------------------------------------


def warnings_of(
    quality: Sequence[Quality], joints: Sequence[Joint], positions: Array32, actions: Array32, period_s: float
) -> list[str]:
    """Sentences for what should be looked at before training; empty when nothing was found."""
    return [
        *_about_cameras(quality),
        *_about_time(quality, period_s),
        *_about_joints(quality, joints, positions, actions),
        *_about_actions(quality, joints, positions, actions),
    ]


def numbers(found: Sequence[int], total: int) -> str:
    """'episodes 3, 7', 'all 12 episodes', ..."""
    if len(found) == total:
        return f"all {total} episodes" if total > 1 else "the only episode"
    listed = ", ".join(map(str, found[:8])) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
    return f"episode{'s' if len(found) > 1 else ''} {listed}"


def _where(is_bad: Iterable[bool]) -> list[int]:
    """Numbers of the episodes for which something is true."""
    return [number for number, bad in enumerate(is_bad) if bad]


def _about_cameras(quality: Sequence[Quality]) -> list[str]:
    out, total = [], len(quality)
    for camera in quality[0].frozen:
        frozen = _where(q.frozen[camera] > FROZEN_SHARE for q in quality)
        if frozen:
            out.append(f"camera {camera} is frozen in {numbers(frozen, total)} (the arm moves, the picture does not)")
        repeated = [n for n in _where(q.duplicated[camera] > DUPLICATED_SHARE for q in quality) if n not in frozen]
        if repeated:
            share = float(np.median([quality[n].duplicated[camera] for n in repeated]))
            out.append(
                f"camera {camera} repeats {share:.0%} of its pictures in {numbers(repeated, total)}: it is slower than "
                "the rows; a longer period_s fits it"
            )
        for what, values, share in (("overexposed", "saturated", SATURATED_SHARE), ("dark", "dark", DARK_SHARE)):
            bad = _where(getattr(q, values)[camera] > share for q in quality)
            if bad:
                out.append(f"camera {camera} is {what} in {numbers(bad, total)}")
    return out


def _about_time(quality: Sequence[Quality], period_s: float) -> list[str]:
    out, total = [], len(quality)
    for stream in quality[0].rate_hz:
        gap = {n: q.largest_gap_s[stream] for n, q in enumerate(quality)}
        bad = [n for n, s in gap.items() if s > max(0.15, 4 * period_s, 2.5 / max(quality[n].rate_hz[stream], 1e-9))]
        if bad:
            out.append(f"{stream}: gaps of up to {max(gap[n] for n in bad):.2f} s in {numbers(bad, total)}")
    lengths = np.array([q.length for q in quality])
    middle = float(np.median(lengths))
    short = _where(length < middle / 3 for length in lengths)
    long = _where(length > middle * 3 for length in lengths)
    for bad, word in ((short, "short"), (long, "long")):
        if bad and total > 2:
            sizes = ", ".join(f"{lengths[n] * period_s:.1f}" for n in bad[:4])
            out.append(f"{numbers(bad, total)}: unusually {word} ({sizes} s; the median is {middle * period_s:.1f} s)")
    return out


def _about_joints(
    quality: Sequence[Quality], joints: Sequence[Joint], positions: Array32, actions: Array32
) -> list[str]:
    out, total = [], len(quality)
    ranges = np.ptp(positions, axis=0)
    for column, joint in enumerate(joints):
        if ranges[column] < STILL_RANGE[joint.robot_unit]:
            out.append(f"joint {joint.name} never moves")
        if joint.robot_unit == "rad" and np.abs(positions[:, column]).max() > 4 * np.pi:
            low, high = positions[:, column].min(), positions[:, column].max()
            out.append(
                f"joint {joint.name} goes from {low:.0f} to {high:.0f}: not radians; say its unit in the YAML "
                f"(joints: {{{joint.name}: {{unit: deg}}}})"
            )
        fast = _where(q.largest_speed[column] > FASTEST[joint.robot_unit] for q in quality)
        if fast:
            speed = max(quality[n].largest_speed[column] for n in fast)
            out.append(f"joint {joint.name} jumps in {numbers(fast, total)} (up to {speed:.0f} {joint.robot_unit}/s)")
    least = [STILL_RANGE[joint.robot_unit] for joint in joints]
    still = _where(bool((np.array(q.ranges) < least).all()) for q in quality)
    if still and len(still) < total:
        out.append(f"the arm does not move in {numbers(still, total)}")
    return out


def _about_actions(
    quality: Sequence[Quality], joints: Sequence[Joint], positions: Array32, actions: Array32
) -> list[str]:
    total = len(quality)
    deltas = _where(q.delta_likeness > 0 for q in quality)
    if len(deltas) > total / 2:
        return ["actions look like deltas (they follow position changes, not positions): this policy commands absolute "
                "joint targets; name another action key, or 'action: next_position'"]  # fmt: skip
    out = []
    lags = [q.lag_s for q in quality if q.lag_s is not None]
    if np.array_equal(positions, actions):
        out.append("actions are the measured positions of the same row: the policy would learn to stand still; use "
                   "'action: next_position' or the commanded targets")  # fmt: skip
    elif lags and np.median(lags) == 0 and any(q.lag_s == 0 and q.offset < 1e-6 for q in quality):
        out.append("actions do not lead the positions: check that they are commands, not measurements")
    elif lags and np.median(lags) >= 0.9 * LONGEST_LAG_S:
        out.append(f"positions follow actions by {np.median(lags):.2f} s or more: check the stamps, or whether actions "
                   "are joint targets")  # fmt: skip
    offset = _where(q.offset > 0.5 for q in quality)
    if offset:
        out.append(f"actions are far from the positions they lead to in {numbers(offset, total)}: other units, other "
                   "joint order, or not joint targets")  # fmt: skip
    for column, joint in enumerate(joints):
        if np.ptp(actions[:, column]) < STILL_RANGE[joint.robot_unit] <= np.ptp(positions[:, column]) / 5:
            out.append(f"joint {joint.name} moves but its action never changes")
    return out
