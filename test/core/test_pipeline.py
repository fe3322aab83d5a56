"""The whole flow in lockstep with a fake clock: calm, late, stale, doubtful, broken."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebt_policy_ros.core.cycle import Event, chunk_seed
from ebt_policy_ros.core.errors import MessageError, SettingsError
from ebt_policy_ros.core.minimise import MayStep
from ebt_policy_ros.core.normalise import Normaliser, Stats
from ebt_policy_ros.core.pipeline import Cycle, Pipeline, State
from ebt_policy_ros.core.types import Floats, Instant, Minimum, NormalisedObservation, Outcome, Pixels
from ebt_policy_ros.core.uncertainty import Uncertainty

from .fakes import (
    HOME,
    PERIOD,
    ROBOT,
    SECOND,
    Bench,
    BowlMinimiser,
    ScriptedMinimiser,
    normaliser,
    pipeline_settings,
    states,
)

CLOSED_HAND = np.array([0.6, 1.6, 0.0])


def commands_are_sound(bench: Bench) -> None:
    """What a trajectory controller demands of every command, and continuity from one to the next."""
    for chunk in bench.commands:
        assert chunk.joint_names == ROBOT.joint_names
        assert (np.diff(chunk.times_s) > 0).all()
        assert not chunk.velocities[-1].any()
        assert (chunk.positions >= ROBOT.per_joint("lower") - 1e-9).all()
        assert (chunk.positions <= ROBOT.per_joint("upper") + 1e-9).all()
    for before, after in zip(bench.commands, bench.commands[1:], strict=False):
        np.testing.assert_allclose(before.sample(after.start_ns)[0], after.positions[0], atol=1e-9)
        np.testing.assert_allclose(before.sample(after.start_ns)[1], after.velocities[0], atol=1e-9)


def test_a_calm_run_reaches_its_goal_with_two_evaluations_a_chunk() -> None:
    bench = Bench(ScriptedMinimiser())
    cycles = bench.run(60)
    assert states(cycles) == ["running"]
    np.testing.assert_allclose(bench.positions, [0.6, 1.6, 0.04], atol=2e-3)
    assert len(cycles) == 8  # 60 ticks, a new plan every 8 rows
    for cycle in cycles:
        assert (cycle.steps, cycle.network_evaluations, cycle.attempt, cycle.dropped_points) == (2, 2, 0, 0)
        assert cycle.reason == ""
        assert cycle.energy == -1.0
        assert cycle.uncertainty is not None
        assert cycle.uncertainty < cycle.threshold == 0.95
    commands_are_sound(bench)


def test_the_energy_of_the_running_plan_rises_when_the_goal_moves() -> None:
    bowl = BowlMinimiser(np.zeros(3))
    bench = Bench(bowl, calibrated=False, safety={"on_jump": "clamp"})
    calm = [cycle.surprise for cycle in bench.run(30)]
    bowl.centre = np.array([0.4, -0.4, 0.0])
    moved = next(cycle for cycle in bench.run(10) if cycle.minimum is not None)
    after = [cycle.surprise for cycle in bench.run(20)]
    assert calm[0] is None  # nothing was planned before
    assert max(value for value in calm[1:] if value is not None) < 0.1
    assert moved.surprise is not None
    assert moved.surprise > 0.5
    assert max(value for value in after if value is not None) < 0.1


def test_rendering_on_demand_changes_nothing_but_the_number_of_images() -> None:
    ways, num_images = [], []
    for renders_on_demand in (False, True):
        minimiser = ScriptedMinimiser(goal=np.array([1.9, 2.9, 0.04]))
        bench = Bench(minimiser)
        bench.renders_on_demand = renders_on_demand
        bench.run(40)
        minimiser.raw = 3.0
        bench.run(30)
        minimiser.raw = 0.1
        bench.pipeline.request_retry()
        cycles = bench.run(80)
        assert states(cycles) == ["retreating", "running"]
        ways.append(np.concatenate([chunk.positions for chunk in bench.commands]))
        num_images.append(bench.num_images)
    assert (ways[0] == ways[1]).all()
    assert num_images[1] < 0.6 * num_images[0]


def test_the_same_run_twice_is_the_same_bit_for_bit() -> None:
    runs = []
    for _ in range(2):
        bench = Bench(BowlMinimiser(np.array([0.2, -0.2, 1.0])), calibrated=False, minimise={"seed": 3})
        bench.run(40)
        runs.append(np.concatenate([chunk.positions for chunk in bench.commands]))
    assert (runs[0] == runs[1]).all()
    other = Bench(BowlMinimiser(np.array([0.2, -0.2, 1.0])), calibrated=False, minimise={"seed": 4})
    other.run(40)
    assert not np.array_equal(runs[0], np.concatenate([chunk.positions for chunk in other.commands]))


def test_seeds_of_base_chunk_and_round_never_collide() -> None:
    seeds = {chunk_seed(b, n, r) for b in (0, 1, 2**23 - 1) for n in (0, 1, 255, 256, 2**32 - 1) for r in (0, 1, 255)}
    assert len(seeds) == 3 * 5 * 3
    assert max(seeds) < 2**63
    with pytest.raises(ValueError, match="out of range"):
        chunk_seed(0, 0, 256)
    bench = Bench(ScriptedMinimiser(raw=2.0), minimise={"seed": 5})
    bench.run(10)
    seen = [call["seed"] for call in bench.minimiser.calls]
    assert seen[:2] == [chunk_seed(5, 0, 0), chunk_seed(5, 0, 1)]
    assert len(set(seen)) == len(seen)


def test_rows_overtaken_by_inference_are_dropped_and_nothing_jumps() -> None:
    bench = Bench(ScriptedMinimiser())
    bench.run(9)
    while (cycle := bench.tick(thinking_s=0.26)) is None:
        pass
    assert cycle.dropped_points == 6
    assert cycle.command is not None
    assert cycle.observation_stamp_ns is not None
    assert cycle.command.start_ns == cycle.observation_stamp_ns + 260_000_000
    commands_are_sound(bench)


def test_a_chunk_wholly_overtaken_is_an_outcome_and_the_next_one_is_wanted_at_once() -> None:
    bench = Bench(ScriptedMinimiser())
    bench.feed()
    plan = bench.pipeline.think(bench.now)
    late = Instant(bench.now_ns + 2 * SECOND, bench.steady_ns + 2 * SECOND)
    bench.now_ns, bench.steady_ns = late.ros_ns, late.steady_ns
    bench.feed()
    cycle = bench.pipeline.act(plan, late)
    assert cycle.command is None
    assert "too late" in cycle.reason
    assert cycle.dropped_points == 40
    assert bench.pipeline.counters()["too_late"] == 1
    bench.move()
    following = bench.tick()
    assert following is not None
    assert following.command is not None


class TwoCameras:
    """A pipeline whose cameras take pictures every 50 ms, of which the second may come later than the first."""

    def __init__(self, **groups: dict[str, object]) -> None:
        settings = pipeline_settings(
            **{**groups, "observe": {"cameras": ["front", "wrist"], **groups.get("observe", {})}}
        )
        self.minimiser = ScriptedMinimiser()
        self.pipeline = Pipeline(self.minimiser, normaliser(), Uncertainty(None), settings, ROBOT)

    def see(self, camera: str, at_ms: int, came_ms: int) -> None:
        picture = np.full((2, 2, 3), at_ms // 50 % 256, np.uint8)
        self.pipeline.add_image(camera, at_ms * 1_000_000, came_ms * 1_000_000, picture)

    def feel(self, at_ms: int) -> None:
        self.pipeline.add_joints(at_ms * 1_000_000, at_ms * 1_000_000, ROBOT.joint_names, HOME)

    def begin(self, wrist_lag_ms: int) -> None:
        """Half a second of pictures, of which the last wrist's is still to come, and a plan made before that."""
        for at_ms in range(1000, 1550, 50):
            self.feel(at_ms)
            self.see("front", at_ms, at_ms)
            if at_ms < 1500:
                self.see("wrist", at_ms, at_ms + wrist_lag_ms)
            if at_ms == 1100:
                self.plan(1100 + wrist_lag_ms)

    def plan(self, now_ms: int) -> Cycle:
        plan = self.pipeline.think(self.now(now_ms))
        return self.pipeline.act(plan, self.now(now_ms))

    def is_due(self, now_ms: int) -> bool:
        return self.pipeline.is_due(self.now(now_ms))

    @staticmethod
    def now(now_ms: int) -> Instant:
        return Instant(now_ms * 1_000_000, now_ms * 1_000_000)


