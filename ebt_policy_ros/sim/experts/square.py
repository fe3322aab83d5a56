"""The expert of the square task."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import numpy as np

from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.sim.experts.base import GRIPPER_SPEED, PERIOD_S, ArcPath, Expert, JointMotion, Way, towards, wrap
from ebt_policy_ros.sim.kinematics import downward, rotation_error, yaw_of
from ebt_policy_ros.sim.tasks.square import PEG, TABLE_HEIGHT_M

if TYPE_CHECKING:
    from ebt_policy_ros.sim.arm import SimulatedArm

GRASP_M, GRASP_HEIGHT_M = 0.064, 0.003
"""[m] of the grasp: along the handle from the nut's centre, and above it."""
ENGAGED_M = 0.012
"""The hole leaves 6.7 mm to each side of the peg: a low nut whose centre is this near has the peg in its hole."""
BELOW_RIM_M, LYING_M = 0.95, 0.875
"""[m] a nut's centre on the peg's top is at 0.96; one around the peg that lies on the table is at 0.83."""
ASIDE = np.array([0.04, 0.14, 0.90])
"""[m] where a nut that hangs too crooked to be put over the peg is dropped, to be grasped anew."""
MAX_TILT_RAD = 0.35
"""Of the nut in the hand; beyond, it counts as crooked."""
HELD_M = (0.009, 0.024)
"""Travel of a finger that has something between it and the other: the handle is 2 cm thick and 3.2 cm wide."""
HAND_TURNS = (-1.60, 3.35)
"""[rad] the hand may turn about the vertical, from where its fingers open along y; beyond, joint 7 nears an end."""


class Phase(enum.Enum):
    """What the square expert is doing; every change is caused by something visible."""

    APPROACH = "approach"
    CLOSE = "close"
    CARRY = "carry"
    INSERT = "insert"
    PUT_ASIDE = "put aside"
    RELEASE = "release"
    RECOVER = "recover"


class CarryPath:
    """A path of the nut from where it is, first up and then over an arc, to above the peg."""

    SPEED = 0.34
    LOOK_AHEAD_M = 0.03

    def __init__(self, nut: Floats, side: int, width_m: float, height_m: float) -> None:
        u = np.linspace(0.0, 1.0, 80)
        start = nut[:2]
        straight = PEG - start
        length = float(np.linalg.norm(straight)) + 1e-9
        across = side * np.array([-straight[1], straight[0]]) / length
        along = u**1.4
        points = start + along[:, None] * straight
        points += width_m * min(1.0, length / 0.25) * (np.sin(np.pi * along) ** 2)[:, None] * across
        rise = 1.0 - (1.0 - u) ** 3
        self._points = np.column_stack([points, nut[2] + rise * (height_m - nut[2])])
        lengths = np.linalg.norm(np.diff(self._points, axis=0), axis=1)
        self._along = np.concatenate([[0.0], np.cumsum(lengths)])
        self._done = 0.0

    def velocity(self, nut: Floats, turn: float) -> Floats:
        """(3,) [m/s] of the nut; a nut that still has to ``turn`` [rad] waits at some distance from the peg."""
        near = np.flatnonzero((self._along >= self._done) & (self._along <= self._done + 0.06))
        nearest = near[int(np.argmin(np.linalg.norm(self._points[near] - nut, axis=1)))]
        self._done = float(self._along[nearest])
        ahead = min(self._done + self.LOOK_AHEAD_M, self._along[-1])
        target = np.array([np.interp(ahead, self._along, self._points[:, axis]) for axis in range(3)])
        remaining = self._along[-1] - self._done + float(np.linalg.norm(self._points[nearest] - nut))
        room = max(0.0, remaining - 0.07 * max(0.0, turn - 0.3))
        speed = min(self.SPEED, 4.5 * room, float(np.sqrt(2 * 0.5 * room)))
        way = target - nut
        distance = float(np.linalg.norm(way))
        is_last = ahead >= self._along[-1]
        velocity: Floats = way / max(distance, 1e-6) * (min(speed, 4.5 * distance) if is_last else speed)
        return velocity


