"""A descent ends before the deadline, or where a recording says that it did."""

from __future__ import annotations

from ebt_policy_ros.core.minimise import MayStep
from ebt_policy_ros.core.pace import Pace, stopwatch


def steps_taken(may_step: MayStep, tick: list[float], step_s: float, most: int) -> int:
    """How many steps a descent takes that asks, each of them ``step_s`` long."""
    taken = 0
    while taken < most and (taken == 0 or may_step(taken)):
        tick[0] += step_s
        taken += 1
    return taken


def test_a_descent_ends_before_the_deadline_with_time_to_judge_the_result() -> None:
    pace, tick = Pace(0.1), [0.0]
    pace.begin(stopwatch(lambda: tick[0]))
    assert steps_taken(pace.of(8, 0, None), tick, 0.012, 50) == 7  # 0.084 s, and 0.012 for judging
    assert tick[0] + 0.012 <= 0.1
    tick[0] = 0.0
    pace.begin(stopwatch(lambda: tick[0]))
    assert steps_taken(pace.of(1, 0, None), tick, 0.001, 50) == 50  # one candidate is another matter


def test_how_long_steps_take_is_remembered_and_fades() -> None:
    pace, tick = Pace(0.1), [0.0]
    pace.begin(stopwatch(lambda: tick[0]))
    steps_taken(pace.of(8, 0, None), tick, 0.04, 8)
    assert pace._step_s[8] == 0.04
    tick[0] = 0.0
    pace.begin(stopwatch(lambda: tick[0]))
    steps_taken(pace.of(8, 0, None), tick, 0.001, 8)
    assert 0.001 < pace._step_s[8] < 0.04


def test_without_a_clock_only_the_given_number_of_steps_counts() -> None:
    pace, tick = Pace(0.1), [0.0]
    pace.begin(stopwatch(None))
    assert steps_taken(pace.of(8, 0, None), tick, 1.0, 8) == 8
    assert steps_taken(pace.of(8, 2, 7), tick, 1.0, 8) == 5  # two were taken before
