"""The benchmark of learning: what is kept, what is measured again, and what the README shows."""

import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from nodes.tiny_bundle import make_tiny_bundle

from benchmarks import curve, learning
from benchmarks.curve import Run, reached_s, summary
from benchmarks.matrix import HERE, Cell, Kind, Matrix
from benchmarks.readme import BEGIN, END
from benchmarks.table import table
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.policy.bundle import Bundle

MATRIX = """
episodes: 2
seed: 50
retry: "off"
tasks: {lift: 0.3}
bundles: {0: "%s", 1: "/nowhere/{task}"}
variants: {ebt: [k2, k1], dp: [ddpm100]}
reference: dp ddpm100
"""


def result(outcomes, **others):
    numbers = {"network_evaluations_per_chunk_mean": 2.0, "training": {}}
    return {"first_seed": 1000, "outcomes": outcomes, **numbers, **others}


def test_the_declared_matrix_is_the_one_of_the_readme():
    matrix = Matrix.load(HERE / "matrix.yaml")
    assert set(matrix.tasks) >= {"lift", "can", "square"}
    assert matrix.reference in matrix.kinds()
    cells = list(matrix.cells())
    assert len(set(cells)) == len(cells) == len(matrix.tasks) * len(matrix.bundles) * len(matrix.kinds())
    arguments = matrix.arguments(Cell("lift", Kind("dp", "ddim16"), 0))
    assert " ".join(arguments).startswith("eval --model models/lift --policy dp --sampler ddim16 --task lift")


