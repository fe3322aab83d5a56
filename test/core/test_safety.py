"""Whatever comes in, what goes out keeps the limits, also between the points."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ebt_policy_ros.core.errors import SafetyError, ShapeError
from ebt_policy_ros.core.limits import (
    AccelerationLimit,
    BrakingLimit,
    FiniteLimit,
    JumpLimit,
    PositionLimit,
    VelocityLimit,
)
from ebt_policy_ros.core.observe import JointSample
from ebt_policy_ros.core.safety import Admitted, PlannedMotion, Refused, SafetyStage, next_row, planned_before, smoothed
from ebt_policy_ros.core.schedule import Schedule
from ebt_policy_ros.core.settings import SafetySettings, ScheduleSettings
from ebt_policy_ros.core.types import SAFETY_KEY, Floats, MotionState, SafeChunk, Splice
from ebt_policy_ros.messages.controller import Spline

from .fakes import HOME, PERIOD, ROBOT

LOWER, UPPER = ROBOT.per_joint("lower"), ROBOT.per_joint("upper")
VELOCITY, ACCELERATION = ROBOT.per_joint("velocity"), ROBOT.per_joint("acceleration")
CLAMPING = SafetySettings(on_non_finite="clamp", on_jump="clamp")
NUM_CHUNKS = 100_000
STEP_S = PERIOD * 0.5e-9


def stage(safety: SafetySettings = CLAMPING, period_ns: int = PERIOD) -> SafetyStage:
    return SafetyStage(ROBOT, safety, period_ns)


def at_rest(positions: Floats = HOME, start_ns: int = 0) -> Splice:
    return Splice.at_once(start_ns, MotionState.at_rest(positions))


def excess(positions: Floats, velocities: Floats, accelerations: Floats) -> dict[str, float]:
    """By how much states (..., D) exceed each limit at most; negative: kept."""
    return {
        "position": float(np.max(np.maximum(LOWER - positions, positions - UPPER))),
        "velocity": float(np.max(np.abs(velocities) - VELOCITY)),
        "acceleration": float(np.max(np.abs(accelerations) - ACCELERATION)),
    }


def worst_planned(planned: PlannedMotion, step_s: float = STEP_S) -> dict[str, float]:
    """The same for plans of piecewise constant acceleration, at and between their knots."""
    bend = np.diff(planned.velocities, axis=1) / step_s
    found = []
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        since = part * step_s
        velocities = planned.velocities[:, :-1] + bend * since
        positions = planned.positions[:, :-1] + (planned.velocities[:, :-1] + velocities) * (since / 2.0)
        found.append(excess(positions, velocities, bend))
    return {limit: max(one[limit] for one in found) for limit in found[0]}


def worst(times_s: Floats, states: MotionState) -> dict[str, float]:
    """The same for what a controller makes of trajectories (B, N, D): both its quintic and its cubic."""
    stamps_ns = [round(float(time_s) * 1e9) for time_s in times_s]
    flat = [np.moveaxis(part, 1, 0).reshape(len(stamps_ns), -1) for part in states]
    many = tuple(stamps_ns)
    found = []
    for spline in (Spline(many, *flat), Spline(many, *flat[:2])):
        for before_ns, after_ns in itertools.pairwise(stamps_ns):
            for part in range(4):
                state = spline.sample(before_ns + (after_ns - before_ns) * part // 4)
                found.append(excess(*(values.reshape(-1, len(LOWER)) for values in state)))
    return {limit: max(one[limit] for one in found) for limit in found[0]}


TOLERANCES = {"position": 1e-9, "velocity": 1e-9, "acceleration": 1e-6}
"""An acceleration is a difference of positions over h^2: rounding of 1e-16 counts 1e4 times there."""


def assert_safe(times_s: Floats, states: MotionState, begin: MotionState) -> None:
    """Of trajectories (B, N, D) that begin with ``begin`` (B, D)."""
    for limit, by in worst(times_s, states).items():
        assert by <= TOLERANCES[limit], (limit, by)
    assert (np.diff(times_s) > 0).all()
    assert not states.velocities[:, -1].any()
    assert not states.accelerations[:, -1].any()
    for first, part in zip(begin, states, strict=True):
        assert (part[:, 0] == first).all()


def feasible_states(rng: np.random.Generator, num: int, braking: Floats | None = None) -> tuple[Floats, Floats]:
    """States (num, D) from which a stop within the limits is possible, many of them only just."""
    braking = stage().acceleration if braking is None else braking
    positions = rng.uniform(LOWER, UPPER, (num, 3))
    near = rng.random((num, 3)) < 0.3
    edge = np.where(rng.random((num, 3)) < 0.5, LOWER, UPPER)
    positions = np.where(near, edge + (positions - edge) * rng.choice([0.0, 1e-6, 1e-3], (num, 3)), positions)
    fastest_up = np.minimum(np.sqrt(2 * braking * (UPPER - positions)), VELOCITY)
    fastest_down = np.minimum(np.sqrt(2 * braking * (positions - LOWER)), VELOCITY)
    share = np.where(rng.random((num, 3)) < 0.3, rng.choice([0.0, 1.0], (num, 3)), rng.random((num, 3)))
    return positions, np.where(rng.random((num, 3)) < 0.5, share * fastest_up, -share * fastest_down)


def feasible_knots(rng: np.random.Generator, num: int, stage: SafetyStage, step_s: float) -> MotionState:
    """States (num, D) of running motions at a knot: what the average of a plan that keeps the limits can be."""
    positions, velocities = feasible_states(rng, num, stage.acceleration)
    bend = rng.uniform(-1.0, 1.0, (num, 3)) * stage.acceleration
    for candidate in (bend, np.zeros_like(bend)):  # where the way there would have broken a limit: none, then rest
        before = positions - (velocities - candidate * step_s / 2.0) * step_s
        passed = velocities - candidate * step_s
        possible = (before >= LOWER) & (before <= UPPER) & (np.abs(passed) <= VELOCITY)
        # An end passed between two knots is one where the velocity changes its sign.
        bend = np.where(possible & (passed * velocities >= 0.0), candidate, np.nan)
        if candidate.any():
            kept, bend = bend, np.zeros_like(bend)
        else:
            bend = np.where(np.isnan(kept), bend, kept)
    velocities, bend = (np.where(np.isnan(bend), 0.0, part) for part in (velocities, bend))
    slopes = velocities - bend * step_s / 2.0
    return MotionState(positions - slopes * step_s / 2.0 - bend * step_s**2 / 12.0, slopes, bend)


def wild_chunks(rng: np.random.Generator, positions: Floats) -> Floats:
    """Chunks (B, 16, D): smooth, noisy, out of range, jumping, astronomical, with NaN and infinities."""
    num = len(positions)
    spread = rng.choice([0.01, 0.1, 1.0, 10.0, 1e3], (num, 1, 1))
    chunks = positions[:, None] + np.cumsum(rng.normal(size=(num, 16, 3)), axis=1) * spread * 0.1
    kind = rng.integers(0, 6, num)
    chunks[kind == 1] = rng.uniform(LOWER - 2, UPPER + 2, (int((kind == 1).sum()), 16, 3))
    chunks[kind == 2] += rng.choice([-1e3, 1e3, 1e300], (int((kind == 2).sum()), 1, 3))
    holes = (kind >= 3)[:, None, None] & (rng.random(chunks.shape) < 0.1)
    return np.where(holes, rng.choice([np.nan, np.inf, -np.inf, 1e18], chunks.shape), chunks)


def test_a_hundred_thousand_chunks_break_no_limit() -> None:
    rng = np.random.default_rng(7)
    clamped: dict[str, int] = {}
    raw_broken = 0
    num_batches = 20
    for _ in range(num_batches):
        knots = feasible_knots(rng, NUM_CHUNKS // num_batches, stage(), STEP_S)
        positions, velocities = planned_before(knots, STEP_S)
        targets = wild_chunks(rng, positions)
        delay_ns = int(rng.integers(-10 * PERIOD, PERIOD))
        judged, counts, refused = stage().judge(targets, positions, next_row(delay_ns, PERIOD, 0))
        assert refused == [None] * len(targets)
        planned = stage().follow(judged, delay_ns, positions, velocities)
        for limit, by in worst_planned(planned).items():
            assert by <= TOLERANCES[limit], (limit, by)
        states = MotionState(*smoothed(planned.positions, planned.velocities, knots, STEP_S))
        assert_safe(np.arange(states.positions.shape[1]) * STEP_S, states, knots)
        for name, numbers in [*counts.items(), *planned.clamps.items()]:
            clamped[name] = clamped.get(name, 0) + int(numbers.sum())
        with np.errstate(invalid="ignore", over="ignore"):
            steps = np.abs(np.diff(targets, axis=1)) / (PERIOD * 1e-9)
            inside = ((targets >= LOWER) & (targets <= UPPER)).all(axis=(1, 2))
            raw_broken += int((~inside | ~(steps <= VELOCITY).all(axis=(1, 2))).sum())
    # The other side: followed to the letter, most of these chunks would have broken a limit.
    assert raw_broken > 0.8 * NUM_CHUNKS
    assert set(clamped) == {"finite", "jump", "position", "velocity", "acceleration"}
    assert min(clamped.values()) > 1000


values = st.floats(-1e9, 1e9) | st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e308, 0.0])
rows = st.lists(st.tuples(values, values, values), min_size=1, max_size=20)


@settings(max_examples=100)
@given(
    rows=rows, seed=st.integers(0, 10**6), delay_ns=st.integers(-PERIOD * 18, PERIOD * 2), period_ms=st.integers(5, 200)
)
def test_any_chunk_becomes_safe(
    rows: list[tuple[float, float, float]], seed: int, delay_ns: int, period_ms: int
) -> None:
    safety, period_ns = stage(period_ns=period_ms * 1_000_000), period_ms * 1_000_000
    batch = feasible_knots(np.random.default_rng(seed), 1, safety, period_ns * 0.5e-9)
    splice = Splice.at_once(10**15, MotionState(*(part[0] for part in batch)))
    targets = np.array(rows)
    if next_row(splice.start_ns + delay_ns, period_ns, splice.start_ns) >= len(rows):
        with pytest.raises(SafetyError):
            safety.make(targets, splice.start_ns + delay_ns, splice)
        return
    made = safety.make(targets, splice.start_ns + delay_ns, splice)
    assert isinstance(made, Admitted)
    chunk = made.chunk
    states = MotionState(chunk.positions[None], chunk.velocities[None], chunk.accelerations[None])
    assert_safe(chunk.times_s, states, batch)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), waits=st.lists(st.integers(1, 6 * PERIOD), min_size=2, max_size=12))
@example(seed=0, waits=[74_999_992, 1])  # nanoseconds before a knot
def test_chunk_upon_chunk_at_any_time_breaks_no_limit_and_jerks_nowhere(seed: int, waits: list[int]) -> None:
    rng, safety = np.random.default_rng(seed), stage()
    running = Schedule(ScheduleSettings(), ROBOT, PERIOD)
    measured = JointSample(10**15, 10**15, rng.uniform(LOWER, UPPER), None)
    now_ns = 10**15
    for wait_ns in waits:
        splice = running.splice(now_ns, measured if running.running is None else None)
        assert splice is not None
        stamp_ns = now_ns - int(rng.integers(0, 4 * PERIOD))
        if rng.random() < 0.2:
            chunk = safety.brake(splice)
        else:
            made = safety.make(wild_chunks(rng, splice.knot.positions[None])[0], stamp_ns, splice)
            assert isinstance(made, Admitted)
            chunk = made.chunk
        states = MotionState(chunk.positions[None], chunk.velocities[None], chunk.accelerations[None])
        assert_safe(chunk.times_s, states, MotionState(*(part[None] for part in splice.start)))
        if (before := running.command_at(splice.start_ns)) is not None:
            for old, new in zip(before, chunk.sample(splice.start_ns), strict=True):
                assert (old == new).all()
        running.accept(chunk, now_ns)
        now_ns += wait_ns


@settings(max_examples=100)
@given(
    position=st.tuples(*[st.floats(-10, 10)] * 3),
    velocity=st.tuples(*[st.floats(-20, 20)] * 3),
    seed=st.integers(0, 999),
)
def test_any_start_leads_back_inside(position: tuple[float, ...], velocity: tuple[float, ...], seed: int) -> None:
    start, rate = np.array([position]), np.array([velocity])
    targets = np.random.default_rng(seed).uniform(LOWER, UPPER, (1, 16, 3))
    planned = stage().follow(targets, 0, start, rate)
    assert worst_planned(planned)["acceleration"] <= 1e-6
    speeds = np.abs(planned.velocities)
    too_fast = speeds[:, :-1] > VELOCITY
    assert (speeds[:, 1:][too_fast] < speeds[:, :-1][too_fast]).all()
    # A joint outside that does not move further out goes inward only.
    before, after, speed = planned.positions[:, :-1], planned.positions[:, 1:], planned.velocities[:, :-1]
    above, below = (before > UPPER) & (speed <= 0.0), (before < LOWER) & (speed >= 0.0)
    assert (after[above] <= before[above]).all()
    assert (after[below] >= before[below]).all()


@pytest.mark.parametrize("delay_ns", [0, -10_000_000, -33_333_333, -PERIOD * 5])
def test_a_chunk_within_the_limits_is_reproduced(delay_ns: int) -> None:
    times = np.arange(16) * 0.05
    demonstration = HOME + np.stack(
        [0.4 * (1 - np.cos(2 * times)), 0.3 * np.sin(1.5 * times) ** 2, -0.05 * times**2], 1
    )
    whole = stage().make(demonstration, 0, at_rest(demonstration[0]))
    assert isinstance(whole, Admitted)
    knot_ns, _ = whole.chunk.next_point(-delay_ns)
    splice = Splice(-delay_ns, whole.chunk.sample(-delay_ns), knot_ns, whole.chunk.sample(knot_ns))
    made = stage().make(demonstration, 0, splice)
    assert isinstance(made, Admitted)
    assert made.clamps == {}
    for row in range(next_row(0, PERIOD, knot_ns), 16):
        np.testing.assert_allclose(made.chunk.sample(row * PERIOD).positions, demonstration[row], atol=1e-3)


@pytest.mark.parametrize("blend_s", [0.001, 0.05])
@pytest.mark.parametrize("step", [0.001, 0.03, 0.3, 1.0, -1.4])
def test_a_step_is_approached_without_overshoot_or_ringing(step: float, blend_s: float) -> None:
    goal = HOME + np.array([step, step, 0.0])
    made = stage(dataclasses.replace(CLAMPING, blend_s=blend_s)).make(np.repeat(goal[None], 40, axis=0), 0, at_rest())
    assert isinstance(made, Admitted)
    way = (made.chunk.positions[:, 0] - HOME[0]) / step
    assert (np.diff(way) >= -1e-12).all()
    assert way.max() <= 1.0 + 1e-9
    assert way[-1] > 0.99


def test_noise_on_the_targets_does_not_build_up() -> None:
    noise = np.random.default_rng(3).normal(size=(400, 3)) * np.array([0.02, 0.02, 0.0])
    made = stage().make(HOME + noise, 0, at_rest())
    assert isinstance(made, Admitted)
    away = np.abs(made.chunk.positions - HOME)
    assert away[:, 0].max() < 0.12
    assert away[-100:, 0].mean() <= 1.5 * away[100:200, 0].mean()


def test_what_is_refused_names_limit_joint_and_value() -> None:
    targets = np.repeat(HOME[None], 16, axis=0)
    broken = targets.copy()
    broken[5, 1] = np.nan
    refused = stage(SafetySettings()).make(broken, 0, at_rest())
    assert isinstance(refused, Refused)
    assert (refused.limit, refused.joint, refused.row) == ("finite", "elbow", 5)
    jumping = targets + np.array([0.6, 0.0, 0.0])
    refused = stage(SafetySettings()).make(jumping, 0, at_rest())
    assert isinstance(refused, Refused)
    assert (refused.limit, refused.joint, refused.value) == ("jump", "shoulder", 0.6)
    assert "shoulder" in refused.reason
    assert "0.5" in refused.reason
    admitted = stage().make(jumping, 0, at_rest())
    assert isinstance(admitted, Admitted)
    assert admitted.clamps["jump"] == 1


def test_overtaken_rows_are_no_reason_to_refuse() -> None:
    targets = np.repeat(HOME[None], 16, axis=0)
    targets[:3] = np.nan
    assert isinstance(stage(SafetySettings()).make(targets, 0, at_rest(start_ns=3 * PERIOD)), Admitted)
    assert isinstance(stage(SafetySettings()).make(targets, 0, at_rest(start_ns=2 * PERIOD)), Refused)


def test_one_motion_alone_and_in_a_batch_are_the_same() -> None:
    rng = np.random.default_rng(1)
    positions, velocities = feasible_states(rng, 5)
    targets = positions[:, None] + np.cumsum(rng.normal(size=(5, 16, 3)) * 0.2, axis=1)
    splice = Splice.at_once(0, MotionState(positions[2], velocities[2], np.zeros(3)))
    stamp_ns = stage().earliest_ns(splice) + -PERIOD // 3
    ahead = positions + velocities * STEP_S / 2.0
    planned = stage().follow(np.clip(targets, LOWER, UPPER), -PERIOD // 3, ahead, velocities)
    made = stage().make(targets[2], stamp_ns, splice)
    assert isinstance(made, Admitted)
    speeds = (planned.velocities[2, 1:] + planned.velocities[2, :-1]) / 2.0
    num = min(len(speeds), len(made.chunk.times_s) - 1)
    np.testing.assert_allclose(made.chunk.velocities[1 : 1 + num], speeds[:num], atol=1e-12)


def test_braking_comes_to_rest_within_the_limits() -> None:
    knots = feasible_knots(np.random.default_rng(2), 200, stage(), STEP_S)
    for state in map(MotionState, *knots):
        chunk = stage().brake(Splice.at_once(5, state))
        states = MotionState(chunk.positions[None], chunk.velocities[None], chunk.accelerations[None])
        assert_safe(chunk.times_s, states, MotionState(*(part[None] for part in state)))
        assert chunk.end_ns >= 5 + round(SafetySettings().rest_s * 1e9)  # one that is delivered late has not ended yet
        assert (chunk.positions[-1] == chunk.positions[-2]).all()
        assert not chunk.velocities[-2:].any()
    resting = stage().brake(at_rest())
    assert (resting.positions == HOME).all()


class TestEveryLimitBites:
    """Both sides: without the limit the value is broken, with it it is kept."""

    def test_finite(self) -> None:
        targets = np.repeat(HOME[None, None], 4, axis=1)
        targets[0, 0, 0], targets[0, 2, 1] = np.nan, np.inf
        verdict = FiniteLimit(CLAMPING).judge(targets, HOME[None])
        assert verdict.offending.sum() == 2
        assert (verdict.targets == HOME).all()
        assert not np.isfinite(targets).all()

    def test_jump(self) -> None:
        near, far = HOME + [0.49, 0.0, 0.0], HOME + [0.0, 0.51, 0.0]
        limit = JumpLimit(ROBOT, SafetySettings())
        assert not limit.judge(np.array([[near]]), HOME[None]).offending.any()
        verdict = limit.judge(np.array([[far, near]]), HOME[None])
        assert verdict.refuses
        assert verdict.offending.tolist() == [[[False, True, False], [False] * 3]]

    def test_position(self) -> None:
        verdict = PositionLimit(ROBOT).judge(np.array([[[2.1, 1.0, -0.01]]]), HOME[None])
        assert verdict.targets.tolist() == [[[2.0, 1.0, 0.0]]]
        # 0.1 rad before its end the shoulder may do 2 * 10 * 0.1 = v^2 at most, without the limit 2 rad/s.
        _, high = BrakingLimit(ROBOT.joints[0], 0.025).velocity_bounds(1.9, 1.2)
        assert 0.9 < high < np.sqrt(2.0)

    def test_velocity(self) -> None:
        shoulder, elbow = (VelocityLimit(joint, 0.025) for joint in ROBOT.joints[:2])
        assert shoulder.velocity_bounds(0.0, 0.0) == (-2.0, 2.0)
        assert elbow.velocity_bounds(0.0, 5.0) == (-3.0, 4.5)

    def test_acceleration(self) -> None:
        bounds = [AccelerationLimit(joint, 0.025).velocity_bounds(0.0, 1.0) for joint in ROBOT.joints]
        np.testing.assert_allclose(bounds, [(0.75, 1.25), (0.5, 1.5), (0.75, 1.25)])


def test_nobody_else_makes_a_safe_chunk() -> None:
    entries = {
        "start_ns": 0, "joint_names": ("a",), "times_s": np.array([0.0, 1.0]),
        "positions": np.zeros((2, 1)), "velocities": np.zeros((2, 1)), "accelerations": np.zeros((2, 1)),
    }  # fmt: skip
    with pytest.raises(TypeError):
        SafeChunk(**entries)  # type: ignore[call-arg]
    with pytest.raises(SafetyError):
        SafeChunk(**entries, key=object())
    chunk = SafeChunk(**entries, key=SAFETY_KEY)
    with pytest.raises(SafetyError):
        pickle.dumps(chunk)
    with pytest.raises(SafetyError):
        copy.copy(chunk)
    with pytest.raises(ValueError, match="read-only"):
        chunk.positions[0, 0] = 1.0
    with pytest.raises(ShapeError, match="rest"):
        SafeChunk(**{**entries, "velocities": np.ones((2, 1))}, key=SAFETY_KEY)
    with pytest.raises(ShapeError, match="rest"):
        SafeChunk(**{**entries, "accelerations": np.ones((2, 1))}, key=SAFETY_KEY)
    with pytest.raises(ShapeError, match="increasing"):
        SafeChunk(**{**entries, "times_s": np.zeros(2)}, key=SAFETY_KEY)


def test_a_wrong_shape_is_an_error() -> None:
    with pytest.raises(ShapeError, match="3 joints"):
        stage().make(np.zeros((16, 2)), 0, at_rest())
