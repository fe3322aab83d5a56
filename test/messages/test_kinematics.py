"""The tool chain of the Panda's robot file, against published poses and against the simulator's own model."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.messages import ToolChain, ToolSettings
from ebt_policy_ros.resources import load_robot_file

JOINTS = tuple(f"panda_joint{i}" for i in range(1, 8))


@pytest.fixture
def chain() -> ToolChain:
    return ToolChain.from_mapping(load_robot_file("panda_sim")["kinematics"])


def test_stretched_out_arm_reaches_as_far_as_its_links(chain: ToolChain) -> None:
    # All joints at zero: shoulder 0.333, upper arm 0.316 and forearm 0.384 point up, the hand (0.107 + 0.1034) down,
    # set off by the wrist's 0.088.
    tool = chain.tool_positions(JOINTS, np.zeros((1, 7)))[0]
    np.testing.assert_allclose(tool, [0.088, 0.0, 0.333 + 0.316 + 0.384 - 0.107 - 0.1034], atol=1e-12)


def test_joints_are_found_by_name(chain: ToolChain) -> None:
    poses = np.random.default_rng(0).uniform(-1.0, 1.0, (5, 7))
    shuffled = list(reversed(JOINTS))
    expected = chain.tool_positions(JOINTS, poses)
    np.testing.assert_allclose(
        chain.tool_positions([*shuffled, "gripper"], np.c_[poses[:, ::-1], np.ones(5)]), expected
    )


@pytest.mark.sim
def test_agrees_with_the_simulator(chain: ToolChain) -> None:
    if importlib.util.find_spec("robosuite") is None:
        pytest.skip("robosuite is not installed: pip install 'ebt-policy-ros[sim]'")
    from ebt_policy_ros.sim.arm import SimulatedArm

    arm = SimulatedArm("lift")
    try:
        differences = []
        for seed in range(3):
            arm.reset(seed)
            target = arm.positions()
            target[:7] += np.random.default_rng(seed).uniform(-0.2, 0.2, 7)
            for _ in range(10):
                arm.step(target)
            tool = chain.tool_positions(arm.joint_names, arm.positions()[None])[0]
            differences.append(arm.tool_pose()[0] - tool)
        # One and the same offset: the robot's base in the world (and the grip site's place in the hand).
        np.testing.assert_allclose(differences, np.broadcast_to(np.mean(differences, axis=0), (3, 3)), atol=0.01)
        np.testing.assert_allclose(np.mean(differences, axis=0)[1], 0.0, atol=0.01)
    finally:
        arm.close()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"modified_dh": []}, "no rows"),
        ({"modified_dh": [{"joint": "a", "length": 1}]}, "row 0"),
        ({"modified_dh": [{"a": "x"}]}, "row 0"),
        ({"modified_dh": [3]}, "row 0"),
        ({"dh": []}, "unknown setting 'dh'; known are base_frame, tool_frame, modified_dh"),
        ({"tool_fram": "hand"}, "did you mean 'tool_frame'"),
        ({"tool_frame": 3}, "tool_frame: expected the name of a link, got 3"),
        ([3], "expected a mapping with base_frame, tool_frame, modified_dh, got"),
    ],
)
def test_a_bad_entry_is_named(entry: Any, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        ToolSettings.from_mapping(entry)


def test_an_entry_may_name_frames_alone() -> None:
    assert ToolSettings.from_mapping({"tool_frame": "hand"}) == ToolSettings(tool_frame="hand")
