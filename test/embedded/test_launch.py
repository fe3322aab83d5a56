"""Launch files without ROS 2: what they start, what they refuse, and that everything ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ebt_policy_ros.core.errors import SettingsError, UnsupportedError
from ebt_policy_ros.embedded.launch import LaunchedProcesses
from ebt_policy_ros.embedded.launch_file import ProcessDescription, evaluate

PATIENCE_S = 30.0
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes `<launch>body</launch>` and gives its path."""

    def write(body: str, name: str = "it.launch.xml") -> Path:
        path = tmp_path / name
        path.write_text(f"<launch>\n{body}\n</launch>\n")
        return path

    return write


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package 'tools' as ROS 2 installs it, with executables written in shell."""
    folder = tmp_path / "prefix" / "lib" / "tools"
    folder.mkdir(parents=True)
    (tmp_path / "prefix" / "share" / "tools").mkdir(parents=True)
    for name, text in {
        "show": 'for word in "$@"; do echo "<$word>"; done; echo "MODE=$MODE"',
        "fail": "echo broken >&2; exit 3",
        "wait": "trap 'echo interrupted; exit 0' INT; echo waiting; while :; do sleep 0.05; done",
        "stubborn": "trap '' INT; echo waiting; while :; do sleep 0.05; done",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "prefix"))
    return folder


def processes(path: Path, **arguments: str) -> list[ProcessDescription]:
    return evaluate(path, arguments, os.environ)


def test_everything_a_node_can_have(write: Write, package: Path, tmp_path: Path) -> None:
    parameters = tmp_path / "p.yaml"
    parameters.write_text("/**: {ros__parameters: {a: 1}}")
    path = write(
        f"""
  <arg name="who" default="arm"/>
  <arg name="rate" default="10.0"/>
  <let name="both" value="$(var who)_$(env MISSING 'x y')"/>
  <set_env name="MODE" value="test"/>
  <group>
    <push_ros_namespace namespace="cell"/>
    <set_remap from="all" to="every"/>
    <node pkg="tools" exec="show" name="$(var who)" namespace="deep" args="one 'two words'" output="screen">
      <param from="{parameters}"/>
      <param name="rate" value="$(var rate)"/>
      <param name="text" value="$(var rate)" type="str"/>
      <param name="flag" value="true"/>
      <param name="list" value="1.5,2" value-sep="," type="float"/>
      <param name="nested"><param name="x" value="'1'"/></param>
      <remap from="in" to="$(var both)"/>
      <env name="EXTRA" value="yes"/>
    </node>
  </group>
  <node pkg="tools" exec="show" if="$(env MISSING false)"/>
  <node pkg="tools" exec="show" unless="0"/>
