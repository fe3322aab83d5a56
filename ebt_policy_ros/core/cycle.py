"""What goes through the pipeline in one round: the thought about a chunk, the plan, and what came of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ebt_policy_ros.core.retry import Accept, Decision, Evidence, GiveUp, GoOn, Memory, Retreat
from ebt_policy_ros.core.types import Floats, Minimum, Outcome, SafeChunk
from ebt_policy_ros.core.uncertainty import Uncertainty, raw_score


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


@dataclass(frozen=True, slots=True, eq=False)
class Thought:
    """All minimisations of one chunk together."""

    minimum: Minimum | None = None
    """The least doubtful so far; a finite one before any other."""
    steps: int = 0
    """Gradient steps of all of them."""
    network_evaluations: int = 0
    """Network passes of all of them."""
    rounds: int = 0
    """How many minimisations."""
    surprise: float | None = None
    """See ``Cycle.surprise``."""
    change: float | None = None
    """See ``plan_change``."""
    gained: bool = True
    """Whether the last minimisation found a less doubtful chunk than those before."""
    parts_s: Mapping[str, float] = field(default_factory=dict)
    """``Minimum.parts_s`` of all minimisations together."""

    def with_minimum(self, minimum: Minimum) -> Thought:
        """This thought and one more minimisation of the same observation."""
        is_better = self.minimum is None or _blame(minimum) < _blame(self.minimum)
        return replace(
            self,
            minimum=minimum if is_better else self.minimum,
            gained=is_better,
            steps=self.steps + minimum.steps,
            network_evaluations=self.network_evaluations + minimum.network_evaluations,
            rounds=self.rounds + 1,
            parts_s={name: self.parts_s.get(name, 0.0) + took for name, took in minimum.parts_s.items()},
        )


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What ``think`` found and decided; only ``act`` looks inside."""

    number: int
    """Chunk number, counted from 0."""
    generation: int
    """Void when the pipeline was stopped, reset or cleared since."""
    evidence: Evidence
    memory: Memory
    """Before the decision."""
    decision: Decision
    thought: Thought
    observation_stamp_ns: int | None = None
    """[ns, ROS time]; None without an observation."""
    raw_score: float | None = None
    """Of this chunk alone; None without a finite one."""
    newest_ns: Mapping[str, int] = field(default_factory=dict)
    """Source -> stamp of its newest message when it was thought about [ns, ROS time]."""


@dataclass(frozen=True, slots=True, eq=False)
class Cycle:
    """One round of the flow: what to send, and all that the node publishes about it."""

    state: State
    command: SafeChunk | None
    """To be sent now; None when what runs goes on."""
    minimum: Minimum | None = None
    energy: float | None = None
    """Energy of the chosen chunk; None when there is none or it is not finite."""
    uncertainty: float | None = None
    """Calibrated score in [0, 1]; None when there is no minimum or no calibration."""
    surprise: float | None = None
    """Energy of what is left of the previous plan less that of the new one, both at the new observation: how far what
    is seen now contradicts what was planned. Near 0 while all goes as expected; it rises when something happened.
    None without a previous plan."""
    change: float | None = None
    """How far the new plan differs from what is left of the one before (``plan_change``); None without one."""
    threshold: float = float("nan")
    """Score above which a chunk is doubtful; NaN when uncalibrated."""
    attempt: int = 0
    """Retreats not yet forgiven: 0 is the first attempt."""
    steps: int = 0
    """Gradient steps of this round, all thought together."""
    network_evaluations: int = 0
    """Passes of the network in this round, all thought together."""
    reason: str = ""
    """Why this state, in words; empty when all is well."""
    clamps: Mapping[str, int] = field(default_factory=dict)
    """Limit name -> how many (point, joint) values it changed."""
    dropped_points: int = 0
    """Rows of the chunk that time had overtaken."""
    observation_stamp_ns: int | None = None
    """Stamp of the observation planned from [ns, ROS time]."""
    number: int = 0
    """Chunk number, counted from 0."""
    history: History | None = None
    """What a replay needs; None for a cycle that was not carried out."""
    parts_s: Mapping[str, float] = field(default_factory=dict)
    """How long the parts of this round's thought took, by name [s]."""


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """When a cycle happened and what had been received by then: enough to repeat it from a recording."""

    event: Event
    thought_ns: int
    """When the input was looked at [ns, ROS time]."""
    acted_ns: int
    """When the decision was carried out [ns, ROS time]."""
    newest_ns: Mapping[str, int]
    """Source (camera or ``joint_states``) -> stamp of its newest message when it was looked at [ns, ROS time]."""
    acted_joints_ns: int | None
    """Stamp of the newest joint state when the decision was carried out [ns, ROS time]."""
    rounds: int = 0
    """Minimisations of this chunk."""
    seed: int = 0
    """Base of its random starts."""


class Event(enum.Enum):
    """What made a cycle, or happened between two."""

    ROUND = "round"
    """``Pipeline.think`` and ``act``."""
    WATCH = "watch"
    """``Pipeline.watch`` found the input stale."""
    STOP = "stop"
    RESET = "reset"
    """``Pipeline.reset`` and ``clear``."""
    CLEAR = "clear"
    RETRY = "retry"
    """``Pipeline.request_retry``."""


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """What became of a decision: a command, nothing to send, or a refusal."""

    command: SafeChunk | None = None
    clamps: Mapping[str, int] = field(default_factory=dict)
    dropped_points: int = 0
    reason: str = ""
    """What else is to be said about it."""
    refused: str = ""
    """Why the safety stage made no command."""
    refused_limit: str = ""
    executed: Floats | None = None
    """(H, D) the chunk as it will be executed, normalised."""
    too_late: bool = False
    """Time had overtaken the whole chunk."""


