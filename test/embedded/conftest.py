"""A ROS domain of its own for every test, nodes, a spin that waits for events, and peers in other processes."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from ebt_policy_ros.cli.isolation import LAST_DOMAIN, is_free_domain

from . import provide  # noqa: F401

_ROOTS = (Path(__file__).resolve().parents[1], Path(__file__).resolve().parents[2])
PATIENCE_S = 60.0
"""How long an event may take on a loaded machine before the test fails."""


def _take_domain() -> tuple[int, IO[str]]:
    """A domain that no other test of any process holds and nobody else uses, and the lock that keeps it."""
    numbers = list(range(1, LAST_DOMAIN + 1))
    random.SystemRandom().shuffle(numbers)
    for number in numbers:
        lock = (Path(tempfile.gettempdir()) / f"ros_domain_{number}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        if is_free_domain(number):
            return number, lock
        lock.close()
    pytest.fail("all ROS domains are taken")


@pytest.fixture(autouse=True)
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The test's own domain, seen on this machine only."""
    number, lock = _take_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield number
    lock.close()


@pytest.fixture
def other_domain() -> Iterator[int]:
    """A second domain."""
    number, lock = _take_domain()
    yield number
    lock.close()


class Graph:
    """Nodes of this process and the executor that spins them."""

    def __init__(self) -> None:
        from rclpy.executors import SingleThreadedExecutor

        self.executor = SingleThreadedExecutor()
        self.nodes: list[Any] = []

    def node(self, name: str, *arguments: str, kind: Any = None, **kwargs: Any) -> Any:
        """A node, in the executor; `arguments` are ROS arguments of this node alone."""
        from rclpy.node import Node

        made = (kind or Node)(name, cli_args=["--ros-args", *arguments] if arguments else None, **kwargs)
        self.nodes.append(made)
        self.executor.add_node(made)
        return made

    def spin_until(self, happened: Callable[[], Any], what: str) -> None:
        """Runs callbacks until `happened()` is true; fails the test when that takes too long."""
        end = time.monotonic() + PATIENCE_S
        while not happened():
            if time.monotonic() > end:
                pytest.fail(f"waited in vain for {what}")
            self.executor.spin_once(timeout_sec=0.1)

    def call(self, client: Any, request: Any) -> Any:
        """The response of a service, which is waited for."""
        assert client.wait_for_service(timeout_sec=PATIENCE_S), client.srv_name
        future = client.call_async(request)
        self.executor.spin_until_future_complete(future, timeout_sec=PATIENCE_S)
        assert future.done(), f"no answer from {client.srv_name}"
        return future.result()

    def close(self) -> None:
        for node in self.nodes:
            node.destroy_node()
        self.executor.shutdown()


@pytest.fixture
def graph(domain: int) -> Iterator[Graph]:
    import rclpy

    rclpy.init(args=[])
    made = Graph()
    try:
        yield made
    finally:
        try:
            made.close()
        finally:
            rclpy.try_shutdown()


class Peer:
    """Another process with a node; what it prints are its events."""

    def __init__(self, command: list[str]) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._open_pipes = 2
        self._is_interrupted = False
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, _ROOTS), os.environ.get("PYTHONPATH", "")])},
        )
        for pipe in (self.process.stdout, self.process.stderr):
            threading.Thread(target=self._read, args=(pipe,), daemon=True).start()

    def _read(self, pipe: Any) -> None:
        for line in pipe:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._open_pipes -= 1
            self._changed.notify_all()

    def wait_for(self, text: str) -> str:
        """The first line that contains `text`."""

        def found() -> str | None:
            return next((line for line in self.lines if text in line), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or not self._open_pipes, PATIENCE_S)
            line = found()
            if line is None:
                pytest.fail(f"peer never said '{text}': {self.lines}")
            return line

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Sends a signal, once."""
        if self.process.poll() is None and not self._is_interrupted:
            self._is_interrupted = True
            self.process.send_signal(number)

    def end(self, number: int = signal.SIGINT) -> int:
        """Sends a signal, unless that has been done, and waits; the exit status."""
        self.interrupt(number)
        try:
            status = self.process.wait(PATIENCE_S)
            with self._changed:
                self._changed.wait_for(lambda: not self._open_pipes, PATIENCE_S)
            return status
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"peer did not end on signal {number}: {self.lines}")


@pytest.fixture
def start_peer(domain: int) -> Iterator[Callable[..., Peer]]:
    """Starts `peer.py <role> ...` and waits until it is ready."""
    peers: list[Peer] = []

    def start(role: str, *arguments: str) -> Peer:
        peer = Peer([sys.executable, "-m", f"{__package__}.peer", role, *arguments])
        peers.append(peer)
        peer.wait_for("READY")
        return peer

    yield start
    for peer in peers:
        peer.interrupt()
    for peer in peers:  # politely: a reliable writer here waits a while for a reader that was killed
        peer.end()
