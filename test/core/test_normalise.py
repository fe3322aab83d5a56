"""One inverse pair from one Stats object."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebt_policy_ros.core.errors import ShapeError
from ebt_policy_ros.core.normalise import Normaliser, Stats
from ebt_policy_ros.core.types import Observation

numbers = st.floats(-100, 100)


@given(
    low=st.lists(numbers, min_size=3, max_size=3),
    width=st.lists(st.floats(0, 50), min_size=3, max_size=3),
    seed=st.integers(0, 99),
)
def test_normalise_and_unnormalise_invert_each_other(low: list[float], width: list[float], seed: int) -> None:
    stats = Stats(np.array(low), np.array(low) + np.array(width))
    normaliser = Normaliser(stats, stats)
    chunk = np.random.default_rng(seed).normal(size=(16, 3)) * 3
    np.testing.assert_allclose(normaliser.normalise_chunk(normaliser.unnormalise_chunk(chunk)), chunk, atol=1e-4)
    rows = np.array(low) + np.random.default_rng(seed).random((16, 3)) * np.array(width)
    np.testing.assert_allclose(normaliser.unnormalise_chunk(normaliser.normalise_chunk(rows)), rows, atol=1e-9)
    assert (np.abs(normaliser.normalise_chunk(rows)) <= 1.0 + 1e-9).all()


def test_the_range_becomes_minus_one_to_one_and_a_joint_that_never_moved_zero() -> None:
    stats = Stats(np.array([-1.0, 2.0]), np.array([3.0, 2.0]))
    np.testing.assert_allclose(stats.normalise(np.array([[-1.0, 2.0], [3.0, 2.5]])), [[-1.0, 0.0], [1.0, 0.5]])


def test_positions_and_actions_have_their_own_ranges_and_images_pass() -> None:
    normaliser = Normaliser(Stats(np.zeros(1), np.ones(1)), Stats(np.zeros(1), np.full(1, 4.0)))
    image = np.zeros((2, 2, 3), np.uint8)
    seen = normaliser.normalise_observation(Observation(0, {"front": image}, ("a",), np.array([0.75])))
    assert seen.positions == 0.5
    assert seen.images["front"] is image
    assert normaliser.unnormalise_chunk(np.array([[0.5]])) == 3.0
    assert np.isnan(normaliser.unnormalise_chunk(np.array([[np.nan]]))).all()


def test_wrong_statistics_are_refused() -> None:
    with pytest.raises(ShapeError, match="low <= high"):
        Stats(np.ones(1), np.zeros(1))
    with pytest.raises(ShapeError, match="high"):
        Stats(np.ones(1), np.ones(2))
    with pytest.raises(ShapeError, match="as many"):
        Normaliser(Stats(np.zeros(1), np.ones(1)), Stats(np.zeros(2), np.ones(2)))