def weigh(evidence: Evidence, thought: Thought, uncertainty: Uncertainty, before: Sequence[float] = ()) -> Evidence:
    """The evidence with what the thought adds to it; a minimum that is not finite has no score. ``before``: the raw
    scores of the chunks before it in the score's window."""
    minimum = thought.minimum
    rounds = max(0, thought.rounds - 1)
    if minimum is None or not is_finite(minimum):
        return replace(evidence, score=None, outcome=Outcome.NON_FINITE, rounds=rounds)
    return replace(
        evidence,
        score=uncertainty.score(minimum, thought.change, before),
        present=uncertainty.present(minimum, thought.change),
        outcome=minimum.outcome,
        rounds=rounds,
        surprise=uncertainty.surprise(thought.change),
    )


def _blame(minimum: Minimum) -> float:
    """What tells the worse of two chunks for the same observation: the critic's expected error, where there is one.

    Not the whole score: of two chunks it would take the bolder one.
    """
    blame = minimum.terms.get("expected_error", raw_score(minimum, None))
    return blame if blame is not None and is_finite(minimum) else float("inf")


def is_finite(minimum: Minimum) -> bool:
    """Whether energy and chunk are numbers."""
    return bool(np.isfinite(minimum.energy) and np.isfinite(minimum.chunk).all())


def report(
    decision: Decision, plan: Plan, move: Move, resting: State, uncertainty: Uncertainty, history: History | None = None
) -> Cycle:
    """The cycle that the node publishes; ``resting`` is the state while nothing moves."""
    thought, minimum = plan.thought, plan.thought.minimum
    state = resting
    if isinstance(decision, Accept):
        state = State.THINKING_MORE if thought.rounds > 1 or decision.is_doubtful else State.RUNNING
    elif isinstance(decision, GoOn):
        state = State.RUNNING
    elif isinstance(decision, Retreat):
        state = State.RETREATING
    elif isinstance(decision, GiveUp):
        state = State.GIVEN_UP
    uncalibrated = "uncalibrated" if minimum is not None and uncertainty.calibration is None else ""
    return Cycle(
        state=state,
        command=move.command,
        minimum=minimum,
        energy=minimum.energy if minimum is not None and np.isfinite(minimum.energy) else None,
        uncertainty=plan.evidence.score,
        surprise=thought.surprise,
        change=thought.change,
        threshold=uncertainty.threshold,
        attempt=plan.memory.retreats,
        steps=thought.steps,
        network_evaluations=thought.network_evaluations,
        reason="; ".join(part for part in (decision.reason, move.reason, uncalibrated) if part),
        clamps=move.clamps,
        dropped_points=move.dropped_points,
        observation_stamp_ns=plan.observation_stamp_ns,
        number=plan.number,
        history=history,
        parts_s=thought.parts_s,
    )


def shifted(chunk: Floats, num_rows: int) -> Floats | None:
    """A chunk (H, D) as it looks ``num_rows`` later, its last row repeated; None when nothing of it is left."""
    if not 0 <= num_rows < len(chunk):
        return None
    return np.asarray(chunk[np.minimum(np.arange(len(chunk)) + num_rows, len(chunk) - 1)])


def continued(previous: Floats, chunk: Floats, num_rows: int) -> Floats | None:
    """What is left of a previous chunk (H, D) ``num_rows`` later, completed by the last rows of a new one (H, D).

    None when nothing is left of it, or nothing of it lies in the past.
    """
    if not 0 < num_rows < len(previous):
        return None
    return np.asarray(np.concatenate([previous[num_rows:], chunk[len(previous) - num_rows :]]))


def plan_change(previous: Floats, chunk: Floats, num_rows: int) -> float | None:
    """Mean absolute difference between a new chunk (H, D) and what is left of one planned ``num_rows`` earlier (H, D),
    over the rows that both have; None when there are none."""
    if not 0 <= num_rows < len(previous):
        return None
    change = float(np.abs(previous[num_rows:] - chunk[: len(previous) - num_rows]).mean())
    return change if np.isfinite(change) else None


def slowed(targets: Floats, speed: float, first: int) -> Floats:
    """Targets (H, D) from row ``first`` on at a share ``speed`` of their pace: (H, D), linear between rows."""
    if speed == 1.0:
        return targets
    begin = max(0, first - 1)
    places = begin + np.maximum(0.0, np.arange(len(targets)) - begin) * speed
    places[:begin] = np.arange(begin)
    low = np.floor(places).astype(int)
    high, share = np.minimum(low + 1, len(targets) - 1), (places - low)[:, None]
    return np.asarray(targets[low] * (1.0 - share) + targets[high] * share)


def chunk_seed(base: int, number: int, round_of_thought: int) -> int:
    """A seed below 2^63 from base (< 2^23), chunk number (< 2^32) and round (< 2^8), different for all of them."""
    if not (0 <= base < 2**23 and 0 <= number < 2**32 and 0 <= round_of_thought < 2**8):
        raise ValueError(f"seed: base {base}, chunk {number} or round {round_of_thought} is out of range")
    return (base << 40) | (number << 8) | round_of_thought
