"""Robot units to about [-1, 1] and back: one inverse pair from one Stats object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ebt_policy_ros.core.errors import ShapeError
from ebt_policy_ros.core.types import Floats, NormalisedObservation, Observation, as_floats


@dataclass(frozen=True, slots=True, eq=False)
class Stats:
    """The range of every joint in the training data."""

    low: Floats
    """(D,) becomes -1 [rad or m]."""
    high: Floats
    """(D,) becomes +1 [rad or m]; where it equals ``low``, one unit becomes one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", as_floats("statistics low", self.low, (None,)))
        object.__setattr__(self, "high", as_floats("statistics high", self.high, self.low.shape))
        if (self.high < self.low).any():
            joint = int(np.argmax(self.high < self.low))
            raise ShapeError(
                f"statistics: expected low <= high, got {self.low[joint]} and {self.high[joint]} at index {joint}"
            )

    @property
    def centre(self) -> Floats:
        """(D,) what becomes 0."""
        return np.asarray((self.low + self.high) / 2.0)

    @property
    def half_range(self) -> Floats:
        """(D,) what one normalised unit is, never zero."""
        return np.where(self.high - self.low > 1e-9, (self.high - self.low) / 2.0, 1.0)

    def normalise(self, values: Floats) -> Floats:
        """(..., D) robot units -> normalised; nothing is clipped."""
        return np.asarray((values - self.centre) / self.half_range)

    def unnormalise(self, values: Floats) -> Floats:
        """(..., D) normalised -> robot units; non-finite values stay so, the safety stage decides about them."""
        return np.asarray(values * self.half_range + self.centre)


@dataclass(frozen=True, slots=True, eq=False)
class Normaliser:
    """What a bundle knows about units."""

    positions: Stats
    """Of measured joint positions, (D,)."""
    actions: Stats
    """Of commanded joint positions, (D,)."""

    def __post_init__(self) -> None:
        if self.positions.low.shape != self.actions.low.shape:
            raise ShapeError(
                f"statistics: expected as many positions as actions, got {self.positions.low.shape} and "
                f"{self.actions.low.shape}"
            )

    @property
    def num_joints(self) -> int:
        """D."""
        return len(self.positions.low)

    def normalise_observation(self, observation: Observation) -> NormalisedObservation:
        """The observation as the energy sees it; images pass untouched."""
        return NormalisedObservation(
            images=observation.images, positions=self.positions.normalise(observation.positions)
        )

    def normalise_chunk(self, targets: Floats) -> Floats:
        """(H, D) robot units -> normalised."""
        return self.actions.normalise(targets)

    def unnormalise_chunk(self, chunk: Floats) -> Floats:
        """(H, D) normalised -> robot units."""
        return self.actions.unnormalise(chunk)
