"""Services and parameters across processes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Graph, Peer

pytestmark = pytest.mark.graph


def test_two_clients_get_their_own_answers(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    from std_srvs.srv import SetBool

    start_peer("server")
    node = graph.node("asking")
    clients = [node.create_client(SetBool, "/server/negate") for _ in range(2)]
    futures = []
    for client in clients:
        assert client.wait_for_service(timeout_sec=60.0)
    for value in (True, False):
        futures += [(value, client.call_async(SetBool.Request(data=value))) for client in clients]
    graph.spin_until(lambda: all(future.done() for _, future in futures), "four answers")
    assert [(value, future.result().success) for value, future in futures] == [
        (True, False),
        (True, False),
        (False, True),
        (False, True),
    ]
    with pytest.raises(TypeError):
        clients[0].call_async(SetBool.Response())


def test_a_server_that_ends_is_noticed(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    from std_srvs.srv import Trigger

    client = graph.node("asking").create_client(Trigger, "who")
    assert not client.service_is_ready()
    assert not client.wait_for_service(timeout_sec=0.0)
    peer = start_peer("server", "--ros-args", "-r", "__node:=renamed")
    assert graph.call(client, Trigger.Request()).message == "/renamed"
    peer.end()
    graph.spin_until(lambda: not client.service_is_ready(), "the end of the service")


def test_service_names_are_remapped(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    from std_srvs.srv import Trigger

    start_peer("server", "--ros-args", "-r", "who:=/who_is_there", "-r", "__ns:=/deep")
    client = graph.node("asking", "-r", "question:=/who_is_there").create_client(Trigger, "question")
    assert graph.call(client, Trigger.Request()).message == "/deep/server"
    assert ("/deep/server/negate", ["std_srvs/srv/SetBool"]) in graph.nodes[0].get_service_names_and_types()


def _client(graph: Graph, kind: str) -> Callable[..., Any]:
    import rcl_interfaces.srv

    service = getattr(rcl_interfaces.srv, kind)
    name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind).strip("_")
    node = graph.nodes[0] if graph.nodes else graph.node("asking")
    client = node.create_client(service, f"/server/{name}")
    return lambda **fields: graph.call(client, service.Request(**fields))


def test_parameters_are_read_and_set_from_outside(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    from rclpy.parameter import Parameter, parameter_value_to_python

    start_peer("server")
    get, set_, types = (_client(graph, kind) for kind in ("GetParameters", "SetParameters", "GetParameterTypes"))
    names = ["steps", "gain.value", "fixed", "names"]
    assert [parameter_value_to_python(value) for value in get(names=names).values] == [2, 0.5, "as it is", ["a", "b"]]
    assert list(types(names=names).types) == [2, 3, 4, 9]
    assert get(names=["steps", "unknown"]).values == []
    wanted = [
        ("steps", 4, True, ""),
        ("steps", 12, False, "out of range"),
        ("steps", 3, False, "not a valid step"),
        ("steps", 2.0, False, "Wrong parameter type"),
        ("gain.value", 1.5, False, "out of range"),
        ("gain.value", 1.0, True, ""),
        ("fixed", "new", False, "read-only"),
        ("unknown", 1, False, "undeclared"),
        ("names", ["c"], True, ""),
    ]
    results = set_(parameters=[Parameter(name, value=value).to_parameter_msg() for name, value, *_ in wanted]).results
    for (name, value, is_fine, reason), result in zip(wanted, results, strict=True):
        assert result.successful == is_fine, (name, value, result)
        assert reason in result.reason
    after = [parameter_value_to_python(value) for value in get(names=names).values]
    assert after == [4, 1.0, "as it is", ["c"]]


def test_parameters_are_set_together_or_not_at_all(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    from rcl_interfaces.msg import ParameterEvent
    from rclpy.parameter import Parameter

    start_peer("server")
    get, set_ = _client(graph, "GetParameters"), _client(graph, "SetParametersAtomically")
    events: list[Any] = []
    graph.nodes[0].create_subscription(ParameterEvent, "/parameter_events", events.append, 100)
    both = [Parameter("steps", value=6), Parameter("gain.value", value=7.0)]
    assert not set_(parameters=[item.to_parameter_msg() for item in both]).result.successful
    assert get(names=["steps"]).values[0].integer_value == 2
    both[1] = Parameter("gain.value", value=0.25)

    def heard() -> bool:
        # Again until it is heard: when the server knows of this subscription cannot be asked from here.
        assert set_(parameters=[item.to_parameter_msg() for item in both]).result.successful
        return any(event.node == "/server" for event in events)

    graph.spin_until(heard, "the event")
    event = next(event for event in events if event.node == "/server")
    assert [item.name for item in event.changed_parameters] == ["steps", "gain.value"]


def test_parameters_are_listed_and_described(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    start_peer("server")
    listed = _client(graph, "ListParameters")
    assert {"steps", "gain.value", "use_sim_time"} <= set(listed().result.names)
    assert listed().result.prefixes == ["gain"]
    assert listed(prefixes=["gain"]).result.names == ["gain.value"]
    assert "gain.value" not in listed(depth=1).result.names
    described = _client(graph, "DescribeParameters")(names=["steps", "fixed"]).descriptors
    assert [(item.name, item.type, item.read_only) for item in described] == [("steps", 2, False), ("fixed", 4, True)]
    assert described[0].description == "even"
    assert described[0].integer_range[0].step == 2


def test_parameters_come_from_files_and_the_command_line(graph: Graph, tmp_path: Path) -> None:
    from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
    from rclpy.parameter import Parameter

    file = tmp_path / "robot.yaml"
    file.write_text(
        "/**:\n  ros__parameters:\n    everywhere: 1\n    nested: {deep: {value: [1.0, 2.5]}}\n    text: '1.5'\n"
        "/cell:\n  robot:\n    ros__parameters: {everywhere: 2, flag: off, small: 1e-3}\n"
        "/*/other:\n  ros__parameters: {everywhere: 3}\n/*/robot:\n  ros__parameters: {starred: true}\n"
    )
    arguments = ["-r", "__ns:=/cell", "--params-file", str(file), "-p", "words:=['a', 'b']", "-p", "only:=-0x10"]
    node = graph.node("robot", *arguments, "-p", "elsewhere:only:=1", "-p", "quoted:='7'")
    defaults: dict[str, Any] = {"everywhere": 0, "flag": True, "small": 1.0, "starred": False, "only": 0}
    defaults |= {"nested.deep.value": [0.0], "text": "", "words": [""], "quoted": "", "untouched": "mine"}
    values = {name: node.declare_parameter(name, value).value for name, value in defaults.items()}
    assert values == {
        "everywhere": 2,
        "flag": False,
        "small": 1e-3,
        "starred": True,
        "only": -16,
        "nested.deep.value": [1.0, 2.5],
        "text": "1.5",
        "words": ["a", "b"],
        "quoted": "7",
        "untouched": "mine",
    }
    other = graph.node("picky", "-p", "number:=text", "-p", "picky:gain:=9.0", "-p", "elsewhere:late:=1.0")
    with pytest.raises(InvalidParameterTypeException, match="number"):
        other.declare_parameter("number", 1)
    with pytest.raises(InvalidParameterValueException, match="out of range"):
        other.declare_parameter("gain", 0.5, _range(0.0, 1.0))
    assert other.declare_parameter("late", Parameter.Type.DOUBLE).type_ == Parameter.Type.NOT_SET


def _range(low: float, high: float) -> Any:
    from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor

    return ParameterDescriptor(floating_point_range=[FloatingPointRange(from_value=low, to_value=high)])


def test_parameter_rules_within_a_node(graph: Graph) -> None:
    from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
    from rclpy.exceptions import (
        ParameterAlreadyDeclaredException,
        ParameterImmutableException,
        ParameterNotDeclaredException,
        ParameterUninitializedException,
    )
    from rclpy.parameter import Parameter

    node = graph.node("strict")
    with pytest.raises(ParameterNotDeclaredException):
        node.get_parameter("speed")
    node.declare_parameter("speed", 1.0)
    with pytest.raises(ParameterAlreadyDeclaredException):
        node.declare_parameter("speed", 1.0)
    node.declare_parameter("later", Parameter.Type.INTEGER)
    with pytest.raises(ParameterUninitializedException):
        node.get_parameter("later")
    assert node.get_parameter_or("later", Parameter("later", value=3)).value == 3
    node.declare_parameter("constant", 1, ParameterDescriptor(read_only=True))
    with pytest.raises(ParameterImmutableException):
        node.undeclare_parameter("constant")
    with pytest.raises(ParameterNotDeclaredException):
        node.set_parameters([Parameter("unknown", value=1)])
    asked: list[list[str]] = []

    def refuse_fast(parameters: list[Any]) -> Any:
        asked.append([item.name for item in parameters])
        return SetParametersResult(successful=all(item.value < 5 for item in parameters), reason="too fast")

    node.add_on_set_parameters_callback(refuse_fast)
    assert node.set_parameters([Parameter("speed", value=2.0)])[0].successful
    result = node.set_parameters([Parameter("speed", value=9.0)])[0]
    assert (result.successful, result.reason) == (False, "too fast")
    assert node.get_parameter("speed").value == 2.0
    node.remove_on_set_parameters_callback(refuse_fast)
    assert node.set_parameters([Parameter("speed", value=9.0)])[0].successful
    assert asked == [["speed"], ["speed"]]
    node.declare_parameters("group", [("a", 1), ("b", "two")])
    assert {name: item.value for name, item in node.get_parameters_by_prefix("group").items()} == {"a": 1, "b": "two"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1e-3", 1e-3), ("0x10", 16), ("-0x10", -16), ("010", 8), ("09", 9.0), ("+1", 1), (".5", 0.5), ("1.", 1.0)),
        *(("-.inf", -math.inf), ("inf", math.inf), ("9223372036854775808", 2.0**63), ("1e5", 1e5), ("1_000", "1_000")),
        *(("y", True), ("Off", False), ("tRue", "tRue"), ("'1'", "1"), ("!!str 1", "1"), ("a:b", "a:b"), ("~", "~")),
        *(("1e", "1e"), ("1.0e400", "1.0e400"), ("null", "null"), ("2021-01-01", "2021-01-01"), ("a #b", "a")),
        *(("[true, n]", [True, False]), ("[0x1, 2]", [1, 2]), ("['a', b]", ["a", "b"]), ("''", "")),
    ],
)
def test_values_are_read_as_rcl_reads_them(graph: Graph, text: str, value: object) -> None:
    from rcl_interfaces.msg import ParameterDescriptor

    node = graph.node("reader", "-p", f"value:={text}")
    found = node.declare_parameter("value", None, ParameterDescriptor(dynamic_typing=True)).value
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ["", "[1, 2.5]", "[1, b]", "%", "{a: 1}", "-"])
def test_values_that_rcl_refuses_are_refused(graph: Graph, text: str) -> None:
    with pytest.raises(RuntimeError):
        graph.node("reader", "-p", f"value:={text}")


def test_wrong_ros_arguments_are_refused(graph: Graph, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("robot: {ros__parameters: {mixed: [1, text]}}")
    for arguments in (
        ["-r", "no_arrow"],
        ["-p", "novalue"],
        ["--unknown"],
        ["-r"],
        ["-p", "/**/wrong:a:=1"],
        ["--log-level", "loud"],
    ):
        with pytest.raises(RuntimeError):
            graph.node("wrong", *arguments)
    for file in (bad, tmp_path / "missing.yaml"):
        with pytest.raises(RuntimeError, match=file.name):
            graph.node("wrong", "--params-file", str(file))


def test_quality_of_service_can_be_overridden(graph: Graph) -> None:
    from rclpy.qos import ReliabilityPolicy
    from rclpy.qos_overriding_options import QoSOverridingOptions
    from std_msgs.msg import String

    topic = "qos_overrides./cell/words.subscription"
    node = graph.node(
        "tuned", "-r", "__ns:=/cell", "-p", f"{topic}.reliability:=best_effort", "-p", f"{topic}.depth:=3"
    )
    options = QoSOverridingOptions.with_default_policies()
    made = node.create_subscription(String, "words", lambda _: None, 10, qos_overriding_options=options)
    assert made.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert node.get_parameter(f"{topic}.depth").value == 3
    assert node.describe_parameter(f"{topic}.depth").read_only
