"""Topics between two processes: every type, quality of service, remapping, the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Graph, Peer
from .filled import USED_TYPES, fill, message_class

pytestmark = pytest.mark.graph


def test_every_used_type_goes_to_another_process_and_back(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    start_peer("echo")
    node = graph.node("here")
    back: dict[str, Any] = {}
    publishers = {}
    for name in USED_TYPES:
        topic = name.replace("/", "_")
        publishers[name] = node.create_publisher(message_class(name), f"there/{topic}", 10)
        node.create_subscription(
            message_class(name), f"back/{topic}", lambda message, name=name: back.setdefault(name, message), 10
        )
    sent = {name: fill(message_class(name)) for name in USED_TYPES}
    graph.spin_until(lambda: all(item.get_subscription_count() for item in publishers.values()), "the echo")
    graph.spin_until(
        lambda: all(node.count_publishers(f"back/{name.replace('/', '_')}") for name in USED_TYPES), "its publishers"
    )
    graph.spin_until(lambda: _publish_missing(publishers, sent, back), "all messages")
    assert back == sent


def _publish_missing(publishers: dict[str, Any], sent: dict[str, Any], back: dict[str, Any]) -> bool:
    """Volatile topics may lose what is sent before both sides have found each other: send until it is back."""
    for name in sent.keys() - back.keys():
        publishers[name].publish(sent[name])
    return sent.keys() == back.keys()


def test_big_images_arrive_whole(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    from sensor_msgs.msg import Image

    start_peer("echo")
    node = graph.node("here")
    pixels = bytes(range(256)) * (640 * 480 * 3 // 256)
    sent = Image(height=480, width=640, encoding="rgb8", step=1920, data=pixels)
    back: list[Any] = []
    publisher = node.create_publisher(Image, "there/sensor_msgs_msg_Image", 10)
    node.create_subscription(Image, "back/sensor_msgs_msg_Image", back.append, 10)
    graph.spin_until(publisher.get_subscription_count, "the echo")
    graph.spin_until(lambda: back or publisher.publish(sent), "the image")
    assert back[0] == sent


def test_within_one_process(graph: Graph) -> None:
    from std_msgs.msg import Float64

    node, other = graph.node("one"), graph.node("two")
    heard: list[float] = []
    other.create_subscription(Float64, "value", lambda message: heard.append(message.data), 10)
    publisher = node.create_publisher(Float64, "value", 10)
    graph.spin_until(publisher.get_subscription_count, "the subscription")
    for value in (1.0, 2.0, 3.0):
        publisher.publish(Float64(data=value))
    graph.spin_until(lambda: len(heard) == 3, "three values")
    assert heard == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("offered", "requested", "policy"),
    [
        (("best_effort",), {"reliability": "RELIABLE"}, "RELIABILITY"),
        (("reliable", "volatile"), {"durability": "TRANSIENT_LOCAL"}, "DURABILITY"),
    ],
)
def test_an_incompatible_subscription_hears_nothing(
    graph: Graph, start_peer: Callable[..., Peer], offered: tuple[str, ...], requested: dict[str, str], policy: str
) -> None:
    from rclpy.qos import QoSPolicyKind
    from rclpy.qos_event import SubscriptionEventCallbacks
    from std_msgs.msg import String

    peer = start_peer("talker", *offered)
    node = graph.node("listener")
    heard: list[str] = []
    missed: list[str] = []
    events: list[Any] = []
    node.create_subscription(String, "chatter", lambda message: heard.append(message.data), _profile(BEST))
    node.create_subscription(
        String,
        "chatter",
        lambda message: missed.append(message.data),
        _profile({**BEST, **requested}),
        event_callbacks=SubscriptionEventCallbacks(incompatible_qos=events.append),
    )
    graph.spin_until(lambda: events, "the event")
    graph.spin_until(lambda: len(heard) > 3, "messages on the compatible subscription")
    assert missed == []
    assert events[0].total_count == 1
    assert events[0].last_policy_kind == QoSPolicyKind[policy]
    peer.wait_for("requesting incompatible QoS")  # the other side says so, too


BEST = {"reliability": "BEST_EFFORT", "durability": "VOLATILE"}


def _profile(policies: dict[str, str]) -> Any:
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

    reliability, durability = ReliabilityPolicy[policies["reliability"]], DurabilityPolicy[policies["durability"]]
    return QoSProfile(depth=10, reliability=reliability, durability=durability)


def test_a_best_effort_subscription_hears_a_reliable_publisher(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    from rclpy.qos import qos_profile_sensor_data
    from std_msgs.msg import String

    start_peer("talker", "reliable")
    heard: list[Any] = []
    graph.node("listener").create_subscription(String, "chatter", heard.append, qos_profile_sensor_data)
    graph.spin_until(lambda: heard, "a message")


def test_late_subscriptions_get_transient_local_history(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    from std_msgs.msg import String

    start_peer("historian")
    heard: list[str] = []
    profile = _profile({"reliability": "RELIABLE", "durability": "TRANSIENT_LOCAL"})
    graph.node("late").create_subscription(String, "history", lambda message: heard.append(message.data), profile)
    graph.spin_until(lambda: heard, "history")
    assert heard == ["once"]


def test_names_are_remapped_and_nodes_are_seen(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    from std_msgs.msg import String

    start_peer("talker", "reliable", "--ros-args", "-r", "__node:=radio", "-r", "__ns:=/far", "-r", "chatter:=/news")
    node = graph.node("listener")
    heard: list[Any] = []
    node.create_subscription(String, "/news", heard.append, 10)
    graph.spin_until(lambda: heard, "news")
    graph.spin_until(lambda: ("radio", "/far") in node.get_node_names_and_namespaces(), "the node's name")
    (told,) = node.get_publishers_info_by_topic("/news")
    assert (told.node_name, told.node_namespace, told.topic_type) == ("radio", "/far", "std_msgs/msg/String")
    assert told.qos_profile.reliability.name == "RELIABLE"


def test_a_node_that_ends_leaves_the_graph(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    peer = start_peer("idle")
    node = graph.node("here")
    graph.spin_until(lambda: "idle" in node.get_node_names(), "the peer")
    peer.end()
    graph.spin_until(lambda: "idle" not in node.get_node_names(), "its end")


def test_log_lines_go_to_rosout(graph: Graph) -> None:
    from rcl_interfaces.msg import Log

    node = graph.node("chatty", "-r", "__ns:=/deep")
    lines: list[Any] = []
    graph.node("reader").create_subscription(
        Log, "/rosout", lines.append, _profile({"reliability": "RELIABLE", "durability": "TRANSIENT_LOCAL"})
    )
    node.get_logger().warning("mind the gap")
    graph.spin_until(lambda: any(line.msg == "mind the gap" for line in lines), "the line")
    (line,) = [line for line in lines if line.msg == "mind the gap"]
    assert (line.name, line.level, line.function) == ("deep.chatty", 30, "test_log_lines_go_to_rosout")


def test_a_line_of_code_logs_in_one_severity_only(graph: Graph) -> None:
    logger = graph.node("strict").get_logger()

    def say(calm: bool) -> None:
        (logger.info if calm else logger.warning)("one call, two severities")

    say(True)
    say(True)
    with pytest.raises(ValueError, match="severity cannot be changed"):
        say(False)


def test_names(graph: Graph) -> None:
    from rclpy.exceptions import InvalidNodeNameException, InvalidTopicNameException
    from std_msgs.msg import String

    node = graph.node("robot", "-r", "__ns:=/cell", "-r", "~/plan:=/shown", "-r", "robot:state:=status")
    assert node.get_fully_qualified_name() == "/cell/robot"
    assert node.get_logger().name == "cell.robot"
    assert node.resolve_topic_name("~/plan") == "/shown"
    assert node.resolve_topic_name("~/plan", only_expand=True) == "/cell/robot/plan"
    assert node.resolve_topic_name("state") == "/cell/status"
    assert node.resolve_topic_name("/state") == "/state"
    assert node.create_publisher(String, "state", 1).topic_name == "/cell/status"
    for bad in ("", "a b", "a//b", "1a", "a/", "a~"):
        with pytest.raises(InvalidTopicNameException):
            node.create_publisher(String, bad, 1)
    with pytest.raises(InvalidNodeNameException):
        graph.node("no-dashes")


def test_wrong_use_is_refused(graph: Graph) -> None:
    from rclpy.qos import InvalidQoSProfileException, QoSProfile
    from std_msgs.msg import Float64, String

    node = graph.node("strict")
    publisher = node.create_publisher(String, "words", 10)
    with pytest.raises(TypeError):
        publisher.publish(Float64(data=1.0))
    with pytest.raises(TypeError):
        node.create_publisher(String, "words", None)
    with pytest.raises(InvalidQoSProfileException):
        QoSProfile()
