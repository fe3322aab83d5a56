"""Closed-loop episodes with the real simulator and a policy without a clue."""

import importlib.util

import numpy as np
import pytest
from nodes.tiny_bundle import make_tiny_bundle

from ebt_policy_ros.assemble import assemble, load_robot
from ebt_policy_ros.sim.arm import SimulatedArm
from ebt_policy_ros.training.rollout import ROBOT, run_episode, stacked_images

pytestmark = [
    pytest.mark.sim,
    pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed"),
]  # not importorskip: whoever imports mujoco first chooses its OpenGL


@pytest.fixture(scope="module")
def arm():
    arm = SimulatedArm("lift")
    yield arm
    arm.close()


@pytest.fixture
def pipeline(tmp_path):
    model = make_tiny_bundle(tmp_path / "tiny")
    overrides = {"retry": {"enabled": False}, "safety": {"on_jump": "clamp"}}
    return assemble(model, load_robot(ROBOT)[0], overrides, device="cpu")


def test_an_episode_is_a_function_of_its_seed(arm, pipeline):
    first = run_episode(arm, pipeline, 3, keep_images=True, time_limit_s=1.2)
    again = run_episode(arm, pipeline, 3, keep_images=True, time_limit_s=1.2)
    other = run_episode(arm, pipeline, 4, time_limit_s=1.2)
    assert len(first.minima) >= 2
    assert first.times_s == again.times_s
    assert [m.energy for m in first.minima] == [m.energy for m in again.minima]
    np.testing.assert_array_equal(first.positions, again.positions)
    assert [m.energy for m in first.minima] != [m.energy for m in other.minima]
    assert stacked_images([first, again], "wrist").shape == (2 * len(first.minima), 96, 96, 3)
    assert other.images == {}
    assert not first.success
    assert first.duration_s == pytest.approx(1.2)
