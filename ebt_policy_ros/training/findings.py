"""What should be looked at before training on demonstrations, in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ebt_policy_ros.training.quality import LONGEST_LAG_S, Quality
from ebt_policy_ros.training.readers import Array32, Joint

STILL_RANGE = {"rad": 1e-3, "m": 1e-4}
"""A joint that moves less than this never moves."""
FROZEN_SHARE, DUPLICATED_SHARE, SATURATED_SHARE, DARK_SHARE = 0.5, 0.3, 0.5, 0.8
LEAST_CONTRAST = 2.5
"""[grey levels]"""
FASTEST = {"rad": 12.0, "m": 3.0}
"""No arm moves faster [1/s]: what does is a jump in the data."""


def warnings_of(
    quality: Sequence[Quality], joints: Sequence[Joint], positions: Array32, actions: Array32, period_s: float
) -> list[str]:
    """Sentences for what should be looked at before training; empty when nothing was found."""
    return [
        *_about_cameras(quality),
        *_about_time(quality, period_s),
        *_about_messages(quality),
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
        blank = _where(q.contrast[camera] < LEAST_CONTRAST for q in quality)
        if blank:
            out.append(f"camera {camera} sees one colour only in {numbers(blank, total)} (is its lens covered?)")
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


def _about_messages(quality: Sequence[Quality]) -> list[str]:
    """What the reader of a bag left out."""
    out, total = [], len(quality)
    for key, what in (("duplicated", "came twice"), ("backward", "came out of order")):
        streams = {stream for q in quality for stream in q.trouble.get(key, {})}
        for stream in sorted(streams):
            counts = [q.trouble.get(key, {}).get(stream, 0) for q in quality]
            if sum(counts):
                out.append(
                    f"{stream}: {sum(counts)} messages {what} in {numbers(_where(c > 0 for c in counts), total)}"
                )
    for note in dict.fromkeys(note for q in quality for note in q.trouble.get("recording", ())):
        out.append(f"{note} ({numbers(_where(note in q.trouble.get('recording', ()) for q in quality), total)})")
    refused = _where(bool(q.trouble.get("refused")) for q in quality)
    if refused:
        reason = quality[refused[0]].trouble["refused"][0]
        out.append(f"a controller would refuse some trajectories in {numbers(refused, total)} (the first: {reason})")
    holes = _where(q.trouble.get("rows_in_gaps", 0) > 0 for q in quality)
    if holes:
        left_out = sum(q.trouble.get("rows_in_gaps", 0) for q in quality)
        out.append(f"{left_out} rows are left out for gaps in {numbers(holes, total)}")
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
