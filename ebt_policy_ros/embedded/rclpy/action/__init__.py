"""Actions: goals that take time, over three services and two topics."""

from ebt_policy_ros.embedded.unsupported import module_getattr

from .client import ActionClient
from .server import ActionServer, CancelResponse, GoalResponse

__all__ = ["ActionClient", "ActionServer", "CancelResponse", "GoalResponse"]

__getattr__ = module_getattr(__name__)
