"""The nodes as processes: bad input is a sentence and a status, signals end them, and the arm is told to hold."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.graph

START = "import sys; from ebt_policy_ros.cli.nodes import {0}; sys.exit({0}())"


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    running = []

    def start(node: str, *arguments: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", START.format(node), "--ros-args", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def parameters(bundle_dir: Path, **values: object) -> list[str]:
    given = {"model": bundle_dir, "device": "cpu", "autostart": "true", "enabled_on_activate": "true", **values}
    return [part for name, value in given.items() for part in ("-p", f"{name.replace('__', '.')}:={value}")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_holds_the_arm_and_ends_the_process(
    ros: None, start_process: Callable[..., Any], bundle_dir: Path, number: signal.Signals
) -> None:
    from .scripted_arm import ScriptedArm

    arm = ScriptedArm()
    try:
        process = start_process("policy_node", *parameters(bundle_dir))
        arm.wait(lambda: arm.state() == "running" and len(arm.trajectories) >= 2, "running")
        process.send_signal(number)
        assert process.wait(30.0) == 0
        arm.wait(lambda: arm.state() == "holding", "the hold before the end")
        assert arm.violations() == []
    finally:
        arm.close()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"model": "no_such_model"}, "no_such_model"),
        ({"robot": "no_such_robot"}, "no_such_robot"),
        ({"minimise__steps": 100000}, "minimise.steps"),
        ({"retry__release": "perhaps"}, "retry.release"),
        ({"runtime": "abacus"}, "abacus"),
    ],
)
def test_bad_input_ends_with_a_reason(
    start_process: Callable[..., Any], bundle_dir: Path, values: dict, reason: str
) -> None:
    process = start_process("policy_node", *parameters(bundle_dir, **values))
    output, _ = process.communicate(timeout=60.0)
    assert process.returncode == 2, output
    assert reason in output
    assert "Traceback" not in output


@pytest.mark.sim
def test_a_killed_simulator_is_noticed_and_its_restart_too(
    ros: None, start_process: Callable[..., Any], bundle_dir: Path
) -> None:
    from .needs import needs_robosuite
    from .scripted_arm import Ears

    needs_robosuite()
    ears = Ears("ears")
    try:
        simulator = start_process("sim_node", "-p", "image_size:=32")
        start_process("policy_node", *parameters(bundle_dir, use_sim_time="true"))
        ears.wait(lambda: ears.state() == "running" and len(ears.trajectories) >= 3, "running")
        simulator.kill()
        simulator.wait()
        # /clock stands still from now on; only the steady clock can tell.
        ears.wait(lambda: ears.state() == "holding", "holding")
        assert "silent" in ears.statuses[-1]["reason"], ears.statuses[-1]
        number = len(ears.trajectories)
        start_process("sim_node", "-p", "image_size:=32", "-p", "episode_seed:=1")
        ears.wait(lambda: ears.state() == "running" and len(ears.trajectories) >= number + 3, "running again")
    finally:
        ears.close()
