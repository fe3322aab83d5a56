"""The table of speeds: the page says what was measured, and what is measured is what it says. No number is judged."""

import argparse
import json
import math
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from nodes.tiny_bundle import make_tiny_bundle

from benchmarks import overhead, speed, speed_page
from benchmarks.cold_start import EXIT_LACKING
from benchmarks.table import three_digits
from cli.test_documents import ROOT
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.messages.status import LATENCY_PARTS
from ebt_policy_ros.policy.bundle import Bundle


@pytest.fixture
def options(tmp_path):
    pytest.importorskip("diffusers")
    model = make_tiny_bundle(tmp_path / "tiny")
    return argparse.Namespace(model=str(model), device="cpu", seconds=1, runtime=["torch"])


def test_the_page_holds_what_was_measured(tmp_path, monkeypatch):
    told = [json.loads(path.read_text()) for path in speed.RESULTS.glob("speed_*.json")]
    assert told
    assert all(part in told[0] for part in speed.PARTS)
    copy = tmp_path / "speed.md"
    copy.write_text(speed_page.PAGE.read_text())
    monkeypatch.setattr(speed_page, "PAGE", copy)
    speed_page.write_page(speed.RESULTS)
    written = copy.read_text()
    monkeypatch.undo()
    assert written == speed_page.PAGE.read_text()


@pytest.mark.parametrize(("value", "text"), [(0.0123, "0.0123"), (12.0, "12.0"), (99.96, "100"), (301.2, "301")])
def test_numbers_have_three_digits_and_no_exponent(value, text):
    assert three_digits(value) == text


def test_every_contestant_is_measured_at_every_number_of_candidates(options):
    found = speed.by_runtime(options, {"onnxruntime": "measured before"})
    assert found["onnxruntime"] == "measured before"
    for starts in speed.STARTS:
        times = found["torch"][str(starts)]
        energies = {"ebt1", "ebt2", "ebt4", "ebt8", "ebt2_unscored", "ebt2_plain"}
        assert energies | {"ddpm100", "ddim16", "ddim10"} <= set(times["sampler"])
        assert bool(times["camera"]) == (starts == 1)
        assert all(math.isfinite(one["p50"]) and one["n"] >= 1 for one in times["sampler"].values())
    page = "\n".join(speed_page.runtimes({"torch": found["torch"]}))
    assert "| Diffusion, DDIM-16 / EBT, 2 steps |" in page
    assert "| Diffusion, DDPM-100 / EBT, 2 steps alone |" in page


def test_a_runtime_that_is_not_there_is_said_and_left_out(options, monkeypatch, capsys):
    def lacking(*_):
        raise SettingsError("no such provider")

    monkeypatch.setattr(speed, "runners_of", lacking)
    with pytest.raises(SettingsError, match="no such provider"):  # it was named
        speed.by_runtime(options, {})
    options.runtime, options.only = None, None
    before = dict.fromkeys(speed.RUNTIMES[:-1], "measured before")
    assert speed.by_runtime(options, before) == before
    assert f"{speed.RUNTIMES[-1]} is not measured: no such provider" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="no such provider"):  # nothing is there
        speed.by_runtime(options, {})


def test_a_trunk_of_other_sizes_is_measured_and_its_products_are_counted(options):
    bundle = Bundle.load(options.model)
    small = speed.of_architecture(options, horizon=bundle.chunk.horizon)
    large = speed.of_architecture(options, horizon=2 * bundle.chunk.horizon)
    assert large["parameters"] == small["parameters"]
    assert large["mega_macs_per_pass"] > 2.0 * small["mega_macs_per_pass"]  # attention to more rows comes on top
    assert set(small["sampler"]) == {"ebt2", "ebt2_unscored", "ddpm100", "ddim16"}
    row = next(line for line in speed_page.scaled({"1M": small}, "parameters", 1.0) if line.startswith("| 1M |"))
    floor_ms = 10.0 * small["mega_macs_per_pass"]  # five passes, two operations each, at 10^9 a second
    assert row.split(" | ")[2] == three_digits(floor_ms)


def test_a_cold_start_tells_seconds_and_memory(options):
    command = [sys.executable, "-m", "benchmarks.cold_start", options.model, "torch", "cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["has_torch"]
    assert told["ready_s"] > 0
    assert told["memory_mb"] > 10
    assert told["later_chunk_ms"] > 0


def test_a_cold_start_on_a_device_that_is_not_there_says_so_in_a_sentence(options):
    command = [sys.executable, "-m", "benchmarks.cold_start", options.model, "torch", "cuda:99"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_LACKING
    assert re.fullmatch(r"benchmarks\.cold_start: device 'cuda:99': torch sees \d+ GPUs here; .*\n", done.stderr)


def test_a_commands_way_is_split_into_inference_and_the_rest():
    told = {f"{part}_ms": "1.0" for part in LATENCY_PARTS}
    told |= {"commanded": "true", "latency_ms": "8.0", "observation_stamp_ns": "5", "command_start_ns": "7"}
    robot = SimpleNamespace(sent={5: 1.000}, came={7: 1.010})
    parts = overhead.parts_of(robot, told)
    assert parts["whole"] == pytest.approx(10.0)
    assert parts["ways"] == pytest.approx(2.0)
    assert parts["overhead"] == pytest.approx(8.0)  # without `ahead` and `think`
    assert parts["overhead in the node"] == pytest.approx(6.0)
    for lacking in (
        {"commanded": "false"},
        {"latency_ms": ""},
        {"observation_stamp_ns": "6"},
        {"command_start_ns": "6"},
    ):
        assert overhead.parts_of(robot, told | lacking) is None
