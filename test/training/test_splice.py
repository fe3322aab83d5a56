"""The benchmark of splices: the node's commands keep the limits, and the measure tells when they are broken."""

import importlib.util
import json

import numpy as np
import pytest
from messages.safe_chunks import safe_chunk
from nodes.tiny_bundle import make_tiny_bundle

from benchmarks import splice

MS = 1_000_000


def test_a_plan_that_goes_on_as_before_asks_for_nothing():
    running = safe_chunk()
    at_ns = running.start_ns + 100 * MS
    here = running.sample(at_ns)
    ahead = np.stack([here.positions + here.velocities * 0.05 * row for row in range(4)])
    limit = np.full(len(here.positions), 10.0)
    asked = splice.naive(running, at_ns, ahead, at_ns, limit, 50 * MS)
    np.testing.assert_allclose(asked["acceleration_over_limit"], 0.0, atol=1e-9)
    asked = splice.naive(running, at_ns, ahead + 0.1, at_ns, limit, 50 * MS)
    # A tenth of a radian in a twentieth of a second.
    np.testing.assert_allclose(asked["acceleration_over_limit"], 0.1 / 0.05**2 / 10.0)


@pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="needs the simulator")
def test_commands_keep_the_limits_at_every_splice(tmp_path, capsys, monkeypatch):
    from ebt_policy_ros.sim.tasks.lift import Lift

    monkeypatch.setattr(Lift, "time_limit_s", 3.0)
    monkeypatch.setattr(splice, "task_of", lambda _bundle: "lift")
    model = make_tiny_bundle(tmp_path / "tiny")
    options = ["--model", str(model), "--episodes", "1", "--processes", "1", "--json", str(tmp_path / "out.json")]
    assert splice.main(options) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["splices"] >= 4
    assert result["ours"]["acceleration_over_limit"][-1] <= 1.0 + 1e-9
    assert result["ours"]["jump_over_limit"][-1] <= 1e-9
    assert result["naive"]["jump_over_limit"][-1] > 0.01
    assert result["naive"]["jerk"][-1] > 0.0
    assert "| ours |" in capsys.readouterr().out
