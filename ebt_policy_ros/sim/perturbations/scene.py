"""What happens to the scene: the object moves, falls from the hand, is not there, or has company."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.sim.perturbations.base import Moment, Perturbation
from ebt_policy_ros.sim.places import free_place
from ebt_policy_ros.sim.rendering import Prop

NUDGE_M, NUDGE_RAD = 0.03, 0.35
STILL_M_S = 0.02
"""An object that is faster than this is not lying there to be nudged."""
HELD_TICKS, OPEN_TICKS = 8, 10
"""Control periods: 0.4 s and 0.5 s."""
OPEN_M = 0.04
"""Target of an open finger."""
CLEAR_M = 0.09
"""How far from object and hand a distractor appears."""
AWAY_M = (5.0, 0.0, 0.06)
"""On the floor far behind the front cameras."""
COLOURS = ((0.10, 0.55, 0.20), (0.95, 0.75, 0.10), (0.50, 0.15, 0.60), (0.05, 0.55, 0.75), (0.95, 0.95, 0.95))
"""Of foreign things: none of them is an object's own."""
SHAPES = ("box", "cylinder", "ellipsoid")


class Teleport(Perturbation):
    """The object elsewhere at once."""

    name: ClassVar[str] = "teleport"
    family: ClassVar[str] = "scene"
    is_recoverable: ClassVar[bool] = True
    is_held_out: ClassVar[bool] = False
    description: ClassVar[str] = "the object lies elsewhere at once, clear of the hand, at rest and at another yaw"
    severity_text: ClassVar[str] = "at least 8 cm (can: 12 cm) away, times severity"

    def begin(self) -> bool:
        """False while the object is held or in its goal."""
        return self._arm.teleport(self._severity)


class Nudge(Perturbation):
    """The object a little off."""

    name: ClassVar[str] = "nudge"
    family: ClassVar[str] = "scene"
    is_recoverable: ClassVar[bool] = True
    is_held_out: ClassVar[bool] = True
    description: ClassVar[str] = "the object is moved a little and turned a little under the hand, and lies still again"
    severity_text: ClassVar[str] = "3 cm and 20 degrees, times severity"

    def begin(self) -> bool:
        """False while the object is held or moves, or when there is no room."""
        arm, target = self._arm, self._arm.task.target
        if arm.task.is_gripped(arm) or arm.object_speed(target) > STILL_M_S:
            return False
        here, (low, high) = arm.object_pose(target)[0], arm.task.area_m
        first, turn = self._rng.uniform(0, 2 * np.pi), NUDGE_RAD * float(self._rng.choice([-1, 1])) * self._severity
        for angle in first + np.linspace(0, 2 * np.pi, 12, endpoint=False):
            offset = NUDGE_M * self._severity * np.array([np.cos(angle), np.sin(angle), 0.0])
            place = (here + offset)[:2]
            if (place >= low).all() and (place <= high).all() and arm.move_object(target, offset, turn):
                return True
        return False


class Slip(Perturbation):
    """The hand lets go of what it holds."""

    name: ClassVar[str] = "slip"
    family: ClassVar[str] = "scene"
    is_recoverable: ClassVar[bool] = True
    is_held_out: ClassVar[bool] = False
    description: ClassVar[str] = "the hand opens by itself once it has held the object for 0.4 s"
    severity_text: ClassVar[str] = "open for 0.5 s, times severity"

    _held, _opens = 0, 0

    @property
    def default_moment(self) -> Moment:
        """Whenever the object is held."""
        return Moment()

    def begin(self) -> bool:
        """True once the object has been held for ``HELD_TICKS``."""
        self._held = self._held + 1 if self._arm.task.is_gripped(self._arm) else 0
        self._opens = max(1, round(OPEN_TICKS * self._severity))
        return self._held >= HELD_TICKS

    def targets(self, targets: Floats) -> Floats:
        """An open hand for as long as it lasts."""
        return np.append(targets[:-1], OPEN_M) if self._opens > 0 else targets

    def step(self) -> None:
        """Half a second passes."""
        self._opens -= 1


class Distractor(Perturbation):
    """Another thing in view."""

    name: ClassVar[str] = "distractor"
    family: ClassVar[str] = "scene"
    is_recoverable: ClassVar[bool] = True
    is_held_out: ClassVar[bool] = True
    description: ClassVar[str] = "a thing never seen in training lies beside the object from now on (to be seen only)"
    severity_text: ClassVar[str] = "5 cm wide, times severity"

    def begin(self) -> bool:
        """False when there is no room that is clear of object and hand."""
        arm = self._arm
        (low, high), object_at = arm.task.area_m, arm.object_pose(arm.task.target)[0]
        place = free_place(self._rng, low, high, [(object_at, CLEAR_M), (arm.tool_pose()[0], CLEAR_M)])
        if place is None:
            return False
        arm.show(foreign_thing(self._rng, place, arm.task.surface_m, 0.025 * self._severity))
        return True


class WrongScene(Perturbation):
    """A scene without the object."""

    name: ClassVar[str] = "wrong_scene"
    family: ClassVar[str] = "scene"
    is_recoverable: ClassVar[bool] = False
    is_held_out: ClassVar[bool] = True
    description: ClassVar[str] = "the object is not there; in every other episode something foreign lies in its place"
    severity_text: ClassVar[str] = "the foreign thing is 5 cm wide, times severity"

    @property
    def default_moment(self) -> Moment:
        """From the start of the episode."""
        return Moment()

    def begin(self) -> bool:
        """At once."""
        arm = self._arm
        place = arm.object_pose(arm.task.target)[0][:2]
        thing = foreign_thing(self._rng, place, arm.task.surface_m, 0.025 * self._severity)
        arm.place_object(arm.task.target, np.array(AWAY_M), 0.0)
        if self._rng.random() < 0.5:
            arm.show(thing)
        return True


def foreign_thing(rng: np.random.Generator, place: Floats, surface_m: float, half_m: float) -> Prop:
    """Something of a random shape and colour that lies at ``place`` (2,) [m]."""
    half_height = half_m * float(rng.uniform(0.7, 1.3))
    shape, colour = str(rng.choice(SHAPES)), COLOURS[int(rng.integers(len(COLOURS)))]
    half_size = (half_m, half_height, 0.0) if shape == "cylinder" else (half_m, half_m, half_height)
    centre = (float(place[0]), float(place[1]), surface_m + half_height)
    return Prop(shape, centre, half_size, (*colour, 1.0), float(rng.uniform(0, np.pi)))
