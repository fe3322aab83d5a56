"""Service servers, with rmw_cyclonedds' request header (client id, sequence number)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ebt_policy_ros.embedded.services import ServiceEndpoints, read_body, with_header
from ebt_policy_ros.embedded.unsupported import UnsupportedMember, module_getattr


class Service:
    """Made by Node.create_service; `callback(request, response)` returns the response."""

    configure_introspection = UnsupportedMember()
    handle = UnsupportedMember()

    def __init__(
        self,
        service_impl: ServiceEndpoints,
        srv_type: Any,
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        callback_group: Any,
        qos_profile: Any,
    ) -> None:
        self._endpoints = service_impl
        self.srv_type = srv_type
        self.srv_name = srv_name
        self.callback = callback
        self.callback_group = callback_group
        self.qos_profile = qos_profile
        self._wait_handle = service_impl.reader.condition

    def send_response(self, response: Any, header: Any) -> None:
        if not isinstance(response, self.srv_type.Response):
            raise TypeError(f"Expected {self.srv_type.Response}, got {type(response)}")
        if not self._endpoints.writer.is_closed:
            self._endpoints.writer.write(with_header(response, *header))

    def destroy(self) -> None:
        self._endpoints.close()

    def _take(self) -> Callable[[], Any] | None:
        taken = self._endpoints.reader.take(bytes)
        if taken is None:
            return None
        client, sequence, request = read_body(taken, self.srv_type.Request)

        if inspect.iscoroutinefunction(self.callback):

            async def answer_later() -> None:
                self.send_response(await self.callback(request, self.srv_type.Response()), (client, sequence))

            return answer_later

        def answer() -> None:
            self.send_response(self.callback(request, self.srv_type.Response()), (client, sequence))

        return answer


__getattr__ = module_getattr(__name__)
