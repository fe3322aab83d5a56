"""A callback that any thread can ask an executor to run."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from ebt_policy_ros.embedded.unsupported import module_getattr


class GuardCondition:
    """`trigger` makes the executor run `callback` once."""

    def __init__(self, callback: Callable[[], Any] | None, callback_group: Any, context: Any = None) -> None:
        self.callback = callback
        self.callback_group = callback_group
        self._is_triggered = False
        self._node: Any = None

    def trigger(self) -> None:
        self._is_triggered = True
        node = self._node() if self._node is not None else None
        if node is not None:
            node._wake_executor()

    def destroy(self) -> None:
        self._node = None

    def _attach(self, node: Any) -> None:
        self._node = weakref.ref(node)

    def _is_ready(self) -> bool:
        return self._is_triggered

    def _take(self) -> Callable[[], Any] | None:
        if not self._is_triggered:
            return None
        self._is_triggered = False
        return self.callback


__getattr__ = module_getattr(__name__)
