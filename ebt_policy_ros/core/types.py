"""The values that flow through the node: frozen, with shapes checked once, here.

Axes: K candidates (starts), H horizon, D joints, N trajectory points. Positions are [rad] for revolute and [m] for
prismatic joints, in the order of ``joint_names`` that travels with them. Times are ROS time in integer nanoseconds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import SafetyError, ShapeError

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]


def as_floats(name: str, values: object, shape: tuple[int | None, ...]) -> Floats:
    """A read-only float64 copy of ``values`` with ``shape`` (None: any size on that axis); finite or ShapeError."""
    try:
        array = np.array(values, dtype=np.float64)
    except ValueError as error:
        raise ShapeError(f"{name}: expected numbers in rows of equal length ({error})") from error
    if array.shape != shape and not _fits(array.shape, shape):
        wanted = tuple("any" if w is None else w for w in shape)
        raise ShapeError(f"{name}: expected shape {wanted}, got {array.shape}")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ShapeError(f"{name}: expected finite numbers, got {array[where]} at index {where}")
    array.setflags(write=False)
    return array


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    if len(shape) != len(wanted):
        return False
    return all(size is None or size == have for size, have in zip(wanted, shape, strict=True))


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
    parts_s: Mapping[str, float] = field(default_factory=dict)
    """How long its parts took, by name (``encode``, ``descend``) [s], as far as the runtime measures; nothing is
    decided by it."""


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


class MotionState(NamedTuple):
    """Where every joint is and how it moves at one instant."""

    positions: Floats
    """(D,) [rad or m]."""
    velocities: Floats
    """(D,) [rad/s or m/s]."""
    accelerations: Floats
    """(D,) [rad/s^2 or m/s^2]."""

    @classmethod
    def at_rest(cls, positions: Floats) -> MotionState:
        """Standing still at ``positions`` (D,)."""
        return cls(positions, np.zeros_like(positions), np.zeros_like(positions))


@dataclass(frozen=True, slots=True, eq=False)
class SafeChunk:
    """A trajectory that keeps every limit of the robot, also between its points; only ``core/safety.py`` makes one.

    Between two points the acceleration is linear, so that both splines of a joint_trajectory_controller are exactly
    this motion: the quintic through positions, velocities and accelerations, and the cubic without the latter.
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
    accelerations: Floats
    """(N, D) [rad/s^2 or m/s^2]; the last row is zero."""
    key: InitVar[object]

    def __post_init__(self, key: object) -> None:
        if key is not SAFETY_KEY:
            raise SafetyError("a SafeChunk is made by the safety stage only: pass the targets through core.safety")
        shape = (None, len(self.joint_names))
        object.__setattr__(self, "times_s", as_floats("times", self.times_s, (None,)))
        for name in ("positions", "velocities", "accelerations"):
            object.__setattr__(self, name, as_floats(name, getattr(self, name), shape))
        sizes = [len(rows) for rows in (self.times_s, self.positions, self.velocities, self.accelerations)]
        if min(sizes) < 2 or len(set(sizes)) > 1:
            raise ShapeError(
                f"safe chunk: expected two or more points alike, got {sizes[0]} times, {sizes[1]} positions, "
                f"{sizes[2]} velocities, {sizes[3]} accelerations"
            )
        is_resting = not self.velocities[-1].any() and not self.accelerations[-1].any()
        if self.times_s[0] < 0.0 or (self.times_s[1:] <= self.times_s[:-1]).any() or not is_resting:
            raise ShapeError("safe chunk: expected strictly increasing times from 0 on and rest at the last point")

    def __reduce__(self) -> NoReturn:
        raise SafetyError("a SafeChunk does not travel by pickle: send the trajectory message made of it")

    @property
    def end_ns(self) -> int:
        """When the last point is reached [ns, ROS time]."""
        return self.start_ns + round(float(self.times_s[-1]) * 1e9)

    def sample(self, stamp_ns: int) -> MotionState:
        """The state at a time; before the start that of the first point, after the end rest at the last."""
        time_s = (stamp_ns - self.start_ns) * 1e-9
        if time_s <= self.times_s[0] or time_s >= self.times_s[-1]:
            end = 0 if time_s <= self.times_s[0] else -1
            return MotionState(self.positions[end], self.velocities[end], self.accelerations[end])
        right = int(self.times_s.searchsorted(time_s, side="right"))
        left = right - 1
        since_s = time_s - self.times_s[left]
        begin, start = self.accelerations[left], self.velocities[left]
        jerk = (self.accelerations[right] - begin) / (self.times_s[right] - self.times_s[left])
        accelerations = begin + jerk * since_s
        velocities = start + (begin + accelerations) * (since_s / 2.0)
        positions = self.positions[left] + (start + (2.0 * begin + accelerations) * (since_s / 6.0)) * since_s
        return MotionState(positions, velocities, accelerations)

    def next_point(self, stamp_ns: int) -> tuple[int, MotionState]:
        """The first point at or after ``stamp_ns``: when [ns, ROS time], and its state. After the last one: now, at
        rest."""
        points_ns = np.rint(self.times_s * 1e9)
        index = int(points_ns.searchsorted(stamp_ns - self.start_ns))
        if index == len(points_ns):
            return stamp_ns, self.sample(stamp_ns)
        state = MotionState(self.positions[index], self.velocities[index], self.accelerations[index])
        return self.start_ns + int(points_ns[index]), state


@dataclass(frozen=True, slots=True, eq=False)
class Splice:
    """Where a new trajectory takes over from the running one: it begins with what runs anyway, up to the next knot, and
    turns off there. So every acceleration lasts from knot to knot, and its change can be smoothed out."""

    start_ns: int
    """The time of its first point [ns, ROS time], never in the past."""
    start: MotionState
    """The running command then; rest at the measured positions when nothing runs or the command was not followed."""
    knot_ns: int
    """When the running motion is left [ns, ROS time]: ``start_ns`` or up to one knot step later."""
    knot: MotionState
    """The running command then."""
    restarted: str = ""
    """Why the motion starts anew from the measured positions; empty when it continues the running command."""

    def __post_init__(self) -> None:
        num_joints = len(self.start.positions)
        for name in ("start", "knot"):
            rows = as_floats(f"splice {name}", getattr(self, name), (3, num_joints))
            object.__setattr__(self, name, MotionState(*rows))
        if self.knot_ns < self.start_ns:
            raise ShapeError(f"splice: expected a knot at or after the start, got {self.knot_ns - self.start_ns} ns")

    @classmethod
    def at_once(cls, start_ns: int, state: MotionState, restarted: str = "") -> Splice:
        """A splice that turns off at its start."""
        return cls(start_ns, state, start_ns, state, restarted)
