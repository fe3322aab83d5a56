"""The ladder: every rung in its turn, every count bounded, giving up latched."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebt_policy_ros.core.retry import (
    Accept,
    Decision,
    Evidence,
    GiveUp,
    GoOn,
    Hold,
    Memory,
    Retreat,
    ThinkMore,
    decide,
    remember,
)
from ebt_policy_ros.core.settings import RetrySettings
from ebt_policy_ros.core.types import Outcome

from .fakes import SECOND

SETTINGS = RetrySettings(think_rounds=1, patience_s=0.3, hold_s=0.5, max_retreats=2)
HIGH, CALM, LOW = 0.99, 0.3, 0.9


def evidence(seconds: float = 0.0, score: float | None = CALM, **changes: object) -> Evidence:
    known = {"score": score, "present": score, "threshold": 0.95}
    return Evidence(round(seconds * SECOND), **{**known, **changes})  # type: ignore[arg-type]


def climb(scores: list[float | None], settings: RetrySettings = SETTINGS, every_s: float = 0.2) -> list[Decision]:
    """The decisions on one chunk after the other, more thought changing nothing."""
    memory, decisions = Memory(), []
    for i, score in enumerate(scores):
        for rounds in range(10):
            given_ = evidence(i * every_s, score, rounds=rounds)
            decision = decide(given_, memory, settings)
            decisions.append(decision)
            if not isinstance(decision, ThinkMore):
                break
        memory = remember(memory, given_, decision, settings)
    return decisions


def names(decisions: list[Decision]) -> list[str]:
    short = []
    for decision in decisions:
        name = type(decision).__name__
        if not short or short[-1] != name:
            short.append(name)
    return short


def test_calm_chunks_are_accepted_without_further_thought() -> None:
    decisions = climb([CALM, LOW, CALM])
    assert all(isinstance(d, Accept) and not d.is_doubtful for d in decisions)
    assert [d.is_calm for d in decisions if isinstance(d, Accept)] == [True, False, True]


def test_a_single_false_alarm_costs_only_more_thought() -> None:
    decisions = climb([CALM, HIGH, CALM, HIGH, CALM])
    assert names(decisions) == ["Accept", "ThinkMore", "Accept", "ThinkMore", "Accept"]


def test_the_whole_ladder() -> None:
    decisions = climb([HIGH] * 60)
    without_thought = [d for d in decisions if not isinstance(d, ThinkMore)]
    attempt = ["Accept", "Hold", "Retreat"]
    assert names(without_thought) == attempt + attempt + ["Accept", "Hold", "GiveUp"]
    holds = [d for d in without_thought if isinstance(d, Hold)]
    assert len(holds) == 3 * 3  # 0.5 s of looking every 0.2 s
    retreats = [place for place, d in enumerate(without_thought) if isinstance(d, Retreat | GiveUp)]
    borne = [
        sum(isinstance(d, Accept) for d in without_thought[a:b])
        for a, b in zip([0, *retreats[:2]], retreats[:3], strict=True)
    ]
    assert borne == [2, 3, 6]  # every retreat in vain doubles the patience: 0.3, 0.6 and 1.2 s at 0.2 s a chunk
    assert "0.990 is above the threshold 0.950" in without_thought[0].reason
    assert "gave up after 2 retreats" in without_thought[-1].reason


def test_giving_up_is_latched_whatever_comes() -> None:
    memory = Memory(given_up="no more")
    for given_ in (evidence(), evidence(score=HIGH), evidence(requested=True), evidence(unavailable="dark")):
        decision = decide(given_, memory, SETTINGS)
        assert decision == GiveUp("no more")
        assert remember(memory, given_, decision, SETTINGS).given_up == "no more"


def test_a_look_at_the_running_plan_goes_on_unless_something_happened() -> None:
    look = dataclasses.replace(evidence(), is_look=True)
    assert decide(look, Memory(), SETTINGS) == GoOn()
    assert decide(dataclasses.replace(look, surprise=0.9), Memory(), SETTINGS) == GoOn()
    event = decide(dataclasses.replace(look, surprise=1.1), Memory(), SETTINGS)
    assert isinstance(event, Accept)
    assert event.reason == "something happened"
    doubtful = dataclasses.replace(look, score=HIGH, rounds=9)
    assert isinstance(decide(doubtful, Memory(), SETTINGS), Accept)
    useless = dataclasses.replace(look, outcome=Outcome.NON_FINITE)
    assert decide(useless, Memory(), SETTINGS) == GoOn()  # the running plan is not the one that came out useless


def test_a_hold_ends_as_soon_as_the_score_is_low_again() -> None:
    decisions = climb([HIGH, HIGH, HIGH, HIGH, LOW, HIGH])
    assert names([d for d in decisions if not isinstance(d, ThinkMore)]) == ["Accept", "Hold", "Accept"]


def test_calm_chunks_forgive_retreats_but_not_the_total() -> None:
    settings = dataclasses.replace(SETTINGS, calm_to_forgive=3, max_total_retreats=4)
    failing = [HIGH] * 8
    decisions = climb((failing + [CALM] * 6) * 10, settings)
    assert sum(isinstance(d, Retreat) for d in decisions) == 4
    assert isinstance(decisions[-1], GiveUp)
    unforgiving = dataclasses.replace(settings, calm_to_forgive=100)
    assert sum(isinstance(d, Retreat) for d in climb((failing + [CALM] * 6) * 10, unforgiving)) == 2


def test_stale_input_holds_for_as_long_as_it_lasts_and_changes_no_count() -> None:
    memory = Memory(doubtful_since_ns=1, retreats=1, calm=0)
    for seconds in (0.0, 1.0, 1000.0):
        given_ = evidence(seconds, None, unavailable="front: silent")
        decision = decide(given_, memory, SETTINGS)
        assert decision == Hold("front: silent", waits_for_input=True)
        memory = remember(memory, given_, decision, SETTINGS)
    assert memory == Memory(doubtful_since_ns=1, retreats=1, calm=0)
    assert isinstance(decide(evidence(1001.0), memory, SETTINGS), Accept)


@pytest.mark.parametrize("changes", [{"outcome": Outcome.NON_FINITE}, {"refused": "jump limit: joint 'elbow'"}])
def test_what_cannot_be_executed_never_is(changes: dict[str, object]) -> None:
    for settings in (SETTINGS, RetrySettings(enabled=False)):
        for memory in (Memory(), Memory(doubtful_since_ns=-SECOND)):
            for rounds in (0, 1):
                decision = decide(evidence(rounds=rounds, **changes), memory, settings)
                assert not isinstance(decision, Accept)
    assert isinstance(decide(evidence(**changes), Memory(), SETTINGS), ThinkMore)
    assert isinstance(decide(evidence(may_think=False, **changes), Memory(), SETTINGS), Hold)


def test_no_descent_is_thought_over_and_cleared_by_a_calm_score_only() -> None:
    stuck = evidence(outcome=Outcome.NO_DESCENT)
    assert isinstance(decide(stuck, Memory(), SETTINGS), ThinkMore)
    assert decide(dataclasses.replace(stuck, rounds=1), Memory(), SETTINGS) == Accept(is_calm=True)
    uncalibrated = evidence(score=None, outcome=Outcome.NO_DESCENT, rounds=1)
    decision = decide(uncalibrated, Memory(), SETTINGS)
    assert isinstance(decision, Accept)
    assert decision.is_doubtful


def test_without_a_score_only_outcomes_count() -> None:
    blind = evidence(score=None, threshold=math.nan)
    assert decide(blind, Memory(), SETTINGS) == Accept(is_calm=True)
    first = evidence(score=None)  # calibrated, but nothing to compare this plan with: not a point to come back to
    assert decide(first, Memory(), SETTINGS) == Accept(is_calm=False)


def test_switched_off_accepts_every_finite_chunk() -> None:
    decisions = climb([HIGH] * 20, RetrySettings(enabled=False))
    assert all(isinstance(d, Accept) for d in decisions)


@pytest.mark.parametrize(
    ("rule", "empty", "release"),
    [("never", True, False), ("when_empty", True, True), ("when_empty", False, False), ("always", False, True)],
)
def test_the_release_is_decided_by_a_rule(rule: str, empty: bool, release: bool) -> None:
    settings = RetrySettings(release=rule)
    decision = decide(evidence(requested=True, holds_nothing=empty), Memory(), settings)
    assert isinstance(decision, Retreat)
    assert decision.release is release


def test_a_retry_asked_for_is_not_counted() -> None:
    memory = Memory(retreats=2, total_retreats=2)
    given_ = evidence(requested=True)
    decision = decide(given_, memory, SETTINGS)
    assert isinstance(decision, Retreat)
    assert remember(memory, given_, decision, SETTINGS).total_retreats == 2


def test_a_blind_retreat_after_a_time_out_is_bounded_and_never_gives_up() -> None:
    settings = RetrySettings(blind_retreat_s=1.0, max_retreats=2, calm_to_forgive=1000)
    decisions = climb([CALM] * 40, settings)
    assert sum(isinstance(d, Retreat) for d in decisions) == 2
    assert isinstance(decisions[-1], Accept)


@given(
    scores=st.lists(st.sampled_from([HIGH, CALM, LOW, None]), min_size=1, max_size=300),
    patience_s=st.sampled_from([0.0, 0.2, 0.5, 1.1]),
    max_retreats=st.integers(0, 3),
    max_total=st.integers(0, 6),
    think_rounds=st.integers(0, 3),
)
def test_every_count_is_bounded(
    scores: list[float | None], patience_s: float, max_retreats: int, max_total: int, think_rounds: int
) -> None:
    settings = RetrySettings(
        patience_s=patience_s,
        max_retreats=max_retreats,
        max_total_retreats=max_total,
        think_rounds=think_rounds,
        calm_to_forgive=2,
    )
    decisions = climb(scores, settings)
    assert sum(isinstance(d, Retreat) for d in decisions) <= max_total
    in_a_row = doubtful = 0
    for decision in decisions:
        in_a_row = in_a_row + 1 if isinstance(decision, ThinkMore) else 0
        assert in_a_row <= think_rounds
        if not isinstance(decision, ThinkMore):
            doubtful = doubtful + 1 if isinstance(decision, Accept) and decision.is_doubtful else 0
            assert doubtful <= math.ceil(patience_s * 2**max_total / 0.2 - 1e-6)
    given_up = [isinstance(d, GiveUp) for d in decisions]
    assert given_up == sorted(given_up)  # once given up, nothing else follows
