"""Streams -> rows one period apart: which picture, which joints, which target at each stamp, and what was wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.bags.actions import References, follow, hold
from ebt_policy_ros.bags.cut import Run, Span, Track
from ebt_policy_ros.bags.streams import Stream, Streams
from ebt_policy_ros.bags.topics import NEXT_POSITION, ActionTopic, CutSettings
from ebt_policy_ros.core.errors import DatasetError
from ebt_policy_ros.core.types import Floats

Times = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rows:
    """An episode's rows before its pictures are decoded."""

    stamps_ns: Times
    positions: Floats
    velocities: Floats | None
    actions: Floats
    pictures: Mapping[str, Track]
    """Camera -> (T,) the message that is each row's picture; several rows may share one."""
    success_ns: int | None
    tracks: Mapping[str, Track]
    """'joints' and 'camera <name>': what was recorded from first to last row."""
    trouble: Trouble


@dataclass(frozen=True)
class Trouble:
    """What was wrong with the streams of an episode; all zero when nothing was."""

    duplicated: Mapping[str, int] = field(default_factory=dict)
    """Stream -> messages with the stamp of the one before."""
    backward: Mapping[str, int] = field(default_factory=dict)
    """Stream -> messages older than one that had come before."""
    rows_in_gaps: int = 0
    """Rows left out since a picture or joint state was missing."""
    largest_gap_s: float = 0.0
    """Oldest picture, or widest hole in the joint states, at any row."""
    skew_s: float = 0.0
    """Largest difference of the stamps that a row was made of."""
    refused: tuple[str, ...] = ()
    """Why the controller would not have followed some of the trajectories."""
    recording: tuple[str, ...] = ()
    """What is missing from the whole bag, whose recorder was stopped."""


