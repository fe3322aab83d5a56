"""Participant, writers, readers and wait sets on Cyclone DDS; samples are CDR bytes.

The C calls that can block (write, wait) release the interpreter lock. Asking whether something is there, and taking it,
keep it: whoever has more to take should not have to queue for the lock behind those who compute.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsPublication, BuiltinTopicDcpsSubscription
from cyclonedds.core import DDSException, InstanceState, ReadCondition, SampleState, ViewState
from cyclonedds.domain import DomainParticipant
from cyclonedds.internal import DDS
from cyclonedds.pub import DataWriter
from cyclonedds.pub import Publisher as DdsPublisher
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import DataReader
from cyclonedds.sub import Subscriber as DdsSubscriber
from cyclonedds.topic import Topic

from .dds_types import dds_type
from .domain import enter_domain, leave_domain

_ANY = SampleState.Any | ViewState.Any | InstanceState.Any
_INFINITE_NS = 2**63 - 1
_library = DDS._dll_handle
_holding = ctypes.PyDLL(None, handle=_library._handle)


def _function(name: str, result: Any, *arguments: Any, library: Any = _library) -> Any:
    function = library[name]  # a function object of our own: attribute access would share the binding's prototypes
    function.restype, function.argtypes = result, arguments
    return function


class _Sample(ctypes.Structure):
    """CDR bytes somewhere in memory: the sample that is written, and a ddsrt_iovec_t."""

    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class _Info(ctypes.Structure):
    """dds_sample_info_t, as far as it is looked at."""

    _fields_ = [("states", ctypes.c_uint32 * 3), ("is_valid", ctypes.c_bool), ("others", ctypes.c_uint64 * 8)]


_entity, _int64 = ctypes.c_int32, ctypes.c_int64
_write = _function("dds_write", _entity, _entity, ctypes.POINTER(_Sample))
_create_waitset = _function("dds_create_waitset", _entity, _entity)
_attach = _function("dds_waitset_attach", _entity, _entity, _entity, ctypes.c_ssize_t)
_detach = _function("dds_waitset_detach", _entity, _entity, _entity)
_waiting = (_entity, ctypes.POINTER(ctypes.c_ssize_t), ctypes.c_size_t, _int64)
_wait = _function("dds_waitset_wait", _entity, *_waiting)
_look = _function("dds_waitset_wait", _entity, *_waiting, library=_holding)
_serdata, _bytes_of = ctypes.c_void_p, ctypes.POINTER(_Sample)
_take = _function(
    "dds_takecdr",
    _entity,
    _entity,
    ctypes.POINTER(_serdata),
    ctypes.c_uint32,
    ctypes.POINTER(_Info),
    ctypes.c_uint32,
    library=_holding,
)
_size_of = _function("ddsi_serdata_size", ctypes.c_uint32, _serdata, library=_holding)
_refer = _function(
    "ddsi_serdata_to_ser_ref",
    _serdata,
    _serdata,
    ctypes.c_size_t,
    ctypes.c_size_t,
    _bytes_of,
    library=_holding,
)
_unrefer = _function("ddsi_serdata_to_ser_unref", None, _serdata, _bytes_of, library=_holding)
_forget = _function("ddsi_serdata_unref", None, _serdata, library=_holding)
_view = ctypes.pythonapi["PyMemoryView_FromMemory"]
_view.restype, _view.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)
_READ_ONLY = 0x100  # PyBUF_READ
_create_guard = _function("dds_create_guardcondition", _entity, _entity)
_set_guard = _function("dds_set_guardcondition", _entity, _entity, ctypes.c_bool)
_take_guard = _function("dds_take_guardcondition", _entity, _entity, ctypes.POINTER(ctypes.c_bool))
_delete = _function("dds_delete", _entity, _entity)
_instance_handle = _function("dds_get_instance_handle", _entity, _entity, ctypes.POINTER(ctypes.c_uint64))
_wait_for_acks = _function("dds_wait_for_acks", _entity, _entity, _int64)
_assert_liveliness = _function("dds_assert_liveliness", _entity, _entity)
_set_status_mask = _function("dds_set_status_mask", _entity, _entity, ctypes.c_uint32)
_status_changes = _function("dds_get_status_changes", _entity, _entity, ctypes.POINTER(ctypes.c_uint32))


def _checked(code: int, action: str, entity: Any = None) -> int:
    """The code of a call; its failure says which action it was, and on whose topic."""
    if code < 0:
        topic = "" if entity is None else f" {entity.topic.name}"
        raise DDSException(code, f"Occurred while trying to {action}{topic}")
    return code


class Participant:
    """One participant on a domain with its topics; everything else is created through it."""

    def __init__(self, number: int, enclave: str = "/") -> None:
        enter_domain(number)
        self._domain = number
        self._participant = DomainParticipant(number, qos=Qos(Policy.Userdata(f"enclave={enclave};".encode())))
        self._publisher = DdsPublisher(self._participant)
        self._subscriber = DdsSubscriber(self._participant)
        self._topics: dict[tuple[str, str, bool], Topic[Any]] = {}
        self._lock = threading.RLock()
        self.is_closed = False
        self.handle: int = self._participant._ref
        self.guid: bytes = self._participant.guid.bytes

    def _topic(self, name: str, type_name: str, with_header: bool) -> Topic[Any]:
        with self._lock:
            key = (name, type_name, with_header)
            if key not in self._topics:
                made = dds_type(type_name, with_header=with_header)
                self._topics[key] = Topic(self._participant, name, made)
            return self._topics[key]

    def writer(self, name: str, type_name: str, qos: Qos, *, with_header: bool = False) -> Writer:
        """Writer of CDR samples of `type_name` ('package/msg/Type') on DDS topic `name`."""
        return Writer(DataWriter(self._publisher, self._topic(name, type_name, with_header), qos=qos))

    def reader(self, name: str, type_name: str, qos: Qos, *, with_header: bool = False) -> Reader:
        """Reader of CDR samples, with a condition for wait sets."""
        return Reader(DataReader(self._subscriber, self._topic(name, type_name, with_header), qos=qos))

    def endpoints(self) -> tuple[list[Any], list[Any]]:
        """All discovered publications and subscriptions of the domain, those of this process included."""
        found = []
        for topic in (BuiltinTopicDcpsPublication, BuiltinTopicDcpsSubscription):
            reader = BuiltinDataReader(self._participant, topic)
            samples = reader.read(100_000)
            found.append([sample for sample in samples if sample.sample_info.valid_data])
            reader.__del__()
        return found[0], found[1]

    def close(self) -> None:
        """Deletes the participant and all that was made through it; waits in its wait sets end."""
        if not self.is_closed:
            self.is_closed = True
            self._participant.__del__()
            leave_domain(self._domain)


T = TypeVar("T")


class _Endpoint:
    def __init__(self, entity: Any) -> None:
        self._dds = entity
        self.handle: int = entity._ref
        self.guid: bytes = entity.guid.bytes
        self.is_closed = False

    def instance_handle(self) -> int:
        value = ctypes.c_uint64()
        _checked(_instance_handle(self.handle, ctypes.byref(value)), "get an instance handle")
        return value.value

    def watch(self, mask: int) -> None:
        """Makes the entity itself trigger wait sets on these statuses."""
        _checked(_set_status_mask(self.handle, mask), "set a status mask")

    def status_changes(self) -> int:
        value = ctypes.c_uint32()
        _checked(_status_changes(self.handle, ctypes.byref(value)), "read status changes")
        return value.value

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._dds.__del__()


class Writer(_Endpoint):
    """Writes CDR samples."""

    def write(self, sample: bytes | bytearray) -> None:
        """Sends one sample (encapsulation header first, length a multiple of 4); may block on a reliable reader."""
        size = len(sample)
        if isinstance(sample, bytes):
            container = _Sample(ctypes.cast(sample, ctypes.c_void_p), size)
        else:
            container = _Sample(ctypes.addressof((ctypes.c_char * size).from_buffer(sample)), size)
        _checked(_write(self.handle, ctypes.byref(container)), "write on", self._dds)

    def matched(self) -> list[int]:
        """Instance handles of the readers that hear this writer."""
        return list(self._dds.get_matched_subscriptions())

    def matched_data(self, handle: int) -> Any:
        return self._dds.get_matched_subscription_data(handle)

    def wait_for_acks(self, timeout_ns: int) -> bool:
        return bool(_wait_for_acks(self.handle, timeout_ns if timeout_ns >= 0 else _INFINITE_NS) == 0)

    def assert_liveliness(self) -> None:
        _checked(_assert_liveliness(self.handle), "assert liveliness")

    def status(self, name: str) -> Any:
        return getattr(self._dds, f"get_{name}_status")()


class Reader(_Endpoint):
    """Takes CDR samples; `condition` triggers a wait set while samples are there."""

    def __init__(self, entity: Any) -> None:
        super().__init__(entity)
        self._condition = ReadCondition(entity, _ANY)
        self.condition: int = self._condition._ref

    def take(self, read: Callable[[memoryview], T]) -> T | None:
        """What ``read`` makes of the oldest sample's bytes, or None when there is none.

        The bytes are the middleware's own and gone afterwards: ``read`` keeps copies (``bytes`` makes one of all).
        """
        data, info, sample = _serdata(), _Info(), _Sample()
        while not self.is_closed:
            if _checked(_take(self.handle, ctypes.byref(data), 1, ctypes.byref(info), _ANY), "take on", self._dds) == 0:
                return None
            try:
                if info.is_valid:
                    size = _size_of(data)
                    reference = _refer(data, 0, size, ctypes.byref(sample))
                    try:
                        return read(_view(sample.data, size, _READ_ONLY))
                    finally:
                        _unrefer(reference, ctypes.byref(sample))
            finally:
                _forget(data)
        return None

    def matched(self) -> list[int]:
        """Instance handles of the writers that this reader hears."""
        return list(self._dds.get_matched_publications())

    def matched_data(self, handle: int) -> Any:
        return self._dds.get_matched_publication_data(handle)

    def status(self, name: str) -> Any:
        return getattr(self._dds, f"get_{name}_status")()

    def close(self) -> None:
        if not self.is_closed:
            self._condition.__del__()
            super().close()


class WaitSet:
    """Blocks until an attached condition triggers or `wake` is called; waiting costs no CPU."""

    def __init__(self, participant: Participant) -> None:
        self.participant = participant
        self._handle = _checked(_create_waitset(participant.handle), "create a wait set")
        self._guard = _checked(_create_guard(participant.handle), "create a guard condition")
        _checked(_attach(self._handle, self._guard, 0), "attach the guard condition")
        self._attached: set[int] = set()
        self._triggered = (ctypes.c_ssize_t * 16)()
        self._lock = threading.RLock()  # a signal handler may wake in the middle of a wake
        self._is_closed = False

    def attach_only(self, handles: set[int]) -> None:
        """Makes `handles` (conditions or watched entities) the ones that are waited for."""
        if handles == self._attached:
            return
        for handle in self._attached - handles:
            _detach(self._handle, handle)  # a deleted condition has detached itself
        kept = self._attached & handles
        for handle in handles - self._attached:
            if _attach(self._handle, handle, handle) >= 0:
                kept.add(handle)
        self._attached = kept
        if len(kept) + 1 > len(self._triggered):
            self._triggered = (ctypes.c_ssize_t * (2 * len(kept)))()

    def wait(self, timeout_ns: int | None) -> set[int]:
        """Handles that triggered; empty after `timeout_ns` (None: no limit) or a wake."""
        limit = _INFINITE_NS if timeout_ns is None else max(0, timeout_ns)
        count = _look(self._handle, self._triggered, len(self._triggered), 0)
        if count == 0 and limit > 0:
            count = _wait(self._handle, self._triggered, len(self._triggered), limit)
        triggered = set(self._triggered[: max(0, min(count, len(self._triggered)))])
        if 0 in triggered:
            triggered.discard(0)
            with self._lock:
                if not self._is_closed:
                    _take_guard(self._guard, ctypes.byref(ctypes.c_bool()))
        return triggered

    def wake(self) -> None:
        """Ends a wait, now or the next one; from any thread."""
        with self._lock:
            if not self._is_closed:
                _set_guard(self._guard, True)

    def close(self) -> None:
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                _delete(self._guard)
                _delete(self._handle)
