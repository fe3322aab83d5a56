"""Targets in, SafeChunk out: the only place that makes one.

Every joint is planned as a double integrator that starts at the splice's knot and follows the chunk with piecewise
constant acceleration, two pieces a chunk period (``joint_motion``). The velocity at each knot is what following asks
for, bounded by the limits in turn, so the limits hold between the knots as well; it ends with braking to rest.

What is sent is the average of that plan over the last knot step. An average of values within limits is within them, so
every limit still holds; and acceleration becomes continuous, linear from knot to knot. Since the running motion is left
at a knot only, its plan before the knot is known from position, velocity and acceleration there, and the new motion
continues all three. The plan is made half a step ahead, so that averaging delays nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ebt_policy_ros.core.errors import SafetyError, ShapeError
from ebt_policy_ros.core.joint_motion import JointMotion
from ebt_policy_ros.core.limits import FiniteLimit, Flags, JumpLimit, PositionLimit, TargetLimit
from ebt_policy_ros.core.settings import RobotSettings, SafetySettings
from ebt_policy_ros.core.types import SAFETY_KEY, Floats, MotionState, SafeChunk, Splice


@dataclass(frozen=True, slots=True)
class Admitted:
    """A safe command and what had to be changed for it."""

    chunk: SafeChunk
    clamps: Mapping[str, int] = field(default_factory=dict)
    """Limit name -> number of (point, joint) values it changed; only those that changed any."""


@dataclass(frozen=True, slots=True)
class Refused:
    """No command, and the evidence."""

    limit: str
    joint: str
    value: float
    row: int
    reason: str
    """One sentence with all of it."""


@dataclass(frozen=True, slots=True, eq=False)
class PlannedMotion:
    """B motions of piecewise constant acceleration over common, equally spaced knots, before they are smoothed."""

    positions: Floats
    """(B, N, D)."""
    velocities: Floats
    """(B, N, D)."""
    clamps: Mapping[str, Floats]
    """Limit name -> (B,) number of changed values."""


class SafetyStage:
    """The limits of one robot applied to chunks of one period."""

    def __init__(self, robot: RobotSettings, settings: SafetySettings, period_ns: int) -> None:
        self._robot = robot
        self._step_ns = period_ns // 2
        self._step_s = self._step_ns * 1e-9
        self._period_ns = period_ns
        self._rest_ns = round(settings.rest_s * 1e9)
        self._velocity = robot.per_joint("velocity")
        self._lower, self._upper = robot.per_joint("lower"), robot.per_joint("upper")
        reaction_s = max(settings.blend_s, self._step_s)
        self._motions = [JointMotion(joint, self._step_s, reaction_s) for joint in robot.joints]
        self.acceleration = np.array([motion.acceleration for motion in self._motions])
        """(D,) [rad/s^2 or m/s^2] what this stage accelerates and brakes with, at most the robot's limit."""
        self._target_limits: tuple[TargetLimit, ...] = (
            FiniteLimit(settings),
            JumpLimit(robot, settings),
            PositionLimit(robot),
        )

    def earliest_ns(self, splice: Splice) -> int:
        """The first time [ns, ROS time] for which a target can still be met: half a step after the splice's knot."""
        return splice.knot_ns + self._step_ns // 2

    def make(self, targets: Floats, stamp_ns: int, splice: Splice) -> Admitted | Refused:
        """A safe motion from the splice along targets (H, D) [rad or m], row i meant for ``stamp_ns + i * period``.

        Rows before the splice only shape the way into the first one after it. Targets may hold anything, NaN and
        infinities included; ShapeError only when the shape is wrong.
        """
        if targets.ndim != 2 or targets.shape[1] != len(self._robot.joints) or len(targets) == 0:
            raise ShapeError(f"targets: expected (rows, {len(self._robot.joints)} joints), got {targets.shape}")
        first = next_row(stamp_ns, self._period_ns, splice.start_ns)
        if first >= len(targets):
            raise SafetyError(f"targets: all {len(targets)} rows lie before the splice; the schedule drops such chunks")
        positions, velocities = planned_before(splice.knot, self._step_s)
        judged, clamps, refused = self.judge(targets[None], positions[None], first)
        if refused[0] is not None:
            return refused[0]
        planned = self.follow(judged, stamp_ns - self.earliest_ns(splice), positions[None], velocities[None])
        return self._admit(planned, splice, clamps)

    def brake(self, splice: Splice) -> SafeChunk:
        """To rest as fast as the acceleration limits allow, along no particular path; then at rest for ``rest_s``.

        Without that rest the motion would be over within a few knots, and a controller that gets it late, on a loaded
        machine or network, would refuse it as ended and run on.
        """
        positions, velocities = planned_before(splice.knot, self._step_s)
        ways = [
            (*motion.brake(position, velocity), dict[str, int]())
            for motion, position, velocity in zip(self._motions, positions.tolist(), velocities.tolist(), strict=True)
        ]
        return self._admit(_together([ways]), splice, {}, self._rest_ns).chunk

    def judge(
        self, targets: Floats, running: Floats, first_row: int
    ) -> tuple[Floats, dict[str, Floats], list[Refused | None]]:
        """Targets (B, H, D) after the target limits, counts (B,) by limit, and the first refusal of every chunk.

        Rows before ``first_row`` are overtaken: they are repaired like the others, but neither counted nor a reason
        to refuse.
        """
        clamps: dict[str, Floats] = {}
        refused: list[Refused | None] = [None] * len(targets)
        past = targets[:, :first_row]
        past = np.where(np.isfinite(past), past, running[:, None])
        current = targets[:, first_row:]
        for limit in self._target_limits:
            verdict = limit.judge(current, running)
            offending = verdict.offending
            if offending.any():
                clamps[limit.name] = offending.sum(axis=(1, 2)).astype(np.float64)
                if verdict.refuses:
                    for chunk in np.flatnonzero(clamps[limit.name]):
                        refused[chunk] = refused[chunk] or self._refusal(limit, offending[chunk], current[chunk])
            current = verdict.targets
        past = np.minimum(np.maximum(past, self._lower), self._upper)
        return np.concatenate([past, current], axis=1), clamps, refused

    def follow(self, targets: Floats, delay_ns: int, positions: Floats, velocities: Floats) -> PlannedMotion:
        """Plans from states (B, D) along finite targets (B, H, D), row 0 meant for ``delay_ns`` after the start."""
        half_ns = self._period_ns / 2.0
        last_ns = delay_ns + (targets.shape[1] - 1) * self._period_ns
        num_steps = max(1, -(-last_ns // self._step_ns))
        at = (np.arange(num_steps + 1) * self._step_ns - delay_ns) / half_ns
        reference = _along(at, half_ns * 1e-9, *self._reference(targets))
        # Joint by joint: (D, N) lists of every chunk, and the states they begin from.
        chunks = zip(*(part.swapaxes(1, 2).tolist() for part in reference), strict=True)
        states = zip(positions.tolist(), velocities.tolist(), strict=True)
        return _together(
            [
                [motion.follow(*given) for motion, *given in zip(self._motions, *along, *state, strict=True)]
                for along, state in zip(chunks, states, strict=True)
            ]
        )

    def _reference(self, targets: Floats) -> tuple[Floats, Floats]:
        """The chunk's own positions and velocities (B, M, D), twice a period.

        Row velocities are central differences, within the velocity limit; two parabolas join row to row in position
        and velocity: with dp = q' - q - u T, dv = u' - u, h = T / 2 the first has a = dp / h^2 - dv / (2 h).
        """
        period_s, half_s = self._period_ns * 1e-9, self._period_ns * 0.5e-9
        rates = np.zeros_like(targets)
        if targets.shape[1] > 1:
            rates[:, 1:-1] = (targets[:, 2:] - targets[:, :-2]) / (2.0 * period_s)
            rates[:, 0], rates[:, -1] = targets[:, 1] - targets[:, 0], targets[:, -1] - targets[:, -2]
            rates[:, :: max(1, rates.shape[1] - 1)] /= period_s
        rates = np.minimum(np.maximum(rates, -self._velocity), self._velocity)
        begun = rates[:, :-1]
        gap = targets[:, 1:] - targets[:, :-1] - begun * period_s
        bend = gap / half_s**2 - (rates[:, 1:] - begun) / (2.0 * half_s)
        num_chunks, num_rows, num_joints = targets.shape
        positions = np.empty((num_chunks, 2 * num_rows - 1, num_joints))
        velocities = np.empty_like(positions)
        positions[:, 0::2], velocities[:, 0::2] = targets, rates
        positions[:, 1::2] = targets[:, :-1] + begun * half_s + bend * (half_s**2 / 2.0)
        velocities[:, 1::2] = begun + bend * half_s
        return positions, velocities

    def _admit(
        self, planned: PlannedMotion, splice: Splice, clamps: Mapping[str, Floats], rest_ns: int = 0
    ) -> Admitted:
        """The first motion, smoothed, and ``rest_ns`` more at its end; ``clamps`` are those of the targets."""
        counted: dict[str, int] = {}
        for counts in (clamps, planned.clamps):
            for name, numbers in counts.items():
                counted[name] = counted.get(name, 0) + int(numbers[0])
        begin_ns = splice.knot_ns - splice.start_ns
        smooth = smoothed(planned.positions[0], planned.velocities[0], splice.knot, self._step_s)
        offsets_ns = begin_ns + np.arange(smooth.shape[1]) * self._step_ns
        if begin_ns > 0:
            offsets_ns = np.concatenate([[0], offsets_ns])
            smooth = np.concatenate([np.array(splice.start)[:, None], smooth], axis=1)
        if rest_ns > 0:
            offsets_ns = np.concatenate([offsets_ns, offsets_ns[-1:] + rest_ns])
            smooth = np.concatenate([smooth, smooth[:, -1:]], axis=1)
        states = MotionState(*smooth)
        chunk = SafeChunk(
            start_ns=splice.start_ns,
            joint_names=self._robot.joint_names,
            times_s=offsets_ns * 1e-9,
            positions=states.positions,
            velocities=states.velocities,
            accelerations=states.accelerations,
            key=SAFETY_KEY,
        )
        return Admitted(chunk, {name: number for name, number in counted.items() if number})

    def _refusal(self, limit: TargetLimit, offending: Flags, targets: Floats) -> Refused:
        row, joint = (int(index) for index in np.argwhere(offending)[0])
        value, name = float(targets[row, joint]), self._robot.joint_names[joint]
        return Refused(
            limit.name,
            name,
            value,
            row,
            f"{limit.name} limit: joint '{name}' got target {value:g} in row {row}, expected {limit.allowed(joint)}",
        )


def _together(chunks: list[list[tuple[list[float], list[float], dict[str, int]]]]) -> PlannedMotion:
    """Plans of every joint of every chunk as arrays: those that rest sooner rest on."""
    most = max(len(positions) for joints in chunks for positions, _, _ in joints)
    positions = np.array([[knots + [knots[-1]] * (most - len(knots)) for knots, _, _ in joints] for joints in chunks])
    velocities = np.array([[rates + [0.0] * (most - len(rates)) for _, rates, _ in joints] for joints in chunks])
    clamps: dict[str, Floats] = {}
    for place, joints in enumerate(chunks):
        for _, _, counts in joints:
            for name, number in counts.items():
                clamps.setdefault(name, np.zeros(len(chunks)))[place] += number
    return PlannedMotion(positions.swapaxes(1, 2), velocities.swapaxes(1, 2), clamps)


def next_row(stamp_ns: int, period_ns: int, start_ns: int) -> int:
    """The first row of a chunk that is not before ``start_ns``: as many rows were overtaken."""
    return max(0, -((stamp_ns - start_ns) // period_ns))


def planned_before(knot: MotionState, step_s: float) -> tuple[Floats, Floats]:
    """The plan's positions and velocities (D,) at a knot whose smoothed state is ``knot``: before it the plan had
    constant acceleration for one step."""
    ahead = knot.velocities * (step_s / 2.0) + knot.accelerations * (step_s * step_s / 12.0)
    return knot.positions + ahead, knot.velocities + knot.accelerations * (step_s / 2.0)


def smoothed(positions: Floats, velocities: Floats, knot: MotionState, step_s: float) -> Floats:
    """Plans (..., N, D), averaged at every knot over the step before it: positions, velocities and accelerations
    (3, ..., N + 1, D), from ``knot`` (..., D) to rest."""
    *axes, num_knots, num_joints = positions.shape
    smooth = np.empty((3, *axes, num_knots + 1, num_joints))
    smooth[..., 0, :] = knot
    after, rates = np.empty_like(positions), np.empty_like(velocities)
    after[..., :-1, :], after[..., -1, :] = positions[..., 1:, :], positions[..., -1, :]
    rates[..., :-1, :], rates[..., -1, :] = velocities[..., 1:, :], velocities[..., -1, :]
    change = rates - velocities
    smooth[0, ..., 1:, :] = (positions + after) / 2.0 - change * (step_s / 12.0)
    smooth[1, ..., 1:, :] = (velocities + rates) / 2.0
    smooth[2, ..., 1:, :] = change / step_s
    return smooth


def _along(at: Floats, step_s: float, positions: Floats, velocities: Floats) -> tuple[Floats, Floats]:
    """Positions and velocities (B, N, D) at N places, counted in steps of those given (B, M, D): on the parabolas
    between them, straight on outside."""
    bends = np.zeros_like(velocities)
    bends[:, :-1] = velocities[:, 1:] - velocities[:, :-1]
    left = np.minimum(np.maximum(np.floor(at), 0.0), len(velocities[0]) - 1.0)
    since = (at - left)[:, None]
    left = left.astype(np.intp)
    begun = velocities[:, left]
    reached = begun + bends[:, left] * np.maximum(since, 0.0)
    return positions[:, left] + (begun + reached) * (since * (step_s / 2.0)), reached
