"""The graph: which nodes another process sees, what they have, and of which type it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Graph, Peer

pytestmark = pytest.mark.graph

# As `ros2 topic info -v` shows them in Jazzy.
HASHES = {
    "builtin_interfaces/msg/Time": "RIHS01_b106235e25a4c5ed35098aa0a61a3ee9c9b18d197f398b0e4206cea9acf9c197",
    "sensor_msgs/msg/Image": "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47",
    "std_msgs/msg/Char": "RIHS01_3ad2d04dd29ba19d04b16659afa3ccaedd691914b02a64e82e252f2fa6a586a9",
    "trajectory_msgs/msg/JointTrajectory": "RIHS01_179b33eba59d676f6d967ac71fe35e7ca2f64b2f3928f4a018cec115e213796e",
}
SET_BOOL_HASHES = (
    "RIHS01_c62fbb99d94e1b25e8ef9e109f9581956bb1b3361a45a4e5810c36a90d29932e",
    "RIHS01_d0814e7f7b4880ab77e9c57426c7aa1562ab69f11eef8e2e968812f9cbd0b059",
)


def test_another_process_sees_what_a_node_has(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    start_peer("server", "--ros-args", "-r", "__ns:=/far")
    node = graph.node("here")
    graph.spin_until(lambda: ("server", "/far") in node.get_node_names_and_namespaces(), "the node")
    assert ("server", "/far", "/") in node.get_node_names_and_namespaces_with_enclaves()
    graph.spin_until(
        lambda: ("/far/who", ["std_srvs/srv/Trigger"]) in node.get_service_names_and_types_by_node("server", "/far"),
        "its services",
    )
    services = dict(node.get_service_names_and_types_by_node("server", "/far"))
    assert services["/far/server/negate"] == ["std_srvs/srv/SetBool"]
    assert services["/far/server/set_parameters"] == ["rcl_interfaces/srv/SetParameters"]
    assert {"/far/server/negate", "/far/who"} <= dict(node.get_service_names_and_types()).keys()
    assert node.get_client_names_and_types_by_node("server", "/far") == []
    published = node.get_publisher_names_and_types_by_node("server", "/far")
    assert published == [
        ("/parameter_events", ["rcl_interfaces/msg/ParameterEvent"]),
        ("/rosout", ["rcl_interfaces/msg/Log"]),
    ]


def test_topics_of_a_node(graph: Graph) -> None:
    from std_msgs.msg import Float64, String
    from std_srvs.srv import Trigger

    node, other = graph.node("here"), graph.node("other", "-r", "__ns:=/deep")
    other.create_publisher(String, "words", 1)
    other.create_subscription(Float64, "~/value", lambda _: None, 1)
    other.create_client(Trigger, "/ask")
    graph.spin_until(lambda: node.get_client_names_and_types_by_node("other", "/deep"), "the client")
    assert node.get_client_names_and_types_by_node("other", "/deep") == [("/ask", ["std_srvs/srv/Trigger"])]
    publishers = dict(node.get_publisher_names_and_types_by_node("other", "/deep"))
    assert publishers["/deep/words"] == ["std_msgs/msg/String"]
    subscriptions = dict(node.get_subscriber_names_and_types_by_node("other", "/deep"))
    assert subscriptions["/deep/other/value"] == ["std_msgs/msg/Float64"]
    assert "/deep/words" not in dict(node.get_publisher_names_and_types_by_node("here", "/"))
    raw = dict(node.get_publisher_names_and_types_by_node("other", "/deep", no_demangle=True))
    assert raw["rt/deep/words"] == ["std_msgs::msg::dds_::String_"]
    assert dict(node.get_topic_names_and_types())["/deep/words"] == ["std_msgs/msg/String"]
    assert dict(node.get_topic_names_and_types(no_demangle=True))["rt/deep/words"] == ["std_msgs::msg::dds_::String_"]
    assert ("/ask", ["std_srvs/srv/Trigger"]) in node.get_service_names_and_types()


def test_an_unknown_node_is_an_error(graph: Graph) -> None:
    from rclpy.node import NodeNameNonExistentError

    node = graph.node("here")
    for ask in (
        node.get_publisher_names_and_types_by_node,
        node.get_subscriber_names_and_types_by_node,
        node.get_service_names_and_types_by_node,
        node.get_client_names_and_types_by_node,
    ):
        with pytest.raises(NodeNameNonExistentError):
            ask("nobody", "/")


def test_endpoints_are_counted_and_described(graph: Graph) -> None:
    from rclpy.qos import qos_profile_sensor_data
    from rclpy.topic_endpoint_info import TopicEndpointTypeEnum
    from std_msgs.msg import String

    graph.node("talker").create_publisher(String, "chatter", qos_profile_sensor_data)
    node = graph.node("here", "-r", "heard:=chatter")
    for _ in range(2):
        node.create_subscription(String, "heard", lambda _: None, 1)
    graph.spin_until(lambda: node.count_publishers("chatter"), "the publisher")
    graph.spin_until(lambda: node.count_subscribers("chatter") == 2, "the subscriptions")
    (publisher,) = node.get_publishers_info_by_topic("heard")
    first, second = node.get_subscriptions_info_by_topic("/chatter")
    assert publisher.endpoint_type == TopicEndpointTypeEnum.PUBLISHER
    assert publisher.qos_profile.reliability.name == "BEST_EFFORT"
    assert first.endpoint_type == TopicEndpointTypeEnum.SUBSCRIPTION
    assert first.endpoint_gid != second.endpoint_gid
    assert first in node.get_subscriptions_info_by_topic("chatter")  # by value, not by identity
    assert first != second
    assert "Endpoint type: SUBSCRIPTION" in str(first)
    assert "Node name: here\n" in str(first)
    (raw,) = node.get_publishers_info_by_topic("rt/chatter", no_mangle=True)
    assert raw.endpoint_gid == publisher.endpoint_gid
    assert raw.topic_type == "std_msgs::msg::dds_::String_"
    assert node.get_publishers_info_by_topic("/nothing") == []


def test_newer_questions(graph: Graph) -> None:
    """Public since Iron or Jazzy."""
    from std_msgs.msg import String
    from std_srvs.srv import Trigger

    node = graph.node("here")
    graph.node("server").create_service(Trigger, "who", lambda _, response: response)
    if hasattr(node, "get_fully_qualified_node_names"):
        graph.spin_until(lambda: "/server" in node.get_fully_qualified_node_names(), "the node")
    if hasattr(node, "wait_for_node"):
        assert node.wait_for_node("server", timeout=60.0)
        assert not node.wait_for_node("/nobody", timeout=0.1)
    if hasattr(node, "count_services"):
        node.create_client(Trigger, "who")
        graph.spin_until(lambda: node.count_services("who") and node.count_clients("who"), "both ends")
        assert (node.count_services("/who"), node.count_clients("/who"), node.count_services("nothing")) == (1, 1, 0)
    subscription = node.create_subscription(String, "words", lambda _: None, 1)
    if hasattr(subscription, "get_publisher_count"):
        assert subscription.get_publisher_count() == 0
        node.create_publisher(String, "words", 1)
        graph.spin_until(lambda: subscription.get_publisher_count() == 1, "the publisher")


def test_namesakes_are_two_nodes(graph: Graph) -> None:
    from std_msgs.msg import Int64

    first, second = graph.node("twin"), graph.node("twin")
    other = graph.node("other")
    graph.spin_until(lambda: sorted(other.get_node_names()) == ["other", "twin", "twin"], "both twins")
    graph.nodes.remove(first)
    first.destroy_node()
    graph.nodes.remove(other)
    graph.spin_until(lambda: sorted(other.get_node_names()) == ["other", "twin"], "the end of one")
    other.destroy_node()
    heard: list[int] = []
    second.create_subscription(Int64, "number", lambda message: heard.append(message.data), 10)
    publisher = second.create_publisher(Int64, "number", 10)
    graph.spin_until(publisher.get_subscription_count, "the subscription")
    publisher.publish(Int64(data=2))
    graph.spin_until(lambda: heard == [2], "the number")


@pytest.mark.parametrize("name", HASHES)
def test_topics_carry_the_hash_of_their_type(graph: Graph, name: str) -> None:
    from .filled import message_class

    node = graph.node("here")
    node.create_publisher(message_class(name), "it", 1)
    node.create_subscription(message_class(name), "it", lambda _: None, 1)
    graph.spin_until(lambda: node.count_publishers("it") and node.count_subscribers("it"), "both ends")
    for told in (*node.get_publishers_info_by_topic("it"), *node.get_subscriptions_info_by_topic("it")):
        if not hasattr(told, "topic_type_hash"):
            pytest.skip("this rclpy does not tell hashes")
        assert str(told.topic_type_hash) == HASHES[name]
        assert told.topic_type_hash.version == 1
        assert told.topic_type_hash.value.hex() == HASHES[name].partition("_")[2]


def test_services_carry_the_hashes_of_their_types(graph: Graph) -> None:
    from std_srvs.srv import SetBool

    node = graph.node("here")
    graph.node("server").create_service(SetBool, "~/negate", lambda _, response: response)
    asked, answered = "rq/server/negateRequest", "rr/server/negateReply"
    graph.spin_until(lambda: node.get_subscriptions_info_by_topic(asked, no_mangle=True), "the requests")
    graph.spin_until(lambda: node.get_publishers_info_by_topic(answered, no_mangle=True), "the replies")
    (request,) = node.get_subscriptions_info_by_topic(asked, no_mangle=True)
    (reply,) = node.get_publishers_info_by_topic(answered, no_mangle=True)
    if not hasattr(request, "topic_type_hash"):
        pytest.skip("this rclpy does not tell hashes")
    assert (str(request.topic_type_hash), str(reply.topic_type_hash)) == SET_BOOL_HASHES
