"""``ebt-policy export``: what it writes, what it says of it, and what it refuses."""

import json
import subprocess
import sys

import numpy as np
import pytest
from nodes.tiny_bundle import CAMERAS, HOME, JOINTS, SIZE, make_tiny_bundle

from cli.test_documents import ROOT
from ebt_policy_ros.bags import Episode, write_episode
from ebt_policy_ros.cli.main import main
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.graphs import ACTION_TOLERANCE, ENERGY_TOLERANCE, PARITY_FILE, graph_names, graph_path

pytest.importorskip("onnxruntime", reason="needs pip install 'ebt-policy-ros[onnx]'")
pytest.importorskip("onnxscript", reason="needs pip install 'ebt-policy-ros[onnx]'")


@pytest.fixture
def model(tmp_path):
    return make_tiny_bundle(tmp_path / "tiny")


def demonstrations(folder, *, joints=JOINTS, cameras=CAMERAS, rows=12):
    """A folder with one short bag."""
    rng = np.random.default_rng(0)
    positions = HOME[: len(joints)] + np.linspace(0.0, 0.02, rows)[:, None]
    episode = Episode(
        stamps_ns=50_000_000 * np.arange(1, rows + 1),
        joint_names=joints,
        positions=positions,
        actions=positions,
        images={camera: rng.integers(0, 256, (rows, SIZE, SIZE, 3), dtype=np.uint8) for camera in cameras},
        facts={"task": "lift", "success": True},
    )
    write_episode(folder / "episode_00000", episode, period_s=0.05)
    return folder


def test_every_file_is_told_and_nothing_else_is_said(model, tmp_path):
    out, path = tmp_path / "out", tmp_path / "export.json"
    given = ["--model", str(model), "--out", str(out), "--json", str(path)]
    command = [sys.executable, "-m", "ebt_policy_ros.cli.main", "export", *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    bundle, told = Bundle.load(out), json.loads(path.read_text())
    expected = {graph_path(out, name).name for name in graph_names(bundle)} | {PARITY_FILE}
    assert set(told["files"]) == expected
    assert all(f"{out / name}  " in done.stdout for name in expected)
    assert told["weights_sha256"] == bundle.weights_sha256 == Bundle.load(model).weights_sha256
    assert told["largest_action_difference"] <= ACTION_TOLERANCE
    assert told["largest_relative_energy_difference"] <= ENERGY_TOLERANCE
    assert "2 made-up observations" in done.stdout
    assert not (model / PARITY_FILE).exists()


def test_parity_is_of_recorded_pictures_where_there_are_some(model, tmp_path, capsys):
    data = demonstrations(tmp_path / "data")
    assert main(["export", "--model", str(model), "--data", str(data), "--observations", "3"]) == 0
    assert "3 recorded observations" in capsys.readouterr().out
    from safetensors.numpy import load_file

    kept = load_file(model / PARITY_FILE)
    assert kept["images"].shape == (3, 2, SIZE, SIZE, 3)
    bounds = Bundle.load(model).positions
    low, high = np.array(bounds.low), np.array(bounds.high)
    np.testing.assert_allclose(kept["positions"][-1], 2.0 * (HOME + 0.02 - low) / (high - low) - 1.0, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"joints": JOINTS[:-1]}, "the data have panda_joint1"),
        ({"joints": JOINTS[::-1]}, "panda_joint1 in another order;"),
        ({"cameras": ("front",)}, "has the camera 'wrist', the data have front;"),
    ],
)
def test_data_of_another_robot_are_refused(model, tmp_path, capsys, changes, words):
    data, out = demonstrations(tmp_path / "data", **changes), tmp_path / "out"
    assert main(["export", "--model", str(model), "--data", str(data), "--out", str(out)]) == 2
    assert not out.exists()
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1


def test_only_an_energy_is_exported(model, tmp_path, capsys):
    from ebt_policy_ros.cli.bench_contestants import untrained

    untrained(Bundle.load(model), "dp").save(tmp_path / "dp")
    assert main(["export", "--model", str(tmp_path / "dp")]) == 2
    assert "only energies are exported" in capsys.readouterr().err
