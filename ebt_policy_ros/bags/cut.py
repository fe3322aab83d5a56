"""Where episodes begin and end in a recording: clock jumps, resets, success."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.bags.streams import Stream, Streams
from ebt_policy_ros.bags.topics import CutSettings

Times = NDArray[np.int64]
_FOREVER_NS = 2**62


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """The messages of a stream within one run of the clock that are in order, by position in the stream."""

    index: Times
    """(N,) positions in the stream."""
    log_ns: Times
    stamp_ns: Times
    """(N,) strictly increasing [ns, ROS time]."""
    num_duplicated: int = 0
    num_backward: int = 0

    def within(self, begin_ns: int, end_ns: int) -> Track:
        """The part with stamps in [begin, end)."""
        return self.at(np.flatnonzero((self.stamp_ns >= begin_ns) & (self.stamp_ns < end_ns)))

    def at(self, chosen: Times) -> Track:
        """The chosen messages, by position in the track."""
        return Track(
            self.index[chosen], self.log_ns[chosen], self.stamp_ns[chosen], self.num_duplicated, self.num_backward
        )


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A stretch of the recording in which the clock only went forward."""

    joints: Track
    cameras: dict[str, Track]
    log_bounds: tuple[int, int]
    """[from, to) of the recorder's clock."""
    is_simulated: bool

    def ros_time_ns(self, log_ns: Times | Sequence[int]) -> Times:
        """Recorder's clock -> ROS time, by the joint states; simulated time stands still between two of them."""
        log_ns = np.asarray(log_ns, np.int64)
        if self.is_simulated:
            newest = np.searchsorted(self.joints.log_ns, log_ns, side="right") - 1
            return self.joints.stamp_ns[np.clip(newest, 0, None)]
        begin_log, begin = int(self.joints.log_ns[0]), int(self.joints.stamp_ns[0])
        # Differences first: nanoseconds since 1970 do not fit into the floats that interpolation computes with.
        between = np.interp(log_ns - begin_log, self.joints.log_ns - begin_log, self.joints.stamp_ns - begin)
        return begin + np.rint(between).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Span:
    """One episode's time."""

    begin_ns: int
    end_ns: int
    """Exclusive."""
    success_ns: int | None
    """When the task was first fulfilled; None: never, or nobody said."""
    values: dict[str, str]
    """What the episode topic said last."""


def runs(streams: Streams, settings: CutSettings) -> Iterator[Run]:
    """Cuts a recording where the clock of the joint states jumped back; duplicates and late messages are left out."""
    jump_ns = round(settings.max_jump_s * 1e9)
    stamps, logs = streams.joints.stamp_ns, streams.joints.log_ns
    starts = [0, *(int(i) + 1 for i in np.flatnonzero(np.diff(stamps) < -jump_ns)), len(stamps)]
    for number, (start, stop) in enumerate(itertools.pairwise(starts)):
        bounds = (
            int(logs[start]) if number else -_FOREVER_NS,
            int(logs[stop]) if stop < len(logs) else _FOREVER_NS,
        )
        low, high = int(stamps[start:stop].min()) - jump_ns, int(stamps[start:stop].max()) + jump_ns
        joints = _in_order(np.arange(start, stop), streams.joints, jump_ns)
        cameras = {}
        for camera, stream in streams.cameras.items():
            log_ns, stamp_ns = stream.log_ns, stream.stamp_ns
            inside = (log_ns >= bounds[0]) & (log_ns < bounds[1]) & (stamp_ns >= low) & (stamp_ns <= high)
            cameras[camera] = _in_order(np.flatnonzero(inside), stream, jump_ns)
        yield Run(joints, cameras, bounds, streams.has_clock)


def _in_order(index: Times, stream: Stream, jump_ns: int) -> Track:
    stamps = stream.stamp_ns[index]
    jumps = np.flatnonzero(np.diff(stamps) < -jump_ns)
    if len(jumps):  # stragglers of the clock before
        index, stamps = index[jumps[-1] + 1 :], stamps[jumps[-1] + 1 :]
    newest = np.maximum.accumulate(stamps) if len(stamps) else stamps
    is_new = np.ones(len(stamps), np.bool_)
    is_new[1:] = stamps[1:] > newest[:-1]
    repeated = int((stamps[1:] == newest[:-1]).sum())
    kept = index[is_new]
    return Track(kept, stream.log_ns[kept], stamps[is_new], repeated, int((~is_new).sum()) - repeated)


def spans(run: Run, streams: Streams, settings: CutSettings, key: str) -> list[Span]:
    """The episodes of a run: one for each value of the episode topic, else one up to each reset after a success."""
    first, last = int(run.joints.stamp_ns[0]), int(run.joints.stamp_ns[-1]) + 1
    counted = _messages(run, streams.episode)
    told = _messages(run, streams.success)
    begins = [first]
    if counted:
        for (_, before), (stamp, after) in itertools.pairwise(counted):
            if before.get(key) != after.get(key):
                begins.append(stamp)
    else:
        begins += [stamp for (_, was), (stamp, now) in itertools.pairwise(told) if was and not now]
    begins = sorted({stamp for stamp in begins if first <= stamp < last})
    found = []
    for begin, end in zip(begins, [*begins[1:], last], strict=True):
        success = _first_success([(stamp, value) for stamp, value in told if begin <= stamp < end])
        if success is not None:
            end = min(end, success + round(settings.after_success_s * 1e9) + 1)
        values = [value for stamp, value in counted if begin <= stamp < end]
        found.append(Span(begin, end, success, values[-1] if values else {}))
    return found


def _messages(run: Run, stream: Stream | None) -> list[tuple[int, Any]]:
    """(ROS time, value) of the messages of a stream within a run."""
    if stream is None:
        return []
    log_ns = stream.log_ns
    inside = np.flatnonzero((log_ns >= run.log_bounds[0]) & (log_ns < run.log_bounds[1]))
    stamps = stream.stamp_ns[inside] if stream.stamps else run.ros_time_ns(log_ns[inside])
    return [(int(stamp), stream.values[i]) for stamp, i in zip(stamps, inside, strict=True)]


def _first_success(told: list[tuple[int, bool]]) -> int | None:
    """The first true after a false: a true at the very beginning still speaks of the episode before."""
    values = [value for _, value in told]
    begin = values.index(False) if False in values else 0
    return next((stamp for stamp, value in told[begin:] if value), None)
