"""A score whose threshold means something."""

from __future__ import annotations

import dataclasses
import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ebt_policy_ros.core.errors import BundleError, SettingsError
from ebt_policy_ros.core.types import Minimum, Outcome
from ebt_policy_ros.core.uncertainty import (
    Calibration,
    Uncertainty,
    Window,
    conformal_threshold,
    episodes_needed,
    raw_score,
    score_name,
)


def minimum(energy: float = 0.0, **terms: float) -> Minimum:
    return Minimum(np.zeros((2, 1)), energy, np.zeros(3), Outcome.DESCENDED, 2, 2, np.zeros(1), terms=terms)


def test_a_window_is_the_mean_of_the_chunks_planned_in_it_filled_up_with_what_is_usual() -> None:
    window = Window(1.0, 0.8, 3)
    scores = window.scores([0.0, 0.4, 0.8, 2.0, 2.1, 2.2, 2.3], [1.0, 2.0, 6.0, 4.0, 4.0, 4.0, 4.0])
    np.testing.assert_allclose(scores, [0.0, 1 / 3, 2.0, 1.0, 2.0, 3.0, 3.0])
    np.testing.assert_allclose(window.scores([0.0, 0.4, 0.8], [7.0, 7.0, 0.5]), [2.0, 4.0, -0.5])
    made = Calibration.from_scores(
        np.linspace(1, 2, 100), 0.05, score="energy", weights_sha256="", window=window, plan_changes=np.arange(100.0)
    )
    assert made.plan_change == 95.0
    again = Calibration.from_mapping(json.loads(json.dumps(made.to_mapping())))
    assert (again.window, again.plan_change, again.row_error) == (window, 95.0, None)
    uncertainty = Uncertainty(made)
    assert uncertainty.surprise(190.0) == 2.0
    assert uncertainty.surprise(None) is None
    assert Uncertainty(None).surprise(1.0) is None
    alone, together = uncertainty.score(minimum(4.0)), uncertainty.score(minimum(4.0), before=[4.0, 4.0])
    assert alone is not None
    assert together is not None
    assert alone < 0.05 < 0.95 < together
    for wrong in ({"window_s": -1.0}, {"plan_change": 0.0}, {"window_chunks": 0}, {"centre": math.inf}):
        with pytest.raises(BundleError, match="window"):
            dataclasses.replace(made, **wrong)  # type: ignore[arg-type]


def test_the_raw_score_is_error_times_unfamiliarity_times_change_by_motion() -> None:
    terms = {"unfamiliarity": 0.5, "expected_error": 0.1}
    near, far = (dataclasses.replace(minimum(**terms), chunk=np.array([[0.0], [end]])) for end in (0.01, 1.0))
    assert raw_score(near, 0.2) == pytest.approx(math.log(0.5 * 0.1 * 0.2 / (0.01 / math.sqrt(2) + 1e-3)))
    assert raw_score(far, 0.2) == pytest.approx(math.log(0.5 * 0.1 * 0.2 / (1.0 / math.sqrt(2) + 1e-3)))
    assert raw_score(far, None) is None  # nothing to compare with
    assert raw_score(minimum(7.0), None) == 7.0
    assert raw_score(minimum(7.0, unfamiliarity=0.25), None) == math.log(0.25)
    for broken in ({"unfamiliarity": math.nan}, {"unfamiliarity": 1.0, "expected_error": math.nan}):
        assert raw_score(minimum(**broken), 0.1) == math.inf
    assert raw_score(minimum(math.nan, unfamiliarity=0.25), None) == math.inf
    assert raw_score(dataclasses.replace(near, chunk=np.array([[0.0], [math.nan]])), None) == math.inf
    names = [score_name(m.terms) for m in (minimum(), minimum(unfamiliarity=1.0), near)]
    assert names == ["energy", "unfamiliarity", "doubt"]


def test_a_chunk_without_a_plan_before_it_leaves_the_window_as_it_is() -> None:
    made = Calibration.from_scores(
        np.linspace(1, 2, 100), 0.05, score="doubt", weights_sha256="", window=Window(0.0, 1.0, 2)
    )
    doubtful = minimum(unfamiliarity=99.0, expected_error=9.0)
    assert Uncertainty(made).score(doubtful, None) is None  # nothing is known yet
    assert (Uncertainty(made).score(doubtful, None, [3.0, 3.0]) or 0.0) > 0.95
    assert (Uncertainty(made).score(doubtful, 0.1) or 0.0) > 0.95


