"""Can: take the can from its bin and put it into its quarter of the other bin (robosuite's PickPlaceCan)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.sim.places import free_place
from ebt_policy_ros.sim.rendering import View
from ebt_policy_ros.sim.tasks.base import Task

if TYPE_CHECKING:
    from ebt_policy_ros.sim.arm import SimulatedArm
    from ebt_policy_ros.sim.experts.base import Expert

FLOOR_M, WALL_TOP_M = 0.82, 0.90
"""Heights [m] of the bins' floors and of the tops of their walls."""
STANDING_M = 0.8605
"""Height [m] of the centre of a can that stands on the floor (it is 8 cm tall and 5 cm wide)."""
SOURCE_X, SOURCE_Y = (-0.02, 0.22), (-0.42, -0.08)
"""[m] where robosuite's own sampler puts the can's centre, at any yaw: 24 x 34 cm."""
GOAL_X, GOAL_Y = (0.1, 0.3), (0.28, 0.53)
"""[m] the quarter of the other bin in which robosuite wants the can."""
_HIDDEN_OBJECTS = ("Visual", "Milk", "Bread", "Cereal")
_PLAIN_BODIES: dict[str, tuple[float, float, float, float]] = {
    "bin1": (0.80, 0.68, 0.50, 1.0),
    "bin2": (0.32, 0.42, 0.52, 1.0),
    "Can_main": (0.85, 0.08, 0.08, 1.0),
    "world": (0.50, 0.50, 0.50, 1.0),
}


class Can(Task):
    """Success is robosuite's own check: the can in its quarter, the hand more than 4.2 cm away from it."""

    name: ClassVar[str] = "can"
    views: ClassVar[Mapping[str, View]] = {
        "front": View(look_at=(0.08, -0.03, 0.92), distance=1.12, azimuth_deg=180.0, elevation_deg=-42.0),
        "wrist": View(model_camera="robot0_eye_in_hand"),
    }
    target: ClassVar[str] = "Can"
    done_text: ClassVar[str] = "placed"
    area_m: ClassVar[tuple[tuple[float, float], tuple[float, float]]] = (
        (SOURCE_X[0], SOURCE_Y[0]),
        (SOURCE_X[1], SOURCE_Y[1]),
    )
    surface_m: ClassVar[float] = FLOOR_M
    time_limit_s: ClassVar[float] = 15.0
    max_ticks: ClassVar[int] = 260

    def make_environment(self, common: Mapping[str, Any]) -> Any:
        from robosuite.environments.manipulation.pick_place import PickPlaceCan

        environment = PickPlaceCan(**common)
        _draw_plainly(environment.sim.model._model)
        return environment

    def is_success(self, environment: Any) -> bool:
        return bool(environment._check_success())

    def is_gripped(self, arm: SimulatedArm) -> bool:
        """Whether both fingers touch the can."""
        environment = arm.environment
        can = next(thing for thing in environment.objects if thing.name == self.target)
        return bool(environment._check_grasp(environment.robots[0].gripper, can))

    def teleport(self, arm: SimulatedArm, severity: float, rng: np.random.Generator) -> bool:
        """The can stands elsewhere in its bin at once, 12 cm * severity away and clear of the hand."""
        can, hand = arm.object_pose(self.target)[0], arm.tool_pose()[0]
        if self.is_gripped(arm) or is_in_goal(can):
            return False
        apart = [(can, min(0.12 * severity, 0.16))] + ([(hand, 0.10)] if hand[2] < FLOOR_M + 0.15 else [])
        place = free_place(rng, (SOURCE_X[0], SOURCE_Y[0]), (SOURCE_X[1], SOURCE_Y[1]), apart)
        if place is None:
            return False
        arm.place_object(self.target, np.array([*place, STANDING_M]), float(rng.uniform(0, 2 * np.pi)))
        return True

    def make_expert(self, arm: SimulatedArm, rng: np.random.Generator) -> Expert:
        from ebt_policy_ros.sim.experts.can import CanExpert

        return CanExpert(arm, rng)

    def start_awkwardly(self, arm: SimulatedArm, rng: np.random.Generator) -> None:
        """The hand beside the can, low or just risen, fingers closed on nothing, half open or open."""
        can, _ = arm.object_pose(self.target)
        for _ in range(20):
            angle, distance = rng.uniform(-np.pi, np.pi), rng.uniform(0.09, 0.15)
            target: Floats = np.array(
                [
                    np.clip(can[0] + distance * np.cos(angle), SOURCE_X[0], SOURCE_X[1]),
                    np.clip(can[1] + distance * np.sin(angle), SOURCE_Y[0], SOURCE_Y[1]),
                    STANDING_M + rng.choice([0.0, rng.uniform(0.0, 0.12)]),
                ]
            )
            fingers = float(rng.choice([0.0, 0.0, 0.04, 0.04, rng.uniform(0.0, 0.04)]))
            if np.linalg.norm(target[:2] - can[:2]) > 0.085 and arm.place_tool(target, rng.uniform(-0.5, 0.5), fingers):
                return

    def noise_scale(self, arm: SimulatedArm) -> float:
        """Less where fingers are about the can or below the walls' tops than in the air."""
        hand, _ = arm.tool_pose()
        return float(np.clip((hand[2] - WALL_TOP_M - 0.02) / 0.08, 0.2, 1.0))


def is_in_goal(can: Floats) -> bool:
    """Whether a can whose centre is at ``can`` (3,) [m] is in its quarter, below the tops of the walls."""
    return bool(GOAL_X[0] < can[0] < GOAL_X[1] and GOAL_Y[0] < can[1] < GOAL_Y[1] and can[2] < WALL_TOP_M)


def _draw_plainly(model: Any) -> None:
    """One colour for each bin and the can, none of the other objects and of robosuite's markers in the target bin.

    At 96 pixels textures are noise, and they cost time. Groups and colours have no influence on the physics.
    """
    for index in range(model.ngeom):
        body = model.body(model.geom_bodyid[index]).name
        if body.startswith(_HIDDEN_OBJECTS):
            model.geom_group[index] = 5
        elif body in _PLAIN_BODIES and model.geom_group[index] == 1:
            model.geom_matid[index] = -1
            model.geom_rgba[index] = _PLAIN_BODIES[body]
