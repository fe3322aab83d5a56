"""The bench: who is measured, what is compared with what, and what the file says. No number is judged by its size."""

import importlib.util
import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from nodes.tiny_bundle import make_tiny_bundle

from ebt_policy_ros.cli.bench import LABELS, WARM_UPS, measure, summary
from ebt_policy_ros.cli.bench_contestants import untrained
from ebt_policy_ros.cli.main import main
from ebt_policy_ros.policy.bundle import Bundle

SAMPLERS = {"ddpm100", "ddim16", "ddim10"}


@pytest.fixture
def model(tmp_path):
    pytest.importorskip("diffusers")
    return make_tiny_bundle(tmp_path / "tiny")


def test_the_file_has_every_ratio_and_every_duration(model, tmp_path, capsys):
    untrained(Bundle.load(model), "dp").save(model / "dp")
    path = tmp_path / "bench.json"
    assert main(["bench", "--model", str(model), "--device", "cpu", "--repeats", "2", "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    for kind in ("ratios", "ratios_camera_to_chunk", "ratios_network_passes", "ratios_unscored"):
        assert set(result[kind]) == SAMPLERS
        assert all(math.isfinite(ratio) and ratio > 0 for ratio in result[kind].values())
    has_onnx = all(importlib.util.find_spec(name) for name in ("onnxruntime", "onnxscript"))
    measured = set(LABELS) - (set() if has_onnx else {"ebt2_onnx"})
    assert set(result["sampler_ms"]) == measured
    whole = {"ebt1", "ebt2", "ebt4", "ebt8", "ebt2_plain", "ebt2_onnx", "regression", *SAMPLERS}
    assert set(result["camera_to_chunk_ms"]) == whole & measured
    assert bool(result["onnxruntime_faster_than"]) == has_onnx
    for durations in (*result["sampler_ms"].values(), *result["camera_to_chunk_ms"].values()):
        assert durations["n"] == 2
        assert 0 < durations["min"] <= durations["p10"] <= durations["p50"] <= durations["p90"]
    assert result["weights"] == {**dict.fromkeys(["ebt", *SAMPLERS], "trained"), "regression": "random"}
    told = {"device": "cpu", "repeats": 2, "threads": 1, "runtime": "torch", "starts": 1}
    assert result["settings"] == told
    assert result["clock"] == "CPU time of the thread"
    assert result["wall_ms"]["sampler"]["ebt2"]["p50"] > 0
    assert result["versions"]["torch"]
    table = capsys.readouterr().out
    assert all(LABELS[name] in table for name in measured)


def test_energy_and_diffusion_can_be_measured_in_another_runtime_and_in_batches(model, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path / "bench.json"
    given = ["--device", "cpu", "--repeats", "1", "--runtime", "onnxruntime", "--starts", "3", "--json", str(path)]
    assert main(["bench", "--model", str(model), *given]) == 0
    result = json.loads(path.read_text())
    assert set(result["ratios"]) == set(result["ratios_unscored"]) == SAMPLERS
    assert {"ebt1", "ebt8", "ebt2_judged", "ebt2_unscored", "ddim16_passes"} <= set(result["sampler_ms"])
    assert "regression" not in result["sampler_ms"]
    assert (result["settings"]["runtime"], result["settings"]["starts"]) == ("onnxruntime", 3)
    assert "3 candidate(s)" in capsys.readouterr().out


def test_diffusion_in_onnx_runtime_is_the_same_diffusion(model, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from ebt_policy_ros.cli.bench_contestants import pictures
    from ebt_policy_ros.cli.bench_onnx import ExportedSampler
    from ebt_policy_ros.runtimes.torch_baselines import DiffusionSampler

    bundle = untrained(Bundle.load(model), "dp")
    seen = pictures(bundle, 0)
    plain = DiffusionSampler(bundle, "cpu", sampler="ddim10").minimise(seen, steps=2, starts=2, seed=3)
    exported = ExportedSampler(bundle, "cpu", "ddim10", 1, tmp_path).minimise(seen, steps=2, starts=2, seed=3)
    np.testing.assert_allclose(exported.chunk, plain.chunk, atol=1e-4)


def test_a_ratio_above_one_says_that_the_energy_is_faster():
    times = {name: [10.0, 30.0, 20.0] for name in LABELS}
    times |= {"ebt2": [1.0, 2.0, 3.0], "ebt2_unscored": [1.0], "ddim16_passes": [5.0], "ddim10": [1.0, 1.0, 1.0]}
    found = summary(times, {name: times[name] for name in ("ebt2", *SAMPLERS)})
    assert found["ratios"] == {"ddpm100": 10.0, "ddim16": 10.0, "ddim10": 0.5}
    assert found["ratios_network_passes"]["ddim16"] == 2.5
    assert found["ratios_unscored"]["ddpm100"] == 20.0
    assert found["sampler_ms"]["ebt2"] == {"p50": 2.0, "p10": 1.2, "p90": 2.8, "min": 1.0, "n": 3}


def test_everybody_is_measured_as_often_and_nobody_always_follows_the_same_other():
    calls = []
    todo = {name: lambda seed, name=name: calls.append((name, seed)) for name in "abc"}
    ticks = itertools.count()
    times, wall = measure(todo, 12, lambda: float(next(ticks)))
    assert times == {name: [1000.0] * 12 for name in "abc"}  # one tick of the given clock, in ms
    assert {name: len(values) for name, values in wall.items()} == {"a": 12, "b": 12, "c": 12}
    every = WARM_UPS + 1
    counted = calls[3 * every :]
    assert counted == [call for call in counted[::every] for _ in range(every)]
    order = "".join(name for name, _ in counted[::every])
    assert {order[at : at + 2] for at in range(len(order)) if at % 3 < 2} == {"ab", "ac", "ba", "bc", "ca", "cb"}


def test_a_bundle_without_an_energy_is_refused(model, tmp_path, capsys):
    replace(Bundle.load(model), method="dp", calibration=None).save(tmp_path / "dp")
    assert main(["bench", "--model", str(tmp_path / "dp")]) == 2
    assert "method is 'dp'" in capsys.readouterr().err