def make_rows(run: Run, span: Span, streams: Streams, settings: CutSettings, where: str) -> list[Rows] | str:
    """The rows of one episode, in several pieces where there are gaps; or the reason why it has none."""
    joints = run.joints.within(span.begin_ns, span.end_ns)
    cameras = {camera: track.within(span.begin_ns, span.end_ns) for camera, track in run.cameras.items()}
    silent = [name for name, track in {"joints": joints, **cameras}.items() if len(track.index) == 0]
    if silent:
        return f"nothing from {', '.join(silent)}"
    references = _references(run, span, joints, streams, where)
    for reference in references:
        if reference.first_ns is None:
            reasons = f" (of {len(reference.refused)}, the first: {reference.refused[0]})" if reference.refused else ""
            return f"no command that a controller would follow{reasons}"
    tracks = {"joints": joints, **{f"camera {name}": track for name, track in cameras.items()}}
    begin = max([int(t.stamp_ns[0]) for t in tracks.values()] + [int(r.first_ns or 0) for r in references])
    end = min(int(track.stamp_ns[-1]) for track in tracks.values())
    leader = next(iter(cameras.values()), joints).stamp_ns
    leader = leader[(leader >= begin) & (leader <= end)]
    if len(leader) == 0:
        return "cameras, joint states and commands do not overlap in time"
    period_ns = round(settings.period_s * 1e9)
    # Rows begin at a picture. A tenth of a period of jitter does not make the next row take the picture before.
    grid = np.arange(leader[0], end + period_ns // 10, period_ns, dtype=np.int64)
    picks = {camera: _newest(track, grid, period_ns // 10) for camera, track in cameras.items()}
    gap_ns = _gaps(joints, cameras, picks, grid)
    whole = gap_ns <= settings.max_gap_s * 1e9
    if not settings.split_at_gaps and not whole.all():
        row = int(np.argmin(whole))
        raise DatasetError(
            f"{where}: {gap_ns[row] * 1e-9:.2f} s without a picture or joint state at {grid[row] * 1e-9:.3f} s (ROS "
            f"time), allowed are {settings.max_gap_s:g} s; raise max_gap_s, or let split_at_gaps cut the episode there"
        )
    pieces = []
    for piece in _pieces(whole, settings.min_rows):
        stamps = grid[piece]
        trouble = Trouble(
            duplicated={name: track.num_duplicated for name, track in tracks.items()},
            backward={name: track.num_backward for name, track in tracks.items()},
            rows_in_gaps=int((~whole).sum()),
            largest_gap_s=float(gap_ns.max()) * 1e-9,
            skew_s=_skew_s(cameras, {camera: pick[piece] for camera, pick in picks.items()}, stamps),
            refused=tuple(reason for reference in references for reason in reference.refused),
        )
        values = np.array([streams.joints.values[i] for i in joints.index])
        positions = _between(joints.stamp_ns, values, stamps)
        speeds = [streams.velocities[i] for i in joints.index]
        known = np.array(speeds) if all(speed is not None for speed in speeds) else None
        pieces.append(
            Rows(
                stamps_ns=stamps,
                positions=positions,
                velocities=None if known is None else _between(joints.stamp_ns, known, stamps),
                actions=_actions(references, streams.joint_names, positions, stamps, where),
                pictures={camera: cameras[camera].at(pick[piece]) for camera, pick in picks.items()},
                success_ns=span.success_ns,
                tracks={name: track.within(int(stamps[0]), int(stamps[-1]) + 1) for name, track in tracks.items()},
                trouble=trouble,
            )
        )
    return pieces or f"no {settings.min_rows} rows without a gap of more than {settings.max_gap_s:g} s"


def _references(run: Run, span: Span, joints: Track, streams: Streams, where: str) -> list[References]:
    found = []
    for action, stream in streams.actions:
        if action.type == NEXT_POSITION:
            continue
        inside, received = _received(run, span, action, stream)
        values = [stream.values[i] for i in inside]
        if action.type != "joint_trajectory":
            names = values[0][0] if values else ()
            if any(value[0] != names for value in values):
                raise DatasetError(f"{where}: topic {stream.topic}: its messages name different joints")
            found.append(hold([int(stamp) for stamp in received], [value[1] for value in values], names))
            continue
        names = next((value.joint_names for value in values if not isinstance(value, str)), ())
        here = np.zeros(len(names))
        for column, name in enumerate(names):
            if name in streams.joint_names:
                here[column] = streams.joints.values[joints.index[0]][streams.joint_names.index(name)]
        found.append(follow(list(zip(map(int, received), values, strict=True)), names, here))
    return found


def _received(run: Run, span: Span, action: ActionTopic, stream: Stream) -> tuple[Times, Times]:
    """Positions in the stream and times [ns, ROS time] of the commands that came within the episode.

    A trajectory acts from its receipt on; other commands carry the stamp from which on they hold, if any.
    """
    log_ns = stream.log_ns
    inside = np.flatnonzero((log_ns >= run.log_bounds[0]) & (log_ns < run.log_bounds[1]))
    has_stamps = action.type != "joint_trajectory" and len(stream.stamps) > 0
    received = stream.stamp_ns[inside] if has_stamps else run.ros_time_ns(log_ns[inside])
    kept = (received >= span.begin_ns) & (received < span.end_ns)
    if action.type == "joint_trajectory":
        # Planned in the episode before: its start is not where the arm is now. 0 means at once.
        starts = stream.stamp_ns[inside]
        kept &= (starts == 0) | (starts >= span.begin_ns)
    inside, received = inside[kept], received[kept]
    return inside, np.maximum.accumulate(received) if len(received) else received


def _actions(
    references: list[References], joint_names: tuple[str, ...], positions: Floats, stamps: Times, where: str
) -> Floats:
    if not references:
        return np.concatenate([positions[1:], positions[-1:]])
    columns: dict[str, Floats] = {}
    for reference in references:
        targets = reference.at(stamps)
        columns |= {name: targets[:, i] for i, name in enumerate(reference.joint_names)}
    missing = [name for name in joint_names if name not in columns]
    if missing:
        raise DatasetError(
            f"{where}: nothing commands joint '{missing[0]}'; the actions name {', '.join(columns)}; add the topic "
            "that does to 'actions', or leave the joint out"
        )
    return np.stack([columns[name] for name in joint_names], 1)


def _newest(track: Track, grid: Times, tolerance_ns: int) -> Times:
    """(T,) the newest message not newer than each row; the first where there is none."""
    return np.clip(np.searchsorted(track.stamp_ns, grid + tolerance_ns, side="right") - 1, 0, None)


def _gaps(joints: Track, cameras: Mapping[str, Track], picks: Mapping[str, Times], grid: Times) -> Times:
    """(T,) [ns] the oldest picture of each row, or the hole in the joint states that it lies in."""
    right = np.clip(np.searchsorted(joints.stamp_ns, grid), 0, len(joints.stamp_ns) - 1)
    left = np.clip(np.searchsorted(joints.stamp_ns, grid, side="right") - 1, 0, None)
    widest = joints.stamp_ns[right] - joints.stamp_ns[left]
    for camera, pick in picks.items():
        widest = np.maximum(widest, grid - cameras[camera].stamp_ns[pick])
    return widest


def _skew_s(cameras: Mapping[str, Track], picks: Mapping[str, Times], stamps: Times) -> float:
    used = np.array([stamps, *(cameras[camera].stamp_ns[pick] for camera, pick in picks.items())])
    return float((used.max(0) - used.min(0)).max()) * 1e-9


def _pieces(whole: NDArray[np.bool_], min_rows: int) -> list[slice]:
    """Runs of true that are long enough; everything where nothing has to be cut."""
    if whole.all():
        return [slice(0, len(whole))]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], whole, [False]]).astype(int)))
    return [
        slice(int(begin), int(end))
        for begin, end in zip(edges[::2], edges[1::2], strict=True)
        if end - begin >= min_rows
    ]


def _between(stamp_ns: Times, values: Floats, grid: Times) -> Floats:
    """(T, D) on the line between the neighbours of each row; exact where a message has the row's stamp."""
    right = np.clip(np.searchsorted(stamp_ns, grid), 0, len(stamp_ns) - 1)
    left = np.clip(right - 1, 0, None)
    width = np.maximum(stamp_ns[right] - stamp_ns[left], 1)
    part = np.where(right == left, 1.0, np.clip((grid - stamp_ns[left]) / width, 0.0, 1.0))[:, None]
    return np.where(part == 1.0, values[right], values[left] + part * (values[right] - values[left]))
