"""The ladder of doubt: think more -> go on for a while -> hold and look again -> retreat and try again -> give up,
latched until reset.

Beside it a shortcut: a plan is replaced before its time when what is seen contradicts it.

Two pure functions: ``decide`` says what to do with the evidence, ``remember`` what is known afterwards. Doubt costs
thought at once, and time only when it lasts: a policy often finds its way out by itself. A retreat that did not help
tells that what is seen cannot be helped by retreating, so every one doubles the patience. Every count is bounded by a
setting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ebt_policy_ros.core.settings import RetrySettings
from ebt_policy_ros.core.types import Outcome


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a decision rests on."""

    now_ns: int
    """[ns, ROS time]."""
    unavailable: str = ""
    """Why there is no observation; empty when there is one."""
    requested: bool = False
    """Someone asked for a retry."""
    score: float | None = None
    """Calibrated score in [0, 1]; None without a calibration."""
    present: float | None = None
    """The score of this chunk alone; None without a calibration, or without a plan before to compare with."""
    threshold: float = math.nan
    """Score above which a chunk is doubtful."""
    outcome: Outcome = Outcome.DESCENDED
    """How the minimisation ended."""
    refused: str = ""
    """Why the safety stage refused the chunk; empty when it did not (yet)."""
    rounds: int = 0
    """Rounds of more thought this chunk has had."""
    may_think: bool = True
    """Whether there is time to minimise again, and the last time gained anything."""
    surprise: float | None = None
    """How much what is seen now contradicts the plan before, in units of what one in twenty good episodes ever shows;
    None when unknown."""
    is_look: bool = False
    """The plan before is not used up yet: this is a look at it on the way."""
    holds_nothing: bool = False
    """The hand was closed and closed on nothing."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered from chunk to chunk."""

    doubtful_since_ns: int | None = None
    """Since when chunk after chunk is doubtful."""
    calm: int = 0
    """Calm chunks in a row."""
    retreats: int = 0
    """Retreats not yet forgiven."""
    total_retreats: int = 0
    """Retreats since the last reset."""
    holding_since_ns: int | None = None
    """Since when the arm holds out of doubt."""
    attempt_since_ns: int | None = None
    """Since when this attempt runs."""
    given_up: str = ""
    """Why, once given up; latched."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Execute the chunk."""

    reason: str = ""
    is_doubtful: bool = False
    """Executed in doubt, perhaps slowly and for a short time (``slow_speed``, ``alert_steps``)."""
    is_calm: bool = False
    """A point worth coming back to."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """The plan before still holds: keep executing it."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class ThinkMore:
    """Minimise again with more steps and more starts."""

    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Brake to rest and look again."""

    reason: str
    waits_for_input: bool = False
    """Goes on by itself when the input is back, however long that takes."""


@dataclass(frozen=True, slots=True)
class Retreat:
    """Go back along the executed path and try again."""

    reason: str
    release: bool = False
    """Open the hand on the way."""
    is_counted: bool = True
    """False: it was asked for."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Brake to rest and stay there until reset."""

    reason: str


Decision = Accept | GoOn | ThinkMore | Hold | Retreat | GiveUp


def decide(evidence: Evidence, memory: Memory, settings: RetrySettings) -> Decision:
    """The next rung of the ladder, from the least to the most drastic one."""
    if memory.given_up:
        return GiveUp(memory.given_up)
    if evidence.unavailable:
        return Hold(evidence.unavailable, waits_for_input=True)
    if evidence.requested:
        return Retreat("retry was asked for", _release(evidence, settings), is_counted=False)
    doubt, is_unusable = _doubt(evidence), _is_unusable(evidence)
    if evidence.is_look and not _happened(evidence) and (is_unusable or not doubt):
        return GoOn()  # what a look finds unusable was not going to be used
    if not settings.enabled and not is_unusable:
        return Accept("retry is switched off", is_calm=not doubt)
    if not doubt:
        return _blind_retreat(evidence, memory, settings) or Accept(
            "something happened" if evidence.is_look else "", is_calm=_is_calm(evidence, settings)
        )
    if evidence.may_think and evidence.rounds < settings.think_rounds:
        return ThinkMore(doubt)
    if not settings.enabled:
        return Hold(doubt)
    doubted_s = _since_s(evidence, memory.doubtful_since_ns)
    lasting = f"{doubt}; for {doubted_s:.1f} s"
    is_holding = memory.holding_since_ns is not None
    if not is_unusable and not is_holding and doubted_s < _patience_s(memory, settings):
        return Accept(lasting, is_doubtful=True)
    if not is_holding or _since_s(evidence, memory.holding_since_ns) < settings.hold_s:
        return Hold(lasting)
    return _retreat_or_give_up(lasting, evidence, memory, settings)


