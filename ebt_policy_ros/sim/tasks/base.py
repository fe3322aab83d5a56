"""What a task is: an environment, its cameras, its success, what may go wrong in it, who can show it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ebt_policy_ros.sim.perturbations import PERTURBATIONS
from ebt_policy_ros.sim.rendering import View

if TYPE_CHECKING:
    from ebt_policy_ros.sim.arm import SimulatedArm
    from ebt_policy_ros.sim.experts.base import Expert


class Task(ABC):
    """One robosuite task with a Panda; keeps no state of an episode."""

    name: ClassVar[str]
    views: ClassVar[Mapping[str, View]]
    """Camera name -> where it stands."""
    target: ClassVar[str]
    """The object that is reached for."""
    done_text: ClassVar[str] = "done"
    """A success in a word or two, for reports."""
    perturbations: ClassVar[tuple[str, ...]] = tuple(PERTURBATIONS)
    """Kinds that can happen in it: all of them, unless a task cannot do with one."""
    area_m: ClassVar[tuple[tuple[float, float], tuple[float, float]]]
    """(lowest x, lowest y), (highest x, highest y) [m] of the part of the surface where things may come to lie."""
    surface_m: ClassVar[float]
    """Height [m] of the surface the object starts on."""
    time_limit_s: ClassVar[float] = 10.0
    """An attempt that has not succeeded by then counts as a failure."""
    max_ticks: ClassVar[int] = 200
    """Control periods an expert's demonstration may take."""

    @abstractmethod
    def make_environment(self, common: Mapping[str, Any]) -> Any:
        """The robosuite environment; ``common`` holds the arguments that every task shares."""

    @abstractmethod
    def is_success(self, environment: Any) -> bool:
        """Whether the task is fulfilled at this moment (the arm asks for several moments in a row)."""

    @abstractmethod
    def is_gripped(self, arm: SimulatedArm) -> bool:
        """Whether both fingers touch the object."""

    @abstractmethod
    def teleport(self, arm: SimulatedArm, severity: float, rng: np.random.Generator) -> bool:
        """Puts the object elsewhere, clear of the hand; False when that cannot be now (such as held in the hand)."""

    @abstractmethod
    def make_expert(self, arm: SimulatedArm, rng: np.random.Generator) -> Expert:
        """A scripted expert for one episode; what it may choose at will is drawn from ``rng``."""

    def start_awkwardly(self, arm: SimulatedArm, rng: np.random.Generator) -> None:
        """Moves the arm (after a reset) to a state that a failed attempt would leave; nothing by default."""
        return None

    def noise_scale(self, arm: SimulatedArm) -> float:
        """How much of a demonstration's noise fits the present moment; 1 everywhere by default."""
        return 1.0
