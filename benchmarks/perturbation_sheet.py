"""What cameras see of each kind of perturbation, one row a task, as one picture.

  python -m benchmarks.perturbation_sheet docs/images/perturbations.png

Scene and arm: the front camera a few moments after the perturbation, under the task's expert. Cameras: the one that
lies. Kinds that no picture shows (frozen, late, joints) are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.types import Pixels
from ebt_policy_ros.sim.arm import SimulatedArm
from ebt_policy_ros.sim.tasks import TASKS
from ebt_policy_ros.sim.world import Disturbance, SimWorld

CALM = "undisturbed"
LINES = (
    (CALM, "teleport", "nudge", "slip", "distractor", "wrong_scene"),
    ("pushed", "black", "blurred", "occluded", "tinted", "shifted"),
)
SEED, SIZE, LABEL = 4, 128, 18
TICKS_AFTER = {"slip": 8, "pushed": 5}
CALM_TICKS = 30


def main(arguments: list[str] | None = None) -> int:
    """Draws the sheet into the file that is named; returns the exit status."""
    path = Path((sys.argv[1:] if arguments is None else arguments)[0])
    columns = [[_label(kind) for kind in line] for line in LINES]
    for task in TASKS:
        arm = SimulatedArm(task, image_size=SIZE)
        for column, line in zip(columns, LINES, strict=True):
            for place, kind in enumerate(line):
                column[place] = np.concatenate([column[place], _seen(arm, kind)])
        arm.close()
    sheet = np.concatenate([np.concatenate(column, axis=1) for column in columns])
    cv2.imwrite(str(path), sheet[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return 0


def _seen(arm: SimulatedArm, kind: str) -> Pixels:
    """The picture that shows ``kind`` best."""
    world = SimWorld(arm, arm.task.target, SEED, lambda _text: None)
    expert = arm.task.make_expert(arm, np.random.default_rng(0))
    if kind != CALM:
        world.disturb(Disturbance(kind))
    for ticks in range(arm.task.max_ticks):
        if world.disturbed_ns is not None or (kind == CALM and ticks == CALM_TICKS):
            break
        world.hold(expert.act())
    for _ in range(TICKS_AFTER.get(kind, 1)):
        world.hold(expert.act())
    pictures = {camera: picture.pixels for camera, picture in world.pictures().items()}
    lying = [camera for camera, pixels in pictures.items() if (pixels != arm.render(camera)).any()]
    return pictures[lying[0] if lying else "front"]


def _label(text: str) -> NDArray[np.uint8]:
    label = np.full((LABEL, SIZE, 3), 255, np.uint8)
    cv2.putText(label, text, (4, LABEL - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return label


if __name__ == "__main__":
    sys.exit(main())