def remember(memory: Memory, evidence: Evidence, decision: Decision, settings: RetrySettings) -> Memory:
    """The memory after a decision was carried out."""
    since_ns = memory.attempt_since_ns if memory.attempt_since_ns is not None else evidence.now_ns
    if isinstance(decision, GiveUp):
        return replace(memory, given_up=decision.reason, holding_since_ns=None)
    if isinstance(decision, Retreat):
        counted = int(decision.is_counted)
        return Memory(
            retreats=memory.retreats + counted,
            total_retreats=memory.total_retreats + counted,
            attempt_since_ns=evidence.now_ns,
        )
    doubtful_ns = memory.doubtful_since_ns if memory.doubtful_since_ns is not None else evidence.now_ns
    if isinstance(decision, Hold) and not decision.waits_for_input:
        holding_ns = memory.holding_since_ns if memory.holding_since_ns is not None else evidence.now_ns
        return replace(memory, doubtful_since_ns=doubtful_ns, calm=0, holding_since_ns=holding_ns)
    if isinstance(decision, Accept) and decision.is_doubtful:
        return replace(memory, doubtful_since_ns=doubtful_ns, calm=0, attempt_since_ns=since_ns)
    if isinstance(decision, Accept):
        calm = memory.calm + 1 if decision.is_calm else 0
        forgiven = int(calm >= settings.calm_to_forgive)
        return replace(
            memory,
            doubtful_since_ns=None,
            calm=0 if forgiven else calm,
            retreats=max(0, memory.retreats - forgiven),
            holding_since_ns=None,
            attempt_since_ns=since_ns,
        )
    return memory


def _is_unusable(evidence: Evidence) -> bool:
    return evidence.outcome is Outcome.NON_FINITE or bool(evidence.refused)


def _doubt(evidence: Evidence) -> str:
    """Why the chunk is doubtful, or nothing."""
    if evidence.refused:
        return evidence.refused
    if evidence.outcome is Outcome.NON_FINITE:
        return "energy or gradient is not finite"
    if evidence.score is not None and evidence.score > evidence.threshold:
        return f"uncertainty {evidence.score:.3f} is above the threshold {evidence.threshold:.3f}"
    # A calm score after more thought clears a chunk that could not be improved: its start may have been the minimum.
    if evidence.outcome is Outcome.NO_DESCENT and (evidence.score is None or evidence.rounds == 0):
        return "no step lowered the energy"
    return ""


def _is_calm(evidence: Evidence, settings: RetrySettings) -> bool:
    if _happened(evidence):
        return False
    if math.isnan(evidence.threshold):
        return True  # uncalibrated: no chunk looks better than another
    return evidence.present is not None and evidence.present <= settings.calm_fraction * evidence.threshold


def _happened(evidence: Evidence) -> bool:
    return evidence.surprise is not None and evidence.surprise > 1.0


def _since_s(evidence: Evidence, since_ns: int | None) -> float:
    return 0.0 if since_ns is None else (evidence.now_ns - since_ns) * 1e-9


def _patience_s(memory: Memory, settings: RetrySettings) -> float:
    """How long doubt is borne: doubled by every retreat that has not been forgiven."""
    return float(settings.patience_s * 2.0**memory.retreats)


def _release(evidence: Evidence, settings: RetrySettings) -> bool:
    return settings.release == "always" or (settings.release == "when_empty" and evidence.holds_nothing)


def _may_retreat(memory: Memory, settings: RetrySettings) -> bool:
    return memory.retreats < settings.max_retreats and memory.total_retreats < settings.max_total_retreats


def _retreat_or_give_up(doubt: str, evidence: Evidence, memory: Memory, settings: RetrySettings) -> Retreat | GiveUp:
    if _may_retreat(memory, settings):
        return Retreat(doubt, _release(evidence, settings))
    made = f"{memory.retreats} retreats in a row, {memory.total_retreats} since the last reset"
    return GiveUp(f"gave up after {made}: {doubt}")


def _blind_retreat(evidence: Evidence, memory: Memory, settings: RetrySettings) -> Retreat | None:
    """A retreat for no other reason than time; never a reason to give up."""
    if settings.blind_retreat_s == 0.0 or memory.attempt_since_ns is None or not _may_retreat(memory, settings):
        return None
    run_s = _since_s(evidence, memory.attempt_since_ns)
    if run_s < settings.blind_retreat_s:
        return None
    return Retreat(f"{run_s:.1f} s without success", _release(evidence, settings))
