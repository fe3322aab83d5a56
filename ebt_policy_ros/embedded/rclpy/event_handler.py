"""Callbacks for what the middleware notices: incompatible endpoints, missed deadlines, lost liveliness or messages."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from cyclonedds.core import DDSStatus

from ebt_policy_ros.embedded.unsupported import module_getattr, unsupported

from .qos import QoSPolicyKind, qos_policy_name_from_kind

_POLICY_BY_DDS_ID = {
    2: QoSPolicyKind.DURABILITY,
    4: QoSPolicyKind.DEADLINE,
    8: QoSPolicyKind.LIVELINESS,
    11: QoSPolicyKind.RELIABILITY,
    13: QoSPolicyKind.HISTORY,
}
Callback = Callable[[Any], None] | None


class SubscriptionEventCallbacks:
    """Callbacks for a subscription; without one for incompatible QoS a warning is logged."""

    def __init__(
        self,
        *,
        deadline: Callback = None,
        incompatible_qos: Callback = None,
        liveliness: Callback = None,
        message_lost: Callback = None,
        incompatible_type: Callback = None,
        matched: Callback = None,
        use_default_callbacks: bool = True,
    ) -> None:
        self.deadline = deadline
        self.incompatible_qos = incompatible_qos
        self.liveliness = liveliness
        self.message_lost = message_lost
        self.matched = matched
        _refuse(incompatible_type)
        self.use_default_callbacks = use_default_callbacks

    def _handler(self, callback_group: Any, endpoint: Any, topic: str, logger: Any) -> EndpointEvents | None:
        chosen = {
            "requested_deadline_missed": self.deadline,
            "requested_incompatible_qos": self.incompatible_qos,
            "liveliness_changed": self.liveliness,
            "sample_lost": self.message_lost,
            "subscription_matched": self.matched,
        }
        if self.incompatible_qos is None and self.use_default_callbacks:
            text = f"New publisher discovered on topic '{topic}', offering incompatible QoS."
            chosen["requested_incompatible_qos"] = _warner(logger, f"{text} No messages will be received from it.")
        return EndpointEvents.make(callback_group, endpoint, chosen)


class PublisherEventCallbacks:
    """Callbacks for a publisher; without one for incompatible QoS a warning is logged."""

    def __init__(
        self,
        *,
        deadline: Callback = None,
        liveliness: Callback = None,
        incompatible_qos: Callback = None,
        incompatible_type: Callback = None,
        matched: Callback = None,
        use_default_callbacks: bool = True,
    ) -> None:
        self.matched = matched
        _refuse(incompatible_type)
        self.deadline = deadline
        self.liveliness = liveliness
        self.incompatible_qos = incompatible_qos
        self.use_default_callbacks = use_default_callbacks

    def _handler(self, callback_group: Any, endpoint: Any, topic: str, logger: Any) -> EndpointEvents | None:
        chosen = {
            "offered_deadline_missed": self.deadline,
            "offered_incompatible_qos": self.incompatible_qos,
            "liveliness_lost": self.liveliness,
            "publication_matched": self.matched,
        }
        if self.incompatible_qos is None and self.use_default_callbacks:
            text = f"New subscription discovered on topic '{topic}', requesting incompatible QoS."
            chosen["offered_incompatible_qos"] = _warner(logger, f"{text} No messages will be sent to it.")
        return EndpointEvents.make(callback_group, endpoint, chosen)


def _refuse(incompatible_type: Callback) -> None:
    if incompatible_type is not None:
        raise unsupported("event callback 'incompatible_type'")


def _warner(logger: Any, text: str) -> Callable[[Any], None]:
    def warn(event: Any) -> None:
        logger.warning(f"{text} Last incompatible policy: {qos_policy_name_from_kind(event.last_policy_kind)}")

    return warn


_STATUS_BITS = {
    "requested_deadline_missed": DDSStatus.RequestedDeadlineMissed,
    "requested_incompatible_qos": DDSStatus.RequestedIncompatibleQos,
    "liveliness_changed": DDSStatus.LivelinessChanged,
    "sample_lost": DDSStatus.SampleLost,
    "subscription_matched": DDSStatus.SubscriptionMatched,
    "publication_matched": DDSStatus.PublicationMatched,
    "offered_deadline_missed": DDSStatus.OfferedDeadlineMissed,
    "offered_incompatible_qos": DDSStatus.OfferedIncompatibleQos,
    "liveliness_lost": DDSStatus.LivelinessLost,
}


class EndpointEvents:
    """All events of one endpoint, as one thing an executor waits for."""

    def __init__(self, callback_group: Any, endpoint: Any, callbacks: dict[str, Callable[[Any], None]]) -> None:
        self.callback_group = callback_group
        self._endpoint = endpoint
        self._callbacks = callbacks
        self._wait_handle = endpoint.handle
        mask = 0
        for name in callbacks:
            mask |= int(_STATUS_BITS[name])
        endpoint.watch(mask)

    @staticmethod
    def make(callback_group: Any, endpoint: Any, chosen: dict[str, Callback]) -> EndpointEvents | None:
        callbacks = {name: callback for name, callback in chosen.items() if callback is not None}
        return EndpointEvents(callback_group, endpoint, callbacks) if callbacks else None

    def _take(self) -> Callable[[], None] | None:
        if self._endpoint.is_closed:
            return None
        changed = self._endpoint.status_changes()
        calls = [
            (callback, _event(self._endpoint.status(name)))
            for name, callback in self._callbacks.items()
            if changed & int(_STATUS_BITS[name])
        ]

        def run() -> None:
            for callback, event in calls:
                callback(event)

        return run if calls else None


def _event(status: Any) -> Any:
    """A status with ROS's field names."""
    values = {name: getattr(status, name) for name, _ in status._fields_}
    if "last_policy_id" in values:
        values["last_policy_kind"] = _POLICY_BY_DDS_ID.get(values.pop("last_policy_id"), QoSPolicyKind.INVALID)
    return SimpleNamespace(**values)


__getattr__ = module_getattr(__name__)
