"""The part of rclpy that Humble and Jazzy share and that this package's nodes use, over Cyclone DDS.

Imported as `rclpy` through `ebt_policy_ros.embedded.install()`, and only where the real one is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ebt_policy_ros.embedded.unsupported import module_getattr

from .context import Context
from .signals import SignalHandlerOptions, install_signal_handlers, uninstall_signal_handlers
from .utilities import get_default_context, get_rmw_implementation_identifier, ok, try_shutdown
from .utilities import shutdown as _shutdown

if TYPE_CHECKING:
    from .executors import Executor
    from .node import Node
    from .task import Future

_SUBMODULES = (
    "callback_groups client clock constants context duration exceptions executors guard_condition lifecycle logging "
    "node parameter parameter_service publisher qos event_handler qos_event qos_overriding_options serialization "
    "service signals "
    "subscription task time time_source timer topic_endpoint_info type_hash utilities wait_for_message"
)
__all__ = ["create_node", "init", "ok", "shutdown", "spin", "spin_once", "spin_until_future_complete", "try_shutdown"]
__all__ += ["Context", "get_default_context", "get_global_executor", "get_rmw_implementation_identifier"]

_global_executor: list[Executor] = []


def init(
    *,
    args: Sequence[str] | None = None,
    context: Context | None = None,
    domain_id: int | None = None,
    signal_handler_options: SignalHandlerOptions | None = None,
) -> None:
    """Initialises a context; the default one also gets handlers for SIGINT and SIGTERM."""
    context = get_default_context() if context is None else context
    if signal_handler_options is None:
        is_default = context is get_default_context()
        signal_handler_options = SignalHandlerOptions.ALL if is_default else SignalHandlerOptions.NO
    context.init(args, domain_id=domain_id)
    install_signal_handlers(signal_handler_options)


def get_global_executor() -> Executor:
    """The executor of the functions of this module."""
    from .executors import SingleThreadedExecutor

    context = get_default_context()
    if _global_executor and _global_executor[0].context is not context:
        _global_executor.clear()
    if not _global_executor:
        _global_executor.append(SingleThreadedExecutor())

        def reset() -> None:
            while _global_executor:
                _global_executor.pop().shutdown()

        context.on_shutdown(reset)
    return _global_executor[0]


def shutdown(*, context: Context | None = None, uninstall_handlers: bool | None = None) -> None:
    """Ends a context; RuntimeError when it has already ended."""
    is_default = context is None or context is get_default_context()
    _shutdown(context=context)
    if uninstall_handlers or (uninstall_handlers is None and is_default):
        uninstall_signal_handlers()


def create_node(node_name: str, **kwargs: Any) -> Node:
    """A plain node; the arguments are those of Node."""
    from .node import Node

    return Node(node_name, **kwargs)


def spin_once(node: Node, *, executor: Executor | None = None, timeout_sec: float | None = None) -> None:
    """Runs one callback, or waits until `timeout_sec` is over."""
    executor = get_global_executor() if executor is None else executor
    try:
        executor.add_node(node)
        executor.spin_once(timeout_sec=timeout_sec)
    finally:
        executor.remove_node(node)


def spin(node: Node, executor: Executor | None = None) -> None:
    """Runs callbacks until the context ends."""
    executor = get_global_executor() if executor is None else executor
    try:
        executor.add_node(node)
        while executor.context.ok():
            executor.spin_once()
    finally:
        executor.remove_node(node)


def spin_until_future_complete(
    node: Node, future: Future, executor: Executor | None = None, timeout_sec: float | None = None
) -> None:
    """Runs callbacks until `future` is done, `timeout_sec` is over or the context ends."""
    executor = get_global_executor() if executor is None else executor
    was_added = False
    try:
        was_added = executor.add_node(node)
        executor.spin_until_future_complete(future, timeout_sec)
    finally:
        if was_added:
            executor.remove_node(node)


__getattr__ = module_getattr(__name__, tuple(_SUBMODULES.split()))
