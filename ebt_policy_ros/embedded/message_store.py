"""Message classes that behave as rosidl's, and their CDR: rosbags' type store with our classes in place of its own."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from rosbags.interfaces import Msgdef
from rosbags.serde.cdr import generate_deserialize_cdr, generate_getsize_cdr, generate_serialize_cdr
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from ebt_policy_ros.core.errors import UnsupportedError

from .definitions import ACTIONS, MESSAGES, PACKAGES, SERVICES
from .message_class import make_message_class


def _unused(*_: object) -> Any:
    raise UnsupportedError("ROS 1 serialisation is not part of the embedded middleware")


class MessageStore(Typestore):
    """All known interfaces of ROS 2 Jazzy: field definitions, classes, CDR in both directions, RIHS01 hashes.

    Names are `package/msg/Type` and `package/srv/Type_Request`. Classes are made on first use; thread-safe.
    """

    def __init__(self) -> None:
        super().__init__()
        base = get_typestore(Stores.ROS2_JAZZY)
        self.fielddefs.update(base.fielddefs)
        for name, text in MESSAGES.items():
            self._define(name, text)
        for name, text in SERVICES.items():
            request, _, response = text.partition("---")
            self._define(f"{name}_Request", request)
            self._define(f"{name}_Response", response)
        for name, text in ACTIONS.items():
            self._define_action(name, *text.split("---"))
        self._classes: dict[str, type] = {}
        self._services: dict[str, type] = {}
        self._actions: dict[str, type] = {}
        self._lock = threading.RLock()

    def _define(self, name: str, text: str) -> None:
        ((constants, fields),) = get_types_from_msg(text, name).values()
        empty = [("structure_needs_at_least_one_member", (1, ("uint8", 0)))]
        self.fielddefs[name] = (constants, fields or empty)  # type: ignore[assignment]

    def _define_action(self, name: str, goal: str, result: str, feedback: str) -> None:
        """The goal, result and feedback of an action, and the services and message that carry them."""
        goal_id = "unique_identifier_msgs/UUID goal_id"
        for part, text in {
            "Goal": goal,
            "Result": result,
            "Feedback": feedback,
            "SendGoal_Request": f"{goal_id}\n{name}_Goal goal",
            "SendGoal_Response": "bool accepted\nbuiltin_interfaces/Time stamp",
            "GetResult_Request": goal_id,
            "GetResult_Response": f"int8 status\n{name}_Result result",
            "FeedbackMessage": f"{goal_id}\n{name}_Feedback feedback",
        }.items():
            self._define(f"{name}_{part}", text)

    def message_class(self, name: str) -> type:
        """Class of `package/msg/Type`; KeyError when there is no such interface."""
        with self._lock:
            if name not in self._classes:
                constants, fields = self.fielddefs[name]
                self._classes[name] = make_message_class(name, constants, fields, self.message_class)
            return self._classes[name]

    def service_class(self, name: str) -> type:
        """Class of `package/srv/Type` with `.Request` and `.Response`; KeyError when there is no such interface."""
        with self._lock:
            if name not in self._services:
                package, kind, short = name.split("/")
                members = {
                    "Request": self.message_class(f"{name}_Request"),
                    "Response": self.message_class(f"{name}_Response"),
                    "_service_name": name,
                    "__module__": f"{package}.{kind}",
                }
                self._services[name] = type(short, (), members)
            return self._services[name]

    def action_class(self, name: str) -> type:
        """Class of `package/action/Type` with `.Goal`, `.Result`, `.Feedback`, `.Impl`; KeyError when there is none."""
        with self._lock:
            if name not in self._actions:
                package, kind, short = name.split("/")
                members = {part: self.message_class(f"{name}_{part}") for part in ("Goal", "Result", "Feedback")}
                carriers = {
                    "SendGoalService": self.service_class(f"{name}_SendGoal"),
                    "GetResultService": self.service_class(f"{name}_GetResult"),
                    "CancelGoalService": self.service_class("action_msgs/srv/CancelGoal"),
                    "FeedbackMessage": self.message_class(f"{name}_FeedbackMessage"),
                    "GoalStatusMessage": self.message_class("action_msgs/msg/GoalStatusArray"),
                }
                module = {"__module__": f"{package}.{kind}"}
                impl = type("Impl", (), {**carriers, **module})
                self._actions[name] = type(short, (), {**members, "Impl": impl, "_action_name": name, **module})
            return self._actions[name]

    def interface_class(self, name: str) -> type:
        """Class of `package/msg|srv|action/Type`; KeyError when there is no such interface."""
        kind = name.split("/")[1]
        made: type = {"msg": self.message_class, "srv": self.service_class, "action": self.action_class}[kind](name)
        return made

    def names(self, package: str, kind: str) -> tuple[str, ...]:
        """Short type names of `package` for kind 'msg', 'srv' or 'action', sorted."""
        prefix = f"{package}/{kind}/"
        found = {name.removeprefix(prefix) for name in self.fielddefs if name.startswith(prefix)}
        ends = {"srv": "_Request", "action": "_FeedbackMessage"}
        if kind in ends:
            found = {name.removesuffix(ends[kind]) for name in found if name.endswith(ends[kind])}
        return tuple(sorted(found))

    def get_msgdef(self, typename: str) -> Msgdef[object]:
        """Codec of one type: as rosbags makes it, reading the `_cdr_<field>` side of our classes."""
        if typename not in self.cache:
            with self._lock:
                entries = [(f"_cdr_{name}", desc) for name, desc in self.fielddefs[typename][1]]
                # Sizes are asked of the fields as they are stored: nothing need be converted for its length.
                getsize, size = generate_getsize_cdr(
                    [(f"_{name}", desc) for name, desc in self.fielddefs[typename][1]], self
                )
                self.cache[typename] = Msgdef(
                    typename,
                    entries,
                    self.message_class(typename)._from_cdr,  # type: ignore[attr-defined]
                    size,
                    getsize,
                    generate_serialize_cdr(entries, self, "le"),
                    generate_serialize_cdr(entries, self, "be"),
                    generate_deserialize_cdr(entries, self, "le"),
                    generate_deserialize_cdr(entries, self, "be"),
                    0,
                    _unused,
                    _unused,
                    _unused,
                    _unused,
                    _unused,
                    _unused,
                    _unused,
                )
        return self.cache[typename]


_lock = threading.Lock()
_state = SimpleNamespace(store=None)


def store() -> MessageStore:
    """The process's one message store (made on first use: about 0.1 s)."""
    with _lock:
        if _state.store is None:
            _state.store = MessageStore()
        return _state.store  # type: ignore[no-any-return]


def serialize(message: Any) -> bytearray:
    """CDR with encapsulation header, little or big endian as the machine is; TypeError for another type."""
    name = getattr(type(message), "_type_name", None)
    if name is None:
        raise TypeError(f"expected a message of this process's message classes, got {type(message)!r}")
    definition = store().get_msgdef(name)
    size = 4 + definition.getsize_cdr(0, message, store())
    raw = bytearray((size + 3) & ~3)
    raw[1] = 1
    body = memoryview(raw)[4:]
    definition.serialize_cdr_le(body, 0, message, store())
    return raw


def deserialize(raw: bytes | memoryview, name: str, offset: int = 4) -> Any:
    """Message `name` from CDR bytes with encapsulation header; `offset` is where the body starts (services: 20)."""
    view = memoryview(raw)
    definition = store().get_msgdef(name)
    read = definition.deserialize_cdr_le if view[1] & 1 else definition.deserialize_cdr_be
    message, _ = read(view[offset:], 0, definition.cls, store())
    return message


def is_known_package(package: str) -> bool:
    """Whether `import <package>` can be answered."""
    return package in PACKAGES
