"""What happens to the arm itself."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ebt_policy_ros.sim.perturbations.base import Perturbation

PUSH_N = 80.0
"""Displaces the hand by 4 to 6 cm (Lift, Can, Square; under an expert that steers against it)."""
PUSH_TICKS = 5
"""Control periods: 0.25 s."""


class Pushed(Perturbation):
    """Somebody bumps into the hand."""

    name: ClassVar[str] = "pushed"
    family: ClassVar[str] = "arm"
    is_recoverable: ClassVar[bool] = True
    is_held_out: ClassVar[bool] = True
    description: ClassVar[str] = "somebody pushes the hand sideways for 0.25 s"
    severity_text: ClassVar[str] = f"{PUSH_N:g} N, times severity"

    _left = PUSH_TICKS

    def begin(self) -> bool:
        """At once, in a horizontal direction drawn from the seed."""
        angle = self._rng.uniform(0, 2 * np.pi)
        self._arm.push(PUSH_N * self._severity * np.array([np.cos(angle), np.sin(angle), 0.0]))
        return True

    def step(self) -> None:
        """Lets go when the time is over."""
        self._left -= 1
        if self._left == 0:
            self._arm.push(np.zeros(3))
