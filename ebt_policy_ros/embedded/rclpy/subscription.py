"""Subscriptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ebt_policy_ros.embedded.dds import Reader
from ebt_policy_ros.embedded.message_store import deserialize
from ebt_policy_ros.embedded.unsupported import UnsupportedMember, module_getattr


class Subscription:
    """Made by Node.create_subscription; the executor takes and decodes, one message a callback."""

    handle = UnsupportedMember()

    def __init__(
        self,
        subscription_impl: Reader,
        msg_type: Any,
        topic: str,
        callback: Callable[[Any], Any],
        callback_group: Any,
        qos_profile: Any,
        raw: bool,
        event_callbacks: Any,
    ) -> None:
        self._reader = subscription_impl
        self.msg_type = msg_type
        self.topic = topic
        self.callback = callback
        self.callback_group = callback_group
        self.qos_profile = qos_profile
        self.raw = raw
        self.event_handlers: list[Any] = []
        self._event_callbacks = event_callbacks
        self._wait_handle = subscription_impl.condition

    @property
    def topic_name(self) -> str:
        return self.topic

    def get_publisher_count(self) -> int:
        return 0 if self._reader.is_closed else len(self._reader.matched())

    def destroy(self) -> None:
        self._reader.close()

    def _take(self) -> Any:
        message = self._reader.take(bytes if self.raw else self._read)
        return None if message is None else _Call(self.callback, message)

    def _read(self, raw: memoryview) -> Any:
        return deserialize(raw, self.msg_type._type_name)


class _Call:
    """A callback with its message; keeps `async def` callbacks recognisable."""

    def __init__(self, callback: Callable[..., Any], *arguments: Any) -> None:
        self.callback = callback
        self.arguments = arguments

    def __call__(self) -> Any:
        return self.callback(*self.arguments)


__getattr__ = module_getattr(__name__)
