"""ROS quality of service on DDS, as rmw_cyclonedds maps it, and the compatibility rules of both."""

from __future__ import annotations

from typing import Any

from cyclonedds.core import Policy
from cyclonedds.qos import Qos
from cyclonedds.util import duration as dds_duration

_INFINITE_NS = dds_duration(infinite=True)
_MAX_NS = 2**63 - 1


def _nanoseconds(span: Any) -> int:
    """A ROS duration in DDS terms: zero (unspecified) and ROS's infinite are DDS's infinite."""
    value = int(span.nanoseconds)
    return _INFINITE_NS if value in (0, _MAX_NS) else value


def to_dds(profile: Any, user_data: str, is_writer: bool) -> Qos:
    """DDS policies of an endpoint; `user_data` carries the type hash and the service's id."""
    keep_all = profile.history.name == "KEEP_ALL"
    depth = max(1, profile.depth)
    history = Policy.History.KeepAll if keep_all else Policy.History.KeepLast(depth)
    policies: list[Any] = [history, Policy.Userdata(user_data.encode())]
    if profile.reliability.name == "BEST_EFFORT":
        policies.append(Policy.Reliability.BestEffort)
    else:
        policies.append(Policy.Reliability.Reliable(_INFINITE_NS))
    if profile.durability.name == "TRANSIENT_LOCAL":
        policies.append(Policy.Durability.TransientLocal)
        policies.append(Policy.DurabilityService(0, history, -1, -1, -1))
    else:
        policies.append(Policy.Durability.Volatile)
    if is_writer:
        policies.append(Policy.WriterDataLifecycle(autodispose=False))
        policies.append(Policy.Lifespan(_nanoseconds(profile.lifespan)))
    policies.append(Policy.Deadline(_nanoseconds(profile.deadline)))
    lease = _nanoseconds(profile.liveliness_lease_duration)
    manual = profile.liveliness.name == "MANUAL_BY_TOPIC"
    policies.append((Policy.Liveliness.ManualByTopic if manual else Policy.Liveliness.Automatic)(lease))
    return Qos(*policies)


def incompatibilities(publisher: Any, subscription: Any) -> list[str]:
    """Reasons why a publisher's offer does not meet a subscription's request; empty when it does."""
    reasons = []
    if publisher.reliability.name == "BEST_EFFORT" and subscription.reliability.name == "RELIABLE":
        reasons.append("Best effort publisher and reliable subscription")
    if publisher.durability.name == "VOLATILE" and subscription.durability.name == "TRANSIENT_LOCAL":
        reasons.append("Volatile publisher and transient local subscription")
    if _nanoseconds(publisher.deadline) > _nanoseconds(subscription.deadline):
        reasons.append("Subscription deadline is less than publisher deadline")
    if publisher.liveliness.name == "AUTOMATIC" and subscription.liveliness.name == "MANUAL_BY_TOPIC":
        reasons.append("Publisher's liveliness is automatic and subscription's is manual by topic")
    if _nanoseconds(publisher.liveliness_lease_duration) > _nanoseconds(subscription.liveliness_lease_duration):
        reasons.append("Subscription liveliness lease duration is less than publisher")
    return reasons


_ORDER = {
    "reliability": ("BEST_EFFORT", "RELIABLE"),
    "durability": ("VOLATILE", "TRANSIENT_LOCAL"),
    "liveliness": ("AUTOMATIC", "MANUAL_BY_TOPIC"),
}
"""Per policy what offers and demands least, and most."""


def uncertainties(publisher: Any, subscription: Any) -> list[str]:
    """Policies left to the system in a way that two endpoints may or may not be compatible."""
    reasons = []
    for policy, (least, most) in _ORDER.items():
        offered, requested = getattr(publisher, policy).name, getattr(subscription, policy).name
        is_offer_open, is_request_open = (name in ("SYSTEM_DEFAULT", "UNKNOWN") for name in (offered, requested))
        if (is_offer_open and (is_request_open or requested == most)) or (offered == least and is_request_open):
            reasons.append(f"Publisher {policy} is {offered} and subscription {policy} is {requested}")
    return reasons


def from_dds(qos: Qos) -> dict[str, Any]:
    """Policy names, depth and nanoseconds of a discovered endpoint, for endpoint queries."""
    history = qos[Policy.History]
    depth = getattr(history, "depth", None)
    reliability, durability = qos[Policy.Reliability], qos[Policy.Durability]
    deadline, liveliness, lifespan = qos[Policy.Deadline], qos[Policy.Liveliness], qos[Policy.Lifespan]
    return {
        "history": "UNKNOWN" if history is None else "KEEP_ALL" if depth is None else "KEEP_LAST",
        "depth": depth or 0,
        "reliability": "BEST_EFFORT" if "BestEffort" in repr(reliability) else "RELIABLE",
        "durability": "TRANSIENT_LOCAL" if "TransientLocal" in repr(durability) else "VOLATILE",
        "deadline_ns": deadline.deadline if deadline else _INFINITE_NS,
        "lifespan_ns": lifespan.lifespan if lifespan else _INFINITE_NS,
        "liveliness": "MANUAL_BY_TOPIC" if "ManualByTopic" in repr(liveliness) else "AUTOMATIC",
        "lease_ns": liveliness.lease_duration if liveliness else _INFINITE_NS,
    }


def user_data(qos: Any) -> dict[str, str]:
    """The `key=value;` entries of an endpoint's USER_DATA: type hash, service id."""
    policy = qos[Policy.Userdata]
    text = policy.data.decode("ascii", "replace") if policy is not None else ""
    return dict(item.split("=", 1) for item in text.split(";") if "=" in item)
