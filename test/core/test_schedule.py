"""Chunks in time: continuous, never past, and a way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebt_policy_ros.core.errors import SafetyError
from ebt_policy_ros.core.observe import JointSample
from ebt_policy_ros.core.safety import Admitted, SafetyStage, next_row
from ebt_policy_ros.core.schedule import Schedule
from ebt_policy_ros.core.settings import SafetySettings, ScheduleSettings
from ebt_policy_ros.core.types import Floats, SafeChunk, Splice

from .fakes import HOME, PERIOD, ROBOT, SECOND


def schedule(**changes: object) -> Schedule:
    return Schedule(ScheduleSettings(**changes), ROBOT, PERIOD)  # type: ignore[arg-type]


def measured(positions: Floats, stamp_ns: int) -> JointSample:
    return JointSample(stamp_ns, stamp_ns, positions, None)


def moved(splice: Splice, by: Floats, rows: int = 20) -> SafeChunk:
    """A motion of ``by`` over so many rows."""
    stage = SafetyStage(ROBOT, SafetySettings(on_jump="clamp"), PERIOD)
    targets = splice.knot.positions + np.linspace(0.0, 1.0, rows)[:, None] * by
    made = stage.make(targets, stage.earliest_ns(splice), splice)
    assert isinstance(made, Admitted)
    return made.chunk


def test_the_first_splice_starts_at_rest_where_the_arm_is() -> None:
    assert schedule().splice(SECOND, None) is None
    splice = schedule().splice(SECOND, measured(HOME, SECOND))
    assert splice is not None
    assert splice.start_ns == SECOND
    assert (splice.knot.positions == HOME).all()
    assert not splice.knot.velocities.any()


def test_a_chunk_takes_over_in_position_and_velocity() -> None:
    running = schedule(lead_s=0.02)
    first = running.splice(SECOND, measured(HOME, SECOND))
    assert first is not None
    chunk = moved(first, np.array([0.5, 0.3, 0.0]))
    running.accept(chunk, SECOND)
    now_ns = SECOND + 400_000_000
    splice = running.splice(now_ns, measured(chunk.sample(now_ns)[0], now_ns))
    assert splice is not None
    assert splice.start_ns == now_ns + 20_000_000
    assert splice.restarted == ""
    for mine, theirs in zip(splice.start, chunk.sample(splice.start_ns), strict=True):
        assert (mine == theirs).all()
    running.accept(moved(splice, np.array([-0.2, 0.0, 0.0])), now_ns)
    before = running.command_at(splice.start_ns - 1)
    after = running.command_at(splice.start_ns)
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(before[0], after[0], atol=1e-7)
    np.testing.assert_allclose(before[1], after[1], atol=1e-6)


@settings(max_examples=30)
@given(
    waits=st.lists(st.integers(0, 2 * SECOND), min_size=1, max_size=8), lead_s=st.floats(0.0, 0.2), late=st.booleans()
)
def test_no_stamp_is_ever_past_and_commands_never_jump(waits: list[int], lead_s: float, late: bool) -> None:
    running, now_ns, rng = schedule(lead_s=lead_s), SECOND, np.random.default_rng(1)
    for wait_ns in waits:
        now_ns += wait_ns
        splice = running.splice(now_ns, measured(HOME, now_ns) if running.running is None else None)
        assert splice is not None
        assert splice.start_ns >= now_ns
        chunk = moved(splice, rng.uniform(-0.3, 0.3, 3) * np.array([1.0, 1.0, 0.0]))
        if late:
            with pytest.raises(SafetyError, match="in the past"):
                running.accept(chunk, splice.start_ns + 1)
        running.accept(chunk, now_ns)
        assert chunk.end_ns > splice.start_ns
        stamps = range(splice.start_ns - 50_000_000, splice.start_ns + 50_000_000, 5_000_000)
        way = [command[0] for command in map(running.command_at, stamps) if command is not None]
        assert np.abs(np.diff(way, axis=0)).max() <= 0.005 * 3.0 + 1e-9


def test_rows_are_dropped_by_what_time_consumed() -> None:
    assert [next_row(0, PERIOD, start) for start in (-5, 0, 1, PERIOD, PERIOD + 1, 15 * PERIOD)] == [0, 0, 1, 1, 2, 15]


def test_a_command_that_is_not_followed_starts_anew_from_where_the_arm_is() -> None:
    running = schedule()
    first = running.splice(SECOND, measured(HOME, SECOND))
    assert first is not None
    running.accept(moved(first, np.array([1.0, 0.0, 0.0]), rows=40), SECOND)
    now_ns = SECOND + 1_500_000_000
    splice = running.splice(now_ns, measured(HOME, now_ns))
    assert splice is not None
    assert "'shoulder'" in splice.restarted
    assert (splice.knot.positions == HOME).all()
    assert not splice.knot.velocities.any()


def test_an_arm_that_lags_is_no_deviation() -> None:
    running = schedule(max_deviation_rad=0.05)
    first = running.splice(SECOND, measured(HOME, SECOND))
    assert first is not None
    chunk = moved(first, np.array([1.0, 0.0, 0.0]))
    running.accept(chunk, SECOND)
    now_ns = SECOND + 600_000_000
    lagging, command = chunk.sample(now_ns - 150_000_000)[0], chunk.sample(now_ns)[0]
    assert abs(lagging - command)[0] > 0.05
    splice = running.splice(now_ns, measured(lagging, now_ns))
    assert splice is not None
    assert splice.restarted == ""


def test_a_hand_stopped_by_what_it_grasps_is_no_deviation_and_keeps_its_command() -> None:
    running = schedule(max_deviation_m=0.001)
    first = running.splice(SECOND, measured(HOME, SECOND))
    assert first is not None
    running.accept(moved(first, np.array([0.0, 0.0, -0.04])), SECOND)
    now_ns = SECOND + 2 * SECOND
    splice = running.splice(now_ns, measured(HOME * [1, 1, 0.5], now_ns))
    assert splice is not None
    assert splice.restarted == ""
    pushed = running.splice(now_ns, measured(HOME * [1, 1, 0.5] + [0.4, 0, 0], now_ns))
    assert pushed is not None
    assert pushed.restarted
    assert pushed.knot.positions[2] == pytest.approx(0.0, abs=1e-3)


def test_an_arm_moved_by_hand_at_rest_is_noticed_earlier() -> None:
    running = schedule()
    first = running.splice(SECOND, measured(HOME, SECOND))
    assert first is not None
    running.accept(moved(first, np.array([0.3, 0.0, 0.0])), SECOND)
    pushed = HOME + [0.3 + 0.2, 0.0, 0.0]
    soon = running.splice(SECOND * 2, measured(pushed, SECOND * 2))
    later = running.splice(SECOND * 10, measured(pushed, SECOND * 10))
    assert soon is not None
    assert later is not None
    assert soon.restarted == ""
    assert later.restarted


def executed() -> Schedule:
    """Two seconds of motion of the shoulder by 0.5 rad, executed to the end, then standing still."""
    running = schedule()
    first = running.splice(SECOND, measured(HOME, SECOND))
    assert first is not None
    running.accept(moved(first, np.array([0.5, 0.0, -0.04]), rows=41), SECOND)
    running.advance(SECOND + 20 * SECOND)
    return running


def retreat(running: Schedule, least_s: float, most_s: float) -> Floats:
    splice = running.splice(SECOND * 30, None)
    assert splice is not None
    return running.retreat_targets(splice, least_s, 0.0, most_s)


def test_the_path_is_what_was_commanded_and_standing_still_is_none() -> None:
    path = executed().path
    assert 40 <= len(path) <= 43
    assert np.abs(path[0].positions - HOME).max() < 1e-3
    assert path[-1].positions[0] == pytest.approx(0.5, abs=0.01)


def test_a_retreat_goes_back_as_far_as_allowed_and_a_second_one_further() -> None:
    running = executed()
    back = retreat(running, 0.5, 1.0)
    assert len(back) == 21
    assert back[-1, 0] == pytest.approx(0.25, abs=0.03)
    assert (np.diff(back[:, 0]) <= 1e-9).all()
    assert len(retreat(running, 0.5, 1.0)) == 21  # looking does not cut
    running.cut_path()
    again = retreat(running, 0.5, 1.0)
    assert again[-1, 0] == pytest.approx(0.05, abs=0.06)  # it begins at 0.5 still: part of the way leads to the path
    for _ in range(5):
        running.cut_path()
        assert len(retreat(running, 0.5, 1.0)) >= 1


def test_a_retreat_ends_at_the_last_calm_point_that_is_far_enough() -> None:
    running = schedule()
    first = running.splice(SECOND, measured(HOME, SECOND))
    assert first is not None
    running.accept(moved(first, np.array([0.5, 0.0, 0.0]), rows=41), SECOND)
    for stamp_s in (1.5, 1.8, 2.6):  # calm at 0.5, 0.8 and 1.6 s of motion
        running.advance(round(stamp_s * SECOND))
        running.mark_calm()
    running.advance(3 * SECOND)
    splice = running.splice(3 * SECOND, None)
    assert splice is not None
    assert len(running.retreat_targets(splice, 0.2, 0.0, 2.0)) == pytest.approx(1 + 9, abs=1)
    assert len(running.retreat_targets(splice, 1.0, 0.0, 2.0)) == pytest.approx(1 + 25, abs=1)


def test_a_retreat_passes_calm_points_where_the_arm_trembles() -> None:
    running = schedule()
    first = running.splice(SECOND, measured(HOME, SECOND))
    assert first is not None
    running.accept(moved(first, np.array([0.5, 0.0, 0.0]), rows=41), SECOND)
    for stamp_s in (1.5, 2.4):  # calm at 0.5 and 1.4 of 2 s of motion
        running.advance(round(stamp_s * SECOND))
        running.mark_calm()
    running.advance(3 * SECOND)
    splice = running.splice(3 * SECOND, None)
    assert splice is not None
    near, far = (running.retreat_targets(splice, 0.2, change, 3.0) for change in (0.1, 0.3))
    assert np.abs(near[-1] - splice.knot.positions).max() == pytest.approx(0.15, abs=0.05)
    assert np.abs(far[-1] - splice.knot.positions).max() == pytest.approx(0.375, abs=0.05)


def test_a_retreat_leaves_out_where_the_arm_went_round_in_circles() -> None:
    running = schedule()
    first = running.splice(SECOND, measured(HOME, SECOND))
    assert first is not None
    running.accept(moved(first, np.array([0.5, 0.0, 0.0]), rows=41), SECOND)
    running.advance(round(1.4 * SECOND))
    running.mark_calm()
    stamp_s = 3.0
    for there in (0.2, -0.2, 0.2, -0.2):
        splice = running.splice(round(stamp_s * SECOND), None)
        assert splice is not None
        running.accept(moved(splice, np.array([0.0, there, 0.0]), rows=21), round(stamp_s * SECOND))
        stamp_s += 1.5
        running.advance(round(stamp_s * SECOND))
    assert len(running.path) > 90
    splice = running.splice(round(stamp_s * SECOND), None)
    assert splice is not None
    back = running.retreat_targets(splice, 1.0, 0.3, 8.0)
    assert len(back) < 45
    assert np.abs(back[-1] - HOME)[0] == pytest.approx(0.1, abs=0.05)
    assert np.abs(np.diff(back, axis=0)).max() <= 0.06


def test_the_way_back_is_not_part_of_the_path() -> None:
    running = executed()
    splice = running.splice(SECOND * 30, None)
    assert splice is not None
    num_points = len(running.path)
    running.accept(moved(splice, np.array([-0.3, 0.0, 0.0])), SECOND * 30, retreat=True)
    running.advance(SECOND * 35)
    assert len(running.path) == num_points


def test_nothing_executed_leaves_the_arm_where_it_is() -> None:
    running = schedule()
    splice = running.splice(SECOND, measured(HOME, SECOND))
    assert splice is not None
    assert running.retreat_targets(splice, 1.0, 0.0, 2.0).tolist() == [HOME.tolist()]


def test_clear_forgets_and_the_path_is_bounded() -> None:
    running = executed()
    running.clear()
    assert running.running is None
    assert running.path == ()
    assert running.command_at(SECOND) is None
    short = schedule(path_s=0.5)
    first = short.splice(SECOND, measured(HOME, SECOND))
    assert first is not None
    short.accept(moved(first, np.array([0.5, 0.0, 0.0]), rows=41), SECOND)
    short.advance(100 * SECOND)
    assert len(short.path) <= 10
