"""Whatever comes in, what goes out keeps the limits, also between the points."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebt_policy_ros.core.errors import SafetyError, ShapeError
from ebt_policy_ros.core.limits import AccelerationLimit, FiniteLimit, JumpLimit, PositionLimit, VelocityLimit
from ebt_policy_ros.core.safety import Admitted, Motion, Refused, SafetyStage, next_row
from ebt_policy_ros.core.settings import SafetySettings
from ebt_policy_ros.core.types import SAFETY_KEY, Floats, SafeChunk, Splice

from .fakes import HOME, PERIOD, ROBOT

LOWER, UPPER = ROBOT.per_joint("lower"), ROBOT.per_joint("upper")
VELOCITY, ACCELERATION = ROBOT.per_joint("velocity"), ROBOT.per_joint("acceleration")
CLAMPING = SafetySettings(on_non_finite="clamp", on_jump="clamp")
NUM_CHUNKS = 100_000


def stage(safety: SafetySettings = CLAMPING, period_ns: int = PERIOD) -> SafetyStage:
    return SafetyStage(ROBOT, safety, period_ns)


def at_rest(positions: Floats = HOME, start_ns: int = 0) -> Splice:
    return Splice(start_ns, positions, np.zeros(3))


def worst(times_s: Floats, positions: Floats, velocities: Floats) -> dict[str, float]:
    """By how much the cubic Hermite through knots (B, N, D) exceeds each limit at most; negative: kept."""
    h = np.diff(times_s)[None, :, None]
    p0, p1, v0, v1 = positions[:, :-1], positions[:, 1:], velocities[:, :-1], velocities[:, 1:]
    excess = {"position": -np.inf, "velocity": -np.inf}
    for s in (0.0, 0.25, 0.5, 0.75, 1.0):
        p = (
            p0 * (1 + 2 * s) * (1 - s) ** 2
            + h * v0 * s * (1 - s) ** 2
            + p1 * s**2 * (3 - 2 * s)
            + h * v1 * s**2 * (s - 1)
        )
        v = (p1 - p0) * 6 * s * (1 - s) / h + v0 * (1 - s) * (1 - 3 * s) + v1 * s * (3 * s - 2)
        excess["position"] = max(excess["position"], float(np.max(np.maximum(LOWER - p, p - UPPER))))
        excess["velocity"] = max(excess["velocity"], float(np.max(np.abs(v) - VELOCITY)))
    begin = 6 * (p1 - p0) / h**2 - (4 * v0 + 2 * v1) / h
    end = -6 * (p1 - p0) / h**2 + (2 * v0 + 4 * v1) / h
    excess["acceleration"] = float(np.max(np.maximum(np.abs(begin), np.abs(end)) - ACCELERATION))
    return excess


def assert_safe(motion: Motion, positions: Floats, velocities: Floats, tolerance: float = 1e-9) -> None:
    times_s = np.array(motion.offsets_ns) * 1e-9
    for limit, excess in worst(times_s, motion.positions, motion.velocities).items():
        # An acceleration is a difference of positions over h^2: rounding of 1e-16 counts 1e4 times there.
        assert excess <= (tolerance if limit != "acceleration" else 1e-6), limit
    assert (np.diff(motion.offsets_ns) > 0).all()
    assert not motion.velocities[:, -1].any()
    assert (motion.positions[:, 0] == positions).all()
    assert (motion.velocities[:, 0] == velocities).all()


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
        positions, velocities = feasible_states(rng, NUM_CHUNKS // num_batches)
        targets = wild_chunks(rng, positions)
        delay_ns = int(rng.integers(-10 * PERIOD, PERIOD))
        judged, counts, refused = stage().judge(targets, positions, next_row(delay_ns, PERIOD, 0))
        assert refused == [None] * len(targets)
        motion = stage().follow(judged, delay_ns, positions, velocities)
        assert_safe(motion, positions, velocities)
        for name, numbers in [*counts.items(), *motion.clamps.items()]:
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
def test_any_chunk_becomes_safe_and_stays_as_it_is_when_passed_again(
    rows: list[tuple[float, float, float]], seed: int, delay_ns: int, period_ms: int
) -> None:
    safety = stage(period_ns=period_ms * 1_000_000)
    position, velocity = feasible_states(np.random.default_rng(seed), 1, safety.acceleration)
    splice = Splice(10**15, position[0], velocity[0])
    targets = np.array(rows)
    if next_row(splice.start_ns + delay_ns, period_ms * 1_000_000, splice.start_ns) >= len(rows):
        with pytest.raises(SafetyError):
            safety.make(targets, splice.start_ns + delay_ns, splice)
        return
    made = safety.make(targets, splice.start_ns + delay_ns, splice)
    assert isinstance(made, Admitted)
    chunk = made.chunk
    motion = Motion(tuple(round(t * 1e9) for t in chunk.times_s), chunk.positions[None], chunk.velocities[None], {})
    assert_safe(motion, position, velocity)
    again = safety.again(chunk, splice)
    np.testing.assert_allclose(again.chunk.times_s, chunk.times_s, atol=1e-9)
    np.testing.assert_allclose(again.chunk.positions, chunk.positions, atol=1e-9)
    np.testing.assert_allclose(again.chunk.velocities, chunk.velocities, atol=1e-6)


@settings(max_examples=100)
@given(
    position=st.tuples(*[st.floats(-10, 10)] * 3),
    velocity=st.tuples(*[st.floats(-20, 20)] * 3),
    seed=st.integers(0, 999),
)
def test_any_start_leads_back_inside(position: tuple[float, ...], velocity: tuple[float, ...], seed: int) -> None:
    start, rate = np.array([position]), np.array([velocity])
    targets = np.random.default_rng(seed).uniform(LOWER, UPPER, (1, 16, 3))
    motion = stage().follow(targets, 0, start, rate)
    times_s = np.array(motion.offsets_ns) * 1e-9
    assert worst(times_s, motion.positions, motion.velocities)["acceleration"] <= 1e-6
    speeds = np.abs(motion.velocities)
    too_fast = speeds[:, :-1] > VELOCITY
    assert (speeds[:, 1:][too_fast] < speeds[:, :-1][too_fast]).all()
    # A joint outside that does not move further out goes inward only.
    before, after, speed = motion.positions[:, :-1], motion.positions[:, 1:], motion.velocities[:, :-1]
    above, below = (before > UPPER) & (speed <= 0.0), (before < LOWER) & (speed >= 0.0)
    assert (after[above] <= before[above]).all()
    assert (after[below] >= before[below]).all()


@pytest.mark.parametrize("delay_ns", [0, -10_000_000, -33_333_333, -PERIOD * 5])
def test_a_chunk_within_the_limits_is_reproduced(delay_ns: int) -> None:
    times = np.arange(16) * 0.05
    demonstration = HOME + np.stack(
        [0.4 * (1 - np.cos(2 * times)), 0.3 * np.sin(1.5 * times) ** 2, -0.05 * times**2], 1
    )
    whole = stage().make(demonstration, 0, Splice(0, demonstration[0], np.zeros(3)))
    assert isinstance(whole, Admitted)
    splice = Splice(-delay_ns, *whole.chunk.sample(-delay_ns))
    made = stage().make(demonstration, 0, splice)
    assert isinstance(made, Admitted)
    assert made.clamps == {}
    for row in range(next_row(0, PERIOD, splice.start_ns), 16):
        np.testing.assert_allclose(made.chunk.sample(row * PERIOD)[0], demonstration[row], atol=1e-3)


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


def test_a_safe_chunk_passed_again_is_not_clamped() -> None:
    targets = HOME + np.random.default_rng(5).uniform(-2, 2, (16, 3))
    first = stage().make(targets, 0, at_rest())
    assert isinstance(first, Admitted)
    assert set(first.clamps) >= {"velocity", "acceleration"}
    assert stage().again(first.chunk, at_rest()).clamps == {}


def test_one_motion_alone_and_in_a_batch_are_the_same() -> None:
    rng = np.random.default_rng(1)
    positions, velocities = feasible_states(rng, 5)
    targets = positions[:, None] + np.cumsum(rng.normal(size=(5, 16, 3)) * 0.2, axis=1)
    motion = stage().follow(np.clip(targets, LOWER, UPPER), -PERIOD // 3, positions, velocities)
    made = stage().make(targets[2], -PERIOD // 3, Splice(0, positions[2], velocities[2]))
    assert isinstance(made, Admitted)
    num = len(made.chunk.times_s)
    np.testing.assert_allclose(made.chunk.positions, motion.positions[2, :num], atol=1e-12)


def test_braking_comes_to_rest_within_the_limits() -> None:
    positions, velocities = feasible_states(np.random.default_rng(2), 2000)
    for position, velocity in zip(positions[:200], velocities[:200], strict=True):
        chunk = stage().brake(Splice(5, position, velocity))
        excess = worst(chunk.times_s, chunk.positions[None], chunk.velocities[None])
        assert max(excess["position"], excess["velocity"]) <= 1e-9
        assert excess["acceleration"] <= 1e-6
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
        limit = PositionLimit(ROBOT, 0.025)
        verdict = limit.judge(np.array([[[2.1, 1.0, -0.01]]]), HOME[None])
        assert verdict.targets.tolist() == [[[2.0, 1.0, 0.0]]]
        # 0.1 rad before its end the shoulder may do 2 * 10 * 0.1 = v^2 at most, without the limit 2 rad/s.
        _, high = limit.velocity_bounds(np.array([[1.9, 1.0, 0.02]]), np.array([[1.2, 0.0, 0.0]]), 0.025)
        assert 0.9 < high[0, 0] < np.sqrt(2.0)

    def test_velocity(self) -> None:
        low, high = VelocityLimit(ROBOT, 0.025).velocity_bounds(HOME[None], np.array([[0.0, 5.0, 0.0]]), 0.025)
        assert high.tolist() == [[2.0, 4.5, 0.25]]
        assert low.tolist() == [[-2.0, -3.0, -0.25]]

    def test_acceleration(self) -> None:
        low, high = AccelerationLimit(ROBOT, 0.025).velocity_bounds(HOME[None], np.zeros((1, 3)), 0.025)
        np.testing.assert_allclose(high, [[0.25, 0.5, 0.25]])
        np.testing.assert_allclose(low, -high)


def test_nobody_else_makes_a_safe_chunk() -> None:
    entries = {
        "start_ns": 0, "joint_names": ("a",), "times_s": np.array([0.0, 1.0]),
        "positions": np.zeros((2, 1)), "velocities": np.zeros((2, 1)),
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
    with pytest.raises(ShapeError, match="increasing"):
        SafeChunk(**{**entries, "times_s": np.zeros(2)}, key=SAFETY_KEY)


def test_a_wrong_shape_is_an_error() -> None:
    with pytest.raises(ShapeError, match="3 joints"):
        stage().make(np.zeros((16, 2)), 0, at_rest())
