"""Who finds whom: ROS's discovery variables between two processes of one machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ebt_policy_ros.resources import find_resource

from .conftest import Graph, Peer

pytestmark = pytest.mark.graph

RANGE, PEERS, LOCALHOST_ONLY = "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS", "ROS_LOCALHOST_ONLY"
LOCALHOST, OFF = {RANGE: "LOCALHOST"}, {RANGE: "OFF"}
SUBNET = {RANGE: "SUBNET", PEERS: "127.0.0.1"}  # the peer: a test machine may have no network to speak of


class World:
    """Processes, each with its own discovery variables."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, start_peer: Callable[..., Peer]) -> None:
        self._monkeypatch = monkeypatch
        self._start_peer = start_peer

    def use(self, variables: dict[str, str]) -> None:
        for name in (RANGE, PEERS, LOCALHOST_ONLY, "CYCLONEDDS_URI"):
            self._monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def watcher(self, name: str, variables: dict[str, str]) -> Peer:
        self.use(variables)
        return self._start_peer("watcher", name)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, start_peer: Callable[..., Peer]) -> World:
    return World(monkeypatch, start_peer)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (LOCALHOST, SUBNET),
        (SUBNET, LOCALHOST),
        ({LOCALHOST_ONLY: "1", RANGE: "OFF"}, LOCALHOST),
        ({RANGE: "NONSENSE"}, LOCALHOST),
        ({**LOCALHOST, "CYCLONEDDS_URI": f"file://{find_resource('config/cyclonedds.xml').resolve()}"}, LOCALHOST),
    ],
    ids=["localhost-subnet", "subnet-localhost", "localhost_only", "nonsense", "our_file"],
)
def test_processes_of_one_machine_find_each_other(
    request: pytest.FixtureRequest, world: World, first: dict[str, str], second: dict[str, str]
) -> None:
    there = world.watcher("there", first)
    world.use(second)
    graph: Graph = request.getfixturevalue("graph")
    node = graph.node("here")
    graph.spin_until(lambda: sorted(node.get_node_names()) == ["here", "there"], "the peer")
    there.wait_for("SEES here there")
    if first[RANGE] == "NONSENSE":
        line = there.wait_for("NONSENSE")
        assert "[WARN]" in line
        assert "assuming localhost only" in line


@pytest.mark.parametrize(
    "aside",
    [{**OFF, PEERS: "127.0.0.1", LOCALHOST_ONLY: "0"}, {**LOCALHOST, "ROS_DOMAIN_ID": "other"}],
    ids=["off", "another-domain"],
)
def test_who_is_aside_is_not_found(
    request: pytest.FixtureRequest,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    domain: int,
    other_domain: int,
    aside: dict[str, str],
) -> None:
    """The event that shows it: two that came later have found each other, and neither has found the first."""
    far = world.watcher("far", aside | ({"ROS_DOMAIN_ID": str(other_domain)} if "ROS_DOMAIN_ID" in aside else {}))
    far.wait_for("SEES far")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    near = world.watcher("near", LOCALHOST)
    graph: Graph = request.getfixturevalue("graph")
    node = graph.node("here")
    graph.spin_until(lambda: len(node.get_node_names()) > 1, "a peer")
    near.wait_for("SEES here near")
    assert sorted(node.get_node_names()) == ["here", "near"]
    assert {line for line in far.lines + near.lines if "far" in line and "SEES" in line} == {"SEES far"}


def test_without_discovery_a_process_still_has_its_own_nodes(request: pytest.FixtureRequest, world: World) -> None:
    from std_msgs.msg import Int64

    world.use(OFF)
    graph: Graph = request.getfixturevalue("graph")
    heard: list[int] = []
    graph.node("one").create_subscription(Int64, "number", lambda message: heard.append(message.data), 10)
    publisher = graph.node("two").create_publisher(Int64, "number", 10)
    graph.spin_until(publisher.get_subscription_count, "the subscription")
    publisher.publish(Int64(data=5))
    graph.spin_until(lambda: heard == [5], "the number")
    assert sorted(graph.nodes[0].get_node_names()) == ["one", "two"]


def test_the_domain_of_init_is_stronger_than_the_variable(
    world: World, monkeypatch: pytest.MonkeyPatch, domain: int, other_domain: int
) -> None:
    import rclpy

    monkeypatch.setenv("ROS_DOMAIN_ID", str(other_domain))
    there = world.watcher("there", LOCALHOST)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    rclpy.init(args=[], domain_id=other_domain)
    try:
        node = rclpy.create_node("here")
        assert node.context.get_domain_id() == other_domain
        there.wait_for("SEES here there")
        node.destroy_node()
    finally:
        rclpy.try_shutdown()


@pytest.mark.parametrize(("text", "number"), [("0x11", 17), ("010", 8), ("", 0)])
def test_domains_are_numbers_as_in_c(monkeypatch: pytest.MonkeyPatch, text: str, number: int) -> None:
    from . import provide  # noqa: F401

    import rclpy  # isort: skip

    monkeypatch.setenv("ROS_DOMAIN_ID", text)
    monkeypatch.setenv(RANGE, "OFF")
    context: Any = rclpy.Context()
    context.init(args=[])
    assert context.get_domain_id() == number
    context.shutdown()
    monkeypatch.setenv("ROS_DOMAIN_ID", "none")
    with pytest.raises(RuntimeError, match="ROS_DOMAIN_ID"):
        rclpy.Context().init(args=[])