def test_a_plan_waits_for_the_other_cameras_picture_of_the_moment() -> None:
    arm = TwoCameras()
    arm.begin(wrist_lag_ms=4)
    assert not arm.is_due(1501)
    arm.see("wrist", 1500, 1504)
    assert arm.is_due(1504)
    cycle = arm.plan(1504)
    assert cycle.history is not None
    assert cycle.history.newest_ns["front"] == cycle.history.newest_ns["wrist"] == cycle.observation_stamp_ns


def test_it_does_not_wait_for_long_nor_in_vain() -> None:
    lost = TwoCameras()
    lost.begin(wrist_lag_ms=4)
    assert not lost.is_due(1501)
    assert lost.is_due(1531)  # that picture is lost
    slow = TwoCameras()
    slow.begin(wrist_lag_ms=40)
    assert slow.is_due(1501)  # such a camera is always late
    never = TwoCameras(observe={"wait_for_camera_s": 0.0})
    never.begin(wrist_lag_ms=4)
    assert never.is_due(1501)


def test_waiting_ends_though_another_picture_is_awaited_at_every_moment() -> None:
    arm = TwoCameras()
    for at_ms in range(1000, 1200, 10):  # 100 Hz, the wrist's always 20 ms behind
        arm.feel(at_ms)
        arm.see("front", at_ms, at_ms)
        if at_ms >= 1020:
            arm.see("wrist", at_ms - 20, at_ms)
        if at_ms == 1040:
            arm.plan(1040)
    waited = [at_ms for at_ms in range(1500, 1600, 10) if not _goes_on(arm, at_ms)]
    assert waited == [1500, 1510, 1520]


