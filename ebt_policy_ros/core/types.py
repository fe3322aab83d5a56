"""The values that flow through the node: frozen, with shapes checked once, here.

Axes: K candidates (starts), H horizon, D joints, N trajectory points. Positions are [rad] for revolute and [m] for
prismatic joints, in the order of ``joint_names`` that travels with them. Times are ROS time in integer nanoseconds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from types import MappingProxyType
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import SafetyError, ShapeError

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
    """Stamp of the newest image in the set [ns, ROS time] (of the joints, without cameras); the joints are
    interpolated to it, and row 0 of the chunk planned from it belongs to it."""
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
    row_errors: Floats | None = None
    """(H,) error that the critic expects of every row, root mean square, normalised units; None without a critic."""
    terms: Mapping[str, float] = field(default_factory=dict)
    """Further evidence for the uncertainty score, by name (``unfamiliarity``, ``expected_error``), as far as the bundle
    has heads or a critic for it."""


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on the two clocks the node lives with; in lockstep simulation both read the same."""

    ros_ns: int
    """ROS time [ns]: what message stamps are compared with; may be simulated, stop, or jump back."""
    steady_ns: int
    """Monotonic time of this machine [ns]: what receive times are compared with; never stops."""


@dataclass(frozen=True, slots=True, eq=False)
class NormalisedObservation:
    """An observation as the energy sees it: joints scaled to about [-1, 1], images untouched."""

    images: Mapping[str, Pixels]
    """Camera name -> (height, width, 3) uint8 RGB, any size; the runtime resizes and scales."""
    positions: Floats
    """(D,) normalised to about [-1, 1]; values outside the training range go beyond."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", as_floats("normalised positions", self.positions, (None,)))
        object.__setattr__(self, "images", MappingProxyType(dict(self.images)))


SAFETY_KEY: Final = object()
"""Handed over by ``core/safety.py`` alone: whoever builds a SafeChunk without going through it gets a SafetyError."""


@dataclass(frozen=True, slots=True, eq=False)
class SafeChunk:
    """A trajectory that keeps every limit of the robot, also between its points; only ``core/safety.py`` makes one.

    Between two points the acceleration is constant, so a controller's cubic Hermite interpolation is that parabola.
    """

    start_ns: int
    """Header stamp [ns, ROS time]: the splice, never in the past when the chunk is emitted."""
    joint_names: tuple[str, ...]
    times_s: Floats
    """(N,) time from start [s], strictly increasing from 0."""
    positions: Floats
    """(N, D) [rad or m]; the first row is the running command at the splice."""
    velocities: Floats
    """(N, D) [rad/s or m/s]; the last row is zero."""
    key: InitVar[object]

    def __post_init__(self, key: object) -> None:
        if key is not SAFETY_KEY:
            raise SafetyError("a SafeChunk is made by the safety stage only: pass the targets through core.safety")
        shape = (None, len(self.joint_names))
        object.__setattr__(self, "times_s", as_floats("times", self.times_s, (None,)))
        object.__setattr__(self, "positions", as_floats("positions", self.positions, shape))
        object.__setattr__(self, "velocities", as_floats("velocities", self.velocities, shape))
        num_points = len(self.times_s)
        if num_points < 2 or len(self.positions) != num_points or len(self.velocities) != num_points:
            raise ShapeError(
                f"safe chunk: expected two or more points alike, got {num_points} times, {len(self.positions)} "
                f"positions, {len(self.velocities)} velocities"
            )
        if self.times_s[0] < 0.0 or (np.diff(self.times_s) <= 0.0).any() or self.velocities[-1].any():
            raise ShapeError("safe chunk: expected strictly increasing times from 0 on and rest at the last point")

    def __reduce__(self) -> NoReturn:
        raise SafetyError("a SafeChunk does not travel by pickle: send the trajectory message made of it")

    @property
    def end_ns(self) -> int:
        """When the last point is reached [ns, ROS time]."""
        return self.start_ns + round(float(self.times_s[-1]) * 1e9)

    def sample(self, stamp_ns: int) -> tuple[Floats, Floats]:
        """Positions and velocities (D,) at a time; before the start the first point, after the end rest at the last."""
        time_s = (stamp_ns - self.start_ns) * 1e-9
        if time_s <= self.times_s[0]:
            return self.positions[0], self.velocities[0]
        if time_s >= self.times_s[-1]:
            return self.positions[-1], self.velocities[-1]
        right = int(np.searchsorted(self.times_s, time_s, side="right"))
        left = right - 1
        span_s = self.times_s[right] - self.times_s[left]
        since_s = time_s - self.times_s[left]
        acceleration = (self.velocities[right] - self.velocities[left]) / span_s
        velocities = self.velocities[left] + acceleration * since_s
        positions = self.positions[left] + (self.velocities[left] + velocities) * (since_s / 2.0)
        return positions, velocities


@dataclass(frozen=True, slots=True, eq=False)
class Splice:
    """Where a new trajectory takes over from the running one."""

    start_ns: int
    """The time of it [ns, ROS time], never in the past."""
    positions: Floats
    """(D,) running command then [rad or m]; measured positions when nothing runs or the command was not followed."""
    velocities: Floats
    """(D,) [rad/s or m/s]."""
    restarted: str = ""
    """Why the motion starts anew from the measured positions; empty when it continues the running command."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", as_floats("splice positions", self.positions, (None,)))
        object.__setattr__(self, "velocities", as_floats("splice velocities", self.velocities, self.positions.shape))
