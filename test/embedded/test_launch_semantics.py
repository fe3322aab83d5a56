"""One launch file, two launchers: what `ros2 launch` gives its processes is what ours gives them.

The processes write down what they got. Without ROS 2 the expectations are the only measure; with it, `ros2 launch` is
held to them, too.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.embedded.arguments import Arguments, parse
from ebt_policy_ros.embedded.launch import LaunchedProcesses

PATIENCE_S = 60.0
LAUNCHERS = ["embedded"] + (["ros2"] if importlib.util.find_spec("launch_xml") else [])
_SHOW = """\
#!{python}
import json, os, sys
files = {{word: open(word).read() for word in sys.argv if word.endswith((".yaml", ".yml")) or "launch_params" in word}}
environment = {{name: os.environ[name] for name in ("MODE", "EXTRA", "KEPT") if name in os.environ}}
path = os.path.join({folder!r}, "got_" + sys.argv[1])
with open(path + ".part", "w") as stream:
    json.dump({{"words": sys.argv[2:], "files": files, "environment": environment}}, stream)
os.rename(path + ".part", path)
"""
_ROS2 = """\
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch_xml.launch_description_sources import XMLLaunchDescriptionSource
arguments = [tuple(word.split(":=")) for word in sys.argv[2:]]
service = LaunchService(noninteractive=True)
source = XMLLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)]))
sys.exit(service.run())
"""


class Got(NamedTuple):
    """What one process was given."""

    words: list[str]
    rules: list[str]
    parameters: dict[str, Any]
    environment: dict[str, str]


class Launcher:
    """Writes and launches files; processes are told apart by the first word of their arguments."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder

    def write(self, body: str, name: str = "it.launch.xml") -> Path:
        path = self.folder / name
        path.write_text(f"<launch>\n{textwrap.dedent(body)}\n</launch>\n")
        return path

    def run(self, path: Path, **arguments: str) -> dict[str, Got]:
        if self.kind == "embedded":
            with LaunchedProcesses(path, arguments) as launched:
                assert launched.wait(PATIENCE_S) == 0
        else:
            words = [f"{name}:={value}" for name, value in arguments.items()]
            command = [sys.executable, "-c", _ROS2, str(path), *words]
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
            assert done.returncode == 0, done.stderr
        return {item.name.removeprefix("got_"): self._read(item) for item in self.folder.glob("got_*")}

    def _read(self, path: Path) -> Got:
        told = json.loads(path.read_text())
        words = told["words"]
        for name, text in told["files"].items():  # ros2 launch removes its parameter files
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            kept = self.folder / Path(name).name
            kept.write_text(text)
            words = [str(kept) if word == name else word for word in words]
        found: Arguments = parse(words)
        rules = [f"{rule.source}:={rule.target}" for rule in found.remaps]
        values = dict(rule.split(":=") for rule in rules)
        full = f"{values.get('__ns', '').rstrip('/')}/{values.get('__node', 'show')}"
        return Got(found.others, rules, found.parameters_for(full), told["environment"])


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    """A package 'tools' with an executable 'show', as ROS 2 installs it."""
    prefix = tmp_path / "prefix"
    for folder in ("lib/tools", "share/tools", "share/ament_index/resource_index/packages"):
        (prefix / folder).mkdir(parents=True)
    (prefix / "share/ament_index/resource_index/packages/tools").touch()
    show = prefix / "lib/tools/show"
    show.write_text(_SHOW.format(python=sys.executable, folder=str(tmp_path)))
    show.chmod(0o755)
    known = os.environ.get("AMENT_PREFIX_PATH", "")
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join([str(prefix), known]) if known else str(prefix))
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
    for name in ("MODE", "EXTRA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEPT", "outer")
    return Launcher(request.param, tmp_path)