def _goes_on(arm: TwoCameras, at_ms: int) -> bool:
    arm.feel(at_ms)
    arm.see("front", at_ms, at_ms)
    arm.see("wrist", at_ms - 20, at_ms)
    return arm.is_due(at_ms)


def test_pictures_are_encoded_ahead_when_a_plan_is_due_soon() -> None:
    arm = TwoCameras(minimise={"encode_ahead_s": 0.1})
    for at_ms in range(1000, 1150, 50):
        arm.feel(at_ms)
        arm.see("front", at_ms, at_ms)
        arm.see("wrist", at_ms, at_ms)
    arm.plan(1100)
    arm.pipeline.look_ahead(arm.now(1110))
    assert arm.minimiser.ahead == []  # that plan is executed for 400 ms
    arm.see("front", 1400, 1400)
    arm.pipeline.look_ahead(arm.now(1400))
    (ahead,) = arm.minimiser.ahead
    assert sorted(ahead) == ["front", "wrist"]
    assert ahead["front"][0, 0, 0] == 1400 // 50
    seldom = TwoCameras(minimise={"encode_ahead_s": 0.0})
    seldom.see("front", 1000, 1000)
    seldom.pipeline.look_ahead(seldom.now(1000))
    assert seldom.minimiser.ahead == []


def test_what_is_encoded_ahead_is_what_is_planned_from() -> None:
    arm, seen = TwoCameras(), []
    minimise = arm.minimiser.minimise
    arm.minimiser.minimise = lambda observation, **given: seen.append(observation) or minimise(observation, **given)
    arm.begin(wrist_lag_ms=0)
    arm.see("wrist", 1500, 1500)
    arm.pipeline.look_ahead(arm.now(1500))
    arm.plan(1500)
    assert all(seen[-1].images[camera] is picture for camera, picture in arm.minimiser.ahead[-1].items())


def test_nothing_is_said_twice_while_input_is_missing() -> None:
    bench = Bench(ScriptedMinimiser())
    bench.camera_works = False
    cycles = bench.run(30)
    assert [cycle.state for cycle in cycles] == [State.WAITING]
    assert "front" in cycles[0].reason
    assert cycles[0].command is None
    assert bench.minimiser.calls == []
    bench.camera_works = True
    assert bench.run(1)[0].state is State.RUNNING


def test_a_camera_that_dies_holds_the_arm_within_the_limit_and_a_camera_that_comes_back_goes_on() -> None:
    bench = Bench(ScriptedMinimiser(speed=0.05, goal=np.array([1.9, 2.9, 0.04])))
    bench.run(9)
    died_ns, bench.camera_works = bench.now_ns - PERIOD, False
    cycles = bench.run(40)
    held = [cycle for cycle in cycles if cycle.state is State.HOLDING]
    assert "front" in held[0].reason
    sent = [cycle.command for cycle in held if cycle.command is not None]
    assert len(sent) == 1
    assert sent[0].start_ns - died_ns <= 0.5 * SECOND + 2 * PERIOD
    assert np.abs(sent[0].velocities[0]).max() > 0.3  # it really was moving
    assert len(held) <= 2  # first the stamp is old, later the camera silent
    still = bench.positions.copy()
    bench.run(3)
    assert (bench.positions == still).all()
    bench.camera_works = True
    cycles = bench.run(60)
    assert states(cycles) == ["running"]
    np.testing.assert_allclose(bench.positions, [1.9, 2.9, 0.04], atol=5e-3)
    commands_are_sound(bench)


def test_a_camera_that_freezes_holds_the_arm_and_says_that_nothing_is_known() -> None:
    bench = Bench(ScriptedMinimiser(speed=0.05, goal=np.array([1.9, 2.9, 0.04])))
    bench.run(9)
    froze_ns, bench.camera_is_frozen = bench.now_ns, True
    cycles = bench.run(40)  # its stamps go on
    held = [cycle for cycle in cycles if cycle.state is State.HOLDING]
    assert "front: frozen, the same picture for" in held[0].reason
    assert held[0].command is not None
    assert held[0].command.start_ns - froze_ns <= 0.5 * SECOND + 2 * PERIOD
    assert [cycle.uncertainty for cycle in held] == [1.0]
    still = bench.positions.copy()
    bench.run(20)
    assert (bench.positions == still).all()
    bench.camera_is_frozen = False
    assert states(bench.run(60)) == ["running"]
    np.testing.assert_allclose(bench.positions, [1.9, 2.9, 0.04], atol=5e-3)
    commands_are_sound(bench)


