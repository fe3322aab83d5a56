"""The default context, and the command line without its ROS arguments."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

from ebt_policy_ros.embedded.arguments import parse
from ebt_policy_ros.embedded.unsupported import module_getattr

from .constants import S_TO_NS
from .context import Context

_lock = threading.RLock()
_default: list[Context] = []


def get_default_context(*, shutting_down: bool = False) -> Context:
    """The process's default context; a new one after it was shut down."""
    with _lock:
        if not _default:
            _default.append(Context())
        return _default.pop() if shutting_down else _default[0]


def remove_ros_args(args: Sequence[str] | None = None) -> list[str]:
    return parse(sys.argv if args is None else args).others


def ok(*, context: Any = None) -> bool:
    return (get_default_context() if context is None else context).ok()  # type: ignore[no-any-return]


def shutdown(*, context: Any = None) -> None:
    (get_default_context(shutting_down=True) if context is None else context).shutdown()


def try_shutdown(*, context: Any = None) -> None:
    if context is not None:
        context.try_shutdown()
        return
    with _lock:
        default = get_default_context()
        default.try_shutdown()
        if not default.ok():
            _default.clear()


def get_rmw_implementation_identifier() -> str:
    return "rmw_cyclonedds_cpp"


def timeout_sec_to_nsec(timeout_sec: float | None) -> int:
    """Nanoseconds to wait; -1 for ever (None or negative)."""
    return -1 if timeout_sec is None or timeout_sec < 0 else int(float(timeout_sec) * S_TO_NS)


__getattr__ = module_getattr(__name__)
