"""How one joint follows a reference and comes to rest, knot by knot, within its limits.

A joint is planned as a double integrator with constant acceleration between knots: plain numbers, one joint after the
other. For a handful of joints that takes a quarter of the time of arrays over all of them, whose every operation costs
more than it computes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ebt_policy_ros.core.errors import SafetyError
from ebt_policy_ros.core.limits import (
    AccelerationLimit,
    BrakingLimit,
    StepLimit,
    VelocityLimit,
    usable_acceleration,
)
from ebt_policy_ros.core.settings import JointSettings

CATCH_UP = 0.5
"""Part of the acceleration limit with which targets are approached; the rest is for the targets' own motion."""
NOTICEABLE = 1e-6
"""Velocity change [rad/s or m/s] from which a bound counts as having clamped."""


class JointMotion:
    """Plans of one joint: positions [rad or m] and velocities [rad/s or m/s] at equally spaced knots."""

    def __init__(self, joint: JointSettings, step_s: float, reaction_s: float) -> None:
        """``reaction_s``: time constant with which small errors are taken up, at least one step."""
        self._step_s, self._half_s, self._reaction_s = step_s, step_s / 2.0, reaction_s
        self._lower, self._upper, self._velocity = joint.lower, joint.upper, joint.velocity
        self.acceleration = usable_acceleration(joint, step_s)
        """[rad/s^2 or m/s^2] what it accelerates and brakes with, at most the joint's limit."""
        self._change = self.acceleration * step_s
        # Inside of these it can brake whatever it does within the other limits.
        longest = self._velocity * (self._velocity / (2.0 * self.acceleration) + step_s)
        margin = longest + (self._velocity + self._change) * self._half_s
        self._low, self._high = joint.lower + margin, joint.upper - margin
        self._limits: tuple[StepLimit, ...] = (
            VelocityLimit(joint, step_s),
            BrakingLimit(joint, step_s),
            AccelerationLimit(joint, step_s),
        )

    def follow(
        self, reference: Sequence[float], rates: Sequence[float], position: float, velocity: float
    ) -> tuple[list[float], list[float], dict[str, int]]:
        """From a state along a reference and its rates, one of each a knot, then braking to rest. Also how often each
        limit changed what following asked for.

        Relative to the reference (error e, rate w) the next rate w' is the braking velocity of what is left,
        s = -(e + w h / 2): for small errors w' = s / b, whose error dies as (1 - h / b)^n without overshoot for any
        b >= h; far away the joint arrives with deceleration to spare.
        """
        positions, velocities, clamps = [position], [velocity], dict[str, int]()
        half_s, change, fastest, low, high = self._half_s, self._change, self._velocity, self._low, self._high
        gentle = CATCH_UP * self.acceleration
        slowest = gentle * self._reaction_s
        squared, steep = slowest * slowest, 2.0 * gentle
        # Written out, since calls would cost more than what they do: ``braking_velocity`` of what is left, and whether
        # any limit minds. At most knots none does.
        for ahead, rate_before, rate in zip(reference, rates, rates[1:], strict=False):
            left = ahead - position - (velocity - rate_before) * half_s
            if left > 0.0:
                wanted = rate + (math.sqrt(squared + steep * left) - slowest)
            else:
                wanted = rate - (math.sqrt(squared - steep * left) - slowest)
            if not (
                -change <= wanted - velocity <= change
                and -fastest <= wanted <= fastest
                and (low < position < high or self._can_brake(position, velocity, wanted))
            ):
                wanted = self._bounded(position, velocity, wanted, clamps)
            position, velocity = position + (velocity + wanted) * half_s, wanted
            positions.append(position)
            velocities.append(velocity)
        self._rest(positions, velocities)
        return positions, velocities, clamps

    def brake(self, position: float, velocity: float) -> tuple[list[float], list[float]]:
        """From a state to rest, as fast as the limits allow."""
        positions, velocities = [position], [velocity]
        self._rest(positions, velocities)
        return positions, velocities

    def _rest(self, positions: list[float], velocities: list[float]) -> None:
        """Adds the knots of braking from the last state until it rests."""
        position, velocity = positions[-1], velocities[-1]
        most = len(positions) + 4 + int(abs(velocity) / (self.acceleration * self._step_s))
        while velocity != 0.0:
            if len(positions) > most:
                raise SafetyError(f"braking did not end within {most} knots from {velocities[0]}: please report this")
            wanted = self._bounded(position, velocity, 0.0, {})
            position, velocity = position + (velocity + wanted) * self._half_s, wanted
            positions.append(position)
            velocities.append(velocity)

    def _can_brake(self, position: float, velocity: float, wanted: float) -> bool:
        """Whether BrakingLimit allows ``wanted``, told without square roots."""
        drift = velocity * self._half_s
        below, above = position - self._lower + drift, self._upper - position - drift
        speed, room, behind = (wanted, above, below) if wanted >= 0.0 else (-wanted, below, above)
        # What braking takes fits into what is left, and nothing is outside already.
        fits = speed * (speed / (2.0 * self.acceleration) + self._step_s) <= room
        return fits and behind >= 0.0 and self._lower < position < self._upper

    def _bounded(self, position: float, velocity: float, wanted: float, clamps: dict[str, int]) -> float:
        """The velocity at the next knot as near to ``wanted`` as the limits allow; adds to the counts."""
        for limit in self._limits:
            low, high = limit.velocity_bounds(position, velocity)
            bounded = low if wanted < low else wanted
            bounded = high if bounded > high else bounded
            if bounded != wanted:
                if abs(bounded - wanted) > NOTICEABLE:
                    clamps[limit.name] = clamps.get(limit.name, 0) + 1
                wanted = bounded
        return wanted
