"""Service clients."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ebt_policy_ros.embedded.services import ServiceEndpoints, read_body, with_header
from ebt_policy_ros.embedded.unsupported import UnsupportedMember, module_getattr

from .exceptions import InvalidHandle
from .task import Future


class Client:
    """Made by Node.create_client; the answer comes through the executor that spins the node."""

    configure_introspection = UnsupportedMember()
    handle = UnsupportedMember()

    def __init__(
        self,
        context: Any,
        client_impl: ServiceEndpoints,
        srv_type: Any,
        srv_name: str,
        qos_profile: Any,
        callback_group: Any,
    ) -> None:
        self.context = context
        self._endpoints = client_impl
        self.srv_type = srv_type
        self.srv_name = srv_name
        self.qos_profile = qos_profile
        self.callback_group = callback_group
        self._wait_handle = client_impl.reader.condition
        self._client_id = client_impl.writer.instance_handle()
        self._pending: dict[int, Future] = {}
        self._sequence = 0
        self._lock = threading.Lock()
        self._executor: Callable[[], Any] = lambda: None

    def call(self, request: Any) -> Any:
        """Waits for the answer; another thread must spin the node."""
        finished = threading.Event()
        future = self.call_async(request)
        future.add_done_callback(lambda _: finished.set())
        finished.wait()
        if future.exception() is not None:
            raise future.exception()  # type: ignore[misc]
        return future.result()

    def call_async(self, request: Any) -> Future:
        if not isinstance(request, self.srv_type.Request):
            raise TypeError(f"Expected {self.srv_type.Request}, got {type(request)}")
        self._check_usable()
        with self._lock:
            self._sequence += 1
            sequence, future = self._sequence, Future()
            future.add_done_callback(self.remove_pending_request)
            self._pending[sequence] = future
        self._endpoints.writer.write(with_header(request, self._client_id, sequence))
        return future

    def get_pending_request(self, sequence_number: int) -> Future:
        with self._lock:
            return self._pending[sequence_number]

    def remove_pending_request(self, future: Future) -> None:
        with self._lock:
            for sequence, pending in list(self._pending.items()):
                if pending is future:
                    del self._pending[sequence]

    def _check_usable(self) -> None:
        if self._endpoints.writer.is_closed:
            raise InvalidHandle("cannot use Destroyable because destruction was requested")

    def service_is_ready(self) -> bool:
        self._check_usable()
        return self._endpoints.server_is_ready()

    def wait_for_service(self, timeout_sec: float | None = None) -> bool:
        """True as soon as a server is there; False after `timeout_sec` (None or negative: no limit) or shutdown."""
        until = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        while self.context.ok() and not self.service_is_ready():
            left_s = 0.25 if until is None else min(0.25, until - time.monotonic())
            if left_s <= 0:
                break
            time.sleep(min(left_s, 0.02))
        return self.service_is_ready()

    def destroy(self) -> None:
        self._endpoints.close()

    def _take(self) -> Callable[[], Any] | None:
        taken = self._endpoints.reader.take(bytes)
        if taken is None:
            return None
        client, sequence, response = read_body(taken, self.srv_type.Response, only_for=self._client_id)

        def deliver() -> None:
            if client != self._client_id:
                return
            try:
                future = self.get_pending_request(sequence)
            except KeyError:
                return
            future._set_executor(self._executor())
            future.set_result(response)

        return deliver


__getattr__ = module_getattr(__name__)
