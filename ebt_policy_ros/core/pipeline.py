"""The whole flow, one way: observe -> normalise -> minimise <-> retry -> unnormalise -> safety -> schedule."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ebt_policy_ros.core.minimise import EnergyMinimiser
from ebt_policy_ros.core.normalise import Normaliser
from ebt_policy_ros.core.settings import PipelineSettings, RobotSettings
from ebt_policy_ros.core.types import Floats, Instant, Minimum, Pixels, SafeChunk
from ebt_policy_ros.core.uncertainty import Uncertainty


class State(enum.Enum):
    """What the node is doing, as its status says it."""

    WAITING = "waiting"
    """Nothing was commanded yet and the input is not complete."""
    RUNNING = "running"
    THINKING_MORE = "thinking more"
    """Running, but the chunk needed more thought or is doubtful."""
    HOLDING = "holding"
    RETREATING = "retreating"
    GIVEN_UP = "given up"
    """Latched until reset."""


@dataclass(frozen=True)
class Plan:
    """What ``think`` found and decided; only ``act`` looks inside."""

    number: int
    """Chunk number, counted from 0."""


@dataclass(frozen=True)
class Cycle:
    """One round of the flow: what to send, and all that the node publishes about it."""

    state: State
    command: SafeChunk | None
    """To be sent now; None when what runs goes on."""
    minimum: Minimum | None = None
    energy: float | None = None
    """Energy of the chosen chunk."""
    uncertainty: float | None = None
    """Calibrated score in [0, 1]; None when there is no minimum or no calibration."""
    threshold: float = float("nan")
    """Score above which a chunk is doubtful; NaN when uncalibrated."""
    attempt: int = 0
    """Retreats made in a row before this chunk."""
    steps: int = 0
    """Gradient steps of this cycle, all rounds of thought together."""
    network_evaluations: int = 0
    """Passes of the network in this cycle, all rounds of thought together."""
    reason: str = ""
    """Why this state, in words."""
    clamps: Mapping[str, int] = field(default_factory=dict)
    """Limit name -> how many (point, joint) targets it changed."""
    dropped_points: int = 0
    """Rows of the chunk that time had overtaken."""
    observation_stamp_ns: int | None = None
    """Stamp of the observation planned from [ns, ROS time]."""
    number: int = 0
    """Chunk number, counted from 0."""


class Pipeline:
    """The control flow of one robot. Thread-safe: callbacks add, one model thread thinks, anyone acts or stops."""

    def __init__(
        self,
        minimiser: EnergyMinimiser,
        normaliser: Normaliser,
        uncertainty: Uncertainty,
        settings: PipelineSettings,
        robot: RobotSettings,
    ) -> None:
        raise NotImplementedError

    def add_image(self, camera: str, stamp_ns: int, receive_ns: int, pixels: Pixels) -> None:
        """Store an image: (height, width, 3) uint8 RGB; ``stamp_ns`` ROS time, ``receive_ns`` steady time."""
        raise NotImplementedError

    def add_joints(
        self,
        stamp_ns: int,
        receive_ns: int,
        names: Sequence[str],
        positions: Sequence[float] | Floats,
        velocities: Sequence[float] | Floats | None = None,
    ) -> None:
        """Store a joint state, by name, in any order; MessageError names what is malformed."""
        raise NotImplementedError

    def is_due(self, now: Instant) -> bool:
        """Whether a round of ``think`` and ``act`` is wanted now."""
        raise NotImplementedError

    def think(self, now: Instant) -> Plan:
        """Observe, minimise and decide: slow, on the model thread; changes nothing that ``act`` does not commit."""
        raise NotImplementedError

    def act(self, plan: Plan, now: Instant, *, dry_run: bool = False) -> Cycle:
        """Make the plan a safe command at the time it really is: fast. A dry run schedules and remembers nothing."""
        raise NotImplementedError

    def request_retry(self) -> None:
        """Retreat and try again at the next round; without effect after giving up."""
        raise NotImplementedError

    def reset(self, seed: int | None = None) -> None:
        """Leave a latched give-up and forget all doubt; with a seed, chunks are numbered from 0 again (new episode)."""
        raise NotImplementedError

    def stop(self, now: Instant) -> Cycle:
        """Brake to rest now; a plan still being thought about is void."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget buffers and the running trajectory: the clock jumped back, or a new episode begins."""
        raise NotImplementedError

    def counters(self) -> dict[str, int]:
        """Everything counted since the start, by name, for diagnostics."""
        raise NotImplementedError