def test_words_and_substitutions(launcher: Launcher) -> None:
    path = launcher.write("""
        <arg name="who" default="arm"/>
        <arg name="both" default="$(var who)-$(env KEPT)" description="made of others"/>
        <arg name="mode" default="fast"><choice value="fast"/><choice value="slow"/></arg>
        <let name="spaces" value="two  words"/>
        <let name="which" value="who"/>
        <node pkg="tools" exec="show" args="plain one 'two words' &quot;three more&quot; a\\ b"/>
        <node pkg="tools" exec="show" args="var $(var both) x$(var spaces)y 'q r'$(var who)"/>
        <node pkg="tools" exec="show" args="nested $(var $(var which)) $(env NOT_THERE $(var who))"/>
        <node pkg="tools" exec="show" args="env $(env KEPT) $(env NOT_THERE default) $(env NOT_THERE '')."/>
        <node pkg="tools" exec="show" args="share $(find-pkg-share tools)/x $(dirname)"/>
        <node pkg="$(var who)s" exec="show" if="false"/>
        <node pkg="tools" exec="$(env SHOW show)" args="mode $(var mode)"/>
        """)
    got = launcher.run(path, who="leg", mode="slow")
    assert {name: item.words for name, item in got.items()} == {
        "plain": ["one", "two words", "three more", "a", "b"],
        "var": ["leg-outer", "xtwo  wordsy", "q rleg"],
        "nested": ["leg", "leg"],
        "env": ["outer", "default", "."],
        "share": [str(launcher.folder / "prefix/share/tools/x"), str(launcher.folder)],
        "mode": ["slow"],
    }
    assert all(item.rules == [] and item.parameters == {} for item in got.values())


def test_conditions(launcher: Launcher) -> None:
    written = {
        "true": True,
        "True": True,
        "1": True,
        "false": False,
        "FALSE": False,
        "0": False,
        "$(var yes)": True,
        " true ": True,
    }
    nodes = "".join(
        f'<node pkg="tools" exec="show" args="{kind}{index}" {kind}="{text}"/>'
        for index, text in enumerate(written)
        for kind in ("if", "unless")
    )
    groups = """
        <group if="$(var yes)"><node pkg="tools" exec="show" args="group"/></group>
        <group unless="$(var yes)"><node pkg="tools" exec="show" args="not_this"/></group>
        <let name="x" value="kept" if="true"/>
        <let name="x" value="lost" if="false"/>
        <node pkg="tools" exec="show" args="let $(var x)"/>
        """
    got = launcher.run(launcher.write(f'<arg name="yes" default="true"/>{nodes}{groups}'))
    expected = {f"{'if' if value else 'unless'}{index}" for index, value in enumerate(written.values())}
    assert set(got) == expected | {"group", "let"}
    assert got["let"].words == ["kept"]


def test_names_and_namespaces(launcher: Launcher) -> None:
    path = launcher.write("""
        <node pkg="tools" exec="show" args="plain" name="n"/>
        <node pkg="tools" exec="show" args="relative" name="n" namespace="a"/>
        <node pkg="tools" exec="show" args="absolute" name="n" namespace="/a/b"/>
        <group>
          <push-ros-namespace namespace="outer"/>
          <node pkg="tools" exec="show" args="pushed" name="n"/>
          <node pkg="tools" exec="show" args="pushed_relative" namespace="a"/>
          <node pkg="tools" exec="show" args="pushed_absolute" namespace="/a"/>
          <group>
            <push_ros_namespace namespace="inner"/>
            <node pkg="tools" exec="show" args="twice"/>
            <push-ros-namespace namespace="more"/>
            <node pkg="tools" exec="show" args="thrice"/>
          </group>
          <group>
            <push-ros-namespace namespace="/top"/>
            <node pkg="tools" exec="show" args="top"/>
          </group>
          <node pkg="tools" exec="show" args="after"/>
        </group>
        <node pkg="tools" exec="show" args="outside"/>
        <group scoped="false"><push-ros-namespace namespace="leaked"/></group>
        <node pkg="tools" exec="show" args="leaked"/>
        """)
    got = launcher.run(path)
    assert {name: item.rules for name, item in got.items()} == {
        "plain": ["__node:=n"],
        "relative": ["__node:=n", "__ns:=/a"],
        "absolute": ["__node:=n", "__ns:=/a/b"],
        "pushed": ["__node:=n", "__ns:=/outer"],
        "pushed_relative": ["__ns:=/outer/a"],
        "pushed_absolute": ["__ns:=/a"],
        "twice": ["__ns:=/outer/inner"],
        "thrice": ["__ns:=/outer/inner/more"],
        "top": ["__ns:=/top"],
        "after": ["__ns:=/outer"],
        "outside": [],
        "leaked": ["__ns:=/leaked"],
    }


