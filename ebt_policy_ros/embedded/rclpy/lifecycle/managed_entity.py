"""Things that follow their node's lifecycle."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, EnumMeta
from functools import wraps
from typing import Any

from ebt_policy_ros.embedded.unsupported import module_getattr

from ._state_machine import LifecycleState


class _NativeEnum(EnumMeta):
    """The real enumeration is a native one: its members are attributes, and it cannot be subscripted."""

    def __getitem__(cls, name: str) -> Any:
        raise TypeError(f"'{cls.__name__}' is not subscriptable, use getattr")


class TransitionCallbackReturn(Enum, metaclass=_NativeEnum):
    """What a transition callback says of its outcome."""

    SUCCESS = 97
    FAILURE = 98
    ERROR = 99

    def to_label(self) -> str:
        return f"transition_{self.name.lower()}"


class ManagedEntity:
    """Base: every transition succeeds."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS


class SimpleManagedEntity(ManagedEntity):
    """Remembers whether it is active."""

    def __init__(self) -> None:
        self._enabled = False

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._enabled = True
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._enabled = False
        return TransitionCallbackReturn.SUCCESS

    @property
    def is_activated(self) -> bool:
        return self._enabled

    @staticmethod
    def when_enabled(wrapped: Any = None, *, when_not_enabled: Callable[[], None] | None = None) -> Any:
        """Decorator of methods that do nothing while the entity is inactive."""

        def decorate(function: Any) -> Any:
            @wraps(function)
            def only_when_enabled(self: SimpleManagedEntity, *args: Any, **kwargs: Any) -> None:
                if self._enabled:
                    function(self, *args, **kwargs)
                elif when_not_enabled is not None:
                    when_not_enabled()

            return only_when_enabled

        return decorate if wrapped is None else decorate(wrapped)


__getattr__ = module_getattr(__name__)