"""
    )
    first, second = processes(path, who="leg")
    assert first.command == [
        *(str(package / "show"), "one", "two words", "--ros-args"),
        *("-r", "__node:=leg", "-r", "__ns:=/cell/deep", "--params-file", str(parameters)),
        *("-p", "rate:=10.0", "-p", 'text:="10.0"', "-p", "flag:=true", "-p", "list:=[1.5, 2.0]"),
        *("-p", 'nested.x:="1"', "-r", "all:=every", "-r", "in:=leg_x y"),
    ]
    assert (first.environment["MODE"], first.environment["EXTRA"]) == ("test", "yes")
    assert first.label == "show-1"
    assert second.command == [str(package / "show")]
    assert "EXTRA" not in second.environment


def test_included_files_and_their_folder(write: Write, package: Path, tmp_path: Path) -> None:
    write(
        '<arg name="name"/><arg name="other" default="d"/>'
        '<node pkg="tools" exec="show" name="$(var name)" args="$(dirname) $(var other)"/>',
        "inner.launch.xml",
    )
    path = write('<include file="$(dirname)/inner.launch.xml"><arg name="name" value="in"/></include>')
    (process,) = processes(path)
    assert process.command == [str(package / "show"), str(tmp_path), "d", "--ros-args", "-r", "__node:=in"]
    shared = write('<let name="s" value="$(find-pkg-share tools)"/><node pkg="tools" exec="show" args="$(var s)"/>')
    assert processes(shared)[0].command[1] == str(tmp_path / "prefix" / "share" / "tools")


def test_our_nodes_run_with_this_interpreter(write: Write) -> None:
    (process,) = processes(write('<node pkg="ebt_policy_ros" exec="policy_node"/>'))
    assert process.command[:3] == [sys.executable, "-m", "ebt_policy_ros.embedded"]
    assert process.command[3].endswith(":policy_node")


def test_any_program_can_be_started(write: Write) -> None:
    body = """
    <arg name="what" default="two words"/>
    <executable cmd="echo --rate 2 $(var what) 'a b'$(var what)" output="screen">
      <env name="MODE" value="x"/>
    </executable>
    <executable cmd="nothing-like-it" if="false"/>
    """
    (process,) = processes(write(body))
    # As ros2 launch: split first, so that what a substitution gives is one word.
    assert process.command == ["echo", "--rate", "2", "two words", "a btwo words"]
    assert (process.label, process.output, process.environment["MODE"]) == ("echo-1", "screen", "x")


@pytest.mark.parametrize(("simulated", "clock"), [("false", ["--clock", "100"]), ("true", [])])
def test_a_replay_plays_the_bag_beside_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulated: str, clock: list[str]
) -> None:
    from ebt_policy_ros.resources import find_resource

    (tmp_path / "ros2").write_text("#!/bin/sh\n")
    (tmp_path / "ros2").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    node, player = processes(find_resource("launch/replay.launch.xml"), bag="my bag", simulated=simulated)
    assert "enabled_on_activate:=false" in node.command
    assert player.command[:6] == ["ros2", "bag", "play", "my bag", "--rate", "1.0"]
    assert player.command[6 : 6 + len(clock)] == clock
    remaps = dict(word.split(":=") for word in player.command[player.command.index("--remap") + 1 :])
    assert ("/clock" in remaps) == (simulated == "false")
    # Nothing recorded may look like what the node says now.
    for command in ("joint_trajectory", "gripper_trajectory", "commands"):  # or a robot would move to them
        assert remaps[f"/{command}"] == f"/recorded/{command}"
    assert {"/ebt_policy/status", "/ebt_policy/energy", "/ebt_policy/plan", "/diagnostics"} <= set(remaps)


@pytest.mark.parametrize("name", ["demo", "policy"])
def test_the_launch_files_of_the_package_are_understood(name: str) -> None:
    from ebt_policy_ros.resources import find_resource

    described = processes(find_resource(f"launch/{name}.launch.xml"))
    assert any("policy_node" in process.label for process in described)
    assert all(process.output == "screen" for process in described)


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ('<node pkg="tools" exec="show" launch-prefix="gdb"/>', UnsupportedError, ["it.launch.xml:2", "launch-prefix"]),
        ("\n<executable cmd='no-such-program -a'/>", UnsupportedError, ["it.launch.xml:3", "'no-such-program'"]),
        ("<executable cmd='ls' shell='true'/>", UnsupportedError, ["it.launch.xml:2", "shell"]),
        ("<executable cmd='ls'><param name='a' value='1'/></executable>", UnsupportedError, ["<param>"]),
        ("<executable/>", SettingsError, ["'cmd'"]),
        ('<let name="a" value="$(eval 1+1)"/>', UnsupportedError, ["eval"]),
        ('<include file="other.launch.py"/>', UnsupportedError, ["other.launch.py"]),
        ('<node pkg="nowhere" exec="show"/>', UnsupportedError, ["nowhere", "show"]),
        ('<let name="a" value="$(var b)"/>', SettingsError, ["'b'", "does not exist"]),
        ('<let name="a" value="$(env NOT_THERE)"/>', SettingsError, ["NOT_THERE"]),
        ('<let name="a" value="$(var b"/>', SettingsError, ["without its ')'"]),
        ('<let name="a" value="$(find-pkg-share none)"/>', SettingsError, ["none"]),
        ('<arg name="needed"/>', SettingsError, ["needed:=value"]),
        ('<arg name="a" default="3"><choice value="1"/></arg>', SettingsError, ["one of 1"]),
        ('<group if="maybe"/>', SettingsError, ["maybe"]),
        ('<let name="a"/>', SettingsError, ["'value'"]),
        ('<node pkg="tools" exec="show"><param from="/none.yaml"/></node>', SettingsError, ["/none.yaml"]),
        ('<node pkg="tools" exec="show"><param name="n" value="x" type="int"/></node>', SettingsError, ["int", "'x'"]),
        ("<node", SettingsError, ["not a launch file"]),
        (
            '<node pkg="tools" exec="show" args="$(var b)"/>',
            SettingsError,
            ["it.launch.xml:2", "'b'", "does not exist"],
        ),
        ("""<node pkg="tools" exec="show" args="a 'b"/>""", SettingsError, ["it.launch.xml:2", "cannot split args"]),
        (
            '<node pkg="tools" exec="show"><param name="a" value="1" if="1"/></node>',
            UnsupportedError,
            ["'if'", "<param>"],
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    write: Write, package: Path, body: str, error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        processes(write(body))
    for word in words:
        assert word in str(caught.value)


def test_unknown_arguments_and_missing_files_are_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="speed.*it has rate"):
        processes(write('<arg name="rate" default="1"/>'), speed="2")
    with pytest.raises(SettingsError, match="missing"):
        processes(tmp_path / "missing.launch.xml")


def test_output_is_prefixed_and_a_failure_is_the_exit_status(
    write: Write, package: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(
        '<set_env name="MODE" value="m"/><node pkg="tools" exec="show" name="x" output="screen"/>'
        '<node pkg="tools" exec="fail"/>'
    )
    with LaunchedProcesses(path) as launched:
        assert launched.wait(PATIENCE_S) == 3
        assert launched.poll() == 3
    out, err = capfd.readouterr()
    assert "[show-1] <__node:=x>" in out
    assert "[show-1] MODE=m" in out
    assert "[fail-2] broken" in err
    assert "exit code 3" in err


def test_terminate_interrupts_and_then_insists(
    write: Write, package: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebt_policy_ros.embedded.launch.SIGTERM_AFTER_S", 0.3)
    path = write("".join(f'<node pkg="tools" exec="{name}" output="screen"/>' for name in ("wait", "stubborn")))
    launched = LaunchedProcesses(path)
    assert set(launched.pids) == {"wait-1", "stubborn-2"}
    _wait_for(lambda: capfd.readouterr().out.count("waiting"), 2)
    assert launched.poll() is None
    assert launched.terminate() == 128 + signal.SIGTERM
    out, err = capfd.readouterr()
    assert "[wait-1] interrupted" in out
    assert "[stubborn-2]: did not end, sending SIGTERM" in err


def _wait_for(count: Callable[[], int], wanted: int) -> None:
    event, total = threading.Event(), 0
    for _ in range(int(PATIENCE_S / 0.05)):
        total += count()
        if total >= wanted:
            return
        event.wait(0.05)
    pytest.fail("waited in vain")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_launcher_and_its_processes(write: Write, package: Path, number: int) -> None:
    path = write('<node pkg="tools" exec="wait" output="screen"/>')
    code = f"import sys; from ebt_policy_ros.embedded.launch import launch; sys.exit(launch({str(path)!r}, {{}}))"
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    launcher = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment
    )
    assert launcher.stdout is not None
    lines = []
    for line in launcher.stdout:
        lines.append(line)
        if line.endswith("waiting\n"):
            launcher.send_signal(number)
    assert launcher.wait(PATIENCE_S) == 0, lines
    assert "[wait-1] interrupted\n" in lines
    assert "finished cleanly" in lines[-1]
