"""The tool's path from a URDF: against robot files, makers' numbers and another program's kinematics."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebt_policy_ros.assemble import load_robot
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.settings import RobotSettings
from ebt_policy_ros.messages import ToolSettings, urdf_tool
from ebt_policy_ros.messages.urdf_tool import UrdfTool, find_frames
from ebt_policy_ros.messages.urdf_tree import UrdfTree

from .test_robots import PIPER, UR5E
from .urdfs import joint, panda_urdf, urdf

HAS_PINOCCHIO = importlib.util.find_spec("pinocchio") is not None
needs_pinocchio = pytest.mark.skipif(
    not HAS_PINOCCHIO, reason="Pinocchio is not installed: pip install 'ebt_policy_ros[kinematics]'"
)
Z = '<axis xyz="0 0 1"/>'


def robot_of(*names: str, hand: str | None = None) -> RobotSettings:
    limits = {"kind": "revolute", "lower": -3.0, "upper": 3.0, "velocity": 1.0, "acceleration": 1.0}
    entries: dict[str, Any] = {"name": "x", "joints": [{"name": name, **limits} for name in names]}
    if hand is not None:
        entries["gripper"] = {"joint": hand, "open": 0.0, "closed": 1.0}
    return RobotSettings.from_mapping(entries)


def somewhere(robot: RobotSettings, number: int = 30, seed: int = 0) -> np.ndarray:
    """(number, D) joint positions within the limits."""
    return np.random.default_rng(seed).uniform(
        robot.per_joint("lower"), robot.per_joint("upper"), (number, len(robot.joints))
    )


# ---- against numbers of others -------------------------------------------------------------------------------------


def words(numbers: tuple[float, ...]) -> str:
    return " ".join(repr(float(number)) for number in numbers)


@needs_pinocchio
@pytest.mark.parametrize(("name", "origins"), [("piper", PIPER), ("ur5e", UR5E)])
def test_an_arm_is_where_its_robot_file_says(name: str, origins: list[tuple[float, ...]]) -> None:
    robot, settings = load_robot(name)
    arm = [one for one in robot.joint_names if robot.gripper is None or one != robot.gripper.joint]
    names = [*arm, *(["to_tool"] if len(origins) > len(arm) else [])]
    links = ["stand", "base", *(f"link{number}" for number in range(len(names))), "tool0"]
    # The root lies elsewhere and turned, as in ur_description: the robot file's frames are what counts.
    joints = [joint("to_base", "fixed", "stand", "base", "0.1 0.2 0.3", "0 0 3.141592653589793")]
    joints += [
        joint(
            own, "fixed" if own == "to_tool" else "revolute", links[i + 1], links[i + 2], words(o[:3]), words(o[3:]), Z
        )
        for i, (own, o) in enumerate(zip(names, origins, strict=True))
    ]
    joints.append(joint("to_tool0", "fixed", links[-2], "tool0"))
    tool = UrdfTool(urdf(links, joints), robot, ToolSettings(base_frame="base", tool_frame="tool0"))
    assert settings.chain is not None
    positions = somewhere(robot)
    np.testing.assert_allclose(
        tool.tool_positions(robot.joint_names, positions),
        settings.chain.tool_positions(robot.joint_names, positions),
        atol=3e-4,  # the URDFs round pi to 3.1416
    )


@needs_pinocchio
def test_the_pandas_hand_is_where_its_robot_file_says() -> None:
    robot, settings = load_robot("panda_sim")
    assert settings.chain is not None
    positions = somewhere(robot)
    expected = settings.chain.tool_positions(robot.joint_names, positions)
    tool = UrdfTool(panda_urdf(), robot, ToolSettings(tool_frame="panda_hand_tcp"))
    assert (tool.base_frame, tool.assumed) == ("pedestal", [])
    np.testing.assert_allclose(tool.tool_positions(robot.joint_names, positions), expected + [0, 0, 0.5], atol=1e-9)
    shuffled = list(reversed(robot.joint_names))
    based = UrdfTool(panda_urdf(), robot, ToolSettings(base_frame="panda_link0", tool_frame="panda_hand_tcp"))
    np.testing.assert_allclose(based.tool_positions(shuffled, positions[:, ::-1]), expected, atol=1e-9)


@needs_pinocchio
def test_a_published_description_loads_without_its_meshes() -> None:
    found = importlib.util.find_spec("robosuite")
    if found is None or found.origin is None:
        pytest.skip("robosuite is not installed: pip install 'ebt-policy-ros[sim]'")
    folder = Path(found.origin).parent / "models/assets/bullet_data"
    robot, settings = load_robot("panda_sim")
    text = (folder / "panda_description/urdf/panda_arm_hand.urdf").read_text()
    assert "package://" in text
    tool = UrdfTool(text, robot, ToolSettings())
    assert (tool.base_frame, tool.tool_frame) == ("panda_link0", "panda_hand")
    assert settings.chain is not None
    positions = somewhere(robot)
    expected = settings.chain.tool_positions(robot.joint_names, positions)
    reach = np.linalg.norm(tool.tool_positions(robot.joint_names, positions) - expected, axis=1)
    np.testing.assert_allclose(reach, 0.1034, atol=1e-6)  # the robot file's tool lies between the fingers
    both = (folder / "baxter_description/urdf/baxter_arm.urdf").read_text()
    arms = robot_of(*(f"{side}_{part}" for side in ("left", "right") for part in ("s0", "s1", "e0", "w2")))
    with pytest.raises(SettingsError, match="no chain: .* name the link whose path is drawn"):
        UrdfTool(both, arms, ToolSettings())
    assert UrdfTool(both, arms, ToolSettings(tool_frame="left_gripper")).assumed


@needs_pinocchio
def test_any_tree_is_where_another_program_puts_it() -> None:
    if importlib.util.find_spec("mujoco") is None:
        pytest.skip("mujoco is not installed: pip install 'ebt-policy-ros[sim]'")
    robots = [random_robot(seed) for seed in range(25)]
    asked = [{key: one[key] for key in ("urdf", "links", "positions")} for one in robots]
    told = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("other_kinematics.py"))],
        input=json.dumps({"robots": asked}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    for one, found in zip(robots, json.loads(told.stdout), strict=True):
        names = one["commanded"]
        settings = ToolSettings(base_frame=one["links"][0], tool_frame=one["links"][1])
        tool = UrdfTool(one["urdf"], robot_of(*names), settings)
        positions = np.array([[row[name] for name in names] for row in one["positions"]])
        np.testing.assert_allclose(tool.tool_positions(names, positions), np.array(found)[:, 1], atol=1e-6)


def random_robot(seed: int) -> dict[str, Any]:
    """A random tree, its root and a link at an end of it, and where its joints are; some follow others, some stay."""
    rng = np.random.default_rng(seed)
    links, joints, kinds, parents = ["root"], [], {}, {}
    for number in range(1, 12):
        parent = links[-1] if rng.random() < 0.7 else str(rng.choice(links))
        name, kind = f"joint{number}", str(rng.choice(["fixed", "revolute", "continuous", "prismatic"]))
        leaders = [one for one, its in kinds.items() if its != "fixed"]
        more = f'<axis xyz="{words(tuple(rng.normal(size=3)))}"/>'
        parents[f"link{number}"] = (parent, name)
        kinds[name] = kind
        if kind != "fixed" and leaders and rng.random() < 0.3:
            more += f'<mimic joint="{rng.choice(leaders)}" multiplier="-0.5" offset="0.1"/>'
        xyz, rpy = (words(tuple(rng.uniform(-1.0, 1.0, 3))) for _ in range(2))
        joints.append(joint(name, kind, parent, f"link{number}", xyz, rpy, more))
        links.append(f"link{number}")
    text = urdf(links, joints)
    tree = UrdfTree.from_text(text)
    leading = [name for name, kind in kinds.items() if kind != "fixed" and tree.joints[name].mimics is None]
    commanded = [name for name in leading if rng.random() < 0.8] or leading
    ends = [link for link in links[1:] if any(_known(tree, one, commanded) for one in tree.path(link))]
    positions = []
    for _ in range(4):
        row = {name: float(rng.uniform(-3.0, 3.0)) if name in commanded else 0.0 for name in leading}
        for name, kind in kinds.items():
            if kind != "fixed":
                leader, multiplier, offset = tree.leader(name)
                row[name] = offset + multiplier * row[leader]
        positions.append(row)
    return {"urdf": text, "links": ["root", ends[-1]], "positions": positions, "commanded": commanded}


def _known(tree: UrdfTree, one: Any, commanded: list[str]) -> bool:
    return one.kind != "fixed" and tree.leader(one.name)[0] in commanded


@needs_pinocchio
def test_angles_without_end_may_be_anywhere() -> None:
    joints = [joint("turn", "continuous", "a", "b", more=Z), joint("end", "fixed", "b", "c", "1 0 0")]
    tool = UrdfTool(urdf("abc", joints), robot_of("turn"), ToolSettings())
    angles = np.array([[0.0], [np.pi / 2], [3.0 + 2 * np.pi], [-100.0]])
    expected = np.c_[np.cos(angles), np.sin(angles), np.zeros(4)]
    np.testing.assert_allclose(tool.tool_positions(["turn"], angles), expected, atol=1e-12)


@needs_pinocchio
def test_several_threads_may_ask_at_once() -> None:
    robot, _ = load_robot("panda_sim")
    tool = UrdfTool(panda_urdf(), robot, ToolSettings())
    asked = [somewhere(robot, 200, seed) for seed in range(4)]
    expected = [tool.tool_positions(robot.joint_names, one) for one in asked]
    found: dict[int, np.ndarray] = {}

    def ask(number: int) -> None:
        found[number] = tool.tool_positions(robot.joint_names, asked[number])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal([found[number] for number in range(4)], expected)


# ---- which link is the tool, and what its path is drawn in -----------------------------------------------------------

ARM = [joint("j1", "revolute", "base", "l1"), joint("j2", "continuous", "l1", "l2")]


@pytest.mark.parametrize(
    ("more", "hand", "tool"),
    [
        ({}, None, "l2"),
        ({"flange": "l2", "tcp": "flange"}, None, "tcp"),
        ({"flange": "l2", "camera": "l2"}, None, "l2"),  # two ways on: no guess
        ({"flange": "l2", "camera": "l2", "finger": "flange"}, "finger", "flange"),
        ({"elsewhere": "base", "finger": "elsewhere"}, "finger", "l2"),  # a hand that the arm does not carry
    ],
)
def test_the_tool_is_the_hand_or_the_end_of_the_arm(more: dict[str, str], hand: str | None, tool: str) -> None:
    joints = [
        joint(f"to_{c}" if c != hand else c, "fixed" if c != hand else "prismatic", p, c) for c, p in more.items()
    ]
    tree = UrdfTree.from_text(urdf(["base", "l1", "l2", *more], [*ARM, *joints]))
    robot = robot_of("j1", "j2", *([hand] if hand else []), hand=hand)
    assert find_frames(tree, robot, ToolSettings()) == ("base", tool)


def test_joints_that_nobody_commands_do_not_shift_the_path() -> None:
    links = ["floor", "rail", "column", "base", "l1", "l2", "wrist", "tip"]
    below = [
        joint("drive", "planar", "floor", "rail"),
        joint("lift", "prismatic", "rail", "column"),
        joint("mount", "fixed", "column", "base"),
        joint("tilt", "revolute", "l2", "wrist"),
        joint("end", "fixed", "wrist", "tip"),
    ]
    tree = UrdfTree.from_text(urdf(links, [*below, *ARM]))
    robot = robot_of("j1", "j2")
    # What lies below the arm is not known: the path is drawn in a link that is above it.
    assert find_frames(tree, robot, ToolSettings(tool_frame="tip")) == ("column", "tip")
    assert tree.assumed("column", "tip", robot.joint_names) == ["tilt"]
    assert find_frames(tree, robot, ToolSettings(base_frame="floor")) == ("floor", "l2")
    assert tree.assumed("floor", "l2", robot.joint_names) == ["drive", "lift"]
    with pytest.raises(SettingsError, match="link 'column' is moved by none of the joints"):
        find_frames(tree, robot, ToolSettings(tool_frame="column"))


def test_a_description_without_the_hand_will_do() -> None:
    tree = UrdfTree.from_text(urdf(["base", "l1", "l2"], ARM))
    assert find_frames(tree, robot_of("j1", "j2", "finger", hand="finger"), ToolSettings()) == ("base", "l2")


# ---- what cannot be used, and why ------------------------------------------------------------------------------------

TREE = ["base", "l1", "l2"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not XML"),
        ("nonsense", "not XML"),
        ("\udcff", "not XML"),
        ("<sdf/>", "expected <robot> .*, got <sdf>"),
        ('<!DOCTYPE robot [<!ENTITY a "b">]><robot/>', "document type"),
        ("<robot xmlns:xacro='x'><xacro:macro/></robot>", "run xacro"),
        ("<robot/>", "one link without a parent, got none"),
        (urdf([*TREE, "l1"], ARM), "name of its own for every link, got 'l1' twice"),
        (urdf([*TREE, ""], ARM), "name of its own for every link, got ''"),
        (urdf([*TREE, "c"], [*ARM, joint("j1", "fixed", "l2", "c")]), "every joint, got 'j1' twice"),
        (urdf(["base", "l1"], ARM), "joint 'j2': child: expected one of its links, got 'l2'"),
        (urdf(TREE, ["<joint name='j1' type='revolute'/>"]), "joint 'j1': parent: expected one of its links, got ''"),
        (urdf([*TREE, "c"], [*ARM, joint("x", "ball", "l2", "c")]), "joint 'x': type: expected one of .* got 'ball'"),
        (urdf([*TREE, "c"], ARM), "one link without a parent, got base, c"),
        (urdf(TREE, [*ARM, joint("x", "fixed", "base", "l2")]), "'l2' is the child of two joints, 'j2' and 'x'"),
        (
            urdf([*TREE, "c", "d"], [*ARM, joint("x", "fixed", "c", "d"), joint("y", "fixed", "d", "c")]),
            "no joints lead from the root 'base' to c, d",
        ),
        (urdf(TREE, [joint("j1", "revolute", "base", "l1", "0 0"), ARM[1]]), "'j1': origin xyz: expected 3 .* '0 0'"),
        (urdf(TREE, [joint("j1", "revolute", "base", "l1", rpy="0 nan 0"), ARM[1]]), "origin rpy: expected 3 finite"),
        (urdf(TREE, [joint("j1", "revolute", "base", "l1", more="<axis xyz='0 0 0'/>"), ARM[1]]), "a direction"),
        (
            urdf(TREE, [joint("j1", "revolute", "base", "l1", more="<mimic joint='j9'/>"), ARM[1]]),
            "'j9', which is none",
        ),
        (
            urdf(TREE, [joint("j1", "revolute", "base", "l1", more="<mimic joint='j1'/>"), ARM[1]]),
            "'j1' follows 'j1', which follows it in turn",
        ),
        (urdf(["base", "l1"], ARM[:1]), "it lacks joint 'j2', which the policy commands; known are j1"),
        (urdf(TREE, [ARM[0], joint("j2", "fixed", "l1", "l2")]), "joint 'j2', which the policy commands, is fixed"),
        (urdf(TREE, [ARM[0], joint("j2", "revolute", "base", "l2")]), "'j1' does not move with 'j2'"),
    ],
)
@needs_pinocchio
def test_what_is_wrong_is_said(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        UrdfTool(text, robot_of("j1", "j2"), ToolSettings())


PANDA = re.split(r'(?<==)("[^"]*")', panda_urdf())
"""Every second piece is the value of an attribute."""
VALUES = ["", "0", "nan", "1e400", "1 2 3", "0 0 0", "fixed", "floating", "planar", "continuous", "panda_joint1"]
VALUES += ["panda_link0", "panda_link3", "panda_hand", "x"]


@needs_pinocchio
@given(st.dictionaries(st.integers(0, len(PANDA) // 2 - 1), st.sampled_from(VALUES), min_size=1, max_size=4))
@settings(deadline=None)
def test_any_other_values_are_a_tool_or_a_reason(changes: dict[int, str]) -> None:
    pieces = list(PANDA)
    for index, value in changes.items():
        pieces[2 * index + 1] = f'"{value}"'
    robot, _ = load_robot("panda_sim")
    try:
        tool = UrdfTool("".join(pieces), robot, ToolSettings())
    except SettingsError:
        return
    assert np.isfinite(tool.tool_positions(robot.joint_names, somewhere(robot, 3))).all()


@pytest.mark.parametrize("key", ["tool_frame", "base_frame"])
def test_a_frame_that_does_not_exist_is_named(key: str) -> None:
    tree = UrdfTree.from_text(urdf(TREE, ARM))
    with pytest.raises(
        SettingsError, match=f"lacks link 'bse', which the robot file names as {key}; did you .* 'base'"
    ):
        find_frames(tree, robot_of("j1", "j2"), ToolSettings(**{key: "bse"}))


def test_without_pinocchio_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pinocchio", None)  # Python's own way to say that it is not installed
    with pytest.raises(SettingsError, match="Pinocchio is not installed: pip install"):
        UrdfTool(urdf(TREE, ARM), robot_of("j1", "j2"), ToolSettings())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise ImportError('numpy.core.multiarray failed to import')", "numpy.core.multiarray failed to import"),
        ("import os; os.abort()", "ended the process with status -6"),
        ("", "has no attribute 'buildModelFromXML'"),
    ],
)
def test_one_that_does_not_work_is_said_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, text: str, reason: str
) -> None:
    (tmp_path / "pinocchio").mkdir()
    (tmp_path / "pinocchio" / "__init__.py").write_text(text)
    monkeypatch.delitem(sys.modules, "pinocchio", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    urdf_tool._problem.cache_clear()
    request.addfinalizer(urdf_tool._problem.cache_clear)
    with pytest.raises(SettingsError, match=f"does not work with numpy {np.__version__} .*{reason}"):
        UrdfTool(urdf(TREE, ARM), robot_of("j1", "j2"), ToolSettings())
    assert "pinocchio" not in sys.modules
