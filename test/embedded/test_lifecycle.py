"""Managed nodes, driven from another process."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from .conftest import Graph, Peer

pytestmark = pytest.mark.graph

CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4


class Remote:
    """The services and the event topic of the managed peer."""

    def __init__(self, graph: Graph) -> None:
        from lifecycle_msgs.msg import TransitionEvent
        from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState
        from std_msgs.msg import String

        self.graph = graph
        self.node = graph.node("manager")
        self.events: list[tuple[str, str]] = []
        self.said: list[Any] = []
        self.node.create_subscription(
            TransitionEvent,
            "/managed/transition_event",
            lambda event: self.events.append((event.start_state.label, event.goal_state.label)),
            10,
        )
        self.node.create_subscription(String, "said", self.said.append, 10)
        self._change = (ChangeState, self.node.create_client(ChangeState, "/managed/change_state"))
        self._get = (GetState, self.node.create_client(GetState, "/managed/get_state"))
        self._states = self.node.create_client(GetAvailableStates, "/managed/get_available_states")
        self._transitions = self.node.create_client(GetAvailableTransitions, "/managed/get_available_transitions")
        self._graph = self.node.create_client(GetAvailableTransitions, "/managed/get_transition_graph")
        wait = self.node.count_publishers
        graph.spin_until(lambda: wait("/managed/transition_event") and wait("said"), "the managed node")

    def change(self, number: int = 0, label: str = "") -> bool:
        kind, client = self._change
        request = kind.Request()
        request.transition.id, request.transition.label = number, label
        return bool(self.graph.call(client, request).success)

    def state(self) -> str:
        kind, client = self._get
        return str(self.graph.call(client, kind.Request()).current_state.label)

    def states(self) -> list[str]:
        from lifecycle_msgs.srv import GetAvailableStates

        return [item.label for item in self.graph.call(self._states, GetAvailableStates.Request()).available_states]

    def transitions(self, *, everywhere: bool = False) -> list[tuple[int, str]]:
        from lifecycle_msgs.srv import GetAvailableTransitions

        client = self._graph if everywhere else self._transitions
        found = self.graph.call(client, GetAvailableTransitions.Request()).available_transitions
        return [(item.transition.id, item.transition.label) for item in found]


def test_a_life(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    start_peer("managed")
    remote = Remote(graph)
    assert remote.state() == "unconfigured"
    assert remote.transitions() == [(1, "configure"), (5, "shutdown")]
    assert len(remote.transitions(everywhere=True)) == 25
    assert remote.states()[:5] == ["unknown", "unconfigured", "inactive", "active", "finalized"]
    assert remote.change(CONFIGURE)
    assert remote.state() == "inactive"
    assert remote.said == []
    assert remote.change(ACTIVATE)
    graph.spin_until(lambda: remote.said, "a message of the active node")
    assert remote.change(DEACTIVATE)
    assert remote.change(CLEANUP)
    assert remote.change(label="shutdown")
    assert remote.state() == "finalized"
    graph.spin_until(lambda: len(remote.events) == 10, "ten events")
    assert remote.events[:4] == [
        ("unconfigured", "configuring"),
        ("configuring", "inactive"),
        ("inactive", "activating"),
        ("activating", "active"),
    ]
    assert remote.events[-1] == ("shuttingdown", "finalized")


def test_an_inactive_publisher_is_silent(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    start_peer("managed")
    remote = Remote(graph)
    assert remote.change(CONFIGURE)
    assert remote.change(ACTIVATE)
    graph.spin_until(lambda: remote.said, "a message of the active node")
    assert remote.change(DEACTIVATE)
    remote.said.clear()
    assert remote.state() == "inactive"  # several answers later its timer has run many times
    assert remote.state() == "inactive"
    assert len(remote.said) <= 1  # one may have been on its way


@pytest.mark.parametrize(
    ("outcome", "after", "is_error"),
    [("failure", "unconfigured", False), ("error", "unconfigured", True), ("raise", "unconfigured", True)],
)
def test_a_transition_that_does_not_succeed(
    graph: Graph, start_peer: Callable[..., Peer], outcome: str, after: str, is_error: bool
) -> None:
    peer = start_peer("managed", "--ros-args", "-p", f"outcome:={outcome}")
    remote = Remote(graph)
    assert not remote.change(CONFIGURE)
    assert remote.state() == after
    if is_error:
        peer.wait_for("ERROR FROM unconfigured")
        graph.spin_until(lambda: len(remote.events) == 3, "three events")
        assert remote.events[1:] == [("configuring", "errorprocessing"), ("errorprocessing", "unconfigured")]


def test_an_impossible_transition_by_label_is_refused(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    start_peer("managed")
    remote = Remote(graph)
    assert not remote.change(label="activate")
    assert not remote.change(label="fly")
    assert remote.state() == "unconfigured"


def test_triggers_within_the_process(graph: Graph) -> None:
    from rclpy.lifecycle import LifecycleNode, ManagedEntity, TransitionCallbackReturn
    from std_msgs.msg import String

    told: list[str] = []

    class Follower(ManagedEntity):
        def on_activate(self, state: Any) -> Any:
            told.append(state.label)
            return TransitionCallbackReturn.SUCCESS

    node = graph.node("local", kind=LifecycleNode)
    publisher = node.create_lifecycle_publisher(String, "said", 1)
    node.add_managed_entity(Follower())
    assert not publisher.is_activated
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert publisher.is_activated
    assert told == ["inactive"]
    with pytest.raises(RuntimeError):
        node.trigger_configure()
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_shutdown() == TransitionCallbackReturn.SUCCESS
    with pytest.raises(RuntimeError):
        node.trigger_shutdown()
    with pytest.raises(TypeError):
        node.add_managed_entity(object())


STATES = {
    "unknown": 0,
    "unconfigured": 1,
    "inactive": 2,
    "active": 3,
    "finalized": 4,
    "configuring": 10,
    "cleaningup": 11,
    "shuttingdown": 12,
    "activating": 13,
    "deactivating": 14,
    "errorprocessing": 15,
}
ARROWS = {
    (1, "configure", "unconfigured", "configuring"),
    (10, "transition_success", "configuring", "inactive"),
    (11, "transition_failure", "configuring", "unconfigured"),
    (12, "transition_error", "configuring", "errorprocessing"),
    (2, "cleanup", "inactive", "cleaningup"),
    (20, "transition_success", "cleaningup", "unconfigured"),
    (21, "transition_failure", "cleaningup", "inactive"),
    (22, "transition_error", "cleaningup", "errorprocessing"),
    (3, "activate", "inactive", "activating"),
    (30, "transition_success", "activating", "active"),
    (31, "transition_failure", "activating", "inactive"),
    (32, "transition_error", "activating", "errorprocessing"),
    (4, "deactivate", "active", "deactivating"),
    (40, "transition_success", "deactivating", "inactive"),
    (41, "transition_failure", "deactivating", "active"),
    (42, "transition_error", "deactivating", "errorprocessing"),
    (5, "shutdown", "unconfigured", "shuttingdown"),
    (6, "shutdown", "inactive", "shuttingdown"),
    (7, "shutdown", "active", "shuttingdown"),
    (50, "transition_success", "shuttingdown", "finalized"),
    (51, "transition_failure", "shuttingdown", "finalized"),
    (52, "transition_error", "shuttingdown", "errorprocessing"),
    (60, "transition_success", "errorprocessing", "unconfigured"),
    (61, "transition_failure", "errorprocessing", "finalized"),
    (62, "transition_error", "errorprocessing", "finalized"),
}


class Local:
    """A managed node of this process with its services and events; `outcomes` are what its callbacks return."""

    def __init__(self, graph: Graph, **outcomes: str) -> None:
        from lifecycle_msgs.msg import TransitionEvent
        from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

        self.called: list[tuple[str, str]] = []

        def callback(name: str) -> Any:
            def run(_: Any, state: Any) -> Any:
                self.called.append((name, state.label))
                return getattr(TransitionCallbackReturn, outcomes.get(name, "SUCCESS"))

            return run

        names = ("configure", "cleanup", "activate", "deactivate", "shutdown", "error")
        kind: Any = type("Recorder", (LifecycleNode,), {f"on_{name}": callback(name) for name in names})
        self.graph = graph
        self.node = graph.node("local", kind=kind)
        self.manager = graph.node("manager")
        self.events: list[tuple[str, str]] = []
        self.manager.create_subscription(TransitionEvent, "/local/transition_event", self._hear, 100)
        graph.spin_until(lambda: self.node.count_subscribers("/local/transition_event"), "the subscription")

    def _hear(self, event: Any) -> None:
        self.events.append((event.start_state.label, event.goal_state.label))

    def ask(self, kind: str, name: str, **fields: Any) -> Any:
        import lifecycle_msgs.srv

        service = getattr(lifecycle_msgs.srv, kind)
        client = self.manager.create_client(service, f"/local/{name}")
        return self.graph.call(client, service.Request(**fields))

    def change(self, label: str) -> bool:
        from lifecycle_msgs.msg import Transition

        return bool(self.ask("ChangeState", "change_state", transition=Transition(label=label)).success)

    def state(self) -> tuple[int, str]:
        state = self.ask("GetState", "get_state").current_state
        return state.id, state.label


def test_the_whole_state_machine_is_told(graph: Graph) -> None:
    local = Local(graph)
    states = local.ask("GetAvailableStates", "get_available_states").available_states
    assert {state.label: state.id for state in states} == STATES

    def arrows(name: str) -> set[tuple[int, str, str, str]]:
        found = local.ask("GetAvailableTransitions", name).available_transitions
        assert all(STATES[item.start_state.label] == item.start_state.id for item in found)
        assert all(STATES[item.goal_state.label] == item.goal_state.id for item in found)
        return {
            (item.transition.id, item.transition.label, item.start_state.label, item.goal_state.label) for item in found
        }

    assert arrows("get_transition_graph") == ARROWS
    for label, state in (("configure", "inactive"), ("activate", "active"), ("shutdown", "finalized")):
        assert local.change(label)
        assert local.state() == (STATES[state], state)
        assert arrows("get_available_transitions") == {arrow for arrow in ARROWS if arrow[2] == state}


@pytest.mark.parametrize(
    ("outcomes", "labels", "succeeds", "state", "called"),
    [
        ({"activate": "FAILURE"}, ["configure", "activate"], False, "inactive", ("activate", "inactive")),
        ({"deactivate": "FAILURE"}, ["configure", "activate", "deactivate"], False, "active", ("deactivate", "active")),
        ({"cleanup": "FAILURE"}, ["configure", "cleanup"], False, "inactive", ("cleanup", "inactive")),
        ({"shutdown": "FAILURE"}, ["shutdown"], False, "finalized", ("shutdown", "unconfigured")),
        ({"activate": "ERROR"}, ["configure", "activate"], False, "unconfigured", ("error", "inactive")),
        ({"configure": "ERROR", "error": "FAILURE"}, ["configure"], False, "finalized", ("error", "unconfigured")),
        ({"configure": "ERROR", "error": "ERROR"}, ["configure"], False, "finalized", ("error", "unconfigured")),
        ({}, ["configure", "activate", "shutdown"], True, "finalized", ("shutdown", "active")),
    ],
)
def test_outcomes_lead_where_the_state_machine_says(
    graph: Graph, outcomes: dict[str, str], labels: list[str], succeeds: bool, state: str, called: tuple[str, str]
) -> None:
    local = Local(graph, **outcomes)
    for label in labels[:-1]:
        assert local.change(label)
    assert local.change(labels[-1]) == succeeds
    assert local.state() == (STATES[state], state)
    assert local.called[-1] == called
    graph.spin_until(lambda: local.events and local.events[-1][1] == state, "the last event")
    path = [start for start, _ in local.events] + [local.events[-1][1]]
    assert path[0] == "unconfigured"
    assert all(before[1] == after[0] for before, after in pairwise(local.events))


def test_an_entity_that_fails_stops_the_node(graph: Graph) -> None:
    from rclpy.lifecycle import LifecycleNode, ManagedEntity, TransitionCallbackReturn

    class Stubborn(ManagedEntity):
        def on_activate(self, state: Any) -> Any:
            return TransitionCallbackReturn.FAILURE

    node = graph.node("local", kind=LifecycleNode)
    node.add_managed_entity(Stubborn())
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.FAILURE
    assert node.trigger_activate() == TransitionCallbackReturn.FAILURE
    assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS


def test_a_managed_node_may_do_without_services(graph: Graph) -> None:
    from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

    node = graph.node("silent", kind=LifecycleNode, enable_communication_interface=False)
    # Its events are published all the same; and when they are seen, the services would be, too.
    graph.spin_until(lambda: node.count_publishers("/silent/transition_event") == 1, "the events")
    assert not [name for name, _ in node.get_service_names_and_types() if name == "/silent/change_state"]
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS


def test_only_an_active_publisher_speaks(graph: Graph) -> None:
    from rclpy.lifecycle import LifecycleNode
    from std_msgs.msg import String

    node = graph.node("local", kind=LifecycleNode)
    publisher = node.create_lifecycle_publisher(String, "said", 10)
    plain = node.create_publisher(String, "said", 10)
    heard: list[str] = []
    graph.node("listener").create_subscription(String, "said", lambda message: heard.append(message.data), 10)
    graph.spin_until(lambda: publisher.get_subscription_count() and plain.get_subscription_count(), "the listener")
    publisher.publish(String(data="too early"))
    node.trigger_configure()
    publisher.publish(String(data="still too early"))
    plain.publish(String(data="plain"))
    graph.spin_until(lambda: heard, "the plain publisher")
    node.trigger_activate()
    publisher.publish(String(data="now"))
    graph.spin_until(lambda: len(heard) == 2, "the active publisher")
    assert heard == ["plain", "now"]
    assert node.destroy_lifecycle_publisher(publisher)
    graph.spin_until(lambda: node.count_publishers("said") == 1, "its end")
