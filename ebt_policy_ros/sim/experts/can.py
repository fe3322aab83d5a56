"""The expert of the can task."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.sim.experts.base import GRIPPER_SPEED, PERIOD_S, ArcPath, Expert, JointMotion, Way, towards, wrap
from ebt_policy_ros.sim.kinematics import downward, rotation_error, yaw_of
from ebt_policy_ros.sim.tasks.can import FLOOR_M, STANDING_M, is_in_goal

if TYPE_CHECKING:
    from ebt_policy_ros.sim.arm import SimulatedArm

PLACE = np.array([0.15, 0.345])
"""(2,) [m] where the can is let go: about the farthest of its quarter that a hand pointing down can reach."""
RELEASE_M, CARRY_M, RISEN_M = 0.912, 1.0, 0.985
"""Heights [m] of the hand when it lets go (open fingers just clear the walls), over the walls, and at the end."""
REST_YAW = np.pi / 2
GRASP_ABOVE_CENTRE_M = 0.018
"""Fingers hold the upper half of a standing can, so that they stay above the walls where they let go."""


BASE, REACH_M = np.array([-0.5, -0.1]), 0.74
"""The arm's first axis (2,) [m] and how far from it arcs may lead; a little more is possible, but hardly moves."""


class ReachableArc(ArcPath):
    """An arc that does not lead farther out than the can itself where the arm would be stretched."""

    SPEED = 0.36

    def kept(self, points: Floats) -> Floats:
        outwards = points[:, :2] - BASE
        distance = np.linalg.norm(outwards, axis=1)
        most = max(REACH_M, float(distance[-1]))
        points[:, :2] = BASE + outwards * np.minimum(1.0, most / distance)[:, None]
        return points


class Phase(enum.Enum):
    """What the can expert is doing; every change is caused by something visible."""

    APPROACH = "approach"
    CLOSE = "close"
    CARRY = "carry"
    RELEASE = "release"
    RISE = "rise"
    RECOVER = "recover"


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the expert sees of one moment."""

    hand: Floats
    rotation: Floats
    can: Floats
    grasp: Floats
    """(3,) [m] where the hand has to be to close on the can."""
    yaw: float
    """[rad] at which the fingers close across the can."""
    finger: float

    @property
    def offset(self) -> Floats:
        return self.hand - self.grasp

    @property
    def beside(self) -> float:
        return float(np.linalg.norm(self.offset[:2]))

    @property
    def middle(self) -> Floats:
        """(3,) [m] between hand and can in x and y (a can may be held off its centre), the hand's height."""
        return np.append((self.hand[:2] + self.can[:2]) / 2, self.hand[2])

    @property
    def turn(self) -> float:
        """[rad] still to be turned."""
        return abs(wrap(self.yaw - yaw_of(self.rotation)))


