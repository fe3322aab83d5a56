"""The values that flow through the node: frozen, with shapes checked once, here.

Axes: K candidates (starts), H horizon, D joints, N trajectory points. Positions are [rad] for revolute and [m] for
prismatic joints, in the order of ``joint_names`` that travels with them. Times are ROS time in integer nanoseconds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import ShapeError

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]


def as_floats(name: str, values: object, shape: tuple[int | None, ...]) -> Floats:
    """A read-only float64 copy of ``values`` with ``shape`` (None: any size on that axis); finite or ShapeError."""
    array = np.array(values, dtype=np.float64)
    if len(array.shape) != len(shape) or any(w is not None and w != s for w, s in zip(shape, array.shape, strict=True)):
        wanted = tuple("any" if w is None else w for w in shape)
        raise ShapeError(f"{name}: expected shape {wanted}, got {array.shape}")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ShapeError(f"{name}: expected finite numbers, got {array[where]} at index {where}")
    array.setflags(write=False)
    return array


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What the robot sees at one instant, in its own units."""

    stamp_ns: int
    """Time of the newest joint state used [ns, ROS time]; the chunk planned from it starts here."""
    images: Mapping[str, Pixels]
    """Camera name -> (height, width, 3) uint8 RGB, any size; the runtime resizes."""
    joint_names: tuple[str, ...]
    positions: Floats
    """(D,) [rad or m], in the order of ``joint_names``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", as_floats("positions", self.positions, (len(self.joint_names),)))
        for camera, image in self.images.items():
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
                raise ShapeError(
                    f"image of camera '{camera}': expected (height, width, 3) uint8, got {image.shape} {image.dtype}"
                )
        object.__setattr__(self, "images", MappingProxyType(dict(self.images)))


@dataclass(frozen=True, slots=True, eq=False)
class ActionChunk:
    """Future joint targets in robot units: row i is the position to command at ``stamp_ns + i * period_ns``."""

    stamp_ns: int
    period_ns: int
    joint_names: tuple[str, ...]
    positions: Floats
    """(H, D) [rad or m]."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", as_floats("positions", self.positions, (None, len(self.joint_names))))
        if self.period_ns <= 0 or len(self.positions) == 0:
            raise ShapeError(
                f"chunk: expected a positive period and at least one row, got {self.period_ns} ns, "
                f"{len(self.positions)} rows"
            )


class Outcome(enum.Enum):
    """How a minimisation ended; expected trouble is data on which retry decides, not an exception."""

    DESCENDED = "descended"
    """The energy of the result is below the start's."""
    NO_DESCENT = "no descent"
    """No step lowered the energy; the best candidate is the start itself."""
    NON_FINITE = "non-finite"
    """Energy or gradient became NaN or infinite; ``chunk`` is the last finite candidate."""


@dataclass(frozen=True, slots=True, eq=False)
class Minimum:
    """The best candidate of one minimisation, in normalised units."""

    chunk: Floats
    """(H, D) normalised to about [-1, 1]."""
    energy: float
    """E(observation, chunk): energy of ``chunk`` itself."""
    trace: Floats
    """(steps + 1,) energies of the chosen candidate: at the start, then after every step."""
    outcome: Outcome
    steps: int
    """Gradient steps taken by each candidate."""
    network_evaluations: int
    """Forward-and-input-gradient passes of the energy transformer (a batch of candidates is one pass)."""
    candidate_energies: Floats
    """(K,) final energies of all starts."""
    spread: float = 0.0
    """Mean distance of the other candidates' chunks to the best one, root mean square, normalised units."""
    gradient_norm: float = 0.0
    """Root mean square of dE/da at the last step."""
    terms: Mapping[str, float] = field(default_factory=dict)
    """Further evidence for the uncertainty score, by name (such as ``expected_energy``, ``energy_scale``,
    ``unfamiliarity``), as far as the bundle has heads for it."""
