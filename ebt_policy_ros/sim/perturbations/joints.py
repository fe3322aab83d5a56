"""What happens to the measured joints, from a moment of the episode to its end. The arm itself is as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.sim.perturbations.base import SenseFault

if TYPE_CHECKING:
    from ebt_policy_ros.sim.arm import SimulatedArm

BIAS_RAD = 0.1
NOISE_RAD, NOISE_FINGER_M = 0.03, 0.002


class Biased(SenseFault):
    """A joint that is measured wrong."""

    name: ClassVar[str] = "biased"
    family: ClassVar[str] = "joints"
    is_recoverable: ClassVar[bool] = False
    is_held_out: ClassVar[bool] = False
    description: ClassVar[str] = "one joint of the arm is measured wrong by always the same angle"
    severity_text: ClassVar[str] = "0.1 rad, times severity"

    def __init__(self, arm: SimulatedArm, severity: float, rng: np.random.Generator) -> None:
        super().__init__(arm, severity, rng)
        self._bias: Floats = np.zeros(len(arm.joint_names))
        self._bias[rng.integers(len(arm.joint_names) - 1)] = BIAS_RAD * severity * float(rng.choice([-1, 1]))

    def positions(self, positions: Floats) -> Floats:
        """With the wrong joint."""
        return positions + self._bias


class Noisy(SenseFault):
    """White noise on every joint; velocities are as they were."""

    name: ClassVar[str] = "noisy"
    family: ClassVar[str] = "joints"
    is_recoverable: ClassVar[bool] = False
    is_held_out: ClassVar[bool] = True
    description: ClassVar[str] = "all measured joint positions are noisy, anew every 50 ms"
    severity_text: ClassVar[str] = "standard deviation 0.03 rad (finger 2 mm), times severity"

    def begin(self) -> bool:
        """At once."""
        self.step()
        return True

    def step(self) -> None:
        """Draws the period's noise: it does not depend on how often the joints are read."""
        scale = np.full(len(self._arm.joint_names), NOISE_RAD)
        scale[-1] = NOISE_FINGER_M
        self._noise: Floats = self._severity * scale * self._rng.standard_normal(len(scale))

    def positions(self, positions: Floats) -> Floats:
        """With the period's noise."""
        return positions + self._noise
