"""The benchmark of energies: scores mean what they are named, areas and alarms are counted right."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from nodes.tiny_bundle import make_tiny_bundle
from policy.small import bundle_of, network

from benchmarks import energies, on_demonstrations, rescore
from benchmarks.energy_table import area_text, write_between
from benchmarks.played import Played, load, save
from benchmarks.verdicts import Scored, alarms, delay_s, foresight, judged, notice
from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.training.statistics import auroc, auroc_interval


def test_an_area_and_its_interval():
    low, high = list(range(40)), [value + 15.5 for value in range(40)]
    value, begin, end = auroc_interval(low, high)
    assert value == auroc(low, high)
    assert begin < value < end
    assert 0.02 < end - begin < 0.3
    wide = auroc_interval(low[::4], high[::4])
    assert wide[2] - wide[1] > end - begin  # fewer episodes, more doubt
    assert auroc_interval([1.0] * 5, [2.0] * 5) == (1.0, 1.0, 1.0)
    assert auroc_interval([1.0] * 5, [1.0] * 5) == (0.5, 0.5, 0.5)
    assert auroc_interval([1.0], [2.0, 3.0]) is None


def episode(kind, success, values, disturbed_s=None, purpose="test", **others):
    times = [0.4 * place for place in range(len(values))]
    hand = [np.array([0.0, 0.03]) for _ in times]
    played = Played(kind, 0, purpose, success, times[-1] + 0.4, disturbed_s, times, hand, [], **others)
    return Scored(played, {"s": np.array(values, dtype=float)})


def test_failures_are_foreseen_within_the_window_only():
    late = [0.0] * 9 + [9.0]
    hit = [episode("teleport", False, [9, 0, 3, 0, 0, 0], 0.5) for _ in range(3)]  # the 9 is before it happened
    hit += [episode("teleport", True, [0, 0, 1, 0, 0, 0], 0.5) for _ in range(3)]
    assert foresight(hit, "s", 1.0)[:3] == [1.0, 1.0, 1.0]
    assert foresight([episode("x", False, late, 0.0)] * 3 + [episode("x", True, late, 0.0)] * 3, "s", 3.0)[0] == 0.5
    assert foresight(hit[:3], "s", 1.0) is None  # nothing succeeded


def test_calm_episodes_are_looked_at_for_as_long_as_disturbed_ones():
    calm = [episode("calm", True, [0, 0, 0, 5, 5, 5, 5]) for _ in range(4)]
    hit = [episode("teleport", True, [0, 0, 3, 0, 0, 0, 0], 0.1) for _ in range(4)]
    assert notice(calm, hit, "s", 1.0)[0] == 1.0  # what calm ones do at 1.2 s is not in their window
    assert notice(calm, hit, "s", 3.0)[0] == 0.0


def test_alarms_at_the_conformal_threshold():
    quiet = [episode("calm", True, [0.0, place], purpose="threshold") for place in range(40)]
    calm = [episode("calm", True, [0.0, 39.0]), episode("calm", True, [0.0, 1.0]), episode("calm", False, [99.0])]
    failed = episode("slip", False, [0, 0, 0, 50, 0, 50], 0.5)
    failed.episode.positions[5] = np.array([0.0, 0.001])  # closed on nothing at 2.0 s
    unseen = episode("slip", False, [50, 0, 0, 0, 0, 0], 0.5)
    found = alarms(quiet, calm, [failed, unseen, episode("slip", True, [0, 50], 0.2)], "s")
    assert found["threshold"] == 38.0  # the 39th of 40
    assert found["false_alarms"][:2] == [1, 2]
    assert found["failures_alarmed"] == found["failures_alarmed_3s"] == [1, 2]
    assert found["successes_alarmed"] == [1, 1]
    assert (found["lead_s"], found["ahead"], found["lead_n"]) == (0.8, 1, 1)
    assert delay_s(failed, "s", 38.0) == pytest.approx(0.7)
    assert alarms(quiet[:10], calm, [failed], "s") is None  # ten episodes promise nothing at alpha .05


def bowl(alpha=0.5, **training):
    """A variant whose energy is exactly |a - target(o)|^2 / (2 alpha), target = the first position everywhere."""
    variant = rescore.Variant.__new__(rescore.Variant)
    notes = {"training": {"anchor": 1.0, "held_out": 0.5, "seed": 0, **training}}
    variant.name, variant.bundle = "bowl", replace(bundle_of(network()), provenance=notes)
    variant.alpha, variant.steps, variant.heads = alpha, 1, None

    class Fast:
        def energy(self, cache, chunks):
            return (chunks - cache[0][0, :, :, None]).square().sum((1, 2)) / (2 * alpha)

        def energy_and_gradient(self, cache, chunks):
            return self.energy(cache, chunks), (chunks - cache[0][0, :, :, None]) / alpha

    variant.fast = Fast()
    variant.observe = lambda features, positions: positions[None, None, :, :1]
    return variant


def seen(count=10):
    rng = np.random.default_rng(0)
    positions = rng.uniform(-1, 1, (count, 3))
    chunks = np.repeat(np.repeat(positions[:, :1, None], 4, 1), 3, 2)
    rests = chunks + 0.1
    rests[0] = np.nan
    return rescore.Seen(torch.zeros(count, 1, 24), positions, chunks, rests)


def test_scores_of_a_bowl_are_the_known_ones():
    found, chunks = rescore.scores(bowl(), seen())
    np.testing.assert_allclose(chunks, seen().chunks, atol=1e-5)
    for name in ("energy", "energy of the plan", "gradient norm", "spread of starts"):
        np.testing.assert_allclose(found[name], 0.0, atol=1e-5)
    np.testing.assert_allclose(found["surprise"][1:], 12 * 0.01 / (2 * 0.5), rtol=1e-4)
    assert np.isnan(found["surprise"][0])
    assert (found["small energy drop"] < -1).all()


def test_an_anchored_energy_is_read_as_a_distance():
    count = 40
    rng = np.random.default_rng(1)
    positions = rng.uniform(-1, 1, (count, 3)).astype(np.float32)
    expert = positions[:, :1, None] + np.sign(rng.standard_normal((count, 1, 1))) * 0.2
    chunks = np.broadcast_to(expert, (count, 4, 3)).astype(np.float32)
    numbers = np.arange(count) // 2
    shown = on_demonstrations.Shown(
        torch.zeros(count, 1, 24), positions, chunks, numbers, np.arange(count) % 2 == 0, ("left", "right") * 10
    )
    variant = bowl()
    found = on_demonstrations.energy_against_distance(variant, shown)
    assert found["rows"] == 20  # half of the episodes are held out
    assert found["kinds"]["result"]["predicted"] == pytest.approx(0.0, abs=1e-6)
    assert found["kinds"]["result"]["real"] == pytest.approx(0.04, rel=1e-3)
    assert found["kinds"]["start"]["rank_correlation"] > 0.8
    modes = on_demonstrations.mode_separation(variant, shown)
    assert modes["spread"] == pytest.approx([0.0] * 5, abs=1e-6)  # one valley: every start ends there
    assert modes["best"] == pytest.approx([0.2] * 5, rel=1e-3)


def test_the_ways_of_experts_lie_apart_by_what_the_picture_does_not_say():
    rng = np.random.default_rng(2)
    modes = tuple(rng.choice(["left", "right"], 80))
    side = np.where(np.array(modes) == "left", -0.3, 0.3)
    positions = rng.uniform(-1, 1, (80, 3)).astype(np.float32)
    chunks = np.broadcast_to((positions[:, 1] + side)[:, None, None], (80, 4, 3)).astype(np.float32)
    shown = on_demonstrations.Shown(torch.zeros(80, 1, 24), positions, chunks, np.arange(80), np.ones(80, bool), modes)
    assert on_demonstrations.spread_of_ways(bowl(), shown)["between"] == pytest.approx(0.3, rel=0.05)


def test_rests_and_plan_change():
    chunks = [np.full((4, 3), float(place)) for place in range(3)]
    rests, rows = rescore.rests_of([0.0, 0.1, 1.0], chunks, 0.05)
    assert rows.tolist() == [0, 2, 0]  # of the plan of 0.9 s ago nothing is left
    assert np.isnan(rests[[0, 2]]).all()
    np.testing.assert_array_equal(rests[1, :, 0], [0, 0, 1, 1])
    bounds = bowl().bundle.actions
    change = rescore.plan_change(rescore.Seen(torch.zeros(3), chunks[0], np.array(chunks), rests), bounds, rows)
    assert change[1] == pytest.approx(1.0)
    assert np.isnan(change[[0, 2]]).all()


def test_what_lies_far_from_the_demonstrations_is_unfamiliar():
    rng = np.random.default_rng(3)
    known = rng.standard_normal((300, 6)).astype(np.float32)
    strange = np.concatenate([known[:20], known[:20] + 6]).astype(np.float32)
    for name, values in rescore.familiarity(known, strange).items():
        assert values[:20].max() < values[20:].min(), name


def test_members_of_an_ensemble_disagree_where_their_chunks_differ():
    first, second = bowl(), bowl()
    second.name = "other"
    chunks = np.zeros((2, 4, 3), np.float32)
    apart = chunks.copy()
    apart[1] += 0.2
    found = rescore.disagreement([first, second], {"bowl": ({}, chunks), "other": ({}, apart)})
    assert found["ensemble: chunks"] == pytest.approx([0.0, 0.1])
    assert set(found) == {"ensemble: chunks"}  # energies are compared by their heads, and there are none


def test_episodes_are_kept_for_another_table(tmp_path):
    images = {"front": [np.full((4, 4, 3), value, np.uint8) for value in (1, 2)]}
    first = Played("slip", 7, "test", False, 1.0, 0.3, [0.0, 0.4], [np.zeros(2)] * 2, [np.ones((3, 2))] * 2, images)
    second = Played(
        "calm", 8, "heads", True, 0.5, None, [0.0], [np.ones(2)], [np.zeros((3, 2))], {"front": images["front"][:1]}
    )
    save(tmp_path / "played.npz", "abc", [first, second])
    again = load(tmp_path / "played.npz", "abc")
    assert [(one.kind, one.seed, one.purpose, one.disturbed_s) for one in again] == [
        ("slip", 7, "test", 0.3), ("calm", 8, "heads", None),
    ]  # fmt: skip
    np.testing.assert_array_equal(again[0].images["front"][1], images["front"][1])
    assert [len(one.chunks) for one in again] == [2, 1]
    with pytest.raises(EbtPolicyError, match="played by the policy abc, --policy is other"):
        load(tmp_path / "played.npz", "other")


def test_encoded_demonstrations_are_kept_for_their_encoders(tmp_path):
    numbers = np.arange(4)
    shown = on_demonstrations.Shown(
        torch.ones(4, 1, 24), np.ones((4, 3)), np.zeros((4, 4, 3)), numbers, numbers == 0, ("left", "right")
    )
    path = tmp_path / "shown.npz"
    assert on_demonstrations.load(path, "abc") is None
    on_demonstrations.save(path, "abc", shown)
    again = on_demonstrations.load(path, "abc")
    assert again.modes == ("left", "right")
    assert torch.equal(again.features, shown.features)
    np.testing.assert_array_equal(again.is_start, shown.is_start)
    assert on_demonstrations.load(path, "other") is None


def test_all_verdicts_of_many_episodes_are_made():
    many = [episode("calm", True, [0.0, 0.1 * place], purpose="threshold") for place in range(30)]
    many += [episode("calm", True, [0.0, 0.1, 0.2, 0.1]) for _ in range(5)]
    many += [episode("teleport", place > 2, [0.0, 1.0, 2.0 * (place < 3), 0.0], 0.3) for place in range(6)]
    found = judged(many)
    assert found["episodes"]["teleport"]["disturbed_successes"] == 3
    assert found["fails"]["1s"]["all"]["s"][0] == 1.0
    assert found["happened"]["1s"]["teleport"]["s"][3:] == [5, 6]
    assert json.loads(json.dumps(found)) == found
    assert area_text([0.5, 0.25, 0.75, 3, 4]) == "0.50 (0.25 to 0.75)"


def test_the_table_goes_between_its_markers(tmp_path):
    path = tmp_path / "energies.md"
    path.write_text("a\n<!-- energies can: begin -->\nold\n<!-- energies can: end -->\nb\n")
    write_between(path, "energies can", "new")
    assert path.read_text() == "a\n<!-- energies can: begin -->\nnew\n<!-- energies can: end -->\nb\n"
    with pytest.raises(EbtPolicyError, match="expected the markers"):
        write_between(path, "energies lift", "new")


def test_a_bundle_without_energies_cannot_judge(tmp_path):
    replace(bundle_of(network()), method="dp").save(tmp_path)
    with pytest.raises(EbtPolicyError, match="variant x: .* is of method 'dp', expected 'ebt'"):
        rescore.Variant("x", tmp_path)


@pytest.mark.sim
@pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed")
def test_the_command_plays_judges_and_draws(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("rosbags")
    from ebt_policy_ros.training.collect import collect

    model = make_tiny_bundle(tmp_path / "tiny")
    collect("lift", tmp_path / "data", 3, seed=0, processes=1)
    arguments = ["--task", "lift", "--policy", str(model), "--data", str(tmp_path / "data"), "--processes", "1"]
    arguments += ["--variants", f"a={model}", f"b={model}", "--episodes", "1", "--faults", "1", "--rows", "20"]
    arguments += ["--head-episodes", "0", "--threshold-episodes", "1", "--time-limit", "0.9"]
    arguments += ["--json", str(tmp_path / "r.json"), "--images", str(tmp_path / "images")]
    assert energies.main(arguments) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["episodes"]["calm"]["episodes"] == 1
    named = {"a: energy", "a: unfamiliarity", "a+b: ensemble: chunks", "no energy: plan change"}
    assert named <= set(result["overall"])
    assert result["modes"]["a"]["steps"] == [1, 2, 4, 8, 16]
    pictures = sorted((tmp_path / "images").iterdir())
    assert [path.name for path in pictures] == ["energies_lift.png", "energies_lift_meaning.png"]
    assert all(path.stat().st_size < 200_000 for path in pictures)
