"""Log lines on /rosout: levels, names, where they were written, quality of service."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Graph, Peer

pytestmark = pytest.mark.graph


def _listen(graph: Graph) -> list[Any]:
    """All lines that the nodes log, those before now included."""
    from rcl_interfaces.msg import Log
    from rclpy.qos import DurabilityPolicy, QoSProfile

    lines: list[Any] = []
    profile = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    graph.node("reader", enable_rosout=False).create_subscription(Log, "/rosout", lines.append, profile)
    return lines


def test_every_level_from_the_least_that_is_wanted(graph: Graph) -> None:
    from rclpy.logging import LoggingSeverity

    node = graph.node("chatty", "-r", "__ns:=/deep")
    lines = _listen(graph)
    logger = node.get_logger()
    logger.debug("hidden")
    logger.info("info")
    logger.set_level(LoggingSeverity.DEBUG)
    logger.debug("debug")
    logger.warning("warning")
    logger.error("error")
    logger.fatal("fatal")
    graph.spin_until(lambda: len(lines) == 5, "five lines")
    said = [(line.msg, line.level) for line in lines]
    assert said == [("info", 20), ("debug", 10), ("warning", 30), ("error", 40), ("fatal", 50)]
    assert {line.name for line in lines} == {"deep.chatty"}


def test_a_line_says_where_and_when_it_was_written(graph: Graph) -> None:
    node = graph.node("chatty")
    lines = _listen(graph)
    before = node.get_clock().now()
    line_number = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
    node.get_logger().info("here")
    after = node.get_clock().now()
    graph.spin_until(lambda: lines, "the line")
    (line,) = lines
    assert (line.function, line.line) == ("test_a_line_says_where_and_when_it_was_written", line_number)
    assert Path(line.file).name == "test_rosout.py"
    stamp_ns = line.stamp.sec * 10**9 + line.stamp.nanosec
    assert before.nanoseconds <= stamp_ns <= after.nanoseconds


def test_late_readers_get_what_was_said(graph: Graph) -> None:
    node = graph.node("chatty")
    node.get_logger().info("early")
    lines = _listen(graph)
    graph.spin_until(lambda: lines, "the line")
    assert [line.msg for line in lines] == ["early"]
    graph.spin_until(lambda: node.count_publishers("/rosout"), "the publisher")
    (qos,) = [item.qos_profile for item in node.get_publishers_info_by_topic("/rosout")]
    assert (qos.reliability.name, qos.durability.name) == ("RELIABLE", "TRANSIENT_LOCAL")
    assert qos.lifespan.nanoseconds == 10 * 10**9


def test_nodes_can_keep_silent(graph: Graph, start_peer: Callable[..., Peer]) -> None:
    start_peer("logging", "--ros-args", "--disable-rosout-logs")
    quiet, loud = graph.node("quiet", enable_rosout=False), graph.node("loud")
    lines = _listen(graph)
    for node in (quiet, loud):
        node.get_logger().info(f"from {node.get_name()}")
    graph.spin_until(lambda: lines, "the line")
    assert [line.msg for line in lines] == ["from loud"]
    graph.spin_until(lambda: "logging" in loud.get_node_names(), "the peer")
    for name, is_there in (("loud", True), ("quiet", False), ("logging", False)):
        published = dict(loud.get_publisher_names_and_types_by_node(name, "/"))
        assert ("/rosout" in published) == is_there, name