def test_a_matrix_with_a_wrong_key_is_refused(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text((MATRIX % "x").replace("episodes", "episoden"))
    with pytest.raises(SettingsError, match="expected the keys episodes, seed"):
        Matrix.load(path)
    path.write_text("tasks: {lift")
    with pytest.raises(SettingsError, match=r"m.yaml is not YAML"):
        Matrix.load(path)
    path.write_text((MATRIX % "x").replace("dp: [", "act: ["))
    with pytest.raises(SettingsError, match="variants of 'act'"):
        Matrix.load(path)


def test_the_table_pools_training_seeds_and_pairs_episodes(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(MATRIX % "x")
    matrix = Matrix.load(path)
    costs = {"training_cpu_s": 600.0, "encoder_cpu_s": 900.0}
    results = {
        Cell("lift", Kind("ebt", "k2"), 0): result("1111111111", training=costs),
        Cell("lift", Kind("ebt", "k2"), 1): result("1111111110", training=costs),
        Cell("lift", Kind("dp", "ddpm100"), 0): result("1111100000"),
    }
    medians = {name: {"p50": value} for name, value in (("ebt2", 1.234), ("ebt1", 0.7), ("ddpm100", 43.21))}
    lines = table(matrix, results, {"sampler_ms": medians, "camera_to_chunk_ms": medians}).splitlines()
    ebt = lines[2].split(" | ")
    assert ebt[1] == "EBT, 2 steps"
    assert ebt[2].startswith("**0.950** (0.764 to 0.991)")
    assert ebt[3:5] == ["10 x 2", "100, 90"]
    assert ebt[5].startswith("+50.0 (+11.7 to")  # only training seed 0 has its counterpart
    assert ebt[6:] == ["2", "1.23", "1.23", "600 + 900 encoders |"]
    assert lines[3].split(" | ")[4:6] == ["50, not run", "-"]
    assert "| EBT, 1 step | not run |" in lines[4]


@pytest.mark.sim
@pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed")
def test_finished_cells_are_kept_until_their_bundle_changes(tmp_path, capsys):
    model = make_tiny_bundle(tmp_path / "tiny")
    (tmp_path / "m.yaml").write_text(MATRIX % model)
    numbers = {"p50": 2.0, "p10": 1.9, "p90": 2.2}
    times = dict.fromkeys(("ebt1", "ebt2", "ddpm100"), numbers)
    ratios = {"ddpm100": 25.0, "ddim16": 4.0}
    latency = {"sampler_ms": times, "camera_to_chunk_ms": times, "ratios": ratios}
    latency |= {"ratios_unscored": {"ddpm100": 30.0, "ddim16": 5.0}, "ratios_camera_to_chunk": ratios}
    about = {"processor": "a processor", "settings": {"device": "cpu"}, "model": "m"}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "latency.json").write_text(json.dumps({**latency, **about}))
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    arguments = ["--matrix", str(tmp_path / "m.yaml"), "--results", str(tmp_path / "results")]
    arguments += ["--readme", str(readme), "--images", str(tmp_path / "images"), "--processes", "1", "--variants", "k2"]
    assert learning.main(arguments) == 0
    first = capsys.readouterr().err
    assert "training seed 0: ebt-policy eval" in first
    assert "training seed 1: not run" in first
    text = readme.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| task |")
    assert text.endswith(f"{END}\nafter\n")
    assert "| lift | EBT, 2 steps | **0.000** (0.000 to 0.658) | 2 x 1 | 0, not run |" in text
    assert "old" not in text
    assert all(path.stat().st_size < 200_000 for path in (tmp_path / "images").iterdir())
    assert {path.name for path in (tmp_path / "images").iterdir()} == {"success.png", "latency.png"}
    assert "DDPM-100 and DDIM-16 take 25.0 and 4.00 times as long; without" in text
    assert "do not have, 30.0 and 5.00;" in text
    assert "](images/success.png)" in text
    assert learning.main(arguments) == 0
    assert "training seed 0: kept" in capsys.readouterr().err
    bundle = Bundle.load(model)
    tensors = {name: tensor * 1.001 for name, tensor in bundle.tensors.items()}
    replace(bundle, tensors=tensors, calibration=None).save(model)
    assert not learning.is_done(
        Matrix.load(tmp_path / "m.yaml"), Cell("lift", Kind("ebt", "k2"), 0), tmp_path / "results"
    )


def test_a_readme_without_markers_is_not_touched(tmp_path, capsys):
    (tmp_path / "README.md").write_text("nothing here\n")
    arguments = ["--only-write", "--results", str(tmp_path), "--readme", str(tmp_path / "README.md")]
    assert learning.main([*arguments, "--images", str(tmp_path)]) == 2
    assert BEGIN in capsys.readouterr().err
    assert (tmp_path / "README.md").read_text() == "nothing here\n"


def test_when_a_curve_first_reaches_its_target():
    assert reached_s([100.0, 200.0], [0.9, 1.0], 0.95) == pytest.approx(150.0)
    assert reached_s([100.0], [1.0], 0.5) == pytest.approx(50.0)  # from nothing at the start
    assert reached_s([100.0, 200.0, 300.0], [0.96, 0.2, 0.97], 0.96) == pytest.approx(100.0)
    assert math.isinf(reached_s([100.0, 200.0], [0.9, 0.94], 0.95))


def outcomes(*rates, count=100):
    return tuple(tuple(place < rate * count for place in range(count)) for rate in rates)


def test_times_to_the_target_are_compared_with_intervals():
    ebt = Run("lift", "ebt", None, 0, (100.0, 200.0), 900.0, outcomes(0.5, 1.0))
    dp = Run("lift", "dp", "ddim16", 0, (100.0, 400.0), 900.0, outcomes(0.5, 1.0))
    slow = Run("lift", "dp", "ddim16", 1, (100.0, 400.0), 900.0, outcomes(0.1, 0.2))
    found = summary([ebt, dp])
    assert found["runs"]["EBT"]["cpu_s"] == pytest.approx(190.0)
    assert found["runs"]["EBT"]["encoder_cpu_s"] == 900.0
    low, high = found["runs"]["EBT"]["interval"]
    assert 180.0 < low < 190.0 < high < 200.0
    ratio = found["ratios"]["EBT / diffusion, DDIM-16"]
    assert ratio["ratio"] == pytest.approx(190.0 / 370.0)
    assert ratio["interval"][0] < ratio["ratio"] < ratio["interval"][1] < 1.0
    never = summary([ebt, slow])
    assert math.isinf(never["runs"]["diffusion, DDIM-16"]["cpu_s"])
    assert never["ratios"] == {}


@pytest.mark.sim
@pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed")
def test_a_curve_is_measured_once(tmp_path, monkeypatch, capsys):
    run_dir = tmp_path / "run"
    bundle = replace(Bundle.load(make_tiny_bundle(run_dir)), calibration=None)
    notes = {"gradient_steps": 10, "training_cpu_s": 5.0, "encoder_cpu_s": 7.0, "training": {"seed": 3}}
    replace(bundle, provenance=notes).save(run_dir)
    arguments = [str(run_dir), "--task", "lift", "--episodes", "1", "--processes", "1"]
    arguments += ["--results", str(tmp_path / "results"), "--images", str(tmp_path)]
    monkeypatch.setattr("ebt_policy_ros.sim.tasks.lift.Lift.time_limit_s", 0.3)
    assert curve.main(arguments) == 0
    assert "lift, EBT: 0.95 after never" in capsys.readouterr().out
    (run,) = curve.load_runs(tmp_path / "results")
    assert (run.training_seed, run.cpu_s, run.outcomes) == (3, (5.0,), ((False,),))
    assert Path(tmp_path / "learning_curves.png").stat().st_size < 200_000
    monkeypatch.setattr(curve, "play_outcomes", None)  # nothing is left to play
    assert curve.main(arguments) == 0
