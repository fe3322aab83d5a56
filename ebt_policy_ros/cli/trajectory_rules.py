"""Checks published trajectories against what a joint_trajectory_controller demands, as an observer on the graph would.

The controller (ros2_controllers, ``validate_trajectory_msg``) refuses a message whose joints are not all its own, whose
times do not strictly increase, whose last point has a velocity, or whose end is already past. Beyond that it follows
whatever it gets, so the last rule, that a new trajectory continues the running one, is what keeps an arm from jerking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ebt_policy_ros.core.types import Floats, SafeChunk
from ebt_policy_ros.messages import TrajectoryReading
from ebt_policy_ros.messages.controller import Spline


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that one message broke."""

    rule: str
    """Short name: joints, shape, times, velocities, end velocity, past, position jump, velocity jump,
    acceleration jump."""
    stamp_ns: int
    """Header stamp of the message [ns]."""
    detail: str


Trajectory = TrajectoryReading | SafeChunk
"""One message, or what becomes one."""


def first_ns(trajectory: Trajectory) -> int:
    """Time of the first point [ns]."""
    return trajectory.start_ns + round(float(trajectory.times_s[0]) * 1e9)


def end_ns(trajectory: Trajectory) -> int:
    """Time of the last point [ns]."""
    return trajectory.start_ns + round(float(trajectory.times_s[-1]) * 1e9)


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far a splice may be from the running motion before it counts as a jump."""

    position: float = 1e-3
    """[rad or m] against the running trajectory."""
    velocity: float = 2e-2
    """[rad/s or m/s] against the running trajectory."""
    acceleration: float = 0.2
    """[rad/s^2 or m/s^2] against the running trajectory, where both have accelerations."""
    measured_position: float = 5e-2
    """[rad or m] of an episode's first trajectory against the measured joints."""
    end_velocity: float = 1e-6
    """[rad/s or m/s] of the last point."""


_SINGULAR = {"positions": "position", "velocities": "velocity", "accelerations": "acceleration"}


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
        for name in ("positions", "accelerations"):
            values = getattr(trajectory, name)
            if values is not None and not np.isfinite(values).all():
                found.append(("shape", f"one of the {name} is not finite"))
        if trajectory.velocities is None or not np.isfinite(trajectory.velocities).all():
            found.append(("velocities", "points have no velocities, or one is not finite"))
        elif np.abs(trajectory.velocities[-1]).max() > self._tolerances.end_velocity:
            worst = int(np.abs(trajectory.velocities[-1]).argmax())
            found.append(("end velocity", f"{names[worst]} ends with {trajectory.velocities[-1][worst]:.4g}"))
        if trajectory.start_ns != 0 and end_ns(trajectory) <= now_ns:
            found.append(("past", f"ended {(now_ns - end_ns(trajectory)) / 1e9:.3f} s before it came"))
        return found

    def _jumps(self, trajectory: Trajectory) -> list[tuple[str, str]]:
        order = [trajectory.joint_names.index(name) for name in self._joint_names]
        begin_ns = first_ns(trajectory)
        running = self._running_at(begin_ns)
        positions = trajectory.positions[0][order]
        if running is None:
            if self._measured is None:
                return []
            return self._jump("position jump", positions, self._measured, self._tolerances.measured_position)
        before = [running.joint_names.index(name) for name in self._joint_names]
        state = Spline.of(running).sample(begin_ns)
        found = []
        for what, expected, tolerance in (
            ("positions", state.positions, self._tolerances.position),
            ("velocities", state.velocities, self._tolerances.velocity),
            ("accelerations", state.accelerations, self._tolerances.acceleration),
        ):
            rows, known = getattr(trajectory, what), getattr(running, what)
            if rows is not None and known is not None:
                found += self._jump(f"{_SINGULAR[what]} jump", rows[0][order], expected[before], tolerance)
        return found

    def _running_at(self, time_ns: int) -> Trajectory | None:
        """The newest accepted trajectory that has begun by ``time_ns``, or the oldest known; None before any."""
        for candidate in reversed(self._accepted):
            if first_ns(candidate) <= time_ns:
                return candidate
        return self._accepted[0] if self._accepted else None

    def _jump(self, rule: str, got: Floats, expected: Floats, tolerance: float) -> list[tuple[str, str]]:
        difference = np.abs(got - expected)
        worst = int(difference.argmax())
        if difference[worst] <= tolerance:
            return []
        name = self._joint_names[worst]
        return [(rule, f"{name} at {got[worst]:.4f} where the running motion is at {expected[worst]:.4f}")]