def test_a_cycle_says_what_it_takes_to_repeat_it() -> None:
    bench = Bench(ScriptedMinimiser())
    bench.run(3)
    bench.feed()
    plan = bench.pipeline.think(bench.now)
    thought_ns = bench.now_ns
    bench.now_ns += PERIOD
    bench.steady_ns += PERIOD
    bench.feed()
    history = bench.pipeline.act(plan, bench.now).history
    assert history is not None
    assert (history.event, history.thought_ns, history.acted_ns) == (Event.ROUND, thought_ns, bench.now_ns)
    assert history.newest_ns == {"front": thought_ns, "joint_states": thought_ns}
    assert (history.acted_joints_ns, history.rounds) == (bench.now_ns, 1)
    stopped = bench.pipeline.stop(bench.now).history
    assert stopped is not None
    assert (stopped.event, stopped.rounds) == (Event.STOP, 0)


def test_a_replay_thinks_no_more_often_than_there_was_time_for() -> None:
    def rounds(max_rounds: int | None) -> int:
        bench = Bench(ScriptedMinimiser(raw=50.0, raw_after_thought=40.0))  # doubtful, and a little less after thought
        bench.feed()
        return bench.pipeline.think(bench.now, max_rounds=max_rounds).thought.rounds

    assert rounds(None) > 1
    assert rounds(1) == 1


def test_chunks_are_numbered_from_where_a_recording_begins() -> None:
    bench = Bench(ScriptedMinimiser())
    bench.pipeline.continue_from(7, 40)
    cycle = bench.run(1)[0]
    assert (cycle.number, cycle.history.seed if cycle.history else None) == (40, 7)


def test_a_simulator_that_dies_with_its_clock_is_noticed_by_steady_time() -> None:
    bench = Bench(ScriptedMinimiser())
    bench.run(10)
    frozen_ns = bench.now_ns
    for _ in range(40):  # no messages, ROS time stands still, only this machine's clock goes on
        bench.steady_ns += PERIOD
        if bench.pipeline.is_due(bench.now):
            break
    assert bench.steady_ns - (7 * SECOND + 10 * PERIOD) == pytest.approx(1.0 * SECOND, abs=2 * PERIOD)
    cycle = bench.pipeline.act(bench.pipeline.think(bench.now), bench.now)
    assert cycle.state is State.HOLDING
    assert "silent" in cycle.reason
    assert cycle.command is not None
    assert cycle.command.start_ns == frozen_ns
    bench.steady_ns += PERIOD
    assert not bench.pipeline.is_due(bench.now)


def test_the_watchdog_brakes_beside_a_model_thread_that_hangs() -> None:
    bench = Bench(ScriptedMinimiser(speed=0.05, goal=np.array([1.9, 2.9, 0.04])))
    bench.run(9)
    plan = bench.pipeline.think(bench.now)
    assert bench.pipeline.watch(bench.now) is None
    bench.now_ns += 600_000_000
    bench.steady_ns += 600_000_000
    cycle = bench.pipeline.watch(bench.now)
    assert cycle is not None
    assert cycle.state is State.HOLDING
    assert cycle.command is not None
    assert bench.pipeline.watch(bench.now) is None
    late = bench.pipeline.act(plan, bench.now)
    assert late.command is None
    assert "void" in late.reason
    assert bench.run(1)[0].state is State.RUNNING  # data is back


def test_a_single_doubtful_chunk_costs_more_thought_only() -> None:
    minimiser = ScriptedMinimiser()
    bench = Bench(minimiser, schedule={"alert_steps": 2})
    bench.run(8)
    minimiser.raw = 3.0
    (cycle,) = bench.run(1)
    minimiser.raw = 0.1
    assert cycle.state is State.THINKING_MORE
    assert (cycle.steps, cycle.network_evaluations) == (2 + 8, 2 + 8)
    assert minimiser.calls[-1]["starts"] == 8
    assert "above the threshold" in cycle.reason
    assert cycle.command is not None
    following = bench.run(20)
    assert states(following) == ["running"]
    assert following[0].observation_stamp_ns == (cycle.observation_stamp_ns or 0) + 2 * PERIOD  # looked again early


def test_more_thought_may_settle_the_doubt() -> None:
    bench = Bench(ScriptedMinimiser(raw=3.0, raw_after_thought=0.2))
    cycles = bench.run(30)
    assert states(cycles) == ["thinking more"]
    assert all(cycle.uncertainty is not None and cycle.uncertainty < 0.95 for cycle in cycles)
    assert len(cycles) == 4  # not looked at again early: the doubt is settled


def test_a_score_over_a_window_needs_more_than_one_odd_picture() -> None:
    minimiser = ScriptedMinimiser()
    bench = Bench(minimiser, window_s=2.0)
    bench.run(40)
    minimiser.raw = 3.0
    odd = bench.run(8)
    minimiser.raw = 0.1
    assert [cycle.state for cycle in odd] == [State.RUNNING]
    assert states(bench.run(40)) == ["running"]
    minimiser.raw = 3.0
    assert states(bench.run(24))[-1] != "running"
    bench.pipeline.reset()  # what was seen before is forgotten
    minimiser.raw = 0.1
    assert states(bench.run(8)) == ["running"]