class CanExpert(Expert):
    """Comes in an arc, grasps the can, carries it over the walls in another arc, lets it go and rises.

    Drawn once an episode: the way to the can (left or right, high or low) and the side of the carry (near the robot
    or far from it). All of them end in the same grasp, the same place and the same rest above it. The can is round,
    so the hand keeps the yaw it rests at, unless the can lies on its side.
    """

    HOLD_TICKS = 8
    CARRY_SPEED = 0.48
    LOOK_AHEAD_M = 0.12

    def __init__(self, arm: SimulatedArm, rng: np.random.Generator) -> None:
        self._arm = arm
        self._way = Way(
            side=int(rng.choice([-1, 1])), is_low=bool(rng.integers(2)), width_m=float(rng.uniform(0.085, 0.115))
        )
        self._carries_near = bool(rng.integers(2))
        self.mode = f"{self._way}-{'near' if self._carries_near else 'far'}"
        self._motion = JointMotion(len(arm.joint_names) - 1)
        self._gripper = float(arm.positions()[-1])
        self._last_finger = self._gripper
        self._still_ticks = 0
        self._held_ticks = 0
        self.phase = Phase.APPROACH
        self._path: ReachableArc | None = None

    @property
    def is_done(self) -> bool:
        return self._held_ticks >= self.HOLD_TICKS and self._arm.is_success

    def act(self) -> Floats:
        positions = self._arm.positions()
        scene = self._look(positions[-1])
        self._still_ticks = self._still_ticks + 1 if abs(scene.finger - self._last_finger) < 4e-4 else 0
        self._last_finger = scene.finger
        self.phase = self._next_phase(scene)
        if self.phase is not Phase.APPROACH:
            self._path = None
        velocity = self._hand_velocity(scene)
        turn = 4.0 * rotation_error(scene.rotation, downward(self._wanted_yaw(scene)))
        turn *= min(1.0, 1.4 / (float(np.linalg.norm(turn)) + 1e-9))
        wanted = self._arm.kinematics.joint_velocity(positions[:-1], np.concatenate([velocity, turn]))
        targets = self._motion.advance(positions[:-1], wanted)
        self._move_gripper(scene)
        is_risen = self.phase is Phase.RISE and scene.hand[2] > RISEN_M - 0.02
        self._held_ticks = self._held_ticks + 1 if is_risen else 0
        return np.append(targets, self._gripper)

    # --- decisions ------------------------------------------------------------------------------------------------
    def _look(self, finger: float) -> _Scene:
        hand, rotation = self._arm.tool_pose()
        can, can_rotation = self._arm.object_pose(self._arm.task.target)
        axis = can_rotation[:, 2]
        if abs(axis[2]) > 0.6:
            grasp = can + np.array([0.0, 0.0, GRASP_ABOVE_CENTRE_M])
            return _Scene(hand, rotation, can, grasp, REST_YAW, finger)
        # Lying: across its axis, of the two symmetric grasps the one nearer to rest, short of the last joint's end.
        away = wrap(float(np.arctan2(axis[1], axis[0])) + np.pi / 2 - REST_YAW, np.pi)
        yaw = REST_YAW + float(np.clip(away, np.deg2rad(-80), np.deg2rad(80)))
        grasp = np.array([can[0], can[1], max(can[2], FLOOR_M + 0.022)])
        return _Scene(hand, rotation, can, grasp, yaw, finger)

    def _next_phase(self, scene: _Scene) -> Phase:
        if self.phase is Phase.CLOSE:
            if not (scene.beside < 0.03 and abs(scene.offset[2]) < 0.03):
                return Phase.RECOVER
            if self._gripper == 0.0 and self._still_ticks >= 2:
                return Phase.CARRY if scene.finger > 0.012 else Phase.RECOVER
            return Phase.CLOSE
        if self.phase is Phase.CARRY:
            if float(np.linalg.norm(scene.offset)) > 0.05 or scene.finger < 0.012:
                return Phase.RISE if is_in_goal(scene.can) else Phase.RECOVER
            is_there = _missing(scene) < 0.02 and scene.hand[2] < RELEASE_M + 0.025
            return Phase.RELEASE if is_there else Phase.CARRY
        if self.phase is Phase.RELEASE and (scene.finger < 0.031 or (scene.finger < 0.038 and _is_dropping(scene.can))):
            return Phase.RELEASE
        if is_in_goal(scene.can):
            return Phase.RISE
        return self._next_search(scene)

    def _next_search(self, scene: _Scene) -> Phase:
        """Among APPROACH, CLOSE and RECOVER, for a can that is neither in the hand nor in its quarter."""
        beside, height = scene.beside, scene.offset[2]
        if self.phase is not Phase.APPROACH:
            is_clear = height > 0.075 or scene.hand[2] > CARRY_M - 0.03
            return Phase.APPROACH if is_clear and scene.finger > 0.03 else Phase.RECOVER
        if (beside > 0.03 and height < 0.034) or (height < 0.05 and scene.finger < 0.03 and beside > 0.012):
            return Phase.RECOVER
        if beside < 0.007 and abs(height) < 0.008 and scene.turn < 0.15:
            return Phase.CLOSE
        return Phase.APPROACH

    def _wanted_yaw(self, scene: _Scene) -> float:
        if self.phase is Phase.APPROACH:
            return scene.yaw
        return yaw_of(scene.rotation) if self.phase in (Phase.CLOSE, Phase.RELEASE) else REST_YAW

    # --- motion ---------------------------------------------------------------------------------------------------
    def _hand_velocity(self, scene: _Scene) -> Floats:
        hand = scene.hand
        if self.phase is Phase.APPROACH:
            if self._path is None or self._path.misses(scene.grasp):
                above = max(0.072, 0.95 - scene.grasp[2]) if self._way.is_low else max(0.115, 0.99 - scene.grasp[2])
                self._path = ReachableArc(hand, scene.grasp, self._way, above_m=float(above))
            return self._path.velocity(hand, scene.grasp, scene.turn)
        if self.phase is Phase.CLOSE:
            return towards(hand, scene.grasp, speed=0.05)
        if self.phase is Phase.CARRY:
            return self._carry_velocity(scene)
        if self.phase is Phase.RELEASE:
            return towards(hand, np.array([*PLACE, RELEASE_M]), speed=0.15)
        return towards(
            hand, np.array([hand[0], hand[1], RISEN_M if self.phase is Phase.RISE else CARRY_M]), speed=0.30, gain=5.0
        )

    def _carry_velocity(self, scene: _Scene) -> Floats:
        """(3,) [m/s] of a hand that holds the can: up, over the walls along a curve, down above the place.

        A function of positions alone, given the side: where the hand is says how it got there.
        """
        hand, missing = scene.middle, _missing(scene)
        ahead = min(hand[1] + self.LOOK_AHEAD_M, PLACE[1])
        bulge = np.sin(0.5 * np.pi * np.clip((PLACE[1] - ahead) / 0.25, 0.0, 1.0))
        aim = np.array([PLACE[0] + (-0.09 if self._carries_near else 0.06) * bulge, ahead])
        way = aim - hand[:2]
        # Sideways only when the can is off the floor, and near a wall only when it is above the wall.
        low = np.interp(hand[1], [-0.20, -0.10], [0.895, 0.935])
        speed = min(self.CARRY_SPEED, 4.5 * missing) * float(np.clip((hand[2] - low) / 0.04, 0.0, 1.0))
        sideways = way / max(float(np.linalg.norm(way)), 1e-6) * speed
        height = np.interp(missing, [0.014, 0.03, 0.08], [RELEASE_M, 0.965, CARRY_M])
        upwards = np.clip(4.5 * (height - hand[2]), -0.2, 0.3)
        return np.append(sideways, upwards)

    def _move_gripper(self, scene: _Scene) -> None:
        """Ramps the commanded travel; opens only clear of the can, so that low and half open always means closing."""
        wanted = 0.04
        if self.phase in (Phase.CLOSE, Phase.CARRY):
            wanted = 0.0
        elif self.phase is Phase.RECOVER and scene.offset[2] < 0.055 and scene.hand[2] < CARRY_M - 0.05:
            wanted = self._gripper
        step = GRIPPER_SPEED * PERIOD_S
        self._gripper = float(np.clip(wanted, self._gripper - step, self._gripper + step))


def _missing(scene: _Scene) -> float:
    """[m] from above the place; along y there is more room between the walls than along x."""
    away = scene.middle[:2] - PLACE
    return float(np.hypot(away[0], 0.6 * away[1]))


def _is_dropping(can: Floats) -> bool:
    """Whether the can is above its place and not yet below the tops of the walls."""
    return bool(np.linalg.norm(can[:2] - PLACE) < 0.04 and can[2] > STANDING_M + 0.015)
