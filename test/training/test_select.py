"""The choice of a checkpoint: who plays how much, who is chosen, and what is written down."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from nodes.tiny_bundle import make_tiny_bundle

from ebt_policy_ros.cli.main import main
from ebt_policy_ros.core.errors import BundleError
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.training import select as selection
from ebt_policy_ros.training.select import Outcome, candidates, rounds, select

LIFT = Path(__file__).resolve().parents[2] / "models" / "lift"


@pytest.fixture
def run_dir(tmp_path):
    """Four snapshots of one run; the last equals the run's own bundle."""
    source = Bundle.load(make_tiny_bundle(tmp_path / "tiny"))
    source = replace(source, calibration=None)
    for steps in (100, 200, 300, 400):
        tensors = {name: tensor + steps for name, tensor in source.tensors.items()}
        snapshot = replace(source, tensors=tensors, provenance={"gradient_steps": steps, "data": {"task": "lift"}})
        snapshot.save(tmp_path / "run" / "snapshots" / f"step_{steps:06d}")
    snapshot.save(tmp_path / "run")
    return tmp_path / "run"


def scripted(successes, durations, played):
    """In place of the simulator: a checkpoint succeeds in the first so many of every ten episodes."""

    def play(setups, seeds, *, processes=None):
        for place, setup in enumerate(setups):
            steps = Bundle.load(setup.model).provenance["gradient_steps"]
            for seed in seeds:
                played.append((steps, seed))
                yield place, seed, Outcome(seed % 10 < successes[steps], durations.get(steps, 5.0))

    return play


def test_half_as_many_play_twice_as_much():
    assert rounds(6, 100) == [(6, 0, 25), (3, 25, 50), (2, 50, 100)]
    assert rounds(2, 50) == [(2, 0, 50)]
    assert rounds(1, 50) == [(1, 0, 50)]
    assert rounds(8, 10) == [(8, 0, 8), (2, 8, 10)]  # the first round at least 8, and none that adds nothing
    for count in range(1, 12):
        assert rounds(count, 60)[-1][2] == 60


def test_the_better_half_goes_on_and_the_best_becomes_the_bundle(run_dir, monkeypatch):
    played = []
    monkeypatch.setattr(selection, "play_outcomes", scripted({100: 3, 200: 9, 300: 8, 400: 5}, {}, played))
    shown = []
    choice = select(run_dir, episodes=40, progress=lambda done, wanted: shown.append((done, wanted)))
    assert choice.best.gradient_steps == 200
    assert [sum(step == steps for step, _ in played) for steps in (100, 200, 300, 400)] == [20, 40, 40, 20]
    assert len(set(played)) == len(played) == 120
    assert {seed for _, seed in played} == set(range(6000, 6040))
    assert shown[-1] == (120, 120)
    installed = Bundle.load(run_dir)
    assert installed.weights_sha256 == Bundle.load(run_dir / "snapshots" / "step_000200").weights_sha256
    notes = installed.provenance["selection"]
    assert notes["chosen_gradient_steps"] == 200
    assert notes["task"] == "lift"
    assert [score["successes"] for score in notes["scores"]] == [6, 36, 32, 10]
    assert installed.provenance["gradient_steps"] == 200
    assert [one.gradient_steps for one in candidates(run_dir)] == [100, 200, 300, 400]  # and it can be asked again


def test_ties_go_to_the_quicker_then_to_the_later(run_dir, monkeypatch):
    equal = dict.fromkeys((100, 200, 300, 400), 9)
    monkeypatch.setattr(selection, "play_outcomes", scripted(equal, {200: 4.0}, []))
    assert select(run_dir, episodes=20).best.gradient_steps == 200
    monkeypatch.setattr(selection, "play_outcomes", scripted(equal, {}, []))
    assert select(run_dir, episodes=20).best.gradient_steps == 400


def test_a_directory_without_bundles_and_one_of_two_methods_are_refused(run_dir, tmp_path):
    with pytest.raises(BundleError, match=r"expected a training run.*ebt-policy train"):
        candidates(tmp_path / "none")
    other = run_dir / "snapshots" / "step_000100"
    replace(Bundle.load(other), method="dp").save(other)
    with pytest.raises(BundleError, match="one method, got dp and ebt"):
        candidates(run_dir)


@pytest.mark.sim
@pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed")
def test_an_earlier_checkpoint_that_can_beats_a_later_one_that_cannot(tmp_path, capsys):
    run_dir = tmp_path / "run"
    tiny = Bundle.load(make_tiny_bundle(run_dir))
    steps = int(Bundle.load(LIFT).provenance["gradient_steps"])
    replace(tiny, provenance={"gradient_steps": steps + 1, "data": {"task": "lift"}}).save(run_dir)
    shutil.copytree(LIFT, run_dir / "snapshots" / "step_can")
    report = tmp_path / "scores.json"
    arguments = ["--episodes", "1", "--processes", "1", "--device", "cpu", "--json", str(report)]
    assert main(["select", str(run_dir), "--task", "lift", *arguments]) == 0
    assert json.loads(report.read_text())["chosen_gradient_steps"] == steps
    assert Bundle.load(run_dir).weights_sha256 == Bundle.load(LIFT).weights_sha256
    assert "1 of   1 (21 to 100 %)" in capsys.readouterr().out
