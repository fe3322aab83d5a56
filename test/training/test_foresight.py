"""The benchmark of foresight: episodes are kept as they were, and scores are worth what is counted."""

import importlib.util
import json

import numpy as np
import pytest
from nodes.tiny_bundle import make_tiny_bundle

from benchmarks import foresight, watch
from benchmarks.foresight import Judged
from benchmarks.foresight_table import table
from benchmarks.watch import Watched
from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.uncertainty import Window


def episode(kind, success, seed=0, chunks=10, disturbed_s=None, hand=0.03):
    rng = np.random.default_rng(seed)
    return Watched(
        kind,
        seed,
        success,
        0.4 * chunks,
        disturbed_s,
        [0.4 * place for place in range(chunks)],
        [np.array([0.1, hand], np.float32)] * chunks,
        [rng.normal(size=(1, 4)).astype(np.float32) for _ in range(chunks)],
        [rng.normal(size=(4, 2)).astype(np.float32) for _ in range(chunks)],
        [-1.0] * chunks,
        [float("nan")] * chunks,
    )


def judged(kind, success, values, disturbed_s=0.5, **others):
    one = episode(kind, success, chunks=len(values), disturbed_s=disturbed_s, **others)
    return Judged(one, {"s": np.array(values, dtype=float)})


def test_kept_episodes_come_back_as_they_were_and_only_for_their_policy(tmp_path):
    episodes = [episode("calm", True), episode("slip", False, 1, chunks=3, disturbed_s=0.7)]
    watch.save(tmp_path / "kept.npz", "abc", episodes)
    again = watch.load(tmp_path / "kept.npz", "abc")
    assert [(one.kind, one.success, one.disturbed_s, len(one.times_s)) for one in again] == [
        ("calm", True, None, 10),
        ("slip", False, 0.7, 3),
    ]
    np.testing.assert_array_equal(again[1].chunks, episodes[1].chunks)
    with pytest.raises(EbtPolicyError, match="played by the policy abc"):
        watch.load(tmp_path / "kept.npz", "other")


def test_areas_count_the_worst_chunk_after_the_disturbance():
    hit = [judged("slip", False, [9, 9, 3, 0, 0]) for _ in range(3)]  # the 9s are before it
    hit += [judged("slip", True, [0, 0, 1, 0, 9]) for _ in range(3)]
    assert foresight.area(hit, "s", 1.0)[:3] == [1.0, 1.0, 1.0]
    assert foresight.area(hit, "s", 3.0)[0] == 0.0
    assert foresight.area(hit[:3], "s", 1.0) is None


def test_alarms_are_counted_by_outcome_and_in_time():
    hit = [
        judged("slip", False, [0, 0, 0, 5, 5]),
        judged("slip", False, [0] * 5),
        judged("slip", True, [0, 0, 5, 0, 0]),
    ]
    hit[0].episode.positions[4] = np.array([0.1, 0.001], np.float32)  # closed on nothing at 1.6 s
    found = foresight.at_threshold(hit, "s", 1.0)
    assert (found["failed"], found["passed"]) == (2, 1)
    assert found["1s"] == {"failures_alarmed": 0.5, "survivors_alarmed": 1.0, "balanced_accuracy": 0.25}
    assert found["delay_s"] == pytest.approx(0.7)
    assert found["lead_before_empty_hand"] == {
        "failures_with_empty_hand": 1,
        "alarmed_before": 1,
        "median_lead_s": pytest.approx(0.4),
    }


def test_lost_input_is_the_highest_score_of_all_and_acts_at_once(tmp_path):
    lost, survived = judged("frozen", False, [0, 0, 0]), judged("slip", True, [0, 0, 9, 9, 9])
    lost.episode.blind_s.append(1.3)
    assert lost.after("s", 0.5) == 0.0
    assert lost.after("s", 1.0) == np.inf
    assert lost.delay_s("s", 1.0, lasting_s=1.6) == pytest.approx(0.8)
    assert foresight.area([lost, lost, survived, survived], "s", 1.0)[0] == 1.0
    watch.save(tmp_path / "kept.npz", "abc", [lost.episode])
    assert watch.load(tmp_path / "kept.npz")[0].blind_s == [1.3]


def test_the_score_is_the_sum_of_its_parts_over_the_window():
    parts = {name: np.arange(10.0) for name in foresight.PRODUCT} | {"energy": np.full(10, 3.0)}
    parts["change"] = np.r_[np.nan, np.arange(1.0, 10.0)]
    (one,) = foresight.scored([(episode("calm", True), parts)], 1, Window(0.0, 0.8, 3))
    centre = 3 * 4.5 + 5.0
    assert np.isnan(one.scores["score"][0])  # nothing to compare the first plan with
    assert one.scores["score"][1] == pytest.approx(4 - centre)  # never worse than the present chunk
    assert one.scores["score"][9] == pytest.approx(32 - centre)  # mean of three
    assert one.scores["score without change"][9] == pytest.approx(24 - 13.5)
    np.testing.assert_allclose(one.scores["energy"], 0.0)


def test_verdicts_hold_thresholds_false_alarms_and_tables():
    def one(kind, success, worst, seed):
        made = judged(kind, success, [0.0, 0.0, worst], None if kind == "calm" else 0.5, seed=seed)
        made.scores = {"score": made.scores["s"]}
        return made

    calm = [one("calm", True, 0.01 * place, place) for place in range(100)]
    hit = [one("slip", place % 2 == 0, place % 2 * 5.0 + 0.01 * place, place) for place in range(10)]
    result = foresight.verdicts({"calm": calm, "tuned": hit, "apart": []}, ["score"], 0.1, 0.9)
    own = result["scores"]["score"]
    assert own["threshold"] == pytest.approx(0.54)  # the 55th of 60
    assert own["false_alarms"] == [40, 40]
    assert own["tuned"]["fails"]["3s"][0] == 1.0
    assert result["shipped"]["alarm"]["false_alarms"][:2] == [9, 100]
    assert result["shipped"]["alarm"]["tuned"]["episode"]["balanced_accuracy"] == 1.0
    assert result["shipped"]["lasting"]["tuned"]["episode"]["balanced_accuracy"] == 0.5  # one chunk is not lasting
    text = table(result)
    assert "slip 5/10" in text
    assert "| **score** | 1.00 (1.00 to 1.00)" in text
    assert "9 of 100 (5 to 16 %)" in text


@pytest.mark.sim
@pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed")
def test_episodes_are_watched_as_they_are_played(tmp_path):
    model = make_tiny_bundle(tmp_path / "tiny")
    arguments = ["--model", str(model), "--task", "lift", "--kinds", "calm,black@0.4", "--episodes", "1"]
    arguments += ["--seed", "3", "--processes", "1", "--time-limit", "1.3", "--out", str(tmp_path / "kept.npz")]
    assert watch.main(arguments) == 0
    calm, black = watch.load(tmp_path / "kept.npz")
    assert (calm.kind, black.kind, calm.disturbed_s) == ("calm", "black", None)
    assert black.disturbed_s == pytest.approx(0.4)
    assert len(calm.times_s) == len(calm.features) == 4
    np.testing.assert_array_equal(calm.features[0], black.features[0])
    assert (calm.features[2] != black.features[2]).any()
    about = json.loads(np.load(tmp_path / "kept.npz")["about"].tobytes())
    assert len(about["policy_sha256"]) == 64
