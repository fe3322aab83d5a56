"""Parameters: what the services answer, what is refused and why, what is told to everybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Graph

pytestmark = pytest.mark.graph


def _descriptor(**fields: Any) -> Any:
    from rcl_interfaces.msg import ParameterDescriptor

    return ParameterDescriptor(**fields)


def _ask(graph: Graph, owner: str, kind: str) -> Callable[..., Any]:
    """A call of one of the parameter services of node `owner`."""
    import rcl_interfaces.srv

    service = getattr(rcl_interfaces.srv, kind)
    name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind).strip("_")
    asking = next((node for node in graph.nodes if node.get_name() == "asking"), None) or graph.node("asking")
    client = asking.create_client(service, f"/{owner}/{name}")
    return lambda **fields: graph.call(client, service.Request(**fields))


class Events:
    """What `/parameter_events` says of one node: (new, changed, deleted) names."""

    def __init__(self, graph: Graph, owner: str) -> None:
        from rcl_interfaces.msg import ParameterEvent

        self.told: list[tuple[list[str], list[str], list[str]]] = []
        self.raw: list[Any] = []
        self._owner = owner
        listener = graph.node("listener")
        listener.create_subscription(ParameterEvent, "/parameter_events", self._hear, 100)
        graph.spin_until(lambda: listener.count_publishers("/parameter_events"), "the events")

    def _hear(self, event: Any) -> None:
        if event.node == self._owner:
            self.raw.append(event)
            kinds = (event.new_parameters, event.changed_parameters, event.deleted_parameters)
            new, changed, deleted = ([item.name for item in items] for items in kinds)
            self.told.append((new, changed, deleted))


def test_every_change_is_told_to_everybody(graph: Graph) -> None:
    from rclpy.parameter import Parameter

    events = Events(graph, "/cell/owner")
    node = graph.node("owner", "-r", "__ns:=/cell")
    node.declare_parameter("first", 1)
    node.declare_parameter("later", Parameter.Type.INTEGER)
    node.declare_parameter("free", 1.0, _descriptor(dynamic_typing=True))
    node.set_parameters([Parameter("first", value=2), Parameter("free", value="text")])
    node.set_parameters_atomically([Parameter("first", value=3), Parameter("free", value=4)])
    node.set_parameters([Parameter("free")])
    graph.spin_until(lambda: events.told and events.told[-1][2], "the deletion")
    told = [entry for entry in events.told if entry != ([], [], []) and entry[0] != ["use_sim_time"]]
    told = [entry for entry in told if not any("type_description" in name for name in entry[0])]
    assert told == [
        (["first"], [], []),
        (["later"], [], []),
        (["free"], [], []),
        ([], ["first"], []),
        ([], ["free"], []),
        ([], ["first", "free"], []),
        ([], [], ["free"]),
    ]
    assert events.raw[-2].changed_parameters[0].value.integer_value == 3
    assert events.raw[-1].stamp.sec > 10**9
    assert not node.has_parameter("free")


LISTED = ["a", "g.b", "g.deep.c", "g.deep.er.d", "go"]


@pytest.mark.parametrize(
    ("prefixes", "depth", "names", "groups"),
    [
        ([], 0, LISTED, ["g", "g.deep", "g.deep.er"]),
        ([], 1, ["a", "go"], []),
        ([], 2, ["a", "g.b", "go"], ["g"]),
        (["g"], 0, ["g.b", "g.deep.c", "g.deep.er.d"], ["g", "g.deep", "g.deep.er"]),
        (["g"], 1, ["g.b"], ["g"]),
        (["g"], 2, ["g.b", "g.deep.c"], ["g", "g.deep"]),
        (["g.deep", "a"], 1, ["a", "g.deep.c"], ["g.deep"]),
        (["nothing"], 0, [], []),
    ],
)
def test_listing(graph: Graph, prefixes: list[str], depth: int, names: list[str], groups: list[str]) -> None:
    node = graph.node("owner")
    for name in LISTED:
        node.declare_parameter(name, 1)
    ask = _ask(graph, "owner", "ListParameters")
    result = ask(prefixes=prefixes, depth=depth).result
    assert [name for name in result.names if name in LISTED] == names
    assert [prefix for prefix in result.prefixes if not prefix.startswith("qos")] == groups
    if hasattr(node, "list_parameters"):  # since Jazzy
        assert node.list_parameters(prefixes, depth) == result


def test_a_question_about_one_unknown_parameter_has_no_answer(graph: Graph) -> None:
    node = graph.node("owner")
    node.declare_parameter("known", 1)
    both = ["known", "unknown"]
    assert _ask(graph, "owner", "GetParameters")(names=both).values == []
    assert _ask(graph, "owner", "DescribeParameters")(names=both).descriptors == []
    assert list(_ask(graph, "owner", "GetParameterTypes")(names=both).types) == []
    assert list(_ask(graph, "owner", "GetParameterTypes")(names=["known"]).types) == [2]


def test_a_node_may_allow_what_was_not_declared(graph: Graph) -> None:
    from rclpy.parameter import Parameter, parameter_value_to_python

    node = graph.node("owner", "-p", "given:=7", allow_undeclared_parameters=True)
    set_, get = _ask(graph, "owner", "SetParameters"), _ask(graph, "owner", "GetParameters")
    assert not node.has_parameter("given")
    assert node.get_parameter("given").value is None
    assert [value.type for value in get(names=["new"]).values] == [0]
    assert set_(parameters=[Parameter("new", value=1.5).to_parameter_msg()]).results[0].successful
    assert parameter_value_to_python(get(names=["new"]).values[0]) == 1.5
    assert node.describe_parameter("new").dynamic_typing
    assert set_(parameters=[Parameter("new", value="text").to_parameter_msg()]).results[0].successful
    assert set_(parameters=[Parameter("new").to_parameter_msg()]).results[0].successful
    assert not node.has_parameter("new")
    assert node.describe_parameter("nothing").type == 0


def test_overrides_may_declare_themselves(graph: Graph) -> None:
    node = graph.node(
        "owner", "-p", "a.b:=[1, 2]", "-p", "c:=text", automatically_declare_parameters_from_overrides=True
    )
    assert list(node.get_parameter("a.b").value) == [1, 2]
    assert node.get_parameter("c").value == "text"


def _range(low: Any, high: Any, step: Any = 0) -> Any:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange

    if isinstance(low, int):
        return {"integer_range": [IntegerRange(from_value=low, to_value=high, step=step)]}
    return {"floating_point_range": [FloatingPointRange(from_value=low, to_value=high, step=float(step))]}


@pytest.mark.parametrize(
    ("fields", "start", "wanted", "reason"),
    [
        (_range(0, 10, 3), 3, 11, "out of range. Min: 0, Max: 10, value: 11"),
        (_range(0, 10, 3), 3, 4, "not a valid step"),
        (_range(0, 10, 3), 3, 10, ""),  # the end is always valid
        (_range(0, 10), 3, 7, ""),
        (_range(0.0, 1.0), 0.5, 1.5, "out of range"),
        (_range(0.0, 1.0), 0.5, -0.001, "out of range"),
        (_range(0.0, 1.0, 0.25), 0.5, 0.6, "not close enough to a valid step"),
        (_range(0.0, 1.0, 0.25), 0.5, 0.75, ""),
        (_range(0.0, 1.0), 0.5, 1.0 + 1e-8, ""),  # within the tolerance
        ({"read_only": True}, 1, 2, "read-only"),
        ({}, 1, 2.0, "Wrong parameter type, expected 'Type.INTEGER' got 'Type.DOUBLE'"),
        ({}, 1, "1", "Wrong parameter type"),
        ({}, [1, 2], [1.0], "Wrong parameter type"),
        ({}, 1, None, "Static parameter cannot be undeclared"),
        ({"dynamic_typing": True}, 1, "text", ""),
    ],
)
def test_what_is_refused_has_a_reason(graph: Graph, fields: Any, start: Any, wanted: Any, reason: str) -> None:
    from rclpy.parameter import Parameter

    node = graph.node("owner")
    node.declare_parameter("p", start, _descriptor(**fields))
    message = Parameter("p", value=wanted).to_parameter_msg()
    for kind in ("SetParameters", "SetParametersAtomically"):
        answer = _ask(graph, "owner", kind)(parameters=[message])
        result = answer.results[0] if kind == "SetParameters" else answer.result
        assert result.successful == (not reason), result
        assert reason in result.reason
    assert node.get_parameter("p").value == (start if reason else wanted)


def test_setting_together_stops_at_the_first_refusal(graph: Graph) -> None:
    from rclpy.parameter import Parameter

    node = graph.node("owner")
    node.declare_parameter("a", 1)
    node.declare_parameter("b", 1, _descriptor(read_only=True))
    many = [Parameter(name, value=2).to_parameter_msg() for name in ("a", "b", "unknown")]
    result = _ask(graph, "owner", "SetParametersAtomically")(parameters=many).result
    assert not result.successful
    assert "undeclared" in result.reason
    assert node.get_parameter("a").value == 1
    results = _ask(graph, "owner", "SetParameters")(parameters=many).results
    assert [item.successful for item in results] == [True, False, False]
    assert node.get_parameter("a").value == 2


def test_undeclaring(graph: Graph) -> None:
    from rclpy.exceptions import ParameterNotDeclaredException
    from rclpy.parameter import Parameter

    node = graph.node("owner")
    node.declare_parameter("gone", 1)
    node.undeclare_parameter("gone")
    assert not node.has_parameter("gone")
    with pytest.raises(ParameterNotDeclaredException):
        node.undeclare_parameter("gone")
    with pytest.raises(ParameterNotDeclaredException):
        node.describe_parameter("gone")
    result = _ask(graph, "owner", "SetParameters")(parameters=[Parameter("gone", value=1).to_parameter_msg()]).results[
        0
    ]
    assert not result.successful
    assert "undeclared" in result.reason
    assert node.declare_parameter("gone", "again").value == "again"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (True, 1),
        (1, 2),
        (1.0, 3),
        ("s", 4),
        ([b"\x01", b"\x02"], 5),
        ([True, False], 6),
        ([1, 2], 7),
        ([1.0, 2.0], 8),
        (["a", ""], 9),
    ],
    ids=lambda value: str(value),
)
def test_every_type_goes_through_the_services(graph: Graph, value: Any, number: int) -> None:
    from rclpy.parameter import Parameter, parameter_value_to_python

    node = graph.node("owner")
    node.declare_parameter("p", value)
    (found,) = _ask(graph, "owner", "GetParameters")(names=["p"]).values
    assert found.type == number
    assert parameter_value_to_python(found) == value
    assert list(_ask(graph, "owner", "GetParameterTypes")(names=["p"]).types) == [number]
    assert _ask(graph, "owner", "DescribeParameters")(names=["p"]).descriptors[0].type == number
    set_ = _ask(graph, "owner", "SetParameters")
    assert set_(parameters=[Parameter("p", value=value).to_parameter_msg()]).results[0].successful
    assert node.get_parameter("p").type_ == Parameter.Type(number)


def test_callbacks_before_and_after_a_change(graph: Graph) -> None:
    from rcl_interfaces.msg import SetParametersResult
    from rclpy.parameter import Parameter

    node = graph.node("owner")
    if not hasattr(node, "add_pre_set_parameters_callback"):
        pytest.skip("since Iron")
    for name in ("a", "b"):
        node.declare_parameter(name, 1)
    order: list[tuple[str, list[tuple[str, Any]]]] = []

    def note(step: str, parameters: Any) -> Any:
        order.append((step, [(item.name, item.value) for item in parameters]))

    def before(parameters: Any) -> Any:
        note("before", parameters)
        return [*parameters, Parameter("b", value=9)]

    def during(parameters: Any) -> Any:
        note("during", parameters)
        return SetParametersResult(successful=parameters[0].value < 5, reason="five or more")

    def after(parameters: Any) -> None:
        note("after", parameters)

    node.add_pre_set_parameters_callback(before)
    node.add_on_set_parameters_callback(during)
    node.add_post_set_parameters_callback(after)
    assert node.set_parameters([Parameter("a", value=2)])[0].successful
    assert (node.get_parameter("a").value, node.get_parameter("b").value) == (2, 9)
    assert order == [
        ("before", [("a", 2)]),
        ("during", [("a", 2), ("b", 9)]),
        ("after", [("a", 2), ("b", 9)]),
    ]
    order.clear()
    result = node.set_parameters([Parameter("a", value=6)])[0]
    assert (result.successful, result.reason) == (False, "five or more")
    assert [step for step, _ in order] == ["before", "during"]
    node.remove_pre_set_parameters_callback(before)
    node.remove_post_set_parameters_callback(after)
    order.clear()
    assert node.set_parameters_atomically([Parameter("a", value=3)]).successful
    assert [step for step, _ in order] == ["during"]
    node.add_pre_set_parameters_callback(lambda _: [])
    result = node.set_parameters([Parameter("a", value=1)])[0]
    assert not result.successful
    assert "empty" in result.reason


def test_descriptors_can_be_replaced(graph: Graph) -> None:
    from rclpy.exceptions import InvalidParameterValueException, ParameterImmutableException

    node = graph.node("owner")
    node.declare_parameter("p", 5)
    node.set_descriptor("p", _descriptor(type=2, description="now limited", **_range(0, 10)))
    assert node.describe_parameter("p").description == "now limited"
    with pytest.raises(InvalidParameterValueException):
        node.set_descriptor("p", _descriptor(type=2, **_range(0, 4)))
    node.declare_parameter("fixed", 1, _descriptor(read_only=True))
    with pytest.raises(ParameterImmutableException):
        node.set_descriptor("fixed", _descriptor(type=2))


@pytest.mark.parametrize(
    ("declaration", "error"),
    [
        (("",), "InvalidParameterException"),
        (("p", {}), "TypeError"),
        (("p", [1, "a"]), "TypeError"),
    ],
)
def test_wrong_declarations(graph: Graph, declaration: Any, error: str) -> None:
    import builtins

    import rclpy.exceptions

    kind = getattr(builtins, error, None) or getattr(rclpy.exceptions, error)
    with pytest.raises(kind):
        graph.node("owner").declare_parameter(*declaration)
