"""Which callbacks may run at the same time."""

from __future__ import annotations

import weakref
from threading import Lock
from typing import Any

from ebt_policy_ros.embedded.unsupported import module_getattr


class CallbackGroup:
    """Base of the groups; entities are held weakly."""

    def __init__(self) -> None:
        self.entities: set[weakref.ReferenceType[Any]] = set()

    def add_entity(self, entity: Any) -> None:
        self.entities.add(weakref.ref(entity))

    def has_entity(self, entity: Any) -> bool:
        return weakref.ref(entity) in self.entities

    def can_execute(self, entity: Any) -> bool:
        raise NotImplementedError()

    def beginning_execution(self, entity: Any) -> bool:
        raise NotImplementedError()

    def ending_execution(self, entity: Any) -> None:
        raise NotImplementedError()


class ReentrantCallbackGroup(CallbackGroup):
    """Callbacks of this group may run in parallel."""

    def can_execute(self, entity: Any) -> bool:
        return True

    def beginning_execution(self, entity: Any) -> bool:
        return True

    def ending_execution(self, entity: Any) -> None:
        pass


class MutuallyExclusiveCallbackGroup(CallbackGroup):
    """At most one callback of this group runs at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._active_entity: Any = None
        self._lock = Lock()

    def can_execute(self, entity: Any) -> bool:
        with self._lock:
            return self._active_entity is None

    def beginning_execution(self, entity: Any) -> bool:
        with self._lock:
            if self._active_entity is None:
                self._active_entity = entity
                return True
            return False

    def ending_execution(self, entity: Any) -> None:
        with self._lock:
            self._active_entity = None


__getattr__ = module_getattr(__name__)
