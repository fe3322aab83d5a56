"""Scripted experts: closed-loop teachers that see the state, so that policies that see images can learn from them.

An expert is (nearly) a function of the present state. That is deliberate: the learned policy sees one frame, so an
action that depended on a hidden timer would look random to it.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.sim.kinematics import downward, rotation_error, yaw_of

if TYPE_CHECKING:
    from ebt_policy_ros.sim.arm import SimulatedArm

TRAIL_S = 2.0 / np.sqrt(200.0)
"""Kd / Kp of the arm's impedance law [s]: a target ahead of the joints by ``TRAIL_S * v`` makes them move at v."""
MAX_ACCELERATION, MAX_JERK = 3.0, 25.0
"""[rad/s^2], [rad/s^3] of the commanded velocity; targets then stay below about 7 rad/s^2."""
MAX_VELOCITY = 0.55 * np.array([2.175] * 4 + [2.61] * 3)
"""(7,) [rad/s], of the Panda's own limits."""
GRIPPER_SPEED = 0.2
"""[m/s] of the commanded finger travel."""
PERIOD_S = 0.05


class Expert(ABC):
    """Teaches one episode. ``mode`` says which of the equally good ways it took."""

    mode: str

    @abstractmethod
    def act(self) -> Floats:
        """(D,) [rad, m] absolute joint targets for the next control period, from the arm's present state."""

    @property
    @abstractmethod
    def is_done(self) -> bool:
        """Whether the task is done and has been still for a while."""


