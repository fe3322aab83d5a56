"""What Humble calls ``event_handler``."""

from __future__ import annotations

from ebt_policy_ros.embedded.unsupported import module_getattr

from .event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = ["PublisherEventCallbacks", "SubscriptionEventCallbacks"]
__getattr__ = module_getattr(__name__)