class SquareExpert(Expert):
    """Grasps the nut's handle from an arc, carries it in another above the peg, lowers it and lets go.

    What is steered while carrying is the nut, not the hand: how it really hangs between the fingers is measured each
    tick. Ways (left or right and high or low to the nut, left or right to the peg) are drawn once an episode. The
    grasp is not: the peg stands near the end of the arm's reach, where only a handle that points back to the robot
    can be held, so each of the two grasps of the handle asks for a turn before and a turn after it, and the smaller
    sum that keeps joint 7 away from its ends is taken. That choice follows the hand's present yaw.
    """

    HOVER_HEIGHT_M = 0.978
    RELEASE_HEIGHT_M = 0.918
    RISEN_HEIGHT_M = 0.975
    MAX_TURN_RAD_S = 1.4

    def __init__(self, arm: SimulatedArm, rng: np.random.Generator) -> None:
        self._arm = arm
        self._way = Way(
            side=int(rng.choice([-1, 1])), is_low=bool(rng.integers(2)), width_m=float(rng.uniform(0.06, 0.08))
        )
        self._carry_side = int(rng.choice([-1, 1]))
        self._carry_width_m = float(rng.uniform(0.05, 0.07))
        self.mode = f"{self._way}-{'left' if self._carry_side > 0 else 'right'}"
        self._motion = JointMotion(len(arm.joint_names) - 1)
        self._gripper = float(arm.positions()[-1])
        self._last_finger = self._gripper
        self._still_ticks = 0
        self._risen_ticks = 0
        self._low_ticks = 0
        self._release_height = self.RELEASE_HEIGHT_M
        self.phase = Phase.APPROACH
        self._path: ArcPath | None = None
        self._carry: CarryPath | None = None

    @property
    def is_done(self) -> bool:
        return self._risen_ticks >= 3 and self._arm.is_success

    def act(self) -> Floats:
        positions = self._arm.positions()
        self._finger = float(positions[-1])
        self._hand, self._rotation = self._arm.tool_pose()
        self._nut, self._nut_rotation = self._arm.object_pose("SquareNut")
        self._nut_yaw = float(np.arctan2(self._nut_rotation[1, 0], self._nut_rotation[0, 0]))
        self._grasp = self._nut + self._nut_rotation @ np.array([GRASP_M, 0.0, 0.0])
        self._grasp[2] += GRASP_HEIGHT_M
        self._still_ticks = self._still_ticks + 1 if abs(self._finger - self._last_finger) < 4e-4 else 0
        self._last_finger = self._finger
        self.phase = self._next_phase()
        if self.phase is not Phase.APPROACH:
            self._path = None
        if self.phase is not Phase.CARRY:
            self._carry = None
        twist = self._hand_twist()
        wanted = self._arm.kinematics.joint_velocity(positions[:-1], twist)
        targets = self._motion.advance(positions[:-1], wanted)
        self._move_gripper()
        is_risen = self.phase is Phase.RELEASE and self._hand[2] > self.RISEN_HEIGHT_M - 0.015
        self._risen_ticks = self._risen_ticks + 1 if is_risen else 0
        return np.append(targets, self._gripper)

    # --- decisions ------------------------------------------------------------------------------------------------
    def _next_phase(self) -> Phase:
        offset = self._hand - self._grasp
        if self._is_engaged(BELOW_RIM_M):
            if self._nut[2] < LYING_M or (self.phase is Phase.RELEASE and offset[2] < 0.05):
                return Phase.RELEASE
            if self.phase is Phase.RELEASE:
                # It hangs on the peg although the hand let go: take it again and lead it further down.
                self._release_height = 0.86
                return Phase.RECOVER
        is_held = float(np.linalg.norm(offset)) < 0.035 and HELD_M[0] < self._finger < HELD_M[1]
        if self.phase in (Phase.CARRY, Phase.INSERT, Phase.PUT_ASIDE):
            return self._next_with_nut() if is_held else Phase.RECOVER
        beside = float(np.linalg.norm(offset[:2]))
        if self.phase is Phase.CLOSE:
            if beside > 0.02 or abs(offset[2]) > 0.025:
                return Phase.RECOVER
            if self._gripper == 0.0 and self._still_ticks >= 2:
                return Phase.CARRY if is_held else Phase.RECOVER
            return Phase.CLOSE
        if self.phase in (Phase.RECOVER, Phase.RELEASE):
            return Phase.APPROACH if offset[2] > 0.08 and self._finger > 0.03 else Phase.RECOVER
        return self._next_on_approach(beside, float(offset[2]))

    def _next_on_approach(self, beside: float, above: float) -> Phase:
        """The phase that follows with the hand ``beside`` and ``above`` [m] the grasp."""
        if (beside > 0.03 and above < 0.034) or (above < 0.05 and self._finger < 0.03 and beside > 0.012):
            return Phase.RECOVER
        self._low_ticks = self._low_ticks + 1 if above < 0.04 else 0
        if self._low_ticks > 50:  # something is in the way
            return Phase.RECOVER
        if beside < 0.008 and abs(above) < 0.008 and abs(self._turn_to_grasp()) < 0.08:
            return Phase.CLOSE
        return Phase.APPROACH

    def _next_with_nut(self) -> Phase:
        """The phase that follows while the nut is in the hand."""
        aside = float(np.linalg.norm(self._nut[:2] - PEG))
        if self._is_engaged(self._release_height):
            return Phase.RELEASE
        if self.phase is Phase.PUT_ASIDE:
            is_leaning = self._tilt() < 0.8 or self._rotation[2, 2] > -0.9  # on its edge it would stay on its edge
            is_there = aside > 0.12 and abs(self._nut[2] - ASIDE[2]) < 0.02
            return Phase.RECOVER if is_there and is_leaning else Phase.PUT_ASIDE
        if self._tilt() > MAX_TILT_RAD:
            return Phase.PUT_ASIDE
        if self.phase is Phase.INSERT:
            return Phase.CARRY if aside > 0.02 else Phase.INSERT
        is_above = aside < 0.008 and self._nut[2] > 0.965 and abs(self._turn_of_nut()) < 0.15
        return Phase.INSERT if is_above or self._is_engaged(BELOW_RIM_M) else Phase.CARRY

    def _is_engaged(self, height_m: float) -> bool:
        """Whether the peg is in the nut's hole and the nut's centre below ``height_m``."""
        return bool(np.linalg.norm(self._nut[:2] - PEG) < ENGAGED_M and self._nut[2] < height_m)

    def _tilt(self) -> float:
        """[rad] between the nut's axis and the vertical."""
        return float(np.arccos(np.clip(self._nut_rotation[2, 2], -1.0, 1.0)))

    def _hand_turn(self) -> float:
        """[rad] how far the hand is turned, unwrapped about the middle of what it may."""
        middle = float(np.mean(HAND_TURNS))
        return wrap(yaw_of(self._rotation) - np.pi / 2 - middle) + middle

    def _turn_to_grasp(self) -> float:
        """[rad] to the better of the two grasps of the handle: the least turning before and after it together."""
        here, wanted = self._hand_turn(), wrap(self._nut_yaw - np.pi)
        best, least = 0.0, np.inf
        for half_turns in range(-2, 3):
            at_grasp = wanted + np.pi * half_turns
            at_peg = np.pi * (half_turns % 2)
            turns = abs(at_grasp - here) + abs(at_peg - at_grasp)
            if HAND_TURNS[0] <= at_grasp <= HAND_TURNS[1] and turns < least:
                best, least = at_grasp - here, turns
        return best

    def _turn_of_nut(self) -> float:
        """[rad] the held nut has to turn until its handle points back to the robot."""
        here, wanted = self._hand_turn(), wrap(np.pi - self._nut_yaw)
        turns = wanted + 2 * np.pi * np.arange(-1, 2)
        beyond = np.maximum(0.0, np.maximum(HAND_TURNS[0] - (here + turns), here + turns - HAND_TURNS[1]))
        return float(turns[int(np.argmin(np.abs(turns) + 100 * beyond))])

    # --- motion ---------------------------------------------------------------------------------------------------
    def _hand_twist(self) -> Floats:
        """(6,) [m/s, rad/s] wanted of the hand."""
        if self.phase in (Phase.CARRY, Phase.INSERT):
            return self._nut_twist()
        turn = 0.0
        if self.phase is Phase.APPROACH:
            if self._path is None or self._path.misses(self._grasp):
                self._path = ArcPath(self._hand, self._grasp, self._way)
            turn = self._turn_to_grasp()
            velocity = self._path.velocity(self._hand, self._grasp, abs(turn))
            offset = self._hand - self._grasp
            if float(np.linalg.norm(offset[:2])) > 0.010:
                # Beside the grasp it stays above the nut: a finger on handle or table would be held there by friction.
                velocity[2] = max(velocity[2], 3.0 * (0.03 - offset[2]))
        elif self.phase is Phase.CLOSE:
            velocity = towards(self._hand, self._grasp, speed=0.05)
        elif self.phase is Phase.RELEASE:
            goal = np.array([self._hand[0], self._hand[1], self.RISEN_HEIGHT_M])
            velocity = towards(self._hand, goal, speed=0.2 * float(np.clip((self._finger - 0.018) / 0.015, 0.0, 1.0)))
        elif self.phase is Phase.PUT_ASIDE:
            # Straight up until it is clear of the peg.
            is_clear = float(np.linalg.norm(self._nut[:2] - PEG)) > 0.09
            over = np.array([*(self._nut[:2] if self._nut[2] < 1.0 else ASIDE[:2]), 1.02])
            velocity = towards(self._nut, ASIDE if is_clear else over, speed=0.2)
            return np.concatenate([velocity, self._levelling()])
        else:
            # A nut that hangs on is let go, and must not be followed upwards.
            goal = np.array([self._hand[0], self._hand[1], min(self._grasp[2], 0.98) + 0.12])
            velocity = towards(self._hand, goal, speed=0.25, gain=5.0)
        return np.concatenate([velocity, self._turning(turn)])

    def _turning(self, turn: float) -> Floats:
        """(3,) [rad/s] that turns the hand by ``turn`` [rad] about the vertical and keeps it pointing down."""
        yaw = yaw_of(self._rotation) + float(np.clip(turn, -1.2, 1.2))
        spin = 4.0 * rotation_error(self._rotation, downward(yaw))
        return spin * min(1.0, self.MAX_TURN_RAD_S / (float(np.linalg.norm(spin)) + 1e-9))

    def _levelling(self) -> Floats:
        """(3,) [rad/s] that leans the hand, by 0.5 rad at most, so that the nut in it comes nearer to level."""
        axis = np.cross(self._nut_rotation[:, 2], [0.0, 0.0, 1.0])
        axis /= float(np.linalg.norm(axis)) + 1e-9
        leaning = -rotation_error(self._rotation, downward(yaw_of(self._rotation)))
        spin: Floats = 3.0 * (axis * min(0.5, float(leaning @ axis) + self._tilt()) - leaning)
        return spin * min(1.0, 0.8 / (float(np.linalg.norm(spin)) + 1e-9))

    def _nut_twist(self) -> Floats:
        """(6,) of the hand such that the nut, which it holds, moves as it should."""
        turn = self._turn_of_nut()
        if self.phase is Phase.INSERT:
            aside = PEG - self._nut[:2]
            off = float(np.linalg.norm(aside))
            sink = 0.11 * float(np.clip(2.0 - off / 0.004, 0.0, 1.0) * np.clip(2.0 - abs(turn) / 0.1, 0.0, 1.0))
            velocity = np.array([*(4.5 * aside), -sink])
        else:
            if self._carry is None:
                self._carry = CarryPath(self._nut, self._carry_side, self._carry_width_m, self.HOVER_HEIGHT_M)
            velocity = self._carry.velocity(self._nut, abs(turn))
        spin = self._turning(turn)
        lever = self._hand - self._nut
        velocity = velocity + np.cross(np.array([0.0, 0.0, spin[2]]), np.array([lever[0], lever[1], 0.0]))
        return np.concatenate([velocity, spin])

    def _move_gripper(self) -> None:
        """Ramps the commanded travel; opens only clear of a nut on the table, or to let go of one that is not."""
        wanted = 0.04
        is_on_table = self._nut[2] < TABLE_HEIGHT_M + 0.03
        if self.phase in (Phase.CLOSE, Phase.CARRY, Phase.INSERT, Phase.PUT_ASIDE):
            wanted = 0.0
        elif self.phase is Phase.RECOVER and is_on_table and self._hand[2] - self._grasp[2] < 0.055:
            wanted = self._gripper
        step = GRIPPER_SPEED * PERIOD_S
        self._gripper = float(np.clip(wanted, self._gripper - step, self._gripper + step))
