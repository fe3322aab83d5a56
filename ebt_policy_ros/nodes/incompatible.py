"""Endpoints on a topic of ours whose QoS does not match: no message passes between them and us."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import qos_policy_name_from_kind

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks


class Incompatible:
    """Counts them by topic, and says every time what to do about it."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self.publishers: dict[str, int] = {}
        """Topic -> publishers that cannot be heard."""
        self.subscriptions: dict[str, int] = {}
        """Topic -> subscriptions that cannot hear us."""

    def for_subscription(self, topic: str) -> SubscriptionEventCallbacks:
        """Callbacks of our subscription to ``topic``."""
        words = "a publisher offers another QoS ({}), nothing is heard from it"
        return SubscriptionEventCallbacks(incompatible_qos=self._noting(topic, self.publishers, words, "subscription"))

    def for_publisher(self, topic: str) -> PublisherEventCallbacks:
        """Callbacks of our publisher on ``topic``."""
        words = "a subscription wants another QoS ({}), it hears nothing"
        return PublisherEventCallbacks(incompatible_qos=self._noting(topic, self.subscriptions, words, "publisher"))

    def counts(self) -> dict[str, int]:
        """For ``/diagnostics``."""
        return {
            **{f"{topic}.incompatible_publishers": count for topic, count in self.publishers.items()},
            **{f"{topic}.incompatible_subscriptions": count for topic, count in self.subscriptions.items()},
        }

    def _noting(self, topic: str, counts: dict[str, int], words: str, own: str) -> Callable[[Any], None]:
        """A callback that counts the others and logs ``words``; ``own`` is what an override of ours is named after."""
        name = self._node.resolve_topic_name(topic)

        def note(event: Any) -> None:
            policy = str(qos_policy_name_from_kind(event.last_policy_kind)).removesuffix("_QOS_POLICY")
            counts[name] = event.total_count
            self._node.get_logger().warning(
                f"{name}: {words.format(policy)}; set qos_overrides.{name}.{own}.{policy.lower()}"
            )

        return note
