"""The running trajectory: where a new one takes over, what was executed, and the way back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ebt_policy_ros.core.errors import SafetyError
from ebt_policy_ros.core.observe import JointSample
from ebt_policy_ros.core.settings import RobotSettings, ScheduleSettings
from ebt_policy_ros.core.types import Floats, MotionState, SafeChunk, Splice

AT_REST = 0.25
"""Part of the allowed deviation that an arm at rest gets: what follows a move by hand would be a jump."""
SAME_PLACE, LOOP_ROWS, STEP = 0.08, 20, 0.05
"""[rad or m] an arm this near to where it was so many points before has gone round in a loop, which a retreat leaves
out; it crosses in steps of at most ``STEP``."""
NEAR_NS = 100_000
"""A knot nearer than this [ns] is where the trajectory starts: between points a few nanoseconds apart a controller's
spline would divide rounding by next to nothing."""
MOVED = 5e-3
"""Change of a command [rad or m], the hand's apart, from which a point belongs to the path: standing still and
trembling on the spot are no way to go back."""


@dataclass(frozen=True, slots=True, eq=False)
class PathPoint:
    """One executed command."""

    positions: Floats
    """(D,) [rad or m]."""
    is_calm: bool
    """The chunk begun here was calm."""


class Schedule:
    """Chunks in time. Not thread-safe: the pipeline's lock guards it."""

    def __init__(self, settings: ScheduleSettings, robot: RobotSettings, period_ns: int) -> None:
        self._settings = settings
        self._joint_names = robot.joint_names
        self._period_ns = period_ns
        self._free = np.ones(len(robot.joints), dtype=bool)  # joints that nothing but the command should stop
        if robot.gripper_index is not None:
            self._free[robot.gripper_index] = False
        deviation = robot.per_kind(settings.max_deviation_rad, settings.max_deviation_m)
        self._largest_deviation = np.where(self._free, deviation, np.inf)
        self._chunks: deque[SafeChunk] = deque()
        self._path: deque[PathPoint] = deque(maxlen=max(2, round(settings.path_s * 1e9) // period_ns))
        self._recorded_ns: int | None = None
        self._is_retreating = False
        self._num_retraced = 0

    @property
    def running(self) -> SafeChunk | None:
        """The newest trajectory, perhaps ended: its last point is then still held."""
        return self._chunks[-1] if self._chunks else None

    @property
    def path(self) -> tuple[PathPoint, ...]:
        """The executed path, oldest first, one point a period of motion."""
        return tuple(self._path)

    def is_moving(self, now_ns: int) -> bool:
        """Whether a trajectory is running at all now."""
        return bool(self._chunks) and now_ns < self._chunks[-1].end_ns

    def command_at(self, stamp_ns: int) -> MotionState | None:
        """What is commanded at a time; None before the first trajectory."""
        chunk = self._chunk_at(stamp_ns)
        return None if chunk is None else chunk.sample(stamp_ns)

    def _chunk_at(self, stamp_ns: int) -> SafeChunk | None:
        return next((chunk for chunk in reversed(self._chunks) if chunk.start_ns <= stamp_ns), None)

    def splice(self, now_ns: int, measured: JointSample | None) -> Splice | None:
        """Where the next trajectory takes over: ``lead_s`` from now, on the running command.

        From rest at the measured positions when nothing runs or the command was not followed; the gripper keeps its
        command even then. None when nothing runs and nothing is measured. ``measured`` must be fresh.
        """
        start_ns = now_ns + round(self._settings.lead_s * 1e9)
        running = self._chunk_at(start_ns)
        if running is None:
            return None if measured is None else Splice.at_once(start_ns, MotionState.at_rest(measured.positions))
        deviation = self._deviation(measured, now_ns) if measured is not None else ""
        begin = knot = running.sample(start_ns)
        knot_ns = start_ns
        if begin.velocities.any() or begin.accelerations.any():
            knot_ns, knot = running.next_point(start_ns)
        if knot_ns - start_ns < NEAR_NS:
            start_ns, begin = knot_ns, knot
        if measured is not None and deviation:
            here = MotionState.at_rest(measured.positions)
            begin, knot = (MotionState(*map(self._only_hand, here, state)) for state in (begin, knot))
        return Splice(start_ns, begin, knot_ns, knot, deviation)

    def _only_hand(self, measured: Floats, commanded: Floats) -> Floats:
        return np.where(self._free, measured, commanded)

    def accept(self, chunk: SafeChunk, now_ns: int, *, retreat: bool = False) -> None:
        """Let a chunk run from its start on; SafetyError when that is already past."""
        if chunk.start_ns < now_ns:
            raise SafetyError(f"chunk starts {(now_ns - chunk.start_ns) * 1e-9:.3f} s in the past; splice again")
        self.advance(now_ns)
        while self._chunks and self._chunks[-1].start_ns >= chunk.start_ns:
            self._chunks.pop()
        self._chunks.append(chunk)
        oldest_ns = now_ns - round((self._settings.follow_s + 1.0) * 1e9)
        while len(self._chunks) > 1 and self._chunks[1].start_ns < oldest_ns:
            self._chunks.popleft()
        self._is_retreating = retreat

    def advance(self, now_ns: int) -> None:
        """Write down what was executed up to now."""
        if not self._chunks:
            return
        next_ns = self._chunks[0].start_ns if self._recorded_ns is None else self._recorded_ns + self._period_ns
        next_ns = max(next_ns, now_ns - self._path.maxlen * self._period_ns if self._path.maxlen else next_ns)
        for stamp_ns in range(next_ns, now_ns + 1, self._period_ns):
            self._recorded_ns = stamp_ns
            command = self.command_at(stamp_ns)
            if command is None or self._is_retreating:
                continue
            if not self._path or (np.abs(self._path[-1].positions - command.positions) * self._free).max() > MOVED:
                self._path.append(PathPoint(command.positions, is_calm=False))

    def mark_calm(self) -> None:
        """The newest executed point is one to come back to."""
        if self._path:
            self._path.append(PathPoint(self._path.pop().positions, is_calm=True))

    def retreat_targets(self, splice: Splice, least_s: float, least_change: float, most_s: float) -> Floats:
        """(M, D) the way back from the splice, one row a period, loops left out: to the first calm point ``least_s`` or
        more away and ``least_change`` [rad or m] or more different, at most ``most_s``; only the splice itself when
        nothing was executed."""
        least, most = (max(1, round(seconds * 1e9 / self._period_ns)) for seconds in (least_s, most_s))
        here = splice.knot.positions
        rows, self._num_retraced = [here], 0
        for index, point, way in self._way_back(here):
            rows += way
            self._num_retraced = index
            change = float((np.abs(point.positions - here) * self._free).max())
            if len(rows) > most or (point.is_calm and len(rows) > least and change >= least_change):
                break
        return np.stack(rows[: most + 1])

    def _way_back(self, here: Floats) -> Iterator[tuple[int, PathPoint, list[Floats]]]:
        """Executed points from the newest back, without the loops between two visits of a place: how many points lie
        after each one, itself, and the rows (D,) that lead to it from ``here`` or the one before."""
        back = list(self._path)[::-1]
        places = np.array([point.positions * self._free for point in back])
        index = 0
        while index < len(back):
            again = np.abs(places[index + LOOP_ROWS :] - places[index]).max(1, initial=0.0) <= SAME_PLACE
            if again.any():
                index += LOOP_ROWS + int(np.flatnonzero(again)[-1])
            point = back[index]
            steps = max(1, int(np.ceil((np.abs(point.positions - here) * self._free).max() / STEP)))
            yield index, point, [here + (point.positions - here) * (k + 1) / steps for k in range(steps)]
            here, index = point.positions, index + 1

    def cut_path(self) -> None:
        """Forget the part of the path that the retreat goes back over: a second retreat goes further."""
        for _ in range(min(self._num_retraced, len(self._path))):
            self._path.pop()
        self._num_retraced = 0

    def clear(self) -> None:
        """Forget the running trajectory and the path."""
        self._chunks.clear()
        self._path.clear()
        self._recorded_ns = None
        self._is_retreating = False

    def _deviation(self, measured: JointSample, now_ns: int) -> str:
        """Which joint is not where its command was lately, or nothing."""
        late_ns = round(self._settings.follow_s * 1e9)
        stamps = [measured.stamp_ns - late_ns * part // 5 for part in range(6)]
        running = self._chunks[-1]
        is_at_rest = measured.stamp_ns > running.end_ns + late_ns + 500_000_000
        largest = self._largest_deviation * (AT_REST if is_at_rest else 1.0)
        commands = []
        for command in map(self.command_at, stamps):
            if command is not None:
                if (np.abs(measured.positions - command.positions) <= largest).all():
                    return ""  # near enough to one of them, as it mostly is to the first
                commands.append(command.positions)
        if not commands:
            return ""
        low, high = np.min(commands, axis=0), np.max(commands, axis=0)
        off = np.maximum(np.maximum(low - measured.positions, measured.positions - high), 0.0)
        excess = off / largest
        joint = int(np.argmax(excess))
        if excess[joint] <= 1.0:
            return ""
        return (
            f"joint '{self._joint_names[joint]}' is {off[joint]:.3f} away from its command, allowed are "
            f"{largest[joint]:g}: going on from where it is"
        )
