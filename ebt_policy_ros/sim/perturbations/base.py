"""What every kind of perturbation is: when it sets in, and what it does to scene, arm and senses from then on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ebt_policy_ros.core.types import Floats, Pixels

if TYPE_CHECKING:
    from ebt_policy_ros.sim.arm import SimulatedArm

BEGINS = (0.05, 0.35)
"""When senses begin to lie, as a share of the task's time limit."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a perturbation may set in; every condition has to hold."""

    at_s: float = 0.0
    """Not before this time of the episode [s]."""
    within_m: float | None = None
    """Not before the tool is this near to the object [m]; None: whatever the distance."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A camera's picture as it arrives."""

    stamp_ns: int
    """When it was taken [ns, simulated]."""
    pixels: Pixels
    """(height, width, 3) uint8 RGB."""


class Perturbation(ABC):
    """One thing that goes wrong once in an episode: made for the episode, dropped at its end.

    Everything it chooses at will is drawn from ``rng``, so that a seed gives the same perturbation whatever was played
    before. Scene and arm are undone by the arm's own reset.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    """What goes wrong: ``scene``, ``camera``, ``joints``, ``arm`` or ``time``."""
    is_recoverable: ClassVar[bool]
    """Whether a sensible policy could still fulfil the task. A camera or joint that lies to the end counts as not."""
    is_held_out: ClassVar[bool]
    """Whether it is kept out of everything that is trained or tuned, for tests of what was never seen."""
    description: ClassVar[str]
    """What happens, in one line."""
    severity_text: ClassVar[str]
    """What severity 1 is, and how it scales."""
    can_pass: ClassVar[bool] = False
    """Whether it may be over some time after it set in; what happens at once cannot be."""

    def __init__(self, arm: SimulatedArm, severity: float, rng: np.random.Generator) -> None:
        self._arm, self._severity, self._rng = arm, severity, rng
        self.lasts_s: float | None = None
        """How long it lasts once it has set in [s]; None: to the end of the episode."""
        self.over_ns: int | None = None
        """When it will be over [ns, simulated], known once it has set in."""

    @property
    def default_moment(self) -> Moment:
        """When it may set in unless told otherwise: when the hand comes near the object."""
        return Moment(within_m=0.1)

    @abstractmethod
    def begin(self) -> bool:
        """Sets in; False when it cannot now. Asked at every control period from its moment on until it has."""

    def targets(self, targets: Floats) -> Floats:
        """(D,) [rad, m] what the arm is told to hold while it lasts, for the controller's ``targets``."""
        return targets

    def step(self) -> None:
        """A control period has passed since it set in."""
        return None

    def positions(self, positions: Floats) -> Floats:
        """(D,) [rad, m] what is measured while it lasts, for the true ``positions``."""
        return positions

    def picture(self, camera: str, picture: Picture) -> Picture:
        """What has arrived from a camera while it lasts, for the true ``picture`` of now."""
        del camera
        return picture


class SenseFault(Perturbation):
    """Something between the arm and the policy that lies from a moment of the episode on: to its end, or for a time."""

    can_pass: ClassVar[bool] = True

    def __init__(self, arm: SimulatedArm, severity: float, rng: np.random.Generator) -> None:
        super().__init__(arm, severity, rng)
        self._moment = Moment(at_s=float(rng.uniform(*BEGINS)) * arm.task.time_limit_s)

    @property
    def default_moment(self) -> Moment:
        """Between 5 % and 35 % of the task's time limit."""
        return self._moment

    def begin(self) -> bool:
        """At once."""
        return True
