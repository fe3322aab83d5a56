"""The demo as a user runs it, with a bundle of random weights: real processes, real middleware, real simulator."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nodes.tiny_bundle import make_tiny_bundle

pytestmark = [pytest.mark.graph, pytest.mark.sim]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def start_demo(bundle: Path, folder: Path, *more: str) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ROS_")}
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "ebt_policy_ros.cli.main", "demo", "--headless", "--model", str(bundle)),
            *("--json", str(folder / "out.json"), "--report", str(folder), *more),
        ],
        cwd=ROOT,
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_is_complete_and_keeps_the_rules(bundle, tmp_path):
    demo = start_demo(bundle, tmp_path, "--episodes", "2", "--seed", "3", "--time-limit", "2.5")
    out, err = demo.communicate(timeout=300)
    log = (tmp_path / "nodes.log").read_text()
    assert demo.returncode == 0, err + log
    result = json.loads((tmp_path / "out.json").read_text())
    assert [episode["seed"] for episode in result["episodes"]] == [3, 4]
    assert result["trouble"] == []
    for episode in result["episodes"]:
        assert episode["chunks"] > 0
        assert episode["trajectories"] > 0
        assert episode["energy"]["last"] is not None
    assert result["trajectory_rules"]["violations"] == 0, result["trajectory_rules"]
    assert result["trajectory_rules"]["rejected_by_controller"] == 0, log
    assert result["chunk_latency_ms"]["n"] > 0
    assert "of 2 lifted" in out
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/jpeg") >= 16
    assert len(page) < 5_000_000


def test_another_task_is_disturbed_at_its_own_object(bundle, tmp_path):
    demo = start_demo(bundle, tmp_path, "--task", "can", "--episodes", "1", "--time-limit", "1.0")
    out, err = demo.communicate(timeout=300)
    assert demo.returncode == 0, err + (tmp_path / "nodes.log").read_text()
    assert "of 1 placed" in out
    assert json.loads((tmp_path / "out.json").read_text())["trouble"] == []


def test_ctrl_c_writes_what_was_seen(bundle, tmp_path):
    demo = start_demo(bundle, tmp_path, "--episodes", "9")
    assert demo.stderr is not None
    for line in demo.stderr:
        if line.startswith("episode 1"):
            break
    demo.send_signal(signal.SIGINT)
    _, err = demo.communicate(timeout=120)
    assert demo.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    result = json.loads((tmp_path / "out.json").read_text())
    assert [episode["verdict"] for episode in result["episodes"]] == ["interrupted"]
    assert "interrupted" in result["trouble"][0]
    assert (tmp_path / "report.html").exists()


def test_the_nodes_do_not_outlive_a_killed_demo(bundle, tmp_path):
    demo = start_demo(bundle, tmp_path, "--episodes", "9")
    assert demo.stderr is not None
    for line in demo.stderr:
        if line.startswith("both nodes are up"):
            break
    pids = [int(pid) for pid in re.findall(r"process started with pid \[(\d+)\]", (tmp_path / "nodes.log").read_text())]
    assert len(pids) == 2
    demo.kill()
    demo.wait()
    demo.stderr.close()
    end = time.monotonic() + 60.0
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids):
        assert time.monotonic() < end, (tmp_path / "nodes.log").read_text()
        time.sleep(0.1)


def test_a_task_that_does_not_exist_ends_the_demo_with_a_sentence(bundle, tmp_path):
    demo = start_demo(bundle, tmp_path, "--task", "juggle")
    _, err = demo.communicate(timeout=300)
    assert demo.returncode == 2
    assert "juggle" in err
    assert "lift" in err  # what there is
    assert "Traceback" not in err
    assert not (tmp_path / "nodes.log").exists()  # nothing was started for it
