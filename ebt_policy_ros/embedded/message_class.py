"""Makes message classes with the attributes, defaults, checks and comparisons of those rosidl generates for Python."""

from __future__ import annotations

import array
import math
from collections import UserList, UserString
from collections.abc import Callable, Sequence, Set
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype

from .definitions import DEFAULTS

_CODES = {
    "int8": "b",
    "uint8": "B",
    "char": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
_PADDING = "structure_needs_at_least_one_member"
_FLOAT32_MAX = 3.402823466e38
Check = Callable[[Any], Any]


def _bounds(kind: str) -> tuple[int, int]:
    bits = int(kind.lstrip("uint"))
    return (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _element_check(kind: str, limit: int) -> Callable[[Any], bool]:
    """True when the value may be assigned to a field of this primitive type, as rosidl's assertions say."""
    if kind == "bool":
        return lambda value: isinstance(value, bool)
    if kind == "byte":
        return lambda value: isinstance(value, (bytes, bytearray)) and len(value) == 1
    if kind == "string":
        return lambda value: isinstance(value, str) and (not limit or len(value) <= limit)
    if kind == "float64":
        return lambda value: isinstance(value, float)
    if kind == "float32":
        return lambda value: isinstance(value, float) and not (abs(value) > _FLOAT32_MAX and not math.isinf(value))
    low, high = _bounds("uint8" if kind == "char" else kind)
    return lambda value: isinstance(value, int) and low <= value <= high


class _Field:
    """One field: its default, its assignment check, and the conversions to and from what rosbags' CDR code handles."""

    def __init__(self, owner: str, name: str, desc: Any, find: Callable[[str], type]) -> None:
        self.name = name
        self.owner = owner
        self.kind = Nodetype(desc[0])
        self.is_padding = name == _PADDING
        self.count = 0
        if self.kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            desc, self.count = desc[1]
        self.message: Any = find(desc[1]) if Nodetype(desc[0]) == Nodetype.NAME else None
        described: tuple[str, int] = (desc[1], 0) if self.message else desc[1]
        self.type, self.limit = described
        self.code = _CODES.get(self.type) if not self.message else None
        self.check_element = (
            (lambda value: isinstance(value, self.message)) if self.message else _element_check(self.type, self.limit)
        )

    @property
    def text(self) -> str:
        """The type as `get_fields_and_field_types()` spells it."""
        names = {"float32": "float", "float64": "double", "bool": "boolean", "byte": "octet", "char": "uint8"}
        base = (
            str(self.type).replace("/msg/", "/").replace("/action/", "/")
            if self.message
            else names.get(self.type, self.type)
        )
        base = f"{base}<{self.limit}>" if self.limit else base
        if self.kind == Nodetype.ARRAY:
            return f"{base}[{self.count}]"
        if self.kind == Nodetype.SEQUENCE:
            return f"sequence<{base}, {self.count}>" if self.count else f"sequence<{base}>"
        return base

    def default(self) -> Callable[[], Any]:
        """What makes the value of a new message."""
        given = DEFAULTS.get(self.owner, {}).get(self.name)
        if given is not None:
            return lambda: given
        if self.kind == Nodetype.SEQUENCE:
            return partial(array.array, self.code) if self.code else list
        element = self._default_element()
        if self.kind == Nodetype.ARRAY:
            if self.code:
                return partial(np.zeros, self.count, dtype=np.dtype(self.code))
            return lambda: [element() for _ in range(self.count)]
        return element

    def _default_element(self) -> Callable[[], Any]:
        if self.message:
            return self.message  # type: ignore[no-any-return]
        simple: dict[str, Any] = {"bool": False, "byte": b"\x00", "string": "", "float32": 0.0, "float64": 0.0}
        value = simple.get(self.type, 0)
        return lambda: value

    def convert(self, value: Any) -> Any:
        """The value as it is stored; AssertionError as rosidl's setters raise it."""
        if self.kind in (Nodetype.BASE, Nodetype.NAME):
            if not self.check_element(value):
                raise AssertionError(
                    f"The '{self.name}' field of {self.owner} must be of type '{self.text}', got {value!r}"
                )
            return value
        if isinstance(value, array.array) and self.code and self.kind == Nodetype.SEQUENCE:
            if value.typecode != self.code:
                self._refuse(value, f"an array.array of type code '{self.code}'")
            self._check_length(value)
            return value
        if isinstance(value, np.ndarray) and self.code and self.kind == Nodetype.ARRAY:
            if value.dtype != np.dtype(self.code) or value.size != self.count:
                self._refuse(value, f"a numpy.ndarray of dtype '{np.dtype(self.code)}' and size {self.count}")
            return value
        if isinstance(value, (bytes, bytearray, memoryview)) and self.code == "B" and self.kind == Nodetype.SEQUENCE:
            return self._from_buffer(value)
        return self._from_elements(value)

    def _from_buffer(self, value: Any) -> Any:
        view = memoryview(value)
        if view.format not in ("B", "b", "c") or not view.contiguous:
            self._refuse(value, "bytes")
        stored = array.array("B")
        stored.frombytes(view)
        self._check_length(stored)
        return stored

    def _from_elements(self, value: Any) -> Any:
        is_sequence = isinstance(value, (Sequence, Set, UserList)) and not isinstance(value, (str, UserString))
        if not is_sequence or not all(map(self.check_element, value)):
            self._refuse(value, f"a set or sequence and each value of type '{self.type}'")
        self._check_length(value)
        if not self.code:
            return value
        if self.kind == Nodetype.ARRAY:
            return np.array(value, dtype=np.dtype(self.code))
        return array.array(self.code, value)

    def _check_length(self, value: Any) -> None:
        if self.kind == Nodetype.ARRAY and len(value) != self.count:
            self._refuse(value, f"of length {self.count}")
        if self.kind == Nodetype.SEQUENCE and self.count and len(value) > self.count:
            self._refuse(value, f"of at most {self.count} elements")

    def _refuse(self, value: Any, expected: str) -> None:
        got = f"{type(value).__module__}.{type(value).__qualname__}"
        raise AssertionError(f"The '{self.name}' field of {self.owner} must be {expected}, got {got} {value!r:.80}")

    def to_cdr(self) -> Check | None:
        """What turns the stored value into the value that rosbags' serialiser takes; None when they are the same."""
        if self.kind in (Nodetype.BASE, Nodetype.NAME):
            return (lambda value: value[0]) if self.type == "byte" else None
        if self.code and self.kind == Nodetype.SEQUENCE:
            dtype = np.dtype(self.code)
            return lambda value: np.frombuffer(value, dtype) if len(value) else np.empty(0, dtype)
        if self.type == "bool" and not self.message:
            return lambda value: np.array(value, dtype=np.bool_)
        if self.type == "byte" and not self.message:
            return lambda value: np.frombuffer(b"".join(value), np.uint8) if len(value) else np.empty(0, np.uint8)
        return np.ascontiguousarray if self.code else None

    def from_cdr(self) -> Check | None:
        """The inverse of `to_cdr`; arrays are copied out of the received sample."""
        if self.kind in (Nodetype.BASE, Nodetype.NAME):
            return (lambda value: bytes((value,))) if self.type == "byte" else None
        if self.code and self.kind == Nodetype.SEQUENCE:
            code = self.code
            return lambda value: _array_of(code, value)
        if self.type == "bool" and not self.message:
            return lambda value: value.tolist()
        if self.type == "byte" and not self.message:
            return lambda value: [bytes((item,)) for item in value]
        return np.array if self.code else None


def _array_of(code: str, values: np.ndarray) -> array.array:  # type: ignore[type-arg]
    stored = array.array(code)
    if len(values):
        stored.frombytes(values.view(np.uint8).data)
    return stored


def make_message_class(name: str, constants: Any, definitions: Any, find: Callable[[str], type]) -> type:
    """Class of interface `name` ('package/msg/Type'); `find` gives the classes of nested messages."""
    fields = [_Field(name, field, desc, find) for field, desc in definitions]
    visible = [field for field in fields if not field.is_padding]
    package, kind, short = name.split("/")
    members: dict[str, Any] = {
        "__slots__": tuple(f"_{field.name}" for field in visible),
        "__module__": f"{package}.{kind}",
        "__doc__": f"Message class '{short}'.",
        "_type_name": name,
        "_fields_and_field_types": {field.name: field.text for field in visible},
        "__hash__": None,
    }
    for label, base, value in constants:
        members[label] = bytes((value,)) if base == "byte" else value
    for field in visible:
        members[field.name] = _property(field)
        members[f"_cdr_{field.name}"] = _cdr_property(field)
    if len(visible) < len(fields):
        members[f"_cdr_{_PADDING}"] = 0
    members.update(_methods(visible))
    made = type(short, (), members)
    made._from_cdr = staticmethod(_reader(made, fields))  # type: ignore[attr-defined]
    return made


def _property(field: _Field) -> property:
    slot, convert = f"_{field.name}", field.convert

    def assign(self: Any, value: Any) -> None:
        setattr(self, slot, convert(value))

    def assign_array(self: Any, value: Any) -> None:
        setattr(self, slot, value if type(value) is kept and value.typecode == code else convert(value))

    kept, code = array.array, field.code
    takes_any_array = code and field.kind == Nodetype.SEQUENCE and not field.count
    return property(attrgetter(slot), assign_array if takes_any_array else assign)


def _cdr_property(field: _Field) -> property:
    slot, to_cdr = f"_{field.name}", field.to_cdr()
    if to_cdr is None:
        return property(attrgetter(slot))
    return property(lambda self: to_cdr(getattr(self, slot)))


def _reader(made: type, fields: list[_Field]) -> Callable[..., Any]:
    setters = [
        None if field.is_padding else (getattr(made, f"_{field.name}").__set__, field.from_cdr()) for field in fields
    ]

    def read(*values: Any) -> Any:
        message: Any = object.__new__(made)
        for setter, value in zip(setters, values, strict=True):
            if setter is not None:
                store, convert = setter
                store(message, value if convert is None else convert(value))
        return message

    return read


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return bool(np.array_equal(left, right))
    return bool(left == right)


def _methods(fields: list[_Field]) -> dict[str, Any]:
    names = tuple(field.name for field in fields)
    defaults = tuple((field.name, f"_{field.name}", field.default()) for field in fields)

    def __init__(self: Any, **kwargs: Any) -> None:
        if not kwargs:
            for _, slot, default in defaults:
                setattr(self, slot, default())
            return
        if not kwargs.keys() <= set(names):
            unknown = ", ".join(sorted(set(kwargs) - set(names)))
            raise AssertionError(f"Invalid arguments passed to constructor: {unknown}")
        for name, slot, default in defaults:
            if name in kwargs:
                setattr(self, name, kwargs[name])
            else:
                setattr(self, slot, default())

    def __eq__(self: Any, other: object) -> bool:
        if not isinstance(other, type(self)):
            return False
        return all(_equal(getattr(self, name), getattr(other, name)) for name in names)

    def __repr__(self: Any) -> str:
        inner = ", ".join(f"{name}={_show(getattr(self, name))}" for name in names)
        return f"{type(self).__module__}.{type(self).__name__}({inner})"

    def get_fields_and_field_types(cls: Any) -> dict[str, str]:
        return dict(cls._fields_and_field_types)

    return {
        "__init__": __init__,
        "__eq__": __eq__,
        "__repr__": __repr__,
        "get_fields_and_field_types": classmethod(get_fields_and_field_types),
    }


def _show(value: Any) -> str:
    return repr(value.tolist()) if isinstance(value, array.array) else repr(value)
