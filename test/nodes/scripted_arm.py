"""The other side of the graph, by script: an arm that follows perfectly, and ears for everything the node says."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import MarkerArray

from ebt_policy_ros.cli.trajectory_rules import TrajectoryRules, Violation
from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.messages import encode_image, joint_state_message, read_trajectory
from ebt_policy_ros.messages.controller import RejectedTrajectory, TrajectoryController
from ebt_policy_ros.messages.status import read_values

from .tiny_bundle import CAMERAS, HOME, JOINTS, SIZE

PATIENCE_S = 240.0
"""How long an event may take on a loaded machine before the test fails."""


class Ears(Node):
    """Hears everything policy_node says."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.trajectories: list[Any] = []
        self.statuses: list[dict[str, str]] = []
        self.energies: list[float] = []
        self.uncertainties: list[float] = []
        self.plans: list[Any] = []
        self.diagnostics: list[dict[str, str]] = []
        self.create_subscription(JointTrajectory, "joint_trajectory", self._on_trajectory, 10)
        self.create_subscription(DiagnosticArray, "/ebt_policy/status", self._on_status, 50)
        self.create_subscription(Float64, "/ebt_policy/energy", lambda m: self.energies.append(m.data), 10)
        self.create_subscription(Float64, "/ebt_policy/uncertainty", lambda m: self.uncertainties.append(m.data), 10)
        self.create_subscription(MarkerArray, "/ebt_policy/plan", self.plans.append, 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self._closing = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._thread.join(10.0)
        self._executor.shutdown()
        self.destroy_node()

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Returns as soon as ``condition`` holds; fails the test when it never does."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"never happened: {what}; last status {self.statuses[-1:]}"
            time.sleep(0.02)

    def wait_for_new(self, heard: list[Any], what: str, count: int = 1) -> None:
        """Returns when ``heard`` has ``count`` more entries than now."""
        before = len(heard)
        self.wait(lambda: len(heard) >= before + count, what)

    def state(self) -> str:
        return self.statuses[-1]["state"] if self.statuses else ""

    def call(self, service_class: Any, name: str, request: Any) -> Any:
        client = self.create_client(service_class, name)
        assert client.wait_for_service(timeout_sec=PATIENCE_S), f"no service {name}"
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _future: answered.set())
        assert answered.wait(PATIENCE_S), f"no answer from {name}"
        self.destroy_client(client)
        return future.result()

    def _spin(self) -> None:
        while not self._closing and rclpy.ok():
            self._executor.spin_once(timeout_sec=0.05)

    def _on_trajectory(self, message: Any) -> None:
        self.trajectories.append(read_trajectory(message))

    def _on_status(self, message: Any) -> None:
        self.statuses.append(read_values(message))

    def _on_diagnostics(self, message: Any) -> None:
        self.diagnostics.append(read_values(message, "ebt_policy"))


class ScriptedArm(Ears):
    """Publishes joints and pictures at 20 Hz while not muted; its controller obeys what comes."""

    def __init__(self) -> None:
        self.is_muted = False
        self.corrupt: set[str] = set()
        """Sources that send nonsense: 'joint_states' or a camera."""
        self._violations: list[Violation] = []
        self.rules = TrajectoryRules(JOINTS)
        self._controller = TrajectoryController(JOINTS, HOME)
        self._pixels = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
        super().__init__("scripted_arm")
        sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._joints = self.create_publisher(JointState, "joint_states", 10)
        self._images = {c: self.create_publisher(Image, f"camera/{c}/image_raw", sensor) for c in CAMERAS}
        self.create_timer(0.05, self._publish)

    def violations(self) -> list[Violation]:
        """Rules broken by what was heard.

        On a machine so loaded that commands come late, the arm lags and the node goes on from where it is: a jump that
        the node announces is no broken rule.
        """
        announced = any("going on from where it is" in status["reason"] for status in self.statuses)
        return [v for v in self._violations if not (announced and v.rule.endswith("jump"))]

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _publish(self) -> None:
        if self.is_muted:
            return
        stamp_ns = self._now_ns()
        positions = self._controller.sample(stamp_ns)
        if "joint_states" in self.corrupt:
            positions = positions * np.nan
        self.rules.measure(self._controller.sample(stamp_ns))
        self._joints.publish(
            joint_state_message(JointState, stamp_ns, JOINTS[::-1], positions[::-1], np.zeros(len(JOINTS)))
        )
        for camera, publisher in self._images.items():
            image = encode_image(self._pixels, Image, stamp_ns, camera)
            if camera in self.corrupt:
                image.step = 1
            publisher.publish(image)

    def command(self, positions: Floats) -> None:
        """Is put there at once, as by a controller that forwards positions."""
        self._controller.hold(positions)

    def _on_trajectory(self, message: Any) -> None:
        self.obey(message)

    def obey(self, message: Any) -> None:
        """Follows a trajectory, whichever way it came."""
        reading = read_trajectory(message)
        # Judged as of its start: how late a loaded machine delivers it is not the sender's fault.
        self._violations += self.rules.check(reading, reading.start_ns)
        with contextlib.suppress(RejectedTrajectory):
            self._controller.accept(
                start_ns=reading.start_ns,
                joint_names=reading.joint_names,
                times_s=reading.times_s,
                positions=reading.positions,
                velocities=reading.velocities,
                accelerations=reading.accelerations,
                now_ns=self._now_ns(),
            )
        self.trajectories.append(reading)
