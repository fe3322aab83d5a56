"""Publishers that are silent while their node is not active."""

from __future__ import annotations

from typing import Any

from ebt_policy_ros.embedded.unsupported import module_getattr

from ..publisher import Publisher
from .managed_entity import SimpleManagedEntity


class LifecyclePublisher(SimpleManagedEntity, Publisher):
    """Made by create_lifecycle_publisher."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        SimpleManagedEntity.__init__(self)
        Publisher.__init__(self, *args, **kwargs)

    @SimpleManagedEntity.when_enabled
    def publish(self, msg: Any) -> None:
        Publisher.publish(self, msg)


__getattr__ = module_getattr(__name__)
