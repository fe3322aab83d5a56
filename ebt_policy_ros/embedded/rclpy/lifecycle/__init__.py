"""Managed nodes under the names of rclpy.lifecycle."""

from ebt_policy_ros.embedded.unsupported import module_getattr

from ._state_machine import LifecycleState
from .managed_entity import ManagedEntity, SimpleManagedEntity, TransitionCallbackReturn
from .node import LifecycleNode, LifecycleNodeMixin
from .publisher import LifecyclePublisher

Node = LifecycleNode
NodeMixin = LifecycleNodeMixin
State = LifecycleState
Publisher = LifecyclePublisher

__all__ = [
    "LifecycleNode",
    "LifecycleNodeMixin",
    "LifecyclePublisher",
    "LifecycleState",
    "ManagedEntity",
    "SimpleManagedEntity",
    "TransitionCallbackReturn",
]

__getattr__ = module_getattr(__name__, ("managed_entity", "node", "publisher"))