def test_the_conformal_threshold_is_the_corrected_rank() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 101.0))
    assert conformal_threshold(scores, 0.05) == 96.0  # ceil(101 * 0.95)
    assert conformal_threshold(scores[:20], 0.5) == np.sort(scores[:20])[10]
    assert conformal_threshold(np.arange(19.0), 0.05) == 18.0


@pytest.mark.parametrize(("alpha", "needed"), [(0.05, 19), (0.1, 9), (0.01, 99), (0.5, 1)])
def test_too_few_episodes_are_refused(alpha: float, needed: int) -> None:
    assert episodes_needed(alpha) == needed
    conformal_threshold(np.arange(float(needed)), alpha)
    with pytest.raises(SettingsError, match=f"needs {needed} episodes or more, got {needed - 1}"):
        conformal_threshold(np.arange(float(needed - 1)), alpha)


def test_a_new_score_exceeds_the_threshold_at_most_as_often_as_promised() -> None:
    rng = np.random.default_rng(4)
    exceeded = [rng.gamma(2.0) > conformal_threshold(rng.gamma(2.0, size=50), 0.1) for _ in range(20_000)]
    assert 0.08 < np.mean(exceeded) <= 0.105


@example(scores=[0.0] * 18 + [-2.225073858507e-311], probes=[0.0, -2.2250738585e-313])
@given(
    scores=st.lists(st.floats(-100, 100), min_size=19, max_size=60),
    probes=st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=20),
)
def test_the_map_is_monotone_within_zero_and_one_and_exact_at_the_threshold(
    scores: list[float], probes: list[float]
) -> None:
    calibration = Calibration.from_scores(scores, 0.05, score="energy", weights_sha256="abc")
    uncertainty = Uncertainty(calibration)
    assert uncertainty.threshold == 0.95
    assert uncertainty.level(calibration.threshold) == pytest.approx(0.95, abs=1e-12)
    levels = [uncertainty.level(probe) for probe in sorted(probes)]
    assert all(0.0 <= level <= 1.0 for level in levels)
    assert all(low <= high + 1e-12 for low, high in pairwise(levels))
    for probe, level in zip(sorted(probes), levels, strict=True):
        assert (level > uncertainty.threshold + 1e-12) <= (probe > calibration.threshold)
        assert (probe > calibration.threshold + 1.0) <= (level > uncertainty.threshold)
    assert uncertainty.level(math.inf) == 1.0


def test_a_score_below_the_threshold_is_about_the_share_of_calmer_episodes() -> None:
    uncertainty = Uncertainty(Calibration.from_scores(list(range(1, 201)), 0.05, score="energy", weights_sha256=""))
    assert uncertainty.score(minimum(100.0)) == pytest.approx(0.5, abs=0.02)
    assert uncertainty.score(minimum(-1000.0)) == pytest.approx(0.0, abs=1e-3)


def test_a_calibration_belongs_to_its_weights_and_its_score() -> None:
    calibration = Calibration.from_scores(list(range(30)), 0.05, score="energy", weights_sha256="a" * 64)
    Uncertainty(calibration, "a" * 64)
    with pytest.raises(BundleError, match="calibrate again"):
        Uncertainty(calibration, "b" * 64)
    with pytest.raises(BundleError, match="'energy'.*'unfamiliarity'"):
        Uncertainty(calibration).score(minimum(unfamiliarity=1.0))


def test_without_a_calibration_there_is_no_score() -> None:
    uncertainty = Uncertainty(None)
    assert uncertainty.score(minimum(1e9)) is None
    assert math.isnan(uncertainty.threshold)


def test_a_calibration_survives_json_and_warns_when_small() -> None:
    calibration = Calibration.from_scores([3.0, *range(40)], 0.05, score="energy", weights_sha256="abc")
    again = Calibration.from_mapping(json.loads(json.dumps(calibration.to_mapping())))
    assert (again.quantiles == calibration.quantiles).all()
    assert again.threshold == calibration.threshold
    assert "41 episodes" in str(again.caution)
    assert Calibration.from_scores(list(range(100)), 0.05, score="e", weights_sha256="").caution is None
    with pytest.raises(BundleError, match="alpha"):
        Calibration.from_mapping({"score": "energy"})
    with pytest.raises(BundleError, match="sorted"):
        dataclasses.replace(calibration, quantiles=np.array([2.0, 1.0]))
