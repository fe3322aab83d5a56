"""Publishers."""

from __future__ import annotations

from typing import Any

from ebt_policy_ros.embedded.dds import Writer
from ebt_policy_ros.embedded.message_store import serialize
from ebt_policy_ros.embedded.unsupported import UnsupportedMember, module_getattr

from .duration import Duration
from .exceptions import InvalidHandle, RCLError


class Publisher:
    """Made by Node.create_publisher."""

    handle = UnsupportedMember()

    def __init__(
        self,
        publisher_impl: Writer,
        msg_type: Any,
        topic: str,
        qos_profile: Any,
        event_callbacks: Any,
        callback_group: Any,
    ) -> None:
        self._writer = publisher_impl
        self.msg_type = msg_type
        self.topic = topic
        self.qos_profile = qos_profile
        self.event_handlers: list[Any] = []
        self._event_callbacks = event_callbacks
        self.callback_group = callback_group
        self._context: Any = None

    def publish(self, msg: Any) -> None:
        """Sends a message of the publisher's type, or CDR bytes; RuntimeError after shutdown or destruction."""
        if isinstance(msg, self.msg_type):
            sample: bytes | bytearray = serialize(msg)
        elif isinstance(msg, bytes):
            sample = msg.ljust((len(msg) + 3) & ~3, b"\x00")
        else:
            raise TypeError(f"Expected {self.msg_type}, got {type(msg)}")
        if self._writer.is_closed:
            raise InvalidHandle("cannot use Destroyable because destruction was requested")
        if self._context is not None and not self._context.ok():
            raise RCLError("Failed to publish: publisher's context is invalid")
        self._writer.write(sample)

    def get_subscription_count(self) -> int:
        return 0 if self._writer.is_closed else len(self._writer.matched())

    @property
    def topic_name(self) -> str:
        return self.topic

    def destroy(self) -> None:
        self._writer.close()

    def assert_liveliness(self) -> None:
        self._writer.assert_liveliness()

    def wait_for_all_acked(self, timeout: Duration = Duration(seconds=-1)) -> bool:  # noqa: B008
        return self._writer.wait_for_acks(timeout.nanoseconds)


__getattr__ = module_getattr(__name__)
