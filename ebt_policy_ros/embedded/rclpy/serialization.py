"""Messages as CDR bytes."""

from __future__ import annotations

from typing import Any

from ebt_policy_ros.embedded import message_store
from ebt_policy_ros.embedded.unsupported import module_getattr


def serialize_message(message: Any) -> bytes:
    return bytes(message_store.serialize(message))


def deserialize_message(serialized_message: bytes, message_type: Any) -> Any:
    return message_store.deserialize(serialized_message, message_type._type_name)


__getattr__ = module_getattr(__name__)