def test_doubt_slows_the_arm_down() -> None:
    ways = []
    for slow_speed in (1.0, 0.5):
        goal = np.array([1.9, 1.0, 0.04])
        bench = Bench(ScriptedMinimiser(raw=3.0, goal=goal), retry={"slow_speed": slow_speed, "patience_s": 60.0})
        bench.run(20)
        commands_are_sound(bench)
        ways.append(bench.positions[0])
    assert 0.3 * ways[0] < ways[1] < 0.7 * ways[0]


def test_a_look_replaces_a_plan_that_is_contradicted_and_nothing_else() -> None:
    minimiser = ScriptedMinimiser()
    bench = Bench(minimiser, plan_change=0.02, schedule={"look_steps": 2})
    calm = bench.run(16)
    assert [cycle.command is not None for cycle in calm] == [True, False, False, False] * 2
    assert {cycle.state for cycle in calm} == {State.RUNNING}
    bench.run(3)
    minimiser.goal = np.array([-0.6, 0.4, 0.04])
    event = next(cycle for cycle in bench.run(5) if cycle.command is not None)
    assert event.reason == "something happened"
    assert (event.observation_stamp_ns or 0) - (calm[4].observation_stamp_ns or 0) < 14 * PERIOD
    commands_are_sound(bench)


def test_only_the_rows_that_the_critic_trusts_are_executed() -> None:
    minimiser = ScriptedMinimiser(row_errors=np.linspace(0.1, 1.6, 16))
    bench = Bench(minimiser, schedule={"trust": 0.5})
    stamps = [cycle.observation_stamp_ns or 0 for cycle in bench.run(40)]
    assert set(np.diff(stamps)) == {5 * PERIOD}
    minimiser.row_errors = np.full(16, 9.0)
    bench.run(8)
    stamps = [cycle.observation_stamp_ns or 0 for cycle in bench.run(40)]
    assert set(np.diff(stamps)) == {2 * PERIOD}


