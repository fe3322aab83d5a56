"""Intervals and paired comparisons against published numbers."""

import pytest

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.training.statistics import Paired, pair, pooled, wilson


@pytest.mark.parametrize(
    ("successes", "count", "low_high"), [(50, 50, (0.929, 1.0)), (0, 10, (0.0, 0.278)), (5, 10, (0.237, 0.763))]
)
def test_wilson(successes, count, low_high):
    assert wilson(successes, count) == pytest.approx(low_high, abs=0.001)


def test_wilson_knows_nothing_without_episodes_and_refuses_nonsense():
    assert wilson(0, 0) == (0.0, 1.0)
    assert all(wilson(n, n)[1] == 1.0 and wilson(0, n)[0] == 0.0 for n in range(1, 400))
    with pytest.raises(SettingsError, match="expected 0 to 3, got 4"):
        wilson(4, 3)


@pytest.mark.parametrize(
    ("table", "difference", "low_high"),
    [
        # Airway hyper-responsiveness before and after a transplant: Fagerland, Lydersen, Laake, Stat. Med. 33 (2014).
        ((1, 1, 7, 12), -0.286, (-0.507, -0.026)),
    ],
)
def test_newcombes_interval_is_the_published_one(table, difference, low_high):
    paired = Paired(*table)
    assert paired.difference == pytest.approx(difference, abs=0.001)
    assert paired.interval == pytest.approx(low_high, abs=0.001)


def test_the_interval_turns_with_the_order_and_does_not_shrink_to_a_point():
    there, back = Paired(30, 8, 3, 9), Paired(30, 3, 8, 9)
    assert there.interval == pytest.approx([-value for value in reversed(back.interval)])
    equal = Paired(100, 0, 0, 0)
    assert equal.interval == pytest.approx((-0.037, 0.037), abs=0.001)
    assert equal.p_value == 1.0


def test_mcnemar_counts_only_what_tells_them_apart():
    assert Paired(1, 1, 7, 12).p_value == pytest.approx(0.0703, abs=1e-4)
    assert Paired(100, 1, 7, 1200).p_value == Paired(1, 1, 7, 12).p_value
    assert Paired(5, 10, 0, 5).p_value == pytest.approx(2 / 2**10)


def test_pairs_are_made_by_seed():
    paired = pair({1: True, 2: True, 3: False, 9: True}, {3: False, 2: False, 1: True, 8: False})
    assert (paired.both, paired.only_first, paired.only_second, paired.neither) == (1, 1, 0, 1)
    assert pooled([paired, paired]).count == 6
    with pytest.raises(SettingsError, match=r"no seed in common: the first has 1 to 1, the second 2 to 5"):
        pair({1: True}, {2: True, 5: True})
