"""Square: put the square nut over its peg (robosuite's NutAssemblySquare, nothing else on the table)."""

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

TABLE_HEIGHT_M = 0.82
PEG = (0.23, 0.1)
"""[m] x and y of the square peg, which reaches up to z = 0.95."""
X_RANGE_M, Y_RANGE_M = (-0.115, -0.11), (0.11, 0.225)
"""Where the nut starts: robosuite's own region."""
HALF_YAW_RAD = np.pi / 2
"""The nut's handle starts within +- this of pointing back to the robot; robosuite's own is pi, which is any yaw.

The peg stands near the end of the arm's reach, where only a handle that points back to the robot can be held, so the
nut has to be turned by as much as its yaw differs. The expert does that for every yaw (100 of 100 demonstrations with
noise and disturbances, 158 ticks on average), but where the handle points away there are two grasps, each with a long
turn of the wrist. Half the circle asks for one (70 of 70, 142 ticks), and needs fewer demonstrations to learn.
"""
PEG_COLOUR = (0.2, 0.35, 0.7, 1.0)


class Square(Task):
    """Success is robosuite's own check: the nut's centre within 3 cm of the peg and less than 5 cm above the table
    (lower than it can lie on the peg's rim), the hand more than about 4 cm away from it.

    Placement is robosuite's own (half a centimetre in x, 11.5 cm in y) but for the yaw, see ``HALF_YAW_RAD``.
    """

    name: ClassVar[str] = "square"
    views: ClassVar[Mapping[str, View]] = {
        "front": View(look_at=(0.085, 0.125, 0.886), distance=0.49, azimuth_deg=195.0, elevation_deg=-45.0),
        "wrist": View(model_camera="robot0_eye_in_hand"),
    }
    target: ClassVar[str] = "SquareNut"
    done_text: ClassVar[str] = "on the peg"
    area_m: ClassVar[tuple[tuple[float, float], tuple[float, float]]] = ((-0.16, 0.03), (-0.05, 0.25))
    surface_m: ClassVar[float] = TABLE_HEIGHT_M
    time_limit_s: ClassVar[float] = 20.0
    max_ticks: ClassVar[int] = 300

    def make_environment(self, common: Mapping[str, Any]) -> Any:
        from robosuite.environments.manipulation.nut_assembly import NutAssemblySquare
        from robosuite.utils.placement_samplers import SequentialCompositeSampler, UniformRandomSampler

        sampler = SequentialCompositeSampler(name="ObjectSampler")
        parts = []
        for nut, y_range in (("SquareNut", Y_RANGE_M), ("RoundNut", (-0.225, -0.11))):
            part = UniformRandomSampler(
                name=f"{nut}Sampler",
                x_range=list(X_RANGE_M),
                y_range=list(y_range),
                rotation=[np.pi - HALF_YAW_RAD, np.pi + HALF_YAW_RAD],
                rotation_axis="z",
                ensure_object_boundary_in_range=False,
                ensure_valid_placement=True,
                reference_pos=(0.0, 0.0, TABLE_HEIGHT_M),
                z_offset=0.012,
            )
            sampler.append_sampler(part)
            parts.append(part)
        environment = NutAssemblySquare(placement_initializer=sampler, **common)
        for part in (sampler, *parts):
            part.rng = environment.rng
        _draw_plainly(environment.sim.model._model)
        return environment

    def is_success(self, environment: Any) -> bool:
        return bool(environment._check_success())

    def is_gripped(self, arm: SimulatedArm) -> bool:
        """Whether both fingers touch the nut."""
        environment = arm.environment
        return bool(environment._check_grasp(environment.robots[0].gripper, environment.nuts[0]))

    def teleport(self, arm: SimulatedArm, severity: float, rng: np.random.Generator) -> bool:
        """The nut lies elsewhere at once, at least 8 cm * severity away and clear of the hand."""
        nut, hand = arm.object_pose("SquareNut")[0], arm.tool_pose()[0]
        if self.is_gripped(arm) or float(np.linalg.norm(nut[:2] - PEG)) < 0.05:
            return False
        apart = [(nut, min(0.08 * severity, 0.10))] + ([(hand, 0.12)] if hand[2] < TABLE_HEIGHT_M + 0.13 else [])
        place = free_place(rng, (-0.16, 0.06), (-0.06, 0.24), apart)
        if place is None:
            return False
        yaw = float(np.pi + rng.uniform(-HALF_YAW_RAD, HALF_YAW_RAD))
        arm.place_object("SquareNut", np.array([*place, TABLE_HEIGHT_M + 0.0105]), yaw)
        return True

    def make_expert(self, arm: SimulatedArm, rng: np.random.Generator) -> Expert:
        from ebt_policy_ros.sim.experts.square import SquareExpert

        return SquareExpert(arm, rng)

    def start_awkwardly(self, arm: SimulatedArm, rng: np.random.Generator) -> None:
        """The hand near the nut, which may lie somewhere on the way to the peg; fingers closed, half open or open."""
        if rng.random() < 0.5:
            place = rng.uniform((-0.14, 0.04), (0.12, 0.24))
            yaw = float(np.pi + rng.uniform(-HALF_YAW_RAD, HALF_YAW_RAD))
            arm.place_object("SquareNut", np.array([*place, TABLE_HEIGHT_M + 0.0105]), yaw)
        nut, _ = arm.object_pose("SquareNut")
        for _ in range(20):
            angle, distance = rng.uniform(-np.pi, np.pi), rng.uniform(0.10, 0.15)
            target: Floats = np.array(
                [
                    np.clip(nut[0] + distance * np.cos(angle), -0.22, 0.16),
                    np.clip(nut[1] + distance * np.sin(angle), -0.05, 0.28),
                    TABLE_HEIGHT_M + 0.022 + rng.choice([0.0, rng.uniform(0.0, 0.16)]),
                ]
            )
            fingers = float(rng.choice([0.0, 0.0, 0.04, 0.04, rng.uniform(0.0, 0.04)]))
            if np.linalg.norm(target[:2] - nut[:2]) > 0.095 and arm.place_tool(target, rng.uniform(-0.9, 1.2), fingers):
                return

    def noise_scale(self, arm: SimulatedArm) -> float:
        """Less where fingers are about the nut, and where the nut is about the peg, than in the air."""
        nut, hand = arm.object_pose("SquareNut")[0], arm.tool_pose()[0]
        above = np.clip((hand[2] - nut[2] - 0.03) / 0.08, 0.0, 1.0)
        aside = np.clip((np.linalg.norm(nut[:2] - PEG) - 0.03) / 0.08, 0.0, 1.0)
        is_high = nut[2] > TABLE_HEIGHT_M + 0.03
        return float(max(0.15, aside * (np.clip((nut[2] - TABLE_HEIGHT_M - 0.02) / 0.06, 0, 1) if is_high else above)))


def _draw_plainly(model: Any) -> None:
    """Hides the round peg, the round nut and the floor, and paints the square peg, which has the nut's own brass, blue.

    At 96 x 96 pixels peg and nut are small, and told apart by nothing else once one is over the other. What is hidden
    is still there to be touched.
    """
    for index in range(model.ngeom):
        body = model.body(model.geom_bodyid[index]).name
        if body in ("peg2", "RoundNut_main") or model.geom(index).name == "floor":
            model.geom_group[index] = 5
        elif body == "peg1":
            model.geom_matid[index] = -1
            model.geom_rgba[index] = PEG_COLOUR