def test_another_try_has_another_rhythm_until_it_is_forgiven() -> None:
    bench = Bench(ScriptedMinimiser(), retry={"patience_s": 0.0, "calm_to_forgive": 3})
    bench.run(40)
    bench.minimiser.raw = 3.0
    while bench.run(1)[-1:] == [] or bench.pipeline.counters().get("decided_retreat", 0) == 0:
        pass
    bench.minimiser.raw = 0.1
    stamps = [cycle.observation_stamp_ns or 0 for cycle in bench.run(160)]
    assert list(np.diff(stamps)[:4] // PERIOD) == [12, 12, 8, 8]


def test_thought_ends_with_its_deadline_and_when_it_gains_nothing() -> None:
    minimiser = ScriptedMinimiser(raw=3.0)
    bench = Bench(minimiser, retry={"think_rounds": 8}, minimise={"deadline_s": 0.5})
    bench.feed()
    bench.pipeline.think(bench.now)
    assert len(minimiser.calls) == 2  # the second one gained nothing
    minimiser.calls.clear()
    passed_s = [0.0]

    def better(observation: NormalisedObservation, **thought: object) -> Minimum:
        minimiser.raw -= 0.01
        passed_s[0] += 0.12
        return ScriptedMinimiser.minimise(minimiser, observation, **thought)  # type: ignore[arg-type]

    minimiser.minimise = better  # type: ignore[method-assign]
    plan = bench.pipeline.think(bench.now, lambda: passed_s[0])
    assert plan.thought.rounds == 4
    assert bench.pipeline.counters()["deadlines_missed"] == 0
    assert minimiser.calls[-1]["warm_start"] is not None  # further rounds go on from the best so far
    assert bench.pipeline.think(bench.now).thought.rounds == 9


def test_a_descent_that_would_miss_the_deadline_ends_early_and_a_replay_ends_it_there() -> None:
    """The second round's steps turn out to be slow: seven of eight fit."""
    steady = [0.0]

    class Slow(ScriptedMinimiser):
        def minimise(self, observation: NormalisedObservation, **given: Any) -> Minimum:
            asked = given["may_step"]
            slowly = 0.02 if given["starts"] > 1 else 0.0
            steady[0] += slowly

            def may_step(taken: int) -> bool:
                if not asked(taken):
                    return False
                steady[0] += slowly
                return True

            return super().minimise(observation, **{**given, "may_step": may_step})

    settings = {"minimise": {"deadline_s": 0.17}, "retry": {"think_rounds": 1}}
    bench = Bench(Slow(raw=2.0, raw_after_thought=1.5), **settings)
    bench.feed()
    plan = bench.pipeline.think(bench.now, lambda: steady[0])
    assert (plan.thought.rounds, plan.thought.steps) == (2, 2 + 7)
    assert steady[0] <= 0.17
    again = Bench(ScriptedMinimiser(raw=2.0, raw_after_thought=1.5), **settings)
    again.feed()
    assert again.pipeline.think(again.now, max_rounds=2, max_steps=9).thought.steps == 9


def test_the_ladder_to_giving_up_and_reset() -> None:
    minimiser = ScriptedMinimiser(goal=np.array([1.9, 2.9, 0.04]))
    bench = Bench(minimiser, retry={"max_retreats": 2, "patience_s": 0.1}, schedule={"alert_steps": 2})
    bench.run(40)
    doubt_at = bench.positions.copy()
    minimiser.raw = 3.0
    cycles = bench.run(300)
    attempt = ["thinking more", "holding", "retreating"]
    # The look that follows a retreat is doubtful for the first time again.
    assert states(cycles) == [*attempt, *attempt, "thinking more", "holding", "given up"]
    assert [c.attempt for c in cycles if c.state is State.RETREATING] == [0, 1]
    retreats = [c.command for c in cycles if c.state is State.RETREATING]
    assert all(command is not None for command in retreats)
    ends = [command.positions[-1, 0] for command in retreats if command is not None]
    assert ends[0] < doubt_at[0] - 0.2
    assert ends[1] < ends[0] - 0.1
    assert max(retreats[1].positions[:, 0]) < retreats[1].positions[0, 0] + 0.05  # type: ignore[union-attr]
    assert "gave up after 2 retreats" in cycles[-1].reason
    assert not bench.pipeline.is_due(bench.now)
    num_calls = len(minimiser.calls)
    minimiser.raw = 0.1
    bench.pipeline.request_retry()
    assert bench.run(50) == []
    assert len(minimiser.calls) == num_calls
    bench.pipeline.reset()
    cycles = bench.run(120)
    assert states(cycles) == ["running"]
    np.testing.assert_allclose(bench.positions, minimiser.goal, atol=5e-3)
    commands_are_sound(bench)


def test_holding_sends_one_braking_trajectory_and_resumes_by_itself() -> None:
    minimiser = ScriptedMinimiser(speed=0.05, goal=np.array([1.9, 2.9, 0.04]))
    bench = Bench(minimiser, retry={"patience_s": 0.0, "hold_s": 2.0})
    bench.run(8)
    minimiser.raw = 3.0
    cycles = bench.run(20)
    assert states(cycles) == ["holding"]
    assert len(cycles) >= 9  # it keeps looking
    assert [c.command is not None for c in cycles] == [True] + [False] * (len(cycles) - 1)
    minimiser.raw = 0.1
    assert states(bench.run(10)) == ["running"]
    commands_are_sound(bench)


@pytest.mark.parametrize(
    ("rule", "blocked_at", "opens"),
    [("when_empty", None, True), ("when_empty", 0.02, False), ("never", None, False), ("always", 0.02, True)],
)
def test_a_retreat_opens_the_hand_by_the_rule(rule: str, blocked_at: float | None, opens: bool) -> None:
    minimiser = ScriptedMinimiser(goal=CLOSED_HAND, speed=0.01)
    bench = Bench(minimiser, retry={"release": rule})
    bench.hand_blocked_at = blocked_at
    bench.run(70)
    assert bench.positions[2] == pytest.approx(blocked_at or 0.0, abs=1e-3)
    bench.pipeline.request_retry()
    (cycle,) = bench.run(1)
    assert cycle.state is State.RETREATING
    assert cycle.command is not None
    assert cycle.command.positions[-1, 2] == pytest.approx(0.04 if opens else 0.0, abs=2e-3)
    assert cycle.command.positions[-1, 0] < 0.45
    commands_are_sound(bench)


def test_a_retry_asked_for_during_the_motion_goes_back_and_tries_again() -> None:
    bench = Bench(ScriptedMinimiser())
    bench.run(28)
    bench.pipeline.request_retry()
    cycles = bench.run(100)
    assert states(cycles) == ["retreating", "running"]
    assert "asked for" in cycles[0].reason
    assert cycles[1].attempt == 0
    assert cycles[0].command is not None
    assert (cycles[1].observation_stamp_ns or 0) >= cycles[0].command.end_ns - PERIOD
    np.testing.assert_allclose(bench.positions, [0.6, 1.6, 0.04], atol=3e-3)


@pytest.mark.parametrize("trouble", ["nan energy", "nan chunk", "non-finite outcome"])
def test_a_chunk_that_is_no_number_never_moves_the_arm(trouble: str) -> None:
    minimiser = ScriptedMinimiser()
    bench = Bench(minimiser, retry={"max_retreats": 1, "hold_s": 0.2})
    bench.run(40)
    if trouble == "nan energy":
        minimiser.energy = float("nan")
    elif trouble == "nan chunk":
        minimiser.target_override = np.full((16, 3), np.nan)
    else:
        minimiser.outcome = Outcome.NON_FINITE
    cycles = bench.run(200)
    assert states(cycles) == ["holding", "retreating", "holding", "given up"]
    assert "not finite" in cycles[0].reason
    assert all(c.energy is None or np.isfinite(c.energy) for c in cycles)
    commands_are_sound(bench)


def test_broken_energies_of_the_reference_descent_hold_the_arm() -> None:
    bench = Bench(BowlMinimiser(np.zeros(3), broken=True), calibrated=False, retry={"hold_s": 1.0})
    cycles = bench.run(10)
    assert states(cycles) == ["waiting"]
    assert all(c.command is None for c in cycles)


def test_a_chunk_that_safety_refuses_is_held_and_counted() -> None:
    minimiser = ScriptedMinimiser()
    bench = Bench(minimiser)
    bench.run(16)
    minimiser.target_override = np.repeat((HOME + [1.2, 0.0, 0.0])[None], 16, axis=0)
    cycles = bench.run(9)
    assert cycles[0].state is State.HOLDING
    assert "jump limit: joint 'shoulder'" in cycles[0].reason
    assert bench.pipeline.counters()["refused_jump"] == len(cycles)
    minimiser.target_override = None
    assert states(bench.run(20)) == ["running"]
    commands_are_sound(bench)


def test_clamps_are_counted_by_limit() -> None:
    bench = Bench(ScriptedMinimiser(speed=1.0, goal=np.array([5.0, 1.6, 0.04])), safety={"on_jump": "clamp"})
    cycles = bench.run(40)
    assert set(cycles[0].clamps) >= {"position", "velocity", "acceleration"}
    assert bench.pipeline.counters()["clamped_position"] == sum(c.clamps.get("position", 0) for c in cycles)
    assert bench.positions[0] <= 2.0
    commands_are_sound(bench)


def test_a_clock_that_jumps_back_starts_anew() -> None:
    bench = Bench(ScriptedMinimiser())
    bench.run(20)
    bench.now_ns = SECOND
    bench.pipeline.clear()
    bench.running, bench.positions = None, HOME.copy()
    first = bench.run(1)[0]
    assert first.state is State.RUNNING
    assert first.command is not None
    assert first.command.start_ns == SECOND
    assert (first.command.positions[0] == HOME).all()
    assert first.number > 0


def test_a_plan_made_before_the_clock_jumped_is_void() -> None:
    bench = Bench(ScriptedMinimiser())
    bench.feed()
    plan = bench.pipeline.think(bench.now)
    bench.pipeline.clear()
    cycle = bench.pipeline.act(plan, bench.now)
    assert cycle.command is None
    assert bench.pipeline.counters()["void_plans"] == 1


def test_stop_brakes_and_voids_the_plan_in_the_making() -> None:
    bench = Bench(ScriptedMinimiser(speed=0.05, goal=np.array([1.9, 2.9, 0.04])))
    bench.run(6)
    plan = bench.pipeline.think(bench.now)
    cycle = bench.pipeline.stop(bench.now)
    assert cycle.state is State.HOLDING
    assert cycle.reason == "stopped"
    assert cycle.command is not None
    bench.send(cycle, bench.now_ns)
    assert bench.pipeline.act(plan, bench.now).command is None
    assert bench.pipeline.stop(bench.now).command is None
    bench.move()
    assert bench.run(1)[0].state is State.RUNNING
    commands_are_sound(bench)


def test_stop_before_anything_ran_sends_nothing() -> None:
    bench = Bench(ScriptedMinimiser())
    cycle = bench.pipeline.stop(bench.now)
    assert cycle.command is None
    assert cycle.state is State.WAITING


def test_a_pushed_arm_goes_on_from_where_it_is_and_says_so() -> None:
    bench = Bench(ScriptedMinimiser(), schedule={"max_deviation_rad": 0.2})
    bench.run(8)
    bench.running = None
    bench.positions = bench.positions + [-0.4, 0.0, 0.0]
    cycle = bench.run(1)[0]
    assert "'shoulder'" in cycle.reason
    assert cycle.command is not None
    assert cycle.command.positions[0, 0] == bench.commands[-1].positions[0, 0]
    assert bench.pipeline.counters()["restarted"] == 1


def test_an_uncalibrated_policy_says_so_and_runs() -> None:
    bench = Bench(ScriptedMinimiser(raw=99.0), calibrated=False)
    cycles = bench.run(20)
    assert states(cycles) == ["running"]
    assert all(c.uncertainty is None and np.isnan(c.threshold) and c.reason == "uncalibrated" for c in cycles)


def test_a_dry_run_shows_the_command_and_schedules_nothing() -> None:
    bench = Bench(ScriptedMinimiser(raw=3.0))
    cycles = []
    for _ in range(40):
        bench.feed()
        if bench.pipeline.is_due(bench.now):
            cycles.append(bench.pipeline.act(bench.pipeline.think(bench.now), bench.now, dry_run=True))
        bench.move()
    assert len(cycles) > 3
    assert all(c.command is not None and (c.command.positions[0] == HOME).all() for c in cycles)
    assert states(cycles) == ["thinking more"]
    assert bench.pipeline.stop(bench.now).command is None


def test_a_warm_start_is_the_previous_chunk_shifted() -> None:
    minimiser = ScriptedMinimiser()
    bench = Bench(minimiser, minimise={"warm_start": True})
    first, second = bench.run(9)
    assert minimiser.calls[0]["warm_start"] is None
    warm = minimiser.calls[1]["warm_start"]
    assert first.minimum is not None
    np.testing.assert_array_equal(warm[:8], first.minimum.chunk[8:])
    np.testing.assert_array_equal(warm[8:], np.repeat(first.minimum.chunk[-1:], 8, axis=0))
    assert second.number == 1
    bench.feed()
    bench.now_ns += 3 * PERIOD
    bench.pipeline.think(bench.now)  # of pictures three rows old
    assert [call["frozen_rows"] for call in minimiser.calls] == [0, 0, 3]


def test_a_new_episode_numbers_its_chunks_from_zero() -> None:
    minimiser = ScriptedMinimiser()
    bench = Bench(minimiser)
    bench.run(20)
    bench.pipeline.clear()
    bench.pipeline.reset(seed=9)
    bench.run(1)
    assert minimiser.calls[-1]["seed"] == chunk_seed(9, 0, 0)
    with pytest.raises(SettingsError, match="seed"):
        bench.pipeline.reset(seed=-1)


def test_malformed_input_is_refused_and_counted() -> None:
    bench = Bench(ScriptedMinimiser())
    with pytest.raises(MessageError, match="elbow"):
        bench.pipeline.add_joints(1, 1, ["shoulder", "finger"], [0.0, 0.0])
    assert bench.pipeline.counters()["malformed_joints"] == 1


def test_a_robot_that_does_not_fit_the_policy_is_refused() -> None:
    stats = Stats(np.zeros(2), np.ones(2))
    with pytest.raises(SettingsError, match="2 joints, got 3"):
        Pipeline(ScriptedMinimiser(), Normaliser(stats, stats), Uncertainty(None), pipeline_settings(), ROBOT)


def test_think_changes_nothing() -> None:
    bench = Bench(ScriptedMinimiser(raw=3.0))
    bench.feed()
    plans = [bench.pipeline.think(bench.now) for _ in range(5)]
    assert len({plan.number for plan in plans}) == 1
    assert {type(plan.decision).__name__ for plan in plans} == {"Accept"}
    seeds = [call["seed"] for call in bench.minimiser.calls]
    assert len(set(seeds)) == 2


@dataclasses.dataclass
class Noise:
    """A policy that wants anything."""

    seed: int
    wildness: float

    def minimise(
        self,
        observation: NormalisedObservation,
        *,
        steps: int,
        starts: int,
        seed: int,
        warm_start: Floats | None = None,
        frozen_rows: int = 0,
        may_step: MayStep | None = None,
    ) -> Minimum:
        rng = np.random.default_rng(self.seed + seed % 1000)
        chunk = observation.positions + rng.normal(size=(16, 3)) * self.wildness
        chunk = np.where(rng.random((16, 3)) < 0.002, np.nan, chunk)
        energy = float(rng.choice([0.0, 1.0, np.nan], p=[0.9, 0.08, 0.02]))
        terms = {"unfamiliarity": float(rng.choice([1.0, 20.0]))}
        return Minimum(
            chunk, energy, np.zeros(steps + 1), Outcome.DESCENDED, steps, steps, np.zeros(starts), terms=terms
        )

    def encode_ahead(self, images: Mapping[str, Pixels]) -> None:
        """Nothing is kept."""

    def score(self, observation: NormalisedObservation, chunk: Floats) -> float:
        return 0.0


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), wildness=st.sampled_from([0.01, 0.1, 1.0, 100.0]), jitter=st.booleans())
def test_no_policy_makes_an_unsound_command(seed: int, wildness: float, jitter: bool) -> None:
    rng = np.random.default_rng(seed)
    bench = Bench(Noise(seed, wildness), retry={"hold_s": 0.1, "retreat_s": 1.0, "min_retreat_s": 0.2})
    for _ in range(60):
        bench.camera_works = rng.random() > (0.3 if jitter else 0.0)
        cycle = bench.tick(thinking_s=float(rng.uniform(0, 0.04)) if jitter else 0.0)
        if cycle is not None and rng.random() < 0.05:
            bench.pipeline.request_retry()
        if bench.now_ns % (7 * PERIOD) == 0:
            bench.pipeline.reset()
    commands_are_sound(bench)


def test_callbacks_and_model_thread_may_meet() -> None:
    bench = Bench(ScriptedMinimiser())
    bench.feed()
    failures: list[BaseException] = []

    def disturb() -> None:
        try:
            for i in range(300):
                bench.pipeline.add_joints(SECOND + i, SECOND, ["shoulder", "elbow", "finger"], HOME)
                if i % 50 == 0:
                    bench.pipeline.reset()
                    bench.pipeline.stop(bench.now)
                bench.pipeline.counters()
        except Exception as error:  # noqa: BLE001  handed to the test below
            failures.append(error)

    thread = threading.Thread(target=disturb)
    thread.start()
    cycles: list[Cycle] = [bench.pipeline.act(bench.pipeline.think(bench.now), bench.now) for _ in range(50)]
    thread.join()
    assert failures == []
    assert len(cycles) == 50
