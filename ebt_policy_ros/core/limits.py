"""The limits of a command, one class each. Axes: B chunks at once, H rows, D joints.

A target limit looks at the rows of a chunk before anything is made of them; a step limit bounds the velocity of one
joint at the next knot while its motion is planned. Between knots the acceleration is constant, so that
p' = p + (v + v') h / 2.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.settings import JointSettings, RobotSettings, SafetySettings
from ebt_policy_ros.core.types import Floats

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What a target limit made of the targets."""

    targets: Floats
    """(B, H, D), with every offending value replaced."""
    offending: Flags
    """(B, H, D) what was replaced or is refused."""
    refuses: bool
    """Whether a chunk with any offending value is refused as a whole."""


class TargetLimit(abc.ABC):
    """A demand on the rows of a chunk."""

    name: str

    @abc.abstractmethod
    def judge(self, targets: Floats, running: Floats) -> Verdict:
        """The verdict on targets (B, H, D) when the running command is at ``running`` (B, D); targets stay as is."""

    @abc.abstractmethod
    def allowed(self, joint: int) -> str:
        """What is allowed for a joint, for messages."""


class StepLimit(abc.ABC):
    """A bound on one joint's velocity at the next knot."""

    name: str

    @abc.abstractmethod
    def velocity_bounds(self, position: float, velocity: float) -> tuple[float, float]:
        """Lowest and highest allowed velocity at the next knot, one step after the state given [rad/s or m/s]."""


class FiniteLimit(TargetLimit):
    """Every target is a number; clamped to the target before it, the first to the running command."""

    name = "finite"

    def __init__(self, settings: SafetySettings) -> None:
        self._refuses = settings.on_non_finite == "reject"

    def judge(self, targets: Floats, running: Floats) -> Verdict:
        offending = ~np.isfinite(targets)
        if not offending.any():
            return Verdict(targets, offending, self._refuses)
        repaired, before = targets.copy(), running
        for row in range(targets.shape[1]):
            before = np.where(offending[:, row], before, targets[:, row])
            repaired[:, row] = before
        return Verdict(repaired, offending, self._refuses)

    def allowed(self, joint: int) -> str:
        return "a finite number"


class JumpLimit(TargetLimit):
    """The first target lies near the running command; clamped, it is approached within the other limits."""

    name = "jump"

    def __init__(self, robot: RobotSettings, settings: SafetySettings) -> None:
        self._largest = robot.per_kind(settings.max_jump_rad, settings.max_jump_m)
        self._refuses = settings.on_jump == "reject"

    def judge(self, targets: Floats, running: Floats) -> Verdict:
        offending = np.zeros(targets.shape, dtype=bool)
        offending[:, 0] = np.abs(targets[:, 0] - running) > self._largest
        return Verdict(targets, offending, self._refuses)

    def allowed(self, joint: int) -> str:
        return f"a first target within {self._largest[joint]:g} of the running command"


class PositionLimit(TargetLimit):
    """lower <= p <= upper for every row: targets are clipped."""

    name = "position"

    def __init__(self, robot: RobotSettings) -> None:
        self._lower, self._upper = robot.per_joint("lower"), robot.per_joint("upper")

    def judge(self, targets: Floats, running: Floats) -> Verdict:
        clipped = np.minimum(np.maximum(targets, self._lower), self._upper)
        return Verdict(clipped, clipped != targets, refuses=False)

    def allowed(self, joint: int) -> str:
        return f"{self._lower[joint]:g} to {self._upper[joint]:g}"


class BrakingLimit(StepLimit):
    """lower <= p <= upper, at every knot and between: the joint can always brake in time.

    Braking is safe when D(v) = v^2 / (2 A) + v h / 2 fits between p and the limit. The second part lets the joint stop
    at knots only, and makes the condition hold at the next knot too when it brakes with A now, h being one step.
    """

    name = "position"

    def __init__(self, joint: JointSettings, step_s: float) -> None:
        self._lower, self._upper, self._step_s = joint.lower, joint.upper, step_s
        self._acceleration = usable_acceleration(joint, step_s)

    def velocity_bounds(self, position: float, velocity: float) -> tuple[float, float]:
        return -self._bound(position - self._lower, -velocity), self._bound(self._upper - position, velocity)

    def _bound(self, room: float, velocity: float) -> float:
        """Highest next velocity towards a limit ``room`` away: solves D(v') = room - (v + v') h / 2 for v'.

        Where even v' = 0 comes too late (a start that was not made here), the joint brakes: so that the peak within the
        step just touches the limit if that is possible, else with all it has. At the limit and outside it moves no
        further out; it may stop there, so that rounding at the limit throws no joint back.
        """
        acceleration, step_s = self._acceleration, self._step_s
        left = room - velocity * (step_s / 2.0)
        if left >= 0.0 and room > 0.0:
            return braking_velocity(left, acceleration, step_s)
        hardest = velocity - acceleration * step_s
        if room <= 0.0:
            return max(hardest, 0.0)
        touching = velocity - velocity * velocity * (step_s / 2.0) / room if velocity > 0.0 else 0.0
        return max(touching, hardest)


class VelocityLimit(StepLimit):
    """|v| <= V; a start faster than that only brakes."""

    name = "velocity"

    def __init__(self, joint: JointSettings, step_s: float) -> None:
        self._velocity = joint.velocity
        self._change = usable_acceleration(joint, step_s) * step_s

    def velocity_bounds(self, position: float, velocity: float) -> tuple[float, float]:
        low, high = velocity + self._change, velocity - self._change  # min() and max() would take thrice as long
        return low if low < -self._velocity else -self._velocity, high if high > self._velocity else self._velocity


class AccelerationLimit(StepLimit):
    """|v' - v| <= A h. Applied last: it holds whatever the others would wish."""

    name = "acceleration"

    def __init__(self, joint: JointSettings, step_s: float) -> None:
        self._change = usable_acceleration(joint, step_s) * step_s

    def velocity_bounds(self, position: float, velocity: float) -> tuple[float, float]:
        return velocity - self._change, velocity + self._change


def usable_acceleration(joint: JointSettings, step_s: float) -> float:
    """The acceleration the knots can express: the joint's, or less where that reaches full speed in one step.

    With more, a joint stopped at its position limit could be thrown back faster than its velocity limit.
    """
    return min(joint.acceleration, joint.velocity / step_s)


def braking_velocity(room: float, deceleration: float, reaction_s: float) -> float:
    """The velocity v >= 0 with v^2 / (2 deceleration) + v reaction_s = room, for room >= 0; linear for a small room."""
    return deceleration * (math.sqrt(reaction_s * reaction_s + 2.0 * room / deceleration) - reaction_s)
