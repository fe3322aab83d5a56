"""The robot files that are shipped: complete, and their tool chains those of the makers' descriptions."""

import numpy as np
import pytest

from ebt_policy_ros.assemble import load_robot
from ebt_policy_ros.resources import find_resource

# (x, y, z [m], roll, pitch, yaw [rad]) of every joint, then of the tool; all joints turn about their own z.
PIPER = [
    (0, 0, 0.123, 0, 0, 0),
    (0, 0, 0, 1.5708, -0.1359, -3.1416),
    (0.28503, 0, 0, 0, 0, -1.7939),
    (-0.021984, -0.25075, 0, 1.5708, 0, 0),
    (0, 0, 0, -1.5708, 0, 0),
    (0, -0.091, 0, 1.5708, 0, 0),
    (0, 0, 0.1358, 0, 0, 0),
]
UR5E = [
    (0, 0, 0.1625, 0, 0, 0),
    (0, 0, 0, np.pi / 2, 0, 0),
    (-0.425, 0, 0, 0, 0, 0),
    (-0.3922, 0, 0.1333, 0, 0, 0),
    (0, -0.0997, 0, np.pi / 2, 0, 0),
    (0, 0.0996, 0, np.pi / 2, np.pi, np.pi),
]


def turn(axis, angle):
    matrix = np.eye(4)
    one, other = [(1, 2), (2, 0), (0, 1)][axis]
    matrix[one, one] = matrix[other, other] = np.cos(angle)
    matrix[other, one], matrix[one, other] = np.sin(angle), -np.sin(angle)
    return matrix


def tool(origins, angles):
    pose = np.eye(4)
    for index, (x, y, z, roll, pitch, yaw) in enumerate(origins):
        move = np.eye(4)
        move[:3, 3] = x, y, z
        pose = pose @ move @ turn(2, yaw) @ turn(1, pitch) @ turn(0, roll)
        if index < len(angles):
            pose = pose @ turn(2, angles[index])
    return pose[:3, 3]


@pytest.mark.parametrize(("name", "origins"), [("piper", PIPER), ("ur5e", UR5E)])
def test_the_tool_is_where_the_maker_says(name, origins):
    robot, settings = load_robot(name)
    chain = settings.chain
    assert chain is not None
    rng = np.random.default_rng(3)
    low, high = robot.per_joint("lower")[:6], robot.per_joint("upper")[:6]
    for _ in range(50):
        angles = rng.uniform(low, high)
        positions = np.zeros(len(robot.joints))
        positions[:6] = angles
        found = chain.tool_positions(robot.joint_names, positions)[0]
        np.testing.assert_allclose(found, tool(origins, angles), atol=3e-4)  # the URDFs round pi to 3.1416


def test_every_robot_file_loads():
    names = [path.stem for path in find_resource("config/robots").glob("*.yaml")]
    assert {"panda_sim", "ur5e", "piper"} <= set(names)
    for name in names:
        robot, settings = load_robot(name)
        assert robot.name == name
        assert settings.chain is not None
