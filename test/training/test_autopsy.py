"""The autopsy of failures: what they died of is told from where the object ended."""

import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest
from nodes.tiny_bundle import make_tiny_bundle

from benchmarks import autopsy
from ebt_policy_ros.training.episodes import Job, Setup, Stage

BEGUN = np.array([(0.01 * place, 0.2, yaw) for place in range(10) for yaw in (-1.5, 0.0, 1.5, 3.12)])


@pytest.mark.parametrize(
    ("x_m", "upright", "yaw_rad", "fate"),
    [
        (0.055, 1.0, 0.3, "like a start"),
        (0.105, 0.95, -1.6, "like a start"),  # within the margins of the outermost one
        (0.055, 1.0, -3.13, "like a start"),  # nearly the same yaw, a turn later
        (0.12, 1.0, 0.0, "elsewhere"),
        (0.055, 1.0, 0.75, "elsewhere"),
        (0.055, -1.0, 0.3, "fallen"),
        (0.12, 0.0, 3.1, "fallen"),
    ],
)
def test_a_fate_is_read_from_the_last_pose(x_m, upright, yaw_rad, fate):
    assert autopsy.fate({"upright": upright, "yaw_rad": yaw_rad, "place_m": [x_m, 0.2, 0.8]}, BEGUN) == fate


class StandInArm:
    """Five steps of its expert fulfil the task, unless it is hopeless."""

    def __init__(self, hopeless=False):
        self.task = SimpleNamespace(target="can", max_ticks=20, make_expert=lambda arm, rng: self)
        self.steps, self.hopeless, self.is_done = 0, hopeless, False

    def act(self):
        return np.zeros(2)

    def step(self, _targets):
        self.steps += 1

    @property
    def is_success(self):
        return self.steps >= 5 and not self.hopeless


@pytest.mark.parametrize("hopeless", [False, True])
def test_the_expert_goes_on_until_it_is_done_or_out_of_time(hopeless):
    arm = StandInArm(hopeless)
    assert autopsy.expert_goes_on(arm, 7) is not hopeless
    assert arm.steps == (40 if hopeless else 5)


@pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="needs the simulator")
def test_a_policy_that_knows_nothing_fails_and_its_end_is_examined(tmp_path):
    model = make_tiny_bundle(tmp_path / "tiny")
    stage = Stage()
    job = Job(Setup(str(model), "lift", {"retry": {"enabled": False}}, time_limit_s=1.0), 0, 3)
    episode = stage.prepare(job)
    episode.world.arm.task.time_limit_s = 1.0
    found = autopsy.examine(episode)
    stage.close()
    assert found["expert_succeeds"]
    assert not found["policy_succeeds"]
    assert autopsy.fate(found, autopsy.starts("lift")) == "like a start"  # nobody came near the cube


def test_the_table_counts_fates(tmp_path, capsys):
    failures = [
        {"fate": "fallen", "expert_succeeds": False, "policy_succeeds": False},
        {"fate": "elsewhere", "expert_succeeds": True, "policy_succeeds": False},
    ]
    result = {"episodes": {"nudge": 60}, "failures": {"nudge": failures}}
    (tmp_path / "can").mkdir()
    (tmp_path / "can" / "autopsy.json").write_text(json.dumps(result))
    assert autopsy.main(["--task", "can", "--only-write", "--results", str(tmp_path)]) == 0
    assert "| nudge | 60 | 2 | 1 | 1 | 0 | 1 | 0 |" in capsys.readouterr().out
    assert autopsy.main(["--task", "lift", "--only-write", "--results", str(tmp_path)]) == 2
    assert "lift/autopsy.json" in capsys.readouterr().err
