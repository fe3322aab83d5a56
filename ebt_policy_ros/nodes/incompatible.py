"""Endpoints on a topic of ours whose QoS does not match: no message passes between them and us."""

from __future__ import annotations

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
        return SubscriptionEventCallbacks(incompatible_qos=lambda event: self._publisher(topic, event))

    def for_publisher(self, topic: str) -> PublisherEventCallbacks:
        """Callbacks of our publisher on ``topic``."""
        return PublisherEventCallbacks(incompatible_qos=lambda event: self._subscription(topic, event))

    def counts(self) -> dict[str, int]:
        """For ``/diagnostics``."""
        return {
            **{f"{topic}.incompatible_publishers": count for topic, count in self.publishers.items()},
            **{f"{topic}.incompatible_subscriptions": count for topic, count in self.subscriptions.items()},
        }

    def _publisher(self, topic: str, event: Any) -> None:
        name = self._node.resolve_topic_name(topic)
        self.publishers[name] = event.total_count
        self._node.get_logger().warning(
            f"{name}: a publisher offers another QoS ({_policy(event)}), nothing is heard from it; "
            f"set qos_overrides.{name}.subscription.{_policy(event).lower()}"
        )

    def _subscription(self, topic: str, event: Any) -> None:
        name = self._node.resolve_topic_name(topic)
        self.subscriptions[name] = event.total_count
        self._node.get_logger().warning(
            f"{name}: a subscription wants another QoS ({_policy(event)}), it hears nothing; "
            f"set qos_overrides.{name}.publisher.{_policy(event).lower()}"
        )


def _policy(event: Any) -> str:
    return str(qos_policy_name_from_kind(event.last_policy_kind)).removesuffix("_QOS_POLICY")
