"""Lockstep evaluation: real simulator, a bundle of random weights; the same command gives the same result."""

import argparse
import json
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from nodes.tiny_bundle import make_tiny_bundle

from ebt_policy_ros.cli.demo_record import DemoRecord, EpisodeRecord
from ebt_policy_ros.cli.evaluate import add_arguments, interval, resolve, start_record
from ebt_policy_ros.cli.lockstep import by_perturbation, disturbances, table_by_perturbation
from ebt_policy_ros.cli.main import main
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.load import make_network
from ebt_policy_ros.policy.network import Architecture
from ebt_policy_ros.sim.perturbations import PERTURBATIONS

TIMES = ("chunk_latency_ms", "chunk_latency_parts_ms", "duration_wall_s")
"""The only keys that may differ between two runs."""


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(entry) for key, entry in value.items() if key not in TIMES}
    return [without_times(entry) for entry in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.sim
def test_the_same_command_gives_the_same_json_with_any_number_of_processes(model, tmp_path, capsys):
    results = []
    for processes in ("1", "2"):
        path = tmp_path / f"{processes}.json"
        arguments = ["--model", str(model), "--task", "lift", "--episodes", "3", "--seed", "7", "--steps", "3"]
        arguments += ["--time-limit", "1.2", "--perturb", "teleport@0.3", "--device", "cpu"]
        if processes == "2":  # a report changes no result
            arguments += ["--report", str(tmp_path / "report.html")]
        assert main(["eval", *arguments, "--processes", processes, "--json", str(path)]) == 0
        results.append(json.loads(path.read_text()))
    first = results[0]
    assert without_times(first) == without_times(results[1])
    assert [episode["seed"] for episode in first["episodes"]] == [7, 8, 9]
    assert len({episode["energy"]["first"] for episode in first["episodes"]}) == 3
    assert all(episode["perturbed_at_s"] == pytest.approx(0.3, abs=0.051) for episode in first["episodes"])
    assert first["network_evaluations_per_chunk"] == 3.0
    assert first["success_rate"] == 0.0
    assert first["trajectory_rules"]["violations"] == 0
    assert first["chunk_latency_ms"]["n"] >= 6
    assert set(first["chunk_latency_parts_ms"]) == {"encode", "descend"}
    assert first["settings"]["policy"] == "ebt"
    assert "0 of 3 succeeded" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert all(words in page for words in ("eval: 0 of 3 lifted", "teleport sets in", 'alt="camera wrist at', "seed 9"))


@pytest.mark.sim
@pytest.mark.parametrize(
    ("method", "options", "passes"), [("dp", ["--sampler", "ddim10"], 10.0), ("regression", [], 1.0)]
)
def test_a_baseline_beside_the_bundle_is_evaluated_in_its_place(tmp_path, method, options, passes):
    if method == "dp":
        pytest.importorskip("diffusers")
    energy = Bundle.load(make_tiny_bundle(tmp_path / "tiny"))
    network = make_network(method, Architecture.from_mapping(energy.architecture))
    tensors = {f"network.{name}": value.numpy() for name, value in network.state_dict().items()}
    replace(energy, method=method, tensors=tensors, calibration=None).save(tmp_path / "tiny" / method)
    arguments = ["--model", str(tmp_path / "tiny"), "--policy", method, *options, "--task", "lift", "--episodes", "1"]
    arguments += ["--time-limit", "0.6", "--device", "cpu", "--json", str(tmp_path / "result.json")]
    assert main(["eval", *arguments]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["network_evaluations_per_chunk"] == passes
    assert result["trajectory_rules"]["checked"] > 0
    assert (result["settings"]["policy"], result["settings"]["retry"]) == (method, "off")
    assert result["settings"]["sampler"] == (options[-1] if options else None)


@pytest.mark.sim
def test_ctrl_c_keeps_the_finished_episodes(model, tmp_path):
    path = tmp_path / "kept.json"
    command = [sys.executable, "-m", "ebt_policy_ros.cli.main", "eval", "--model", str(model), "--task", "lift"]
    command += ["--episodes", "1000", "--time-limit", "0.3", "--processes", "2", "--json", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert "1/1000 episodes" in first
    assert process.returncode == 130
    kept = json.loads(path.read_text())["episodes"]
    assert f"results of {len(kept)} finished episodes are in {path}" in said
    assert 1 <= len(kept) < 1000
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--policy", "dp"], "has no 'dp' bundle beside it"),
        (["--sampler", "ddim16"], "only a diffusion policy has samplers"),
        (["--task", "juggle"], "task 'juggle': expected one of"),
        (["--task", "lift", "--runtime", "abacus", "--processes", "1"], "runtime 'abacus': expected one of"),
        ([], "task 'tiny': expected one of"),
        (["--task", "lift", "--perturb", "rain"], "perturbation 'rain': expected kinds (teleport, "),
        (["--time-limit", "-1"], "expected a positive number of seconds, got '-1'"),
        (["--report", "/dev/null/report.html"], "'/dev/null' in '/dev/null/report.html' is not a directory"),
        (["--report", "/"], "expected a file to write, got the directory '/'"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_a_sentence(model, options, sentence, tmp_path, capsys):
    before = tmp_path / "before.json"
    before.write_text("kept")
    try:
        status = main(["eval", "--model", str(model), *options, "--json", str(before)])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert sentence in capsys.readouterr().err
    assert before.read_text() == "kept"


def test_all_cycles_through_every_disturbance():
    chosen = disturbances("all")
    assert [chosen(index).kind for index in range(len(PERTURBATIONS) + 1)] == [*PERTURBATIONS, "teleport"]
    assert disturbances("teleport@1.5")(0).at_s == 1.5
    assert disturbances(None)(0) is None


def test_groups_and_lists_name_every_kind_once():
    chosen = disturbances("camera:0.5@2, slip,slip")
    kinds = [chosen(index) for index in range(7)]
    assert [one.kind for one in kinds] == ["black", "frozen", "blurred", "occluded", "tinted", "shifted", "slip"]
    assert {(one.severity, one.at_s) for one in kinds} == {(0.5, 2.0), (1.0, None)}
    assert all(PERTURBATIONS[disturbances("held-out")(index).kind].is_held_out for index in range(8))
    assert all(PERTURBATIONS[disturbances("recoverable")(index).kind].is_recoverable for index in range(8))
    with pytest.raises(SettingsError, match=r"'rain'.*teleport.*held-out"):
        disturbances("slip,rain")
    with pytest.raises(SettingsError, match="'black'"):
        disturbances("camera,black:0.5")


def test_episodes_are_counted_by_what_disturbed_them():
    episodes = [EpisodeRecord(i, i, success=i == 0, perturbation="slip", perturbed_at_s=1.0) for i in range(2)]
    episodes += [EpisodeRecord(2, 2, perturbation="late", gave_up=True), EpisodeRecord(3, 3)]
    found = by_perturbation(episodes)
    assert list(found) == ["slip", "late"]
    slip = {name: found["slip"][name] for name in ("episodes", "disturbed", "successes", "success_rate", "gave_up")}
    assert slip == {"episodes": 2, "disturbed": 2, "successes": 1, "success_rate": 0.5, "gave_up": 0}
    assert found["slip"]["interval"] == pytest.approx([0.0945, 0.9055])
    assert (found["late"]["disturbed"], found["late"]["gave_up"]) == (0, 1)
    assert [line.split()[:4] for line in table_by_perturbation(found).splitlines()[1:]] == [
        ["slip", "1", "of", "2"],
        ["late", "0", "of", "1"],
    ]


def test_the_threshold_is_the_one_of_the_published_score(model):
    bundle = Bundle.load(model)
    assert bundle.calibration is not None
    assert bundle.calibration["threshold"] > 1.0  # in units of the raw score
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = parser.parse_args(["--task", "lift", "--set", "retry.max_retreats=1"])
    resolve(options, bundle)
    record = start_record(options, bundle)
    assert record.threshold == pytest.approx(1.0 - bundle.calibration["alpha"])
    assert record.settings["retry.max_retreats"] == "1"
    assert start_record(options, replace(bundle, calibration=None)).threshold is None


def test_interval_is_wilsons():
    record = DemoRecord("m", 0, episodes=[EpisodeRecord(i, i, success=True) for i in range(50)])
    assert interval(record) == pytest.approx([0.929, 1.0], abs=0.001)
    assert interval(DemoRecord("m", 0)) is None


def test_any_setting_of_the_pipeline_can_be_set_and_a_wrong_one_is_named(model, capsys):
    for given, answers in {
        "retry.max_retreat=1": ("retry", "max_retreat", "did you mean 'max_retreats'"),
        "retry": ("SECTION.FIELD=VALUE",),
        "retry.max_retreats=[": ("not YAML",),
    }.items():
        try:
            status = main(["eval", "--model", str(model), "--task", "lift", "--episodes", "1", "--set", given])
        except SystemExit as exit_:
            status = exit_.code
        assert status == 2
        told = capsys.readouterr().err
        assert all(answer in told for answer in answers), told