def test_parameters(launcher: Launcher) -> None:
    (launcher.folder / "p.yaml").write_text(
        "/**: {ros__parameters: {a: 1, b: 1}}\n/cell/n: {ros__parameters: {c: 2}}\nother: {ros__parameters: {d: 3}}\n"
    )
    path = launcher.write("""
        <arg name="number" default="7"/>
        <node pkg="tools" exec="show" args="kinds" name="n">
          <param name="int" value="1"/>
          <param name="float" value="1.5"/>
          <param name="big" value="1e3"/>
          <param name="bool" value="true"/>
          <param name="text" value="some words"/>
          <param name="quoted" value="'1'"/>
          <param name="var" value="$(var number)"/>
          <param name="as_text" value="$(var number)" type="str"/>
          <param name="as_float" value="$(var number)" type="float"/>
          <param name="as_int" value="3" type="int"/>
          <param name="as_bool" value="true" type="bool"/>
          <param name="ints" value="1,2,3" value-sep=","/>
          <param name="floats" value="1.5;2.5" value-sep=";"/>
          <param name="texts" value="a, b" value-sep=", "/>
          <param name="group"><param name="x" value="1"/><param name="deep"><param name="y" value="z"/></param></param>
        </node>
        <group>
          <push-ros-namespace namespace="cell"/>
          <node pkg="tools" exec="show" args="file" name="n">
            <param name="a" value="5"/>
            <param from="$(dirname)/p.yaml"/>
            <param name="b" value="6"/>
          </node>
        </group>
        <group>
          <set_parameter name="all" value="9"/>
          <node pkg="tools" exec="show" args="set" name="n"><param name="own" value="1"/></node>
          <set_parameter name="all" value="10"/>
          <node pkg="tools" exec="show" args="set_again" name="n"/>
          <node pkg="tools" exec="show" args="overruled" name="n"><param name="all" value="11"/></node>
        </group>
        """)
    got = launcher.run(path)
    assert {name: item.parameters for name, item in got.items()} == {
        "kinds": {
            "int": 1,
            "float": 1.5,
            "big": 1000.0,
            "bool": True,
            "text": "some words",
            "quoted": "1",
            "var": 7,
            "as_text": "7",
            "as_float": 7.0,
            "as_int": 3,
            "as_bool": True,
            "ints": [1, 2, 3],
            "floats": [1.5, 2.5],
            "texts": ["a", "b"],
            "group.x": 1,
            "group.deep.y": "z",
        },
        "file": {"a": 1, "b": 6, "c": 2},
        "set": {"all": 9, "own": 1},
        "set_again": {"all": 10},
        "overruled": {"all": 11},
    }


def test_remaps_and_environment(launcher: Launcher) -> None:
    path = launcher.write("""
        <set_env name="MODE" value="one"/>
        <node pkg="tools" exec="show" args="plain">
          <remap from="in" to="out"/>
          <remap from="~/x" to="/$(env MODE)"/>
        </node>
        <group>
          <set_remap from="all" to="every"/>
          <set_env name="MODE" value="two"/>
          <set_env name="EXTRA" value="$(env MODE)"/>
          <unset_env name="KEPT"/>
          <node pkg="tools" exec="show" args="group" ros_args="--log-level info -r last:=rule">
            <remap from="in" to="out"/>
            <env name="EXTRA" value="$(env MODE)!"/>
          </node>
          <node pkg="tools" exec="show" args="sibling"/>
        </group>
        <group scoped="false"><set_env name="EXTRA" value="leaked"/></group>
        <node pkg="tools" exec="show" args="after"/>
        """)
    got = launcher.run(path)
    assert {name: (item.rules, item.environment) for name, item in got.items()} == {
        "plain": (["in:=out", "~/x:=/one"], {"MODE": "one", "KEPT": "outer"}),
        "group": (["last:=rule", "all:=every", "in:=out"], {"MODE": "two", "EXTRA": "two!"}),
        "sibling": (["all:=every"], {"MODE": "two", "EXTRA": "two"}),
        "after": ([], {"MODE": "one", "EXTRA": "leaked", "KEPT": "outer"}),
    }


