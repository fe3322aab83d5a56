"""The reference descent, in bowls with known minima."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebt_policy_ros.core.cycle import chunk_seed
from ebt_policy_ros.core.minimise import minimise_numpy, starting_noise
from ebt_policy_ros.core.types import Floats, Outcome

CENTRE = np.array([[0.3, -0.7]])


def bowl(chunks: Floats) -> tuple[Floats, Floats]:
    """One minimum of energy -2 at CENTRE."""
    away = chunks - CENTRE
    return np.square(away).sum(axis=(1, 2)) / 2 - 2.0, away


def double_well(chunks: Floats) -> tuple[Floats, Floats]:
    """Minima at x = -1 (energy 0.5) and x = +1 (energy 0), by (x^2 - 1)^2 + a slope."""
    x = chunks
    energies = (np.square(np.square(x) - 1) + 0.25 * (1 - x)).sum(axis=(1, 2))
    return energies, 4 * x * (np.square(x) - 1) - 0.25


def starts(values: list[float]) -> Floats:
    return np.array(values)[:, None, None]


def test_a_bowl_is_descended_to_its_minimum() -> None:
    minimum = minimise_numpy(bowl, np.zeros((1, 4, 2)), 0.5, 40)
    np.testing.assert_allclose(minimum.chunk, np.repeat(CENTRE, 4, axis=0), atol=1e-9)
    assert minimum.energy == pytest.approx(-2.0)
    assert minimum.outcome is Outcome.DESCENDED
    assert minimum.trace.shape == (41,)
    assert minimum.network_evaluations == 41
    assert minimum.gradient_norm < 1e-9
    assert minimum.spread == 0.0


def test_of_two_wells_the_deeper_one_is_chosen_and_the_spread_tells_of_the_other() -> None:
    minimum = minimise_numpy(double_well, starts([-0.9, -1.1, 0.8]), 0.05, 100)
    assert minimum.chunk[0, 0] == pytest.approx(1.03, abs=0.01)
    assert minimum.candidate_energies.shape == (3,)
    assert minimum.candidate_energies.argmin() == 2
    assert minimum.spread == pytest.approx(2.0, abs=0.05)
    alone = minimise_numpy(double_well, starts([-0.9]), 0.05, 100)
    assert alone.chunk[0, 0] == pytest.approx(-0.97, abs=0.01)
    assert alone.energy > minimum.energy


@given(
    step_size=st.floats(0.001, 10), steps=st.integers(0, 10), start=st.lists(st.floats(-3, 3), min_size=1, max_size=4)
)
def test_the_energy_returned_is_never_above_the_starts(step_size: float, steps: int, start: list[float]) -> None:
    begin = starts(start)
    with np.errstate(all="ignore"):
        minimum = minimise_numpy(double_well, begin, step_size, steps)
    assert minimum.energy <= double_well(begin)[0].min()
    assert minimum.energy == pytest.approx(double_well(minimum.chunk[None])[0][0])
    assert np.isfinite(minimum.chunk).all()


def test_steps_too_long_keep_the_start() -> None:
    minimum = minimise_numpy(bowl, np.ones((1, 1, 2)), 2.5, 5)
    assert minimum.outcome is Outcome.NO_DESCENT
    assert (minimum.chunk == 1.0).all()


def nan_beyond_zero(chunks: Floats) -> tuple[Floats, Floats]:
    """Falls towards x = 0, where energies end."""
    energies = np.where(chunks.max(axis=(1, 2)) < 0, chunks.sum(axis=(1, 2)) * -1.0, np.nan)
    return energies, np.full(chunks.shape, -1.0)


def test_an_energy_that_is_no_number_is_an_outcome() -> None:
    minimum = minimise_numpy(nan_beyond_zero, starts([-1.0]), 0.3, 8)
    assert minimum.outcome is Outcome.NON_FINITE
    assert minimum.chunk[0, 0] == pytest.approx(-0.1)
    assert minimum.energy == pytest.approx(0.1)
    nowhere = minimise_numpy(nan_beyond_zero, starts([1.0, 2.0]), 0.3, 3)
    assert nowhere.outcome is Outcome.NON_FINITE
    assert (nowhere.chunk == starts([1.0])[0]).all()
    assert not np.isfinite(nowhere.energy)


def test_one_candidate_in_trouble_does_not_spoil_the_others() -> None:
    def half_broken(chunks: Floats) -> tuple[Floats, Floats]:
        energies, gradients = bowl(chunks)
        broken = chunks[:, 0, 0] > 5
        return np.where(broken, np.nan, energies), np.where(broken[:, None, None], np.inf, gradients)

    minimum = minimise_numpy(half_broken, np.array([[[9.0, 9.0]], [[0.0, 0.0]]]), 0.5, 30)
    assert minimum.outcome is Outcome.DESCENDED
    np.testing.assert_allclose(minimum.chunk, CENTRE, atol=1e-6)


def test_every_bit_of_a_seed_counts_in_the_starting_noise() -> None:
    seeds = [0, 1, 1 << 8, 1 << 31, 1 << 32, 1 << 40, chunk_seed(1, 0, 0), chunk_seed(0, 1, 0), chunk_seed(0, 0, 1)]
    noise = {seed: starting_noise(seed, 2, 16, 8) for seed in seeds}
    assert len({drawn.tobytes() for drawn in noise.values()}) == len(noise)
    assert noise[0].shape == (2, 16, 8)
    assert noise[0].dtype == np.float32
    assert (starting_noise(1 << 40, 2, 16, 8) == noise[1 << 40]).all()
    many = starting_noise(7, 1000, 16, 8)
    assert abs(float(many.mean())) < 0.01
    assert abs(float(many.std()) - 1.0) < 0.01
