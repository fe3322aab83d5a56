"""The plan is drawn with the robot description that is on the graph, and goes on without one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from messages.urdfs import joint, panda_urdf, urdf

from ebt_policy_ros.assemble import load_robot
from ebt_policy_ros.resources import find_robot

pytestmark = pytest.mark.graph
CHAIN = "the chain of the robot file"
HAND = "panda_hand in panda_link0"
needs_pinocchio = pytest.mark.skipif(
    importlib.util.find_spec("pinocchio") is None,
    reason="Pinocchio is not installed: pip install 'ebt_policy_ros[kinematics]'",
)


class RobotStatePublisher:
    """Keeps a description for those who come late, as robot_state_publisher does."""

    def __init__(self, arm: Any) -> None:
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
        from std_msgs.msg import String

        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._message_class = String
        self._publisher = arm.create_publisher(String, "robot_description", latched)

    def publish(self, text: str) -> None:
        self._publisher.publish(self._message_class(data=text))


def told(arm: Any) -> dict[str, str]:
    """What the newest diagnostics say of the description."""
    return dict(arm.diagnostics[-1]) if arm.diagnostics else {}


def is_drawn(arm: Any, tool: str, refused: int) -> bool:
    values = told(arm)
    return (values.get("plan.tool"), values.get("robot_description.refused")) == (tool, str(refused))


def words(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """What was logged about the description; asked for once a test, since capturing goes on meanwhile."""
    return [line for line in capfd.readouterr().err.splitlines() if "]: robot_description" in line]


def frame(arm: Any) -> str:
    """Of the newest path."""
    lines = [marker for plan in arm.plans[-1:] for marker in plan.markers if marker.points]
    return str(lines[0].header.frame_id) if lines else ""


def path_ends(arm: Any, frame_id: str) -> list[np.ndarray]:
    lines = [marker for plan in arm.plans for marker in plan.markers if marker.points]
    ends = [line.points[-1] for line in lines if line.header.frame_id == frame_id]
    return [np.array([end.x, end.y, end.z]) for end in ends]


@needs_pinocchio
@pytest.mark.parametrize("is_early", [True, False])
def test_the_plan_is_the_path_of_the_described_tool(
    arm: Any, start_node: Callable[..., Any], capfd: pytest.CaptureFixture[str], tmp_path: Path, is_early: bool
) -> None:
    entries = yaml.safe_load(find_robot("panda_sim").read_text())
    entries["kinematics"] = {"tool_frame": "panda_hand_tcp"}
    (tmp_path / "described.yaml").write_text(yaml.safe_dump(entries))
    described = RobotStatePublisher(arm)
    if is_early:
        described.publish(panda_urdf())
    start_node(robot=str(tmp_path / "described.yaml"))
    arm.wait(lambda: len(arm.trajectories) >= 2, "trajectories")
    if not is_early:
        described.publish(panda_urdf())
    arm.wait(lambda: len(path_ends(arm, "pedestal")) >= 3, "paths in the root link of the description")
    assert {frame(arm)} == {"pedestal"}
    arm.wait(lambda: is_drawn(arm, "panda_hand_tcp in pedestal", refused=0), "diagnostics of it")
    # Every path ends where the same arm's other kinematics, those of its robot file, put the end of a trajectory.
    robot, settings = load_robot("panda_sim")
    assert settings.chain is not None
    ends = path_ends(arm, "pedestal")[:2]

    def distance(end: np.ndarray) -> float:
        goals = np.array([one.positions[-1] for one in arm.trajectories])
        tools = settings.chain.tool_positions(arm.trajectories[0].joint_names, goals) + [0.0, 0.0, 0.5]
        return float(np.linalg.norm(tools - end, axis=1).min())

    arm.wait(lambda: all(distance(end) < 1e-9 for end in ends), "the trajectories that belong to the paths")
    assert robot.joint_names == arm.trajectories[0].joint_names
    described.publish(panda_urdf(pedestal="table"))
    arm.wait(lambda: frame(arm) == "table", "the path in the next description")
    said = words(capfd)
    assert [one.partition("the path of ")[2] for one in said] == [
        f"panda_hand_tcp in {root}" for root in ("pedestal", "table")
    ]
    assert arm.violations() == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "not XML"),
        (panda_urdf(prefix="fr3_"), "it lacks joint 'panda_joint1', which the policy commands"),
        (urdf(["a", "b"], [joint("panda_joint1", "revolute", "a", "b")]), "it lacks joint 'panda_joint2'"),
    ],
)
@needs_pinocchio
def test_a_useless_description_is_warned_of_once(
    arm: Any, start_node: Callable[..., Any], capfd: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    described = RobotStatePublisher(arm)
    start_node()
    arm.wait(lambda: frame(arm) == "panda_link0", "the path of the robot file")
    for _ in range(3):
        described.publish(text)
    arm.wait(lambda: is_drawn(arm, CHAIN, refused=1), "a refusal")
    described.publish(text + " ")  # another text that lacks the same
    arm.wait(lambda: is_drawn(arm, CHAIN, refused=2), "another refusal")
    described.publish(panda_urdf())
    arm.wait(lambda: is_drawn(arm, HAND, refused=2), "the path of a good description")
    described.publish(text)
    arm.wait(lambda: is_drawn(arm, HAND, refused=3), "a refusal again")
    arm.wait_for_new(arm.plans, "plans", 3)
    assert frame(arm) == "panda_link0"
    first, good, again = words(capfd)
    assert "[WARN]" in first
    assert f"the plan goes on with {CHAIN}: " in first
    assert reason in first
    assert f"the plan is drawn as the path of {HAND}" in good
    assert f"the plan goes on with {HAND}: " in again
    assert arm.violations() == []


def test_without_pinocchio_the_plan_goes_on(
    arm: Any, start_node: Callable[..., Any], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pinocchio", None)  # Python's own way to say that it is not installed
    described = RobotStatePublisher(arm)
    described.publish(panda_urdf())
    start_node()
    arm.wait(lambda: is_drawn(arm, CHAIN, refused=1), "a refusal")
    described.publish(panda_urdf(pedestal="table"))
    arm.wait(lambda: is_drawn(arm, CHAIN, refused=2), "another refusal")
    arm.wait_for_new(arm.plans, "plans", 3)
    assert frame(arm) == "panda_link0"
    (said,) = words(capfd)
    assert f"the plan goes on with {CHAIN}: Pinocchio is not installed" in said


def test_without_description_and_chain_nothing_is_drawn(
    arm: Any, start_node: Callable[..., Any], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    entries = yaml.safe_load(find_robot("panda_sim").read_text())
    del entries["kinematics"]
    (tmp_path / "bare.yaml").write_text(yaml.safe_dump(entries))
    described = RobotStatePublisher(arm)
    start_node(robot=str(tmp_path / "bare.yaml"))
    described.publish("<robot/>")
    arm.wait(lambda: is_drawn(arm, "", refused=1), "a refusal")
    arm.wait_for_new(arm.trajectories, "trajectories", 3)
    assert arm.plans == []
    assert "robot_description is not used, the plan is not drawn: " in words(capfd)[0]
