"""Cyclone DDS types with ROS 2's names, made from rosbags' field definitions; samples are CDR bytes made elsewhere."""

from __future__ import annotations

import threading
from typing import Any

from cyclonedds.idl import IdlStruct, make_idl_struct, types
from rosbags.interfaces import Nodetype

from .message_store import store

_PRIMITIVES: dict[str, Any] = {
    "bool": bool,
    "byte": types.byte,
    "char": types.uint8,
    "int8": types.int8,
    "uint8": types.uint8,
    "int16": types.int16,
    "uint16": types.uint16,
    "int32": types.int32,
    "uint32": types.uint32,
    "int64": types.int64,
    "uint64": types.uint64,
    "float32": types.float32,
    "float64": types.float64,
}
_lock = threading.RLock()
_made: dict[tuple[str, bool], type[IdlStruct]] = {}


def dds_type_name(name: str) -> str:
    """ROS 2's name on the wire: 'std_msgs/msg/Header' -> 'std_msgs::msg::dds_::Header_'."""
    package, kind, short = name.split("/")
    return f"{package}::{kind}::dds_::{short}_"


def dds_type(name: str, *, with_header: bool = False) -> type[IdlStruct]:
    """Cyclone type of a message; `with_header` puts rmw_cyclonedds' 16 bytes of service header before it."""
    with _lock:
        key = (name, with_header)
        if key not in _made:
            fields: dict[str, Any] = {}
            if with_header:
                fields = {"rmw_client_id": types.uint64, "rmw_sequence_number": types.int64}
            for field, desc in store().fielddefs[name][1]:
                fields[field] = _field_type(desc)
            class_name = name.replace("/", "__") + ("__with_header" if with_header else "")
            _made[key] = make_idl_struct(class_name, dds_type_name(name).replace("::", "."), fields)
        return _made[key]


def _field_type(desc: Any) -> Any:
    kind, detail = desc
    if kind == Nodetype.BASE:
        base, limit = detail
        if base == "string":
            return types.bounded_str[limit] if limit else str  # type: ignore[misc]
        return _PRIMITIVES[base]
    if kind == Nodetype.NAME:
        return dds_type(detail)
    element, count = detail
    if kind == Nodetype.ARRAY:
        return types.array[_field_type(element), count]  # type: ignore[misc]
    inner = _field_type(element)
    return types.sequence[inner, count] if count else types.sequence[inner]  # type: ignore[misc]