def test_scopes_of_variables(launcher: Launcher) -> None:
    path = launcher.write("""
        <let name="x" value="outer"/>
        <group>
          <node pkg="tools" exec="show" args="seen $(var x)"/>
          <let name="x" value="inner"/>
          <node pkg="tools" exec="show" args="changed $(var x)"/>
        </group>
        <node pkg="tools" exec="show" args="restored $(var x)"/>
        <group scoped="false"><let name="x" value="leaked"/></group>
        <node pkg="tools" exec="show" args="leaked $(var x)"/>
        <group forwarding="false"><node pkg="tools" exec="show" args="not_forwarded $(var x none)"/></group>
        <node pkg="tools" exec="show" args="still $(var x)"/>
        <push-ros-namespace namespace="cell"/>
        <set_remap from="a" to="b"/>
        <set_parameter name="p" value="1"/>
        <set_env name="MODE" value="set"/>
        <group forwarding="false"><node pkg="tools" exec="show" args="anew"/></group>
        """)
    got = launcher.run(path)
    assert got["anew"] == Got([], [], {}, {"KEPT": "outer"})
    assert {name: item.words for name, item in got.items()} == {
        "seen": ["outer"],
        "changed": ["inner"],
        "restored": ["outer"],
        "leaked": ["leaked"],
        "not_forwarded": ["none"],
        "still": ["leaked"],
        "anew": [],
    }


def test_included_files(launcher: Launcher) -> None:
    launcher.write(
        """
        <arg name="id"/>
        <arg name="a" default="default"/>
        <arg name="b" default="$(var a)+"/>
        <node pkg="tools" exec="show" args="$(var id) $(var a) $(var b) $(var outer)" name="n"/>
        <let name="made_inside" value="yes"/>
        <push-ros-namespace namespace="$(var ns none)"/>
        <set_env name="EXTRA" value="$(var id)"/>
        """,
        "inner.launch.xml",
    )
    path = launcher.write("""
        <let name="outer" value="o"/>
        <group>
          <include file="$(dirname)/inner.launch.xml"><arg name="id" value="first"/></include>
          <node pkg="tools" exec="show" args="after_first $(var made_inside)" name="m"/>
        </group>
        <group>
          <push-ros-namespace namespace="cell"/>
          <include file="$(dirname)/inner.launch.xml">
            <arg name="id" value="second"/>
            <arg name="a" value="given"/>
          </include>
        </group>
        <group>
          <include file="$(dirname)/inner.launch.xml"><arg name="id" value="third"/></include>
          <include file="$(dirname)/inner.launch.xml"><arg name="id" value="fourth"/></include>
          <include file="$(dirname)/not_there.launch.xml" if="false"/>
        </group>
        <node pkg="tools" exec="show" args="outside $(var made_inside no)" name="m"/>
        """)
    got = launcher.run(path)
    assert {name: (item.words, item.rules, item.environment.get("EXTRA")) for name, item in got.items()} == {
        "first": (["default", "default+", "o"], ["__node:=n"], None),
        "after_first": (["yes"], ["__node:=m", "__ns:=/none"], "first"),  # not scoped: what was set up stays
        "second": (["given", "given+", "o"], ["__node:=n", "__ns:=/cell"], None),
        "third": (["default", "default+", "o"], ["__node:=n"], None),
        "fourth": (["default", "default+", "o"], ["__node:=n", "__ns:=/none"], "third"),
        "outside": (["no"], ["__node:=m"], None),
    }


@pytest.mark.parametrize(
    "body",
    [
        '<node pkg="tools" exec="show" args="x"><param name="a" value="1" if="true"/></node>',
        '<node pkg="tools" exec="show" args="x"><remap from="a" to="b" unless="false"/></node>',
        '<node pkg="tools" exec="show" args="x"><env name="A" value="b" if="true"/></node>',
        '<node pkg="tools" exec="show" args="x"><unknown/></node>',
        '<node pkg="tools" exec="show" args="x" unknown="1"/>',
        '<node pkg="tools" exec="show" if="true" unless="false" args="x"/>',
        '<node pkg="tools" exec="show" if="perhaps" args="x"/>',
        '<node pkg="tools" exec="missing" args="x"/>',
        '<node pkg="missing" exec="show" args="x"/>',
        '<node pkg="tools" args="x"/>',
        """<node pkg="tools" exec="show" args="x 'unclosed"/>""",
        '<arg name="a" default="3"><choice value="1"/></arg><node pkg="tools" exec="show" args="x"/>',
        '<arg name="a"/><node pkg="tools" exec="show" args="x"/>',
        '<let name="a" value="$(var missing)"/>',
        '<include file="$(dirname)/missing.launch.xml"/>',
        "<unknown/>",
    ],
)
def test_what_is_wrong_starts_nothing(launcher: Launcher, body: str) -> None:
    with pytest.raises((EbtPolicyError, AssertionError)):
        launcher.run(launcher.write(body))
    assert not list(launcher.folder.glob("got_*"))
