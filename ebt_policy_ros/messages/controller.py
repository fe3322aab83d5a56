"""What a joint_trajectory_controller does with a trajectory: refuse it with a reason, or replace the running one.

Semantics of ros2_controllers' joint_trajectory_controller (validate_trajectory_msg, Trajectory::sample) for a position
command interface, with ``allow_partial_joints_goal`` and ``allow_nonzero_velocity_at_trajectory_end`` off. It is
stricter in one thing: numbers that are not finite are refused instead of being passed on to the motors.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.types import Floats, MotionState, as_floats

REST_VELOCITY = float(np.finfo(np.float32).eps)
"""[rad/s or m/s]; the last point must not be faster (the same bound as in the C++ code)."""


class RejectedTrajectory(EbtPolicyError, ValueError):
    """The controller keeps what it was doing; the message says which rule was broken, by joint and point."""


@dataclass(frozen=True, slots=True)
class Spline:
    """A trajectory as it is followed: points at absolute times.

    The first is the state at receipt when the trajectory begins later than that.
    """

    stamps_ns: tuple[int, ...]
    positions: Floats
    """(N, D) [rad or m]."""
    velocities: Floats | None = None
    """(N, D) [rad/s or m/s]; None: linear between points."""
    accelerations: Floats | None = None
    """(N, D) [rad/s^2 or m/s^2]; None: cubic between points with velocities, else quintic."""

    @classmethod
    def of(cls, trajectory: Any) -> Spline:
        """What a controller follows that gets a trajectory at its start: a TrajectoryReading or a SafeChunk."""
        stamps_ns = tuple(trajectory.start_ns + round(float(time_s) * 1e9) for time_s in trajectory.times_s)
        return cls(stamps_ns, trajectory.positions, trajectory.velocities, trajectory.accelerations)

    def sample(self, now_ns: int) -> MotionState:
        """The state at ``now_ns``; the ends are held."""
        if now_ns < self.stamps_ns[0] or now_ns >= self.stamps_ns[-1]:
            return MotionState.at_rest(self.positions[0 if now_ns < self.stamps_ns[0] else -1])
        right = int(np.searchsorted(np.array(self.stamps_ns), now_ns, side="right"))
        left = right - 1
        span_s = (self.stamps_ns[right] - self.stamps_ns[left]) * 1e-9
        part = (now_ns - self.stamps_ns[left]) * 1e-9 / span_s
        start, end = self.positions[left], self.positions[right]
        if self.velocities is None:
            state = _polynomial([start, end - start], part)
        elif self.accelerations is None:
            state = _cubic(start, end, self.velocities[left:] * span_s, part)
        else:
            state = _quintic(start, end, self.velocities[left:] * span_s, self.accelerations[left:] * span_s**2, part)
        return MotionState(state[0], state[1] / span_s, state[2] / span_s**2)


def _cubic(start: Floats, end: Floats, slopes: Floats, part: float) -> tuple[Floats, Floats, Floats]:
    """Cubic Hermite over one segment and its derivatives; slopes (2.., D) per segment, ``part`` in [0, 1]."""
    difference, begin, finish = end - start, slopes[0], slopes[1]
    return _polynomial([start, begin, 3.0 * difference - 2.0 * begin - finish, begin + finish - 2.0 * difference], part)


def _quintic(start: Floats, end: Floats, slopes: Floats, bends: Floats, part: float) -> tuple[Floats, Floats, Floats]:
    """Quintic Hermite over one segment and its derivatives; slopes and second derivatives (2.., D) per segment."""
    # What is left at the end of the parabola that the start describes: of position, slope and bend.
    position = end - start - slopes[0] - bends[0] / 2.0
    slope = slopes[1] - slopes[0] - bends[0]
    bend = bends[1] - bends[0]
    return _polynomial(
        [
            start,
            slopes[0],
            bends[0] / 2.0,
            10.0 * position - 4.0 * slope + bend / 2.0,
            -15.0 * position + 7.0 * slope - bend,
            6.0 * position - 3.0 * slope + bend / 2.0,
        ],
        part,
    )


def _polynomial(coefficients: Sequence[Floats], part: float) -> tuple[Floats, Floats, Floats]:
    """Value, slope and second derivative of a polynomial, the lowest coefficient first."""
    value, slope, bend = (np.zeros_like(coefficients[0]) for _ in range(3))
    for coefficient in reversed(coefficients):
        value, slope, bend = value * part + coefficient, slope * part + value, bend * part + 2.0 * slope
    return value, slope, bend


class TrajectoryController:
    """Accepts joint trajectories and says what to command now. Holds still until the first one comes."""

    def __init__(self, joint_names: Sequence[str], positions: Floats) -> None:
        self.joint_names = tuple(joint_names)
        self._num_accepted = 0
        self.hold(positions)

    @property
    def running(self) -> Spline:
        """What is being followed now."""
        return self._spline

    @property
    def num_accepted(self) -> int:
        """Trajectories taken over since the start."""
        return self._num_accepted

    def hold(self, positions: Floats) -> None:
        """Forgets the running trajectory and stays at ``positions`` (D,) [rad, m]; what a reset does."""
        positions = as_floats("positions", positions, (len(self.joint_names),))
        self._spline = Spline((0,), positions[None, :])

    def accept(
        self,
        *,
        start_ns: int,
        joint_names: Sequence[str],
        times_s: Sequence[float] | Floats,
        positions: Floats,
        velocities: Floats | None,
        accelerations: Floats | None = None,
        now_ns: int,
        measured: MotionState | None = None,
    ) -> None:
        """Replaces the running trajectory at once, or raises RejectedTrajectory and keeps it.

        ``start_ns`` is the header stamp, 0 for "now"; ``times_s`` (N,) time from start; ``positions``, ``velocities``
        and ``accelerations`` (N, D), the last two perhaps None, in the order of ``joint_names``, which may differ from
        the controller's. Until the first point the command runs from the state at receipt to it: from the running
        command (as with ``open_loop_control``), or from ``measured`` where that is given.
        """
        names = self._check_names(joint_names)
        stamps_ns, rows = self._check_points(times_s, (positions, velocities, accelerations), len(names))
        self._check_end(names, rows[1], start_ns, stamps_ns, now_ns)
        order = [names.index(joint) for joint in self.joint_names]
        begin_ns = start_ns if start_ns != 0 else now_ns
        absolute_ns = [begin_ns + stamp for stamp in stamps_ns]
        parts = [part[:, order] if part is not None else None for part in rows]
        if now_ns < absolute_ns[0]:
            here = measured if measured is not None else self._spline.sample(now_ns)
            absolute_ns.insert(0, now_ns)
            parts = [np.vstack([at, part]) if part is not None else None for at, part in zip(here, parts, strict=True)]
        assert parts[0] is not None
        self._spline = Spline(tuple(absolute_ns), parts[0], parts[1], parts[2])
        self._num_accepted += 1

    def sample(self, now_ns: int) -> Floats:
        """(D,) [rad, m] to command at ``now_ns``: what runs, and then its end."""
        return self._spline.sample(now_ns).positions.copy()

    # --- rules ----------------------------------------------------------------------------------------------------
    def _check_names(self, joint_names: Sequence[str]) -> tuple[str, ...]:
        names = tuple(joint_names)
        for name in names:
            if name not in self.joint_names:
                raise RejectedTrajectory(
                    f"joint '{name}' is not one of the controller's: {', '.join(self.joint_names)}"
                )
            if names.count(name) > 1:
                raise RejectedTrajectory(f"joint '{name}' is named twice")
        missing = [name for name in self.joint_names if name not in names]
        if missing:
            raise RejectedTrajectory(f"joint '{missing[0]}' is missing: all of the controller's joints are needed")
        return names

    @staticmethod
    def _check_points(
        times_s: Sequence[float] | Floats, given: tuple[Floats | None, ...], num_joints: int
    ) -> tuple[list[int], list[Floats | None]]:
        times = np.asarray(times_s, dtype=np.float64)
        rows = [None if part is None or np.size(part) == 0 else np.asarray(part, dtype=np.float64) for part in given]
        if times.ndim != 1 or len(times) == 0:
            raise RejectedTrajectory("the trajectory has no points")
        if rows[0] is None:
            raise RejectedTrajectory("the points have no positions")
        named = [("times", times), *zip(("positions", "velocities", "accelerations"), rows, strict=True)]
        for name, values in named[1:]:
            if values is not None and values.shape != (len(times), num_joints):
                raise RejectedTrajectory(f"{name}: expected {(len(times), num_joints)} values, got {values.shape}")
        for name, values in named:
            if values is not None and not np.isfinite(values).all():
                point = int(np.argwhere(~np.isfinite(values))[0][0])
                raise RejectedTrajectory(f"{name} of point {point}: expected finite numbers")
        stamps_ns = [round(float(time) * 1e9) for time in times]
        for index, (before, after) in enumerate(itertools.pairwise(stamps_ns), start=1):
            if after <= before:
                raise RejectedTrajectory(
                    f"times of points {index - 1} and {index} are not strictly increasing: "
                    f"{before * 1e-9:.6f} s and {after * 1e-9:.6f} s"
                )
        return stamps_ns, rows

    @staticmethod
    def _check_end(
        names: tuple[str, ...], slopes: Floats | None, start_ns: int, stamps_ns: list[int], now_ns: int
    ) -> None:
        if slopes is not None:
            for name, velocity in zip(names, slopes[-1], strict=True):
                if abs(velocity) > REST_VELOCITY:
                    raise RejectedTrajectory(f"velocity of joint '{name}' at the last point is {velocity:g}, not zero")
        end_ns = start_ns + stamps_ns[-1]
        if start_ns != 0 and end_ns < now_ns:
            raise RejectedTrajectory(f"the trajectory ended {(now_ns - end_ns) * 1e-9:.3f} s ago")
