"""Checks published trajectories against what a joint_trajectory_controller demands, as an observer on the graph would.

The controller (ros2_controllers, ``validate_trajectory_msg``) refuses a message whose joints are not all its own, whose
times do not strictly increase, whose last point has a velocity, or whose end is already past. Beyond that it follows
whatever it gets, so the last rule, that a new trajectory continues the running one, is what keeps an arm from jerking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ebt_policy_ros.core.types import Floats


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that one message broke."""

    rule: str
    """Short name: joints, shape, times, velocities, end velocity, past, position jump, velocity jump."""
    stamp_ns: int
    """Header stamp of the message [ns]."""
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """One message as arrays: N points of D joints, in the order of ``joint_names``."""

    start_ns: int
    joint_names: tuple[str, ...]
    times_s: Floats
    """(N,) seconds after ``start_ns``."""
    positions: Floats
    """(N, D) [rad or m]."""
    velocities: Floats | None
    """(N, D) [rad/s or m/s], or None."""

    def first_ns(self) -> int:
        """Time of the first point [ns]."""
        return self.start_ns + round(float(self.times_s[0]) * 1e9)

    def end_ns(self) -> int:
        """Time of the last point [ns]."""
        return self.start_ns + round(float(self.times_s[-1]) * 1e9)

    def sample(self, time_ns: int) -> tuple[Floats, Floats]:
        """Positions and velocities (D,) at ``time_ns``: cubic between points, held before and after them."""
        assert self.velocities is not None
        time_s = (time_ns - self.start_ns) / 1e9
        if time_s <= self.times_s[0]:
            return self.positions[0], self.velocities[0]
        if time_s >= self.times_s[-1]:
            return self.positions[-1], np.zeros_like(self.positions[-1])
        right = int(np.searchsorted(self.times_s, time_s, side="right"))
        left = right - 1
        span = float(self.times_s[right] - self.times_s[left])
        u = (time_s - float(self.times_s[left])) / span
        p0, p1 = self.positions[left], self.positions[right]
        m0, m1 = self.velocities[left] * span, self.velocities[right] * span
        position = (2 * u**3 - 3 * u**2 + 1) * p0 + (u**3 - 2 * u**2 + u) * m0
        position = position + (-2 * u**3 + 3 * u**2) * p1 + (u**3 - u**2) * m1
        slope = (6 * u**2 - 6 * u) * (p0 - p1) + (3 * u**2 - 4 * u + 1) * m0 + (3 * u**2 - 2 * u) * m1
        return position, slope / span


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far a splice may be from the running motion before it counts as a jump."""

    position: float = 1e-3
    """[rad or m] against the running trajectory."""
    velocity: float = 2e-2
    """[rad/s or m/s] against the running trajectory."""
    measured_position: float = 5e-2
    """[rad or m] of an episode's first trajectory against the measured joints."""
    end_velocity: float = 1e-6
    """[rad/s or m/s] of the last point."""


class TrajectoryRules:
    """Follows one controller's stream of trajectories; ``check`` tells what each new message breaks."""

    def __init__(self, joint_names: Sequence[str], tolerances: Tolerances | None = None) -> None:
        self._joint_names = tuple(joint_names)
        self._tolerances = tolerances or Tolerances()
        self._accepted: list[Trajectory] = []
        self._measured: Floats | None = None

    def restart(self) -> None:
        """Forgets the running trajectory: the arm was put elsewhere."""
        self._accepted.clear()
        self._measured = None

    def measure(self, positions: Floats) -> None:
        """Takes note of the measured joints (D,) [rad or m], to which an episode's first trajectory is compared."""
        self._measured = positions

    def check(self, trajectory: Trajectory, now_ns: int) -> list[Violation]:
        """The rules that ``trajectory``, received at ``now_ns``, breaks; after a refusal the old one runs on."""
        found = list(self._refusals(trajectory, now_ns))
        if not found:
            found = list(self._jumps(trajectory))
            self._accepted = [*self._accepted[-1:], trajectory]
        return [Violation(rule, trajectory.start_ns, detail) for rule, detail in found]

    def _refusals(self, trajectory: Trajectory, now_ns: int) -> list[tuple[str, str]]:
        names = trajectory.joint_names
        if sorted(names) != sorted(self._joint_names):
            return [("joints", f"expected {', '.join(self._joint_names)}, got {', '.join(names) or 'none'}")]
        if len(trajectory.times_s) == 0:
            return [("shape", "the trajectory has no points")]
        found = []
        steps = np.diff(trajectory.times_s)
        if trajectory.times_s[0] < 0 or (steps <= 0).any():
            found.append(
                ("times", f"time_from_start is not strictly increasing: {np.round(trajectory.times_s, 4).tolist()}")
            )
        if not np.isfinite(trajectory.positions).all():
            found.append(("shape", "a position is not finite"))
        if trajectory.velocities is None or not np.isfinite(trajectory.velocities).all():
            found.append(("velocities", "points have no velocities, or one is not finite"))
        elif np.abs(trajectory.velocities[-1]).max() > self._tolerances.end_velocity:
            worst = int(np.abs(trajectory.velocities[-1]).argmax())
            found.append(("end velocity", f"{names[worst]} ends with {trajectory.velocities[-1][worst]:.4g}"))
        if trajectory.start_ns != 0 and trajectory.end_ns() <= now_ns:
            found.append(("past", f"ended {(now_ns - trajectory.end_ns()) / 1e9:.3f} s before it came"))
        return found

    def _jumps(self, trajectory: Trajectory) -> list[tuple[str, str]]:
        order = [trajectory.joint_names.index(name) for name in self._joint_names]
        first_ns = trajectory.first_ns()
        running = self._running_at(first_ns)
        positions = trajectory.positions[0][order]
        if running is None:
            if self._measured is None:
                return []
            return self._jump("position jump", positions, self._measured, self._tolerances.measured_position)
        assert trajectory.velocities is not None
        before = [running.joint_names.index(name) for name in self._joint_names]
        expected, slope = running.sample(first_ns)
        found = self._jump("position jump", positions, expected[before], self._tolerances.position)
        return found + self._jump(
            "velocity jump", trajectory.velocities[0][order], slope[before], self._tolerances.velocity
        )

    def _running_at(self, time_ns: int) -> Trajectory | None:
        """The newest accepted trajectory that has begun by ``time_ns``, or the oldest known; None before any."""
        for candidate in reversed(self._accepted):
            if candidate.first_ns() <= time_ns:
                return candidate
        return self._accepted[0] if self._accepted else None

    def _jump(self, rule: str, got: Floats, expected: Floats, tolerance: float) -> list[tuple[str, str]]:
        difference = np.abs(got - expected)
        worst = int(difference.argmax())
        if difference[worst] <= tolerance:
            return []
        name = self._joint_names[worst]
        return [(rule, f"{name} at {got[worst]:.4f} where the running motion is at {expected[worst]:.4f}")]
