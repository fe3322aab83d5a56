"""The expert of the lift task."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import numpy as np

from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.sim.experts.base import GRIPPER_SPEED, PERIOD_S, ArcPath, Expert, JointMotion, Way, towards, wrap
from ebt_policy_ros.sim.kinematics import downward, rotation_error, yaw_of

if TYPE_CHECKING:
    from ebt_policy_ros.sim.arm import SimulatedArm


class Phase(enum.Enum):
    """What the lift expert is doing; every change is caused by something visible."""

    APPROACH = "approach"
    CLOSE = "close"
    LIFT = "lift"
    RECOVER = "recover"


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
        turn = abs(wrap(self._grasp_yaw(rotation, cube_rotation) - yaw_of(rotation)))
        if beside < 0.006 and abs(offset[2]) < 0.007 and turn < 0.08:
            return Phase.CLOSE
        return Phase.APPROACH

    def _grasp_yaw(self, rotation: Floats, cube_rotation: Floats) -> float:
        """[rad] the symmetric grasp nearest to the hand's present yaw, kept clear of the last joint's ends."""
        horizontal = cube_rotation[:, 0] if abs(cube_rotation[2, 0]) < 0.5 else cube_rotation[:, 1]
        cube_yaw = float(np.arctan2(horizontal[1], horizontal[0]))
        here = yaw_of(rotation)
        nearest = here + wrap(cube_yaw - here, np.pi / 2)
        away_from_rest = nearest - np.pi / 2
        if abs(wrap(away_from_rest)) > np.deg2rad(75):
            nearest -= np.sign(wrap(away_from_rest)) * np.pi / 2
        return float(nearest)

    # --- motion ---------------------------------------------------------------------------------------------------
    def _hand_velocity(self, hand: Floats, rotation: Floats, cube: Floats, cube_rotation: Floats) -> Floats:
        if self.phase is Phase.APPROACH:
            if self._path is None or self._path.misses(cube):
                self._path = ArcPath(hand, cube, self._way)
            turn = abs(wrap(self._grasp_yaw(rotation, cube_rotation) - yaw_of(rotation)))
            return self._path.velocity(hand, cube, turn)
        if self.phase is Phase.CLOSE:
            goal = np.array([cube[0], cube[1], max(cube[2], 0.82)])
            return towards(hand, goal, speed=0.05)
        if self.phase is Phase.LIFT:
            goal = np.array([hand[0], hand[1], self.LIFT_HEIGHT_M])
            return towards(hand, goal, speed=0.25)
        return towards(hand, np.array([hand[0], hand[1], cube[2] + 0.13]), speed=0.25, gain=5.0)

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
