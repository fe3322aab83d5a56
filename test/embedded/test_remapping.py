"""Names: namespaces, private names, remapping rules and who they concern, arguments of process and node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Graph, Peer

pytestmark = pytest.mark.graph


def _rules(*rules: str) -> list[str]:
    return [word for rule in rules for word in ("-r", rule)]


@pytest.mark.parametrize(
    ("rules", "asked", "topic", "service"),
    [
        (["a:=b"], "a", "/cell/b", "/cell/b"),
        (["a:=b"], "/cell/a", "/cell/b", "/cell/b"),
        (["a:=b"], "/a", "/a", "/a"),
        (["/a:=/b"], "a", "/cell/a", "/cell/a"),
        (["/cell/a:=/b"], "a", "/b", "/b"),
        (["a:=b", "b:=c"], "a", "/cell/b", "/cell/b"),  # one rule only, no chains
        (["a:=b", "a:=c"], "a", "/cell/b", "/cell/b"),  # the first that fits
        (["rostopic://a:=b"], "a", "/cell/b", "/cell/a"),
        (["rosservice://a:=b"], "a", "/cell/a", "/cell/b"),
        (["robot:a:=b"], "a", "/cell/b", "/cell/b"),
        (["other:a:=b"], "a", "/cell/a", "/cell/a"),
        (["other:a:=b", "robot:a:=c", "a:=d"], "a", "/cell/c", "/cell/c"),
        (["~/a:=b"], "~/a", "/cell/b", "/cell/b"),
        (["~/a:=b"], "robot/a", "/cell/b", "/cell/b"),
        (["a:=~/b"], "a", "/cell/robot/b", "/cell/robot/b"),
        (["a:=x/y/b"], "a", "/cell/x/y/b", "/cell/x/y/b"),
        (["x/a:=x/b"], "x/a", "/cell/x/b", "/cell/x/b"),
        ([], "~", "/cell/robot", "/cell/robot"),
        ([], "~/a/b", "/cell/robot/a/b", "/cell/robot/a/b"),
        ([], "{node}/a", "/cell/robot/a", "/cell/robot/a"),
        ([], "/x{ns}/a", "/x/cell/a", "/x/cell/a"),
    ],
)
def test_rules_name_topics_and_services(graph: Graph, rules: list[str], asked: str, topic: str, service: str) -> None:
    from std_msgs.msg import String
    from std_srvs.srv import Trigger

    node = graph.node("robot", "-r", "__ns:=/cell", *_rules(*rules))
    assert node.create_publisher(String, asked, 1).topic_name == topic
    assert node.create_subscription(String, asked, lambda _: None, 1).topic_name == topic
    node.create_service(Trigger, asked, lambda _, response: response)
    assert node.resolve_topic_name(asked) == topic
    assert node.resolve_service_name(asked) == service
    graph.spin_until(lambda: (topic, ["std_msgs/msg/String"]) in node.get_topic_names_and_types(), "the topic")
    graph.spin_until(lambda: (service, ["std_srvs/srv/Trigger"]) in node.get_service_names_and_types(), "the service")


@pytest.mark.parametrize(
    ("rules", "full"),
    [
        (["__node:=arm"], "/given/arm"),
        (["__name:=arm"], "/given/arm"),
        (["__ns:=/moved"], "/moved/robot"),
        (["robot:__node:=arm", "arm:__ns:=/moved"], "/moved/arm"),
        (["robot:__node:=arm", "robot:__ns:=/moved"], "/given/arm"),
        (["other:__node:=arm", "other:__ns:=/moved"], "/given/robot"),
        (["__node:=first", "__node:=second"], "/given/first"),
        (["__ns:=/"], "/robot"),
    ],
)
def test_rules_name_nodes(graph: Graph, rules: list[str], full: str) -> None:
    node = graph.node("robot", *_rules(*rules), namespace="given")
    assert node.get_fully_qualified_name() == full
    assert node.get_logger().name == full[1:].replace("/", ".")
    assert (node.get_namespace(), node.get_name()) == (full.rpartition("/")[0] or "/", full.rpartition("/")[2])


@pytest.fixture
def process(domain: int) -> Iterator[Callable[..., None]]:
    """Initialises rclpy with the arguments of a process."""
    import rclpy

    yield lambda *arguments: rclpy.init(args=["program", *arguments])
    rclpy.try_shutdown()


def test_arguments_of_the_process_concern_its_nodes_by_name(process: Callable[..., None], tmp_path: Path) -> None:
    import rclpy

    file = tmp_path / "parameters.yaml"
    file.write_text("first: {ros__parameters: {gain: 1}}\nsecond: {ros__parameters: {gain: 2}}\n")
    process(
        *("one", "--ros-args", "--params-file", str(file), "-p", "second:rate:=5", "-p", "both:=true"),
        *(*_rules("first:__ns:=/a", "second:words:=talk", "words:=all"), "--", "two"),
    )
    first, second = rclpy.create_node("first"), rclpy.create_node("second")
    own = rclpy.create_node("own", use_global_arguments=False)
    stronger = rclpy.create_node("second", cli_args=["--ros-args", "-p", "gain:=3", "-r", "words:=mine"])
    try:
        assert first.get_fully_qualified_name() == "/a/first"
        # The file's key is '/first', and this node has moved: as the names are in the file, it says nothing of it.
        assert first.declare_parameter("gain", 0).value == 0
        assert second.declare_parameter("gain", 0).value == 2
        assert stronger.declare_parameter("gain", 0).value == 3
        assert [node.declare_parameter("rate", 0).value for node in (first, second, own)] == [0, 5, 0]
        assert [node.declare_parameter("both", False).value for node in (first, second, own)] == [True, True, False]
        names = [node.resolve_topic_name("words") for node in (first, second, own, stronger)]
        assert names == ["/a/all", "/talk", "/words", "/mine"]
    finally:
        for node in (first, second, own, stronger):
            node.destroy_node()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/**: {ros__parameters: {v: 1}}", 1),
        ("'**': {ros__parameters: {v: 1}}", 1),
        ("/*: {ros__parameters: {v: 1}}", 0),
        ("/*/*/robot: {ros__parameters: {v: 1}}", 1),
        ("/**/robot: {ros__parameters: {v: 1}}", 1),
        ("/deep/**: {ros__parameters: {v: 1}}", 1),
        ("/deep/**/robot: {ros__parameters: {v: 1}}", 1),
        ("/deep/cell/*: {ros__parameters: {v: 1}}", 1),
        ("/deep: {cell: {robot: {ros__parameters: {v: 1}}}}", 1),
        ("deep: {cell: {robot: {ros__parameters: {v: 1}}}}", 1),
        ("/deep/cell: {robot: {ros__parameters: {v: 1}}}", 1),
        ("robot: {ros__parameters: {v: 1}}", 0),
        ("/cell/robot: {ros__parameters: {v: 1}}", 0),
        # What comes later wins, however general it is.
        ("/deep/cell/robot: {ros__parameters: {v: 1}}\n/**: {ros__parameters: {v: 2}}", 2),
        ("/**: {ros__parameters: {v: 2}}\n/deep/cell/robot: {ros__parameters: {v: 1}}", 1),
        ("", 0),
    ],
)
def test_keys_of_parameter_files(graph: Graph, tmp_path: Path, text: str, expected: int) -> None:
    file = tmp_path / "parameters.yaml"
    file.write_text(text)
    node = graph.node("robot", "-r", "__ns:=/deep/cell", "--params-file", str(file))
    assert node.declare_parameter("v", 0).value == expected


def test_the_last_of_files_and_values_wins(graph: Graph, tmp_path: Path) -> None:
    for name, value in (("first", 1), ("second", 2)):
        (tmp_path / name).write_text(f"/**: {{ros__parameters: {{a: {value}, b: {value}}}}}")
    files = [word for name in ("first", "second") for word in ("--params-file", str(tmp_path / name))]
    node = graph.node("robot", "-p", "a:=0", *files, "-p", "b:=3")
    assert (node.declare_parameter("a", 9).value, node.declare_parameter("b", 9).value) == (2, 3)


@pytest.mark.parametrize("rule", ["a b:=c", "a:=b c", ":=b", "a:=", "__ns:=relative/", "__node:=a/b", "a::=b", "~:=b/"])
def test_wrong_rules_are_refused(graph: Graph, rule: str) -> None:
    from rclpy.exceptions import NameValidationException

    with pytest.raises((RuntimeError, NameValidationException)):
        graph.node("robot", "-r", rule)


def test_services_and_parameters_move_with_their_node(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    from rcl_interfaces.srv import GetParameters
    from std_srvs.srv import SetBool

    arguments = _rules("__node:=moved", "__ns:=/far", "~/negate:=/negate", "~/get_parameters:=asked")
    start_peer("server", "--ros-args", *arguments)
    node = graph.node("here")
    assert graph.call(node.create_client(SetBool, "/negate"), SetBool.Request(data=True)).message == "negated"
    client = node.create_client(GetParameters, "/far/asked")
    assert graph.call(client, GetParameters.Request(names=["steps"])).values[0].integer_value == 2


def test_ros_arguments_are_told_from_others() -> None:
    from . import provide  # noqa: F401

    from rclpy.utilities import remove_ros_args  # isort: skip

    words = ["program", "a", "--ros-args", "-r", "x:=y", "--log-level", "info", "--", "b", "--ros-args", "-p", "c:=1"]
    assert remove_ros_args(words) == ["program", "a", "b"]
    assert remove_ros_args(["program"]) == ["program"]
