"""Processes end cleanly, log as ROS does, and launch files start them."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from .conftest import Peer

pytestmark = pytest.mark.graph


@pytest.mark.parametrize(
    ("number", "endings"),
    [(signal.SIGINT, ["INTERRUPTED"]), (signal.SIGTERM, ["SHUT DOWN", "RETURNED"])],  # in a wait or between two
    ids=["SIGINT", "SIGTERM"],
)
def test_signals_end_a_spin_as_in_rclpy(start_peer: Callable[..., Peer], number: int, endings: list[str]) -> None:
    peer = start_peer("idle")
    assert peer.end(number) == 0
    assert peer.lines[-2] in endings, peer.lines
    assert peer.lines[-1] == "OK False"


def test_a_busy_process_ends_too(start_peer: Callable[..., Peer]) -> None:
    peer = start_peer("talker", "reliable")
    assert peer.end() == 0
    assert "INTERRUPTED" in peer.lines, peer.lines


def test_levels_come_from_the_command_line(start_peer: Callable[..., Peer]) -> None:
    peer = start_peer("logging", "--ros-args", "--log-level", "WARN", "--log-level", "logging.child:=debug")
    peer.end()
    text = "\n".join(peer.lines)
    assert "information" not in text
    assert "[WARN] [" in text
    assert "]: warning once" in text
    assert text.count("warning once") == 1
    assert text.count("throttled") == 1
    assert "[DEBUG] [" in text
    assert "[logging.child]: details" in text
