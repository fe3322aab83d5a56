"""What a joint_trajectory_controller does with a trajectory: refuse it with a reason, or replace the running one.

Semantics of ros2_controllers' joint_trajectory_controller (validate_trajectory_msg, Trajectory::sample) for a position
command interface, with ``allow_partial_joints_goal`` and ``allow_nonzero_velocity_at_trajectory_end`` off. It is
stricter in one thing: numbers that are not finite are refused instead of being passed on to the motors.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.types import Floats, as_floats

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
    velocities: Floats | None

    def sample(self, now_ns: int) -> tuple[Floats, Floats]:
        """Positions and velocities (D,) at ``now_ns``; the ends are held."""
        if now_ns < self.stamps_ns[0]:
            return self.positions[0], np.zeros_like(self.positions[0])
        if now_ns >= self.stamps_ns[-1]:
            return self.positions[-1], np.zeros_like(self.positions[0])
        right = int(np.searchsorted(np.array(self.stamps_ns), now_ns, side="right"))
        left = right - 1
        span_s = (self.stamps_ns[right] - self.stamps_ns[left]) * 1e-9
        part = (now_ns - self.stamps_ns[left]) * 1e-9 / span_s
        start, difference = self.positions[left], self.positions[right] - self.positions[left]
        if self.velocities is None:
            return start + part * difference, difference / span_s
        return _cubic(start, difference, self.velocities[left] * span_s, self.velocities[right] * span_s, part, span_s)


def _cubic(
    start: Floats, difference: Floats, slope: Floats, end_slope: Floats, part: float, span_s: float
) -> tuple[Floats, Floats]:
    """Cubic Hermite over one segment; slopes per segment, ``part`` in [0, 1]."""
    square = 3.0 * difference - 2.0 * slope - end_slope
    cube = slope + end_slope - 2.0 * difference
    positions = start + part * (slope + part * (square + part * cube))
    velocities = (slope + part * (2.0 * square + 3.0 * part * cube)) / span_s
    return positions, velocities


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
        self._spline = Spline((0,), positions[None, :], None)

    def accept(
        self,
        *,
        start_ns: int,
        joint_names: Sequence[str],
        times_s: Sequence[float] | Floats,
        positions: Floats,
        velocities: Floats | None,
        now_ns: int,
        measured: tuple[Floats, Floats] | None = None,
    ) -> None:
        """Replaces the running trajectory at once, or raises RejectedTrajectory and keeps it.

        ``start_ns`` is the header stamp, 0 for "now"; ``times_s`` (N,) time from start; ``positions`` (N, D) and
        ``velocities`` (N, D) or None, in the order of ``joint_names``, which may differ from the controller's. Until
        the first point the command runs from the state at receipt to it: from the running command (as with
        ``open_loop_control``), or from ``measured`` = positions and velocities (D,) where that is given.
        """
        names = self._check_names(joint_names)
        stamps_ns, rows, slopes = self._check_points(times_s, positions, velocities, len(names))
        self._check_end(names, slopes, start_ns, stamps_ns, now_ns)
        order = [names.index(joint) for joint in self.joint_names]
        begin_ns = start_ns if start_ns != 0 else now_ns
        absolute_ns = [begin_ns + stamp for stamp in stamps_ns]
        rows = rows[:, order]
        slopes = slopes[:, order] if slopes is not None else None
        if now_ns < absolute_ns[0]:
            here, speed = measured if measured is not None else self._spline.sample(now_ns)
            absolute_ns.insert(0, now_ns)
            rows = np.vstack([here, rows])
            slopes = np.vstack([speed, slopes]) if slopes is not None else None
        self._spline = Spline(tuple(absolute_ns), rows, slopes)
        self._num_accepted += 1

    def sample(self, now_ns: int) -> Floats:
        """(D,) [rad, m] to command at ``now_ns``: cubic between points with velocities, linear without; then holds."""
        return self._spline.sample(now_ns)[0].copy()

    def velocities(self, now_ns: int) -> Floats:
        """(D,) [rad/s, m/s] of the command at ``now_ns``."""
        return self._spline.sample(now_ns)[1].copy()

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
        times_s: Sequence[float] | Floats, positions: Floats, velocities: Floats | None, num_joints: int
    ) -> tuple[list[int], Floats, Floats | None]:
        times = np.asarray(times_s, dtype=np.float64)
        rows = np.asarray(positions, dtype=np.float64)
        slopes = None if velocities is None or np.size(velocities) == 0 else np.asarray(velocities, dtype=np.float64)
        if times.ndim != 1 or len(times) == 0:
            raise RejectedTrajectory("the trajectory has no points")
        for name, values in (("positions", rows), ("velocities", slopes)):
            if values is not None and values.shape != (len(times), num_joints):
                raise RejectedTrajectory(f"{name}: expected {(len(times), num_joints)} values, got {values.shape}")
        for name, values in (("times", times), ("positions", rows), ("velocities", slopes)):
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
        return stamps_ns, rows, slopes

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
