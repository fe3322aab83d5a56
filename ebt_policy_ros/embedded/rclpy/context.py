"""One initialisation of ROS: arguments, domain, participant, shutdown callbacks."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from inspect import ismethod
from typing import Any

from ebt_policy_ros.embedded import console
from ebt_policy_ros.embedded.arguments import Arguments, parse
from ebt_policy_ros.embedded.dds import Participant
from ebt_policy_ros.embedded.domain import domain_id as domain_from_environment
from ebt_policy_ros.embedded.graph import Graph
from ebt_policy_ros.embedded.unsupported import module_getattr

from .exceptions import RCLError

_contexts: weakref.WeakSet[Context] = weakref.WeakSet()


class Context:
    """Init once, shut down once; also a context manager."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._callbacks: list[Any] = []
        self._wakers: list[Callable[[], None]] = []
        self._is_ok = False
        self._domain: int | None = None
        self._arguments = Arguments()
        self._participant: Participant | None = None
        self._graph: Graph | None = None
        _contexts.add(self)

    def init(
        self, args: Sequence[str] | None = None, *, initialize_logging: bool = True, domain_id: int | None = None
    ) -> None:
        with self._lock:
            if domain_id is not None and domain_id < 0:
                raise RuntimeError(f"Domain id ({domain_id}) should not be lower than zero.")
            if self._domain is not None:
                raise RuntimeError("Context.init() must only be called once")
            self._arguments = parse(sys.argv if args is None else args)
            self._domain = domain_from_environment(os.environ) if domain_id is None else domain_id
            self._is_ok = True
            if initialize_logging:
                console.configure(self._arguments)

    def ok(self) -> bool:
        return self._is_ok

    def get_domain_id(self) -> int:
        if self._domain is None:
            raise RuntimeError("Context must be initialized before it can have a domain id")
        return self._domain

    def on_shutdown(self, callback: Callable[[], None]) -> None:
        if not callable(callback):
            raise TypeError(f"callback should be a callable, got {type(callback)}")
        with self._lock:
            if self._is_ok or self._domain is None:
                self._callbacks.append(weakref.WeakMethod(callback) if ismethod(callback) else callback)
                return
        callback()

    def shutdown(self) -> None:
        if not self._end():
            raise RCLError("failed to shutdown: rcl_shutdown already called on the given context")

    def try_shutdown(self) -> None:
        self._end()

    def _end(self) -> bool:
        with self._lock:
            was_ok = self._is_ok
            self._interrupt()
            callbacks, self._callbacks = (self._callbacks, []) if was_ok else ([], [])
        for callback in callbacks:
            function = callback() if isinstance(callback, weakref.WeakMethod) else callback
            if function is not None:
                function()
        return was_ok

    def _interrupt(self) -> None:
        """Ends the context and wakes what waits on it; as with rclpy, a signal does only this much."""
        self._is_ok = False
        for wake in list(self._wakers):
            wake()

    def __enter__(self) -> Context:
        self.init()
        return self

    def __exit__(self, *_: object) -> None:
        self.try_shutdown()

    def _dds(self) -> Participant:
        """The participant; made with the first node."""
        with self._lock:
            if self._participant is None:
                self._participant = Participant(self.get_domain_id())
                self._graph = Graph(self._participant)
            return self._participant

    def _ros_graph(self) -> Graph:
        self._dds()
        assert self._graph is not None
        return self._graph

    def _leave_graph(self, graph: Graph) -> None:
        """The last node is gone: so is the participant, as with rmw_cyclonedds; the next node makes another."""
        with self._lock:
            if self._participant is not None and self._graph is graph:
                self._participant.close()
                self._participant = self._graph = None

    def _close(self) -> None:
        self._is_ok = False
        if self._graph is not None:
            self._leave_graph(self._graph)


def _shutdown_all() -> None:
    """What a signal does: every context ends, every executor wakes."""
    for context in list(_contexts):
        if context.ok():
            context._interrupt()


@atexit.register
def _leave() -> None:
    """Says goodbye on the network, so that peers need not wait for a lease to run out."""
    for context in list(_contexts):
        context._close()


__getattr__ = module_getattr(__name__)
