"""What does not fit is told by name, all of it at once."""

import importlib.util
import json

import pytest
import yaml
from messages.urdfs import joint, panda_urdf, urdf
from nodes.tiny_bundle import make_tiny_bundle

from ebt_policy_ros.cli.main import main
from ebt_policy_ros.resources import find_robot

URDF = """<robot name="mine">
  <joint name="fixed" type="fixed"/>
  <joint name="panda_joint1" type="revolute"><limit lower="-2.0" upper="2.9" velocity="2.0" effort="1"/></joint>
  <joint name="panda_joint2" type="continuous"/>
  <joint name="panda_finger_joint1" type="prismatic"><limit lower="0.0" upper="0.04" velocity="0.2"/></joint>
  <joint name="panda_finger_joint2" type="prismatic">
    <limit lower="0" upper="0.04"/><mimic joint="panda_finger_joint1"/>
  </joint>
</robot>"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def robot():
    """The entries of a robot file that fits."""
    return yaml.safe_load(find_robot("panda_sim").read_text())


def checked(capsys, *arguments):
    """(exit status, lines)."""
    status = main(["check", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    return status, (captured.out + captured.err).splitlines()


def written(folder, entries):
    path = folder / "robot.yaml"
    path.write_text(yaml.safe_dump(entries))
    return path


def test_what_fits_is_said_to_fit(model, capsys):
    assert checked(capsys, "--robot", "panda_sim", "--model", model) == (0, ["no mistakes found"])


def test_every_mistake_of_a_wrong_robot_file_is_named(model, robot, tmp_path, capsys):
    joints = robot["joints"]
    joints[0]["velocity"] = -1.0
    joints[0]["acceleration"] = "fast"
    joints[1]["uper"] = joints[1].pop("upper")
    joints[2]["kind"] = "wheel"
    joints[3]["lower"], joints[3]["upper"] = 1.0, -1.0
    joints[4]["name"] = "panda_joint55"
    joints[6]["kind"] = "prismatic"
    joints.append({"name": "panda_joint6"})
    robot["griper"] = robot["gripper"]
    robot["gripper"] = {"joint": "panda_finger_joint1", "open": 0.4, "closed": 0.0}
    robot["kinematics"]["modified_dh"][0]["joint"] = "panda_joint11"
    result = tmp_path / "out.json"
    status, lines = checked(capsys, "--robot", written(tmp_path, robot), "--model", model, "--json", result)
    assert status == 1
    told = "\n".join(lines)
    for words in (
        "robot file: unknown entry 'griper'; did you mean 'gripper'?",
        "joint 'panda_joint1': velocity: expected more than 0.0, got -1.0",
        "joint 'panda_joint1': acceleration: expected a number, got 'fast'",
        "joint 'panda_joint2': unknown setting 'uper'; did you mean 'upper'?",
        "joint 'panda_joint2': setting 'upper' is missing",
        "joint 'panda_joint3': kind: expected one of revolute, prismatic, got 'wheel'",
        "joint 'panda_joint4': expected lower < upper, got 1.0 and -1.0",
        "joint 'panda_joint5': the policy commands it, the robot file has",
        "joint 'panda_joint55': the policy does not command it",
        "joint 'panda_joint7': [rad] in the policy, but prismatic [m] on the robot",
        "joint 'panda_joint6': it is listed twice",
        "gripper: open: 0.4 lies outside the limits of 'panda_finger_joint1' (0 to 0.04)",
        "kinematics: joint 'panda_joint11' is none of the robot's",
    ):
        assert f"error: {words}" in told, words
    findings = json.loads(result.read_text())
    assert not findings["fits"]
    assert len([one for one in findings["findings"] if one["is_error"]]) == sum("error: " in line for line in lines)


def test_limits_wider_than_the_urdf_are_named(robot, tmp_path, capsys):
    (tmp_path / "mine.urdf").write_text(URDF)
    robot["joints"] = [joint for joint in robot["joints"] if joint["name"][-1] in "12"]
    robot["joints"].append({**robot["joints"][-1], "name": "panda_finger_joint2"})
    del robot["kinematics"]
    status, lines = checked(capsys, "--robot", written(tmp_path, robot), "--urdf", tmp_path / "mine.urdf")
    assert status == 1
    told = "\n".join(lines)
    for words in (
        "error: joint 'panda_joint1': lower -2.8973 is below the URDF's -2 rad",
        "error: joint 'panda_joint1': velocity 2.175 is above the URDF's 2 rad/s",
        "error: joint 'panda_finger_joint1': velocity 0.25 is above the URDF's 0.2 m/s",
        "error: joint 'panda_finger_joint2': it follows 'panda_finger_joint1' in the URDF and cannot be commanded",
        "warning: kinematics: there are none",
    ):
        assert words in told, told
    assert "panda_joint2'" not in told  # continuous: no limits to break


def test_a_draft_from_a_urdf_is_a_robot_file(tmp_path, capsys):
    (tmp_path / "mine.urdf").write_text(URDF)
    status, lines = checked(capsys, "--urdf", tmp_path / "mine.urdf", "--draft", tmp_path / "mine.yaml")
    assert status == 0
    assert "3 joints" in lines[0]
    status, lines = checked(capsys, "--robot", tmp_path / "mine.yaml", "--urdf", tmp_path / "mine.urdf")
    assert status == 0, lines
    drafted = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert [joint["name"] for joint in drafted["joints"]] == ["panda_joint1", "panda_joint2", "panda_finger_joint1"]
    assert drafted["gripper"] == {"joint": "panda_finger_joint1", "open": 0.04, "closed": 0.0}


def test_whether_the_plan_can_be_drawn_with_the_urdf_is_told(robot, tmp_path, capsys):
    path = tmp_path / "panda.urdf"
    path.write_text(panda_urdf())

    def told(**kinematics):
        robot["kinematics"] = {**robot["kinematics"], **kinematics}
        lines = checked(capsys, "--robot", written(tmp_path, robot), "--urdf", path)[1]
        return [line for line in lines if ": kinematics: " in line]

    assert told() == []
    (line,) = told(tool_frame="panda_hand_tpc")
    assert line.startswith("error: kinematics: the plan is not drawn with this URDF: ")
    assert (
        "lacks link 'panda_hand_tpc', which the robot file names as tool_frame; did you mean 'panda_hand_tcp'?" in line
    )
    assert told(tool_frame="panda_hand_tcp") == []
    if importlib.util.find_spec("pinocchio") is not None:
        (line,) = told(tool_frame="panda_hand")
        assert line == (
            "warning: kinematics: 'panda_hand' in the URDF and the end of modified_dh are up to 0.103 m apart"
        )
    (line,) = told(tool_frame="panda_link0")
    assert line.startswith("warning: kinematics: the plan is not drawn")
    assert "link 'panda_link0' is moved by none of the joints" in line


def test_joints_that_nobody_commands_are_named(tmp_path, capsys):
    limits = {"kind": "revolute", "lower": -1.0, "upper": 1.0, "velocity": 0.5, "acceleration": 1.0}
    rows = [{"name": name, **limits} for name in ("j1", "j3")]
    joints = [joint(f"j{number}", "revolute", f"l{number - 1}", f"l{number}") for number in (1, 2, 3)]
    (tmp_path / "three.urdf").write_text(urdf(["l0", "l1", "l2", "l3"], joints))
    path = written(tmp_path, {"name": "x", "joints": rows, "kinematics": {"tool_frame": "l3"}})
    lines = checked(capsys, "--robot", path, "--urdf", tmp_path / "three.urdf")[1]
    assert "warning: kinematics: nobody commands j2: the plan is drawn as if at zero" in lines


def test_a_draft_names_the_tool(tmp_path, capsys):
    (tmp_path / "panda.urdf").write_text(panda_urdf())
    assert checked(capsys, "--urdf", tmp_path / "panda.urdf", "--draft", tmp_path / "panda.yaml")[0] == 0
    drafted = yaml.safe_load((tmp_path / "panda.yaml").read_text())
    assert drafted["kinematics"] == {"base_frame": "pedestal", "tool_frame": "panda_hand"}
    lines = checked(capsys, "--robot", tmp_path / "panda.yaml", "--urdf", tmp_path / "panda.urdf")[1]
    assert lines == ["no mistakes found"]


def test_parameters_are_looked_at_without_a_node(model, tmp_path, capsys):
    path = tmp_path / "params.yaml"
    given = {
        "cameras": {"front": {"topic": "a"}, "rear": {"topic": "b"}, "wrist": {"tpic": "c"}},
        "retry": {"patience": 2.0, "max_retreats": -1},
        "minimise": {"steps": 0},
        "schedule": {"execute_steps": "eight"},
        "modell": "lift",
        "gripper_output": "both",
        "positions_hz": "fast",
        "use_sim_time": True,
    }
    path.write_text(yaml.safe_dump({"/**/ebt_policy": {"ros__parameters": given}, "/other": {"ros__parameters": {}}}))
    status, lines = checked(capsys, "--params", path, "--model", model)
    assert status == 1
    told = "\n".join(lines)
    for words in (
        "parameter 'cameras.rear.topic': the policy has no camera 'rear'; its cameras are front, wrist",
        "parameter 'cameras.wrist.tpic': expected cameras.<name>.topic or cameras.<name>.compressed",
        "parameter 'retry.patience': there is none; did you mean 'patience_s'?",
        "parameter 'retry.max_retreats': ",
        "parameter 'schedule.execute_steps': expected a whole number, got 'eight'",
        "parameter 'gripper_output': expected one of in_trajectory, own_trajectory, gripper_command, got 'both'",
        "parameter 'positions_hz': expected a number from 1 to 1000, got 'fast'",
        "parameter 'modell': there is none; did you mean 'model'?",
    ):
        assert f"error: {words}" in told, told
    assert sum("error: " in line for line in lines) == 8
    path.write_text("ebt_policy: {model: lift}\n")
    assert "expected parameters of /ebt_policy under 'ros__parameters:'" in checked(capsys, "--params", path)[1][0]


def test_the_shipped_parameter_files_are_sound(capsys):
    from ebt_policy_ros.resources import find_resource

    for name in ("policy.yaml", "demo.yaml"):
        assert checked(capsys, "--params", find_resource(f"config/{name}"), "--model", "lift")[0] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<robot>", "not XML"),
        ("<model/>", "expected <robot>"),
        ('<!DOCTYPE robot [<!ENTITY a "b">]><robot/>', "document type"),
        ("<robot><joint name='a' type='fixed'/></robot>", "no joint that moves"),
        ("<robot xmlns:xacro='x'><xacro:macro/></robot>", "run xacro"),
        ("<robot><joint name='a' type='revolute'><limit lower='low'/></joint></robot>", "'a': limit lower: expected a"),
    ],
)
def test_a_bad_urdf_is_one_sentence(tmp_path, capsys, text, words):
    (tmp_path / "bad.urdf").write_text(text)
    status, lines = checked(capsys, "--urdf", tmp_path / "bad.urdf", "--draft", tmp_path / "out.yaml")
    assert status == 2
    assert words in lines[0]
    assert "bad.urdf" in lines[0]


def test_there_has_to_be_something_to_check(capsys):
    status, lines = checked(capsys)
    assert status == 2
    assert "expected --robot, --urdf or --params" in lines[0]
