"""Lockstep evaluation: real simulator, a bundle of random weights; the same command gives the same result."""

import json

import pytest
from nodes.tiny_bundle import make_tiny_bundle

from ebt_policy_ros.cli.demo_record import DemoRecord, EpisodeRecord
from ebt_policy_ros.cli.evaluate import interval
from ebt_policy_ros.cli.lockstep import disturbances
from ebt_policy_ros.cli.main import main

TIMES = ("chunk_latency_ms", "duration_wall_s")
"""The only keys that may differ between two runs."""


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(entry) for key, entry in value.items() if key not in TIMES}
    return [without_times(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.sim
def test_the_same_command_gives_the_same_json(tmp_path, capsys):
    model = make_tiny_bundle(tmp_path / "tiny")
    results = []
    for name in ("a.json", "b.json"):
        arguments = ["--model", str(model), "--episodes", "2", "--seed", "7", "--steps", "3", "--time-limit", "1.2"]
        arguments += ["--perturb", "teleport@0.3", "--device", "cpu", "--json", str(tmp_path / name)]
        assert main(["eval", *arguments]) == 0
        results.append(json.loads((tmp_path / name).read_text()))
    first = results[0]
    assert without_times(first) == without_times(results[1])
    assert [episode["seed"] for episode in first["episodes"]] == [7, 8]
    assert all(episode["perturbed_at_s"] == pytest.approx(0.3, abs=0.051) for episode in first["episodes"])
    assert first["network_evaluations_per_chunk"] == 3.0
    assert first["success_rate"] == 0.0
    assert first["trajectory_rules"]["violations"] == 0
    assert first["chunk_latency_ms"]["n"] >= 4
    assert "0 of 2 succeeded" in capsys.readouterr().out


def test_all_cycles_through_every_disturbance():
    chosen = disturbances("all", ("teleport", "slip"))
    assert [chosen(index).kind for index in range(3)] == ["teleport", "slip", "teleport"]
    assert chosen(0).within_m == pytest.approx(0.1)
    assert disturbances("teleport@1.5", ())(0).at_s == 1.5
    assert disturbances(None, ("teleport",))(0) is None


@pytest.mark.parametrize(
    ("successes", "count", "low_high"), [(50, 50, (0.929, 1.0)), (0, 10, (0.0, 0.278)), (5, 10, (0.237, 0.763))]
)
def test_interval_is_wilsons(successes, count, low_high):
    record = DemoRecord("m", 0, episodes=[EpisodeRecord(i, i, success=i < successes) for i in range(count)])
    assert interval(record) == pytest.approx(low_high, abs=0.001)
    assert interval(DemoRecord("m", 0)) is None
