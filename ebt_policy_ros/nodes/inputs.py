"""Subscriptions of policy_node: decode, store, count; nothing else happens in a callback."""

from __future__ import annotations

import functools
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image, JointState

from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.pipeline import Pipeline
from ebt_policy_ros.messages import decode_image, read_joint_state, read_stamp_ns
from ebt_policy_ros.nodes.incompatible import Incompatible
from ebt_policy_ros.nodes.parameters import declare_camera

_MAX_REASONS = 50
"""Reasons for refused messages that are logged before the log falls silent; diagnostics go on counting."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Two moments of a message, steady time [ns]."""

    came_ns: int
    """Its callback began."""
    ready_ns: int
    """It was decoded and stored."""


class Inputs:
    """Feeds a pipeline from the graph. What cannot be read is counted, and logged once per reason."""

    def __init__(
        self,
        node: Any,
        pipeline: Pipeline,
        joint_names: Sequence[str],
        wake: Callable[[], None],
        incompatible: Incompatible,
    ) -> None:
        self._node = node
        self._incompatible = incompatible
        self._pipeline = pipeline
        self._joint_names = tuple(joint_names)
        self._wake = wake
        self._has_cameras = True
        self._subscriptions: list[Any] = []
        self._reasons: set[str] = set()
        self._arrivals: OrderedDict[int, Arrival] = OrderedDict()
        self.received: dict[str, int] = {}
        """Source ('joint_states' or a camera) -> messages that could be read."""
        self.refused: dict[str, int] = {}
        """Source -> messages that could not."""
        self.topics: dict[str, str] = {}
        """Source -> resolved topic."""

    def subscribe(self, cameras: Sequence[str]) -> None:
        """Subscribes to the joint states and to every camera's topic, with sensor QoS (best effort, newest first)."""
        self._has_cameras = bool(cameras)
        self._subscribe("joint_states", JointState, "joint_states", self._on_joints)
        for camera in cameras:
            topic, compressed = declare_camera(self._node, camera)
            message_class = CompressedImage if compressed else Image
            self._subscribe(camera, message_class, topic, functools.partial(self._on_image, camera))

    def destroy(self) -> None:
        """Takes the subscriptions off the graph."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def arrival(self, stamp_ns: int | None) -> Arrival | None:
        """When the newest message of an observation came: its last picture with this stamp, without cameras its joint
        state; None when it is not remembered."""
        return None if stamp_ns is None else self._arrivals.get(stamp_ns)

    def _subscribe(self, source: str, message_class: Any, topic: str, callback: Callable[[Any], None]) -> None:
        quality = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
        subscription = self._node.create_subscription(
            message_class,
            topic,
            callback,
            quality,
            event_callbacks=self._incompatible.for_subscription(topic),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._subscriptions.append(subscription)
        self.received[source], self.refused[source] = 0, 0
        self.topics[source] = self._node.resolve_topic_name(topic)

    def _on_image(self, camera: str, message: Any) -> None:
        arrival_ns = time.monotonic_ns()
        try:
            self._pipeline.add_image(camera, read_stamp_ns(message), arrival_ns, decode_image(message))
        except EbtPolicyError as error:
            self._refuse(camera, error)
            return
        self.received[camera] += 1
        self._note(read_stamp_ns(message), arrival_ns)
        self._wake()

    def _on_joints(self, message: Any) -> None:
        arrival_ns = time.monotonic_ns()
        try:
            reading = read_joint_state(message, self._joint_names)
            self._pipeline.add_joints(
                reading.stamp_ns, arrival_ns, reading.names, reading.positions, reading.velocities
            )
        except EbtPolicyError as error:
            self._refuse("joint_states", error)
            return
        self.received["joint_states"] += 1
        if not self._has_cameras:
            self._note(reading.stamp_ns, arrival_ns)

    def _note(self, stamp_ns: int, arrival_ns: int) -> None:
        self._arrivals[stamp_ns] = Arrival(arrival_ns, time.monotonic_ns())
        self._arrivals.move_to_end(stamp_ns)
        if len(self._arrivals) > 256:
            self._arrivals.popitem(last=False)

    def _refuse(self, source: str, error: EbtPolicyError) -> None:
        self.refused[source] += 1
        reason = f"{self.topics[source]}: {error}"
        if reason in self._reasons or len(self._reasons) >= _MAX_REASONS:
            return
        self._reasons.add(reason)
        self._node.get_logger().warning(f"message refused: {reason} (logged once, counted in /diagnostics)")