class Phase(enum.Enum):
    """What the lift expert is doing; every change is caused by something visible."""

    APPROACH = "approach"
    CLOSE = "close"
    LIFT = "lift"
    RECOVER = "recover"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to come to the cube. Ways differ in the joints used, never in the grasp."""

    side: int
    """+1: an arc over the left (+y) side of the straight line, -1: over the right."""
    is_low: bool
    """Low: goes down first and comes in over the table; high: comes in first and goes down last."""
    width_m: float
    """How far the arc leaves the straight line [m]."""

    def __str__(self) -> str:
        return f"{'left' if self.side > 0 else 'right'}-{'low' if self.is_low else 'high'}"


class JointMotion:
    """Turns wanted joint velocities into targets with bounded velocity, acceleration and jerk.

    Targets are given relative to the joints as measured, so that whatever pushed the arm is corrected by what the
    expert wants *from there*; the only memory is the commanded velocity and acceleration (a few periods).
    """

    def __init__(self, num_joints: int) -> None:
        self._velocity = np.zeros(num_joints)
        self._acceleration = np.zeros(num_joints)

    def advance(self, joints: Floats, wanted: Floats) -> Floats:
        """(7,) [rad] targets for joints at ``joints`` (7,) [rad] that should move with ``wanted`` (7,) [rad/s]."""
        wanted = wanted / max(1.0, float(np.max(np.abs(wanted) / MAX_VELOCITY)))
        acceleration = np.clip((wanted - self._velocity) / 0.1, -MAX_ACCELERATION, MAX_ACCELERATION)
        step = MAX_JERK * PERIOD_S
        self._acceleration = np.clip(acceleration, self._acceleration - step, self._acceleration + step)
        self._velocity = self._velocity + self._acceleration * PERIOD_S
        targets: Floats = joints + TRAIL_S * self._velocity
        return targets


class LiftExpert(Expert):
    """Comes in an arc, grasps the cube across two faces, lifts it 14 cm and holds it still.

    The way (left or right, high or low) is drawn once an episode; the grasp is not: of the four symmetric grasps it
    takes the one nearest to the hand's present yaw. Were it drawn at random, two good grasps 90 degrees apart would
    average to one across the cube's corners, and a method could fail for that alone; and since the choice follows
    the present yaw, a hand that has begun to turn one way goes on that way.
    """

    LIFT_HEIGHT_M = 0.96
    HOLD_TICKS = 12

    def __init__(self, arm: SimulatedArm, rng: np.random.Generator) -> None:
        self._arm = arm
        self._way = Way(
            side=int(rng.choice([-1, 1])), is_low=bool(rng.integers(2)), width_m=float(rng.uniform(0.085, 0.115))
        )
        self.mode = str(self._way)
        self._motion = JointMotion(len(arm.joint_names) - 1)
        self._gripper = float(arm.positions()[-1])
        self._last_finger = self._gripper
        self._still_ticks = 0
        self._held_ticks = 0
        self.phase = Phase.APPROACH
        self._path: ArcPath | None = None

    @property
    def is_done(self) -> bool:
        return self._held_ticks >= self.HOLD_TICKS

    def act(self) -> Floats:
        positions = self._arm.positions()
        hand, rotation = self._arm.tool_pose()
        cube, cube_rotation = self._arm.object_pose("cube")
        finger = positions[-1]
        self._still_ticks = self._still_ticks + 1 if abs(finger - self._last_finger) < 4e-4 else 0
        self._last_finger = finger
        self.phase = self._next_phase(hand, rotation, cube, cube_rotation, finger)
        if self.phase is not Phase.APPROACH:
            self._path = None
        velocity = self._hand_velocity(hand, rotation, cube, cube_rotation)
        yaw = self._grasp_yaw(rotation, cube_rotation) if self.phase is Phase.APPROACH else yaw_of(rotation)
        turn = 4.0 * rotation_error(rotation, downward(yaw))
        turn *= min(1.0, 1.4 / (float(np.linalg.norm(turn)) + 1e-9))
        wanted = self._arm.kinematics.joint_velocity(positions[:-1], np.concatenate([velocity, turn]))
        targets = self._motion.advance(positions[:-1], wanted)
        self._move_gripper(hand, cube)
        self._count_held(hand)
        return np.append(targets, self._gripper)

    # --- decisions ------------------------------------------------------------------------------------------------
    def _next_phase(self, hand: Floats, rotation: Floats, cube: Floats, cube_rotation: Floats, finger: float) -> Phase:
        offset = hand - cube
        beside = float(np.linalg.norm(offset[:2]))
        is_around = beside < 0.02 and abs(offset[2]) < 0.025
        stopped_closing = self._gripper == 0.0 and self._still_ticks >= 2
        if self.phase is Phase.CLOSE:
            if not is_around:
                return Phase.RECOVER
            if stopped_closing:
                return Phase.LIFT if finger > 0.008 else Phase.RECOVER
            return Phase.CLOSE
        if self.phase is Phase.LIFT:
            return Phase.LIFT if float(np.linalg.norm(offset)) < 0.035 and finger > 0.008 else Phase.RECOVER
        if self.phase is Phase.RECOVER:
            return Phase.APPROACH if offset[2] > 0.075 and finger > 0.03 else Phase.RECOVER
        if (beside > 0.03 and offset[2] < 0.034) or (offset[2] < 0.05 and finger < 0.03 and beside > 0.012):
            return Phase.RECOVER
        turn = abs(_wrap(self._grasp_yaw(rotation, cube_rotation) - yaw_of(rotation)))
        if beside < 0.006 and abs(offset[2]) < 0.007 and turn < 0.08:
            return Phase.CLOSE
        return Phase.APPROACH

    def _grasp_yaw(self, rotation: Floats, cube_rotation: Floats) -> float:
        """[rad] the symmetric grasp nearest to the hand's present yaw, kept clear of the last joint's ends."""
        horizontal = cube_rotation[:, 0] if abs(cube_rotation[2, 0]) < 0.5 else cube_rotation[:, 1]
        cube_yaw = float(np.arctan2(horizontal[1], horizontal[0]))
        here = yaw_of(rotation)
        nearest = here + _wrap(cube_yaw - here, np.pi / 2)
        away_from_rest = nearest - np.pi / 2
        if abs(_wrap(away_from_rest)) > np.deg2rad(75):
            nearest -= np.sign(_wrap(away_from_rest)) * np.pi / 2
        return float(nearest)

    # --- motion ---------------------------------------------------------------------------------------------------
    def _hand_velocity(self, hand: Floats, rotation: Floats, cube: Floats, cube_rotation: Floats) -> Floats:
        if self.phase is Phase.APPROACH:
            if self._path is None or self._path.misses(cube):
                self._path = ArcPath(hand, cube, self._way)
            turn = abs(_wrap(self._grasp_yaw(rotation, cube_rotation) - yaw_of(rotation)))
            return self._path.velocity(hand, cube, turn)
        if self.phase is Phase.CLOSE:
            goal = np.array([cube[0], cube[1], max(cube[2], 0.82)])
            return _towards(hand, goal, speed=0.05)
        if self.phase is Phase.LIFT:
            goal = np.array([hand[0], hand[1], self.LIFT_HEIGHT_M])
            return _towards(hand, goal, speed=0.25)
        return _towards(hand, np.array([hand[0], hand[1], cube[2] + 0.13]), speed=0.25, gain=5.0)

    def _move_gripper(self, hand: Floats, cube: Floats) -> None:
        """Ramps the commanded travel; opens only clear of the cube, so that low and half open always means closing."""
        wanted = 0.04
        if self.phase in (Phase.CLOSE, Phase.LIFT):
            wanted = 0.0
        elif self.phase is Phase.RECOVER and hand[2] - cube[2] < 0.055:
            wanted = self._gripper
        step = GRIPPER_SPEED * PERIOD_S
        self._gripper = float(np.clip(wanted, self._gripper - step, self._gripper + step))

    def _count_held(self, hand: Floats) -> None:
        is_up = self.phase is Phase.LIFT and hand[2] > self.LIFT_HEIGHT_M - 0.02
        self._held_ticks = self._held_ticks + is_up if self.phase is Phase.LIFT else 0


class ArcPath:
    """A path from the hand over an arc to above the cube and straight down onto it, followed by looking ahead."""

    SPEED = 0.30
    LOOK_AHEAD_M = 0.025

    def __init__(self, hand: Floats, cube: Floats, way: Way) -> None:
        self._cube = cube.copy()
        above = cube + np.array([0.0, 0.0, 0.072 if way.is_low else 0.09])
        straight = above[:2] - hand[:2] + np.array([0.05, 0.0])
        across = way.side * np.array([-straight[1], straight[0]]) / np.linalg.norm(straight)
        # A hand already close to the cube has no room for the full arc.
        room = np.clip(np.linalg.norm(above - hand) / 0.12, 0.0, 1.0)
        u = np.linspace(0.0, 1.0, 60)[:, None]
        arc = hand + u * (above - hand)
        arc[:, :2] += way.width_m * room * np.sin(np.pi * u) ** 2 * across
        down = 1.0 - (1.0 - u) ** 2 if way.is_low else u**2
        arc[:, 2] = (hand[2] + down * (above[2] - hand[2]))[:, 0]
        descent = above + np.linspace(0.0, 1.0, 21)[1:, None] * (cube - above)
        self._points = np.vstack([arc, descent])
        lengths = np.linalg.norm(np.diff(self._points, axis=0), axis=1)
        self._along = np.concatenate([[0.0], np.cumsum(lengths)])
        self._corner = self._along[len(arc) - 1]
        self._done = 0.0

    def misses(self, cube: Floats) -> bool:
        """Whether the cube is no longer where this path ends."""
        return float(np.linalg.norm(cube[:2] - self._cube[:2])) > 0.015

    def velocity(self, hand: Floats, cube: Floats, turn: float) -> Floats:
        """(3,) [m/s] of the hand; ``turn`` [rad] is the yaw still missing, without which it does not descend."""
        points = self._points + (cube - self._cube) * (self._along / self._along[-1])[:, None]
        near = np.flatnonzero((self._along >= self._done) & (self._along <= self._done + 0.06))
        nearest = near[int(np.argmin(np.linalg.norm(points[near] - hand, axis=1)))]
        self._done = float(self._along[nearest])
        ahead = min(self._done + self.LOOK_AHEAD_M, self._along[-1])
        target = np.array([np.interp(ahead, self._along, points[:, axis]) for axis in range(3)])
        remaining = self._along[-1] - self._done + float(np.linalg.norm(points[nearest] - hand))
        speed = min(self.SPEED, 4.5 * remaining, np.sqrt(2 * 0.5 * remaining))
        to_corner = max(0.0, self._corner - self._done)
        beside = float(np.linalg.norm(hand[:2] - cube[:2]))
        speed = min(speed, 0.13 + 1.6 * to_corner) if to_corner > 0 else speed
        if to_corner < 0.02:
            # Down only once it is above the cube and turned with it.
            speed *= float(np.clip(1.5 - turn / 0.25, 0.05, 1.0))
            if hand[2] - cube[2] < 0.06 and beside > 0.01:
                sideways: Floats = np.array([*(4.5 * (cube[:2] - hand[:2])), 0.0])
                return sideways * min(1.0, 0.2 / (float(np.linalg.norm(sideways)) + 1e-9))
        way = target - hand
        distance = float(np.linalg.norm(way))
        velocity: Floats = way / max(distance, 1e-6) * min(speed, 4.5 * distance + speed * (ahead < self._along[-1]))
        if beside > 0.03:
            # A low arc must not dip so far that the fingers could push the cube.
            velocity[2] = max(velocity[2], 4.5 * (0.062 - (hand[2] - cube[2])))
        return velocity


def _towards(here: Floats, goal: Floats, *, speed: float, gain: float = 4.5) -> Floats:
    """(3,) [m/s] proportional to what is missing, at most ``speed``."""
    velocity: Floats = gain * (goal - here)
    velocity *= min(1.0, speed / (float(np.linalg.norm(velocity)) + 1e-9))
    return velocity


def _wrap(angle: float, period: float = 2 * np.pi) -> float:
    """``angle`` brought into [-period / 2, period / 2)."""
    return float((angle + period / 2) % period - period / 2)
