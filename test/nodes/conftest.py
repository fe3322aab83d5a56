"""A ROS graph of its own for every test, a tiny policy with random weights, and an arm that answers by script."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("rclpy") is None:
    import ebt_policy_ros.embedded

    ebt_policy_ros.embedded.install()


def use_own_domain(environment: pytest.MonkeyPatch) -> int:
    """Sets a ROS domain nobody else on this machine uses, not visible outside it."""
    from ebt_policy_ros.cli.isolation import free_domain

    number = free_domain()
    environment.setenv("ROS_DOMAIN_ID", str(number))
    environment.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    environment.setenv("ROS_LOCALHOST_ONLY", "1")
    environment.setenv("OMP_NUM_THREADS", "1")
    return number


@pytest.fixture(autouse=True)
def domain(monkeypatch: pytest.MonkeyPatch) -> int:
    """A domain of its own for every test."""
    return use_own_domain(monkeypatch)


@pytest.fixture
def ros(domain: int) -> Iterator[None]:
    """The default context, initialised for this test."""
    import rclpy

    rclpy.init(args=[])
    yield
    rclpy.try_shutdown()


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated bundle of random weights whose chunks stay near ``HOME``."""
    from .tiny_bundle import make_tiny_bundle

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def arm(ros: None) -> Iterator[Any]:
    from .scripted_arm import ScriptedArm

    arm = ScriptedArm()
    yield arm
    arm.close()


@pytest.fixture
def start_node(ros: None, bundle_dir: Path) -> Iterator[Callable[..., Any]]:
    """Starts PolicyNode on a thread, with parameters by keyword (dots as double underscores)."""
    import rclpy
    from rclpy.parameter import Parameter

    from ebt_policy_ros.nodes.policy_node import PolicyNode

    running: list[tuple[Any, threading.Event, threading.Thread]] = []

    def start(**parameters: Any) -> Any:
        values = {"model": str(bundle_dir), "device": "cpu", "autostart": True, "enabled_on_activate": True}
        values |= {name.replace("__", "."): value for name, value in parameters.items()}
        node = PolicyNode(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])
        assert node.prepare()
        stop = threading.Event()
        thread = threading.Thread(target=node.run_until, args=(stop,), daemon=True)
        thread.start()
        running.append((node, stop, thread))
        return node

    yield start
    for node, stop, thread in running:
        stop.set()
        thread.join(30.0)
        assert not thread.is_alive(), "the node does not end"
        node.destroy_node()
    assert rclpy.ok()
