"""Managed nodes, driven from another process."""

from __future__ import annotations

from collections.abc import Callable
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
