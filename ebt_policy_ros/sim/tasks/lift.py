"""Lift: take the red cube from the table and hold it up (robosuite's Lift with a wider placement)."""

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

HALF_AREA_M = 0.08
"""The cube starts within +- this of the table's centre in x and y, at any yaw."""
TABLE_HEIGHT_M = 0.8


class Lift(Task):
    """Success is robosuite's own check: the cube's centre more than 4 cm above the table."""

    name: ClassVar[str] = "lift"
    views: ClassVar[Mapping[str, View]] = {
        "front": View(look_at=(-0.02, 0.0, 0.902), distance=0.66, azimuth_deg=180.0, elevation_deg=-32.0),
        "wrist": View(model_camera="robot0_eye_in_hand"),
    }
    target: ClassVar[str] = "cube"
    done_text: ClassVar[str] = "lifted"
    area_m: ClassVar[tuple[tuple[float, float], tuple[float, float]]] = ((-0.12, -0.12), (0.12, 0.12))
    surface_m: ClassVar[float] = TABLE_HEIGHT_M
    time_limit_s: ClassVar[float] = 10.0

    def make_environment(self, common: Mapping[str, Any]) -> Any:
        from robosuite.environments.manipulation.lift import Lift as RobosuiteLift
        from robosuite.utils.placement_samplers import UniformRandomSampler

        sampler = UniformRandomSampler(
            name="ObjectSampler",
            x_range=[-HALF_AREA_M, HALF_AREA_M],
            y_range=[-HALF_AREA_M, HALF_AREA_M],
            rotation=None,
            ensure_object_boundary_in_range=False,
            ensure_valid_placement=True,
            reference_pos=(0.0, 0.0, TABLE_HEIGHT_M),
            z_offset=0.001,
        )
        environment = RobosuiteLift(placement_initializer=sampler, **common)
        sampler.rng = environment.rng
        return environment

    def is_success(self, environment: Any) -> bool:
        return bool(environment._check_success())

    def is_gripped(self, arm: SimulatedArm) -> bool:
        """Whether both fingers touch the cube."""
        environment = arm.environment
        return bool(environment._check_grasp(environment.robots[0].gripper, environment.cube))

    def teleport(self, arm: SimulatedArm, severity: float, rng: np.random.Generator) -> bool:
        """The cube lies elsewhere at once, at least 8 cm * severity away and clear of the hand."""
        if self.is_gripped(arm):
            return False
        cube, hand = arm.object_pose("cube"), arm.tool_pose()
        reach = HALF_AREA_M + 0.01
        apart = [(cube[0], min(0.08 * severity, 0.11))]
        apart += [(hand[0], 0.07)] if hand[0][2] < TABLE_HEIGHT_M + 0.13 else []
        place = free_place(rng, (-reach, -reach), (reach, reach), apart)
        if place is None:
            return False
        arm.place_object(
            "cube", np.array([place[0], place[1], TABLE_HEIGHT_M + 0.0215]), float(rng.uniform(0, 2 * np.pi))
        )
        return True

    def make_expert(self, arm: SimulatedArm, rng: np.random.Generator) -> Expert:
        from ebt_policy_ros.sim.experts.lift import LiftExpert

        return LiftExpert(arm, rng)

    def start_awkwardly(self, arm: SimulatedArm, rng: np.random.Generator) -> None:
        """The hand beside the cube, low or just risen, fingers closed on nothing, half open or open."""
        cube, _ = arm.object_pose("cube")
        for _ in range(20):
            angle, distance = rng.uniform(-np.pi, np.pi), rng.uniform(0.055, 0.10)
            target: Floats = np.array(
                [
                    np.clip(cube[0] + distance * np.cos(angle), -0.12, 0.12),
                    np.clip(cube[1] + distance * np.sin(angle), -0.15, 0.15),
                    TABLE_HEIGHT_M + 0.022 + rng.choice([0.0, rng.uniform(0.0, 0.12)]),
                ]
            )
            fingers = float(rng.choice([0.0, 0.0, 0.04, 0.04, rng.uniform(0.0, 0.04)]))
            if np.linalg.norm(target[:2] - cube[:2]) > 0.05 and arm.place_tool(target, rng.uniform(-0.7, 0.7), fingers):
                return

    def noise_scale(self, arm: SimulatedArm) -> float:
        """Less where fingers are about the cube (and would knock it over) than in the air."""
        hand, _ = arm.tool_pose()
        return float(np.clip((hand[2] - TABLE_HEIGHT_M - 0.03) / 0.08, 0.2, 1.0))
