"""The two topics of a service and the header before each sample, as rmw_cyclonedds has them."""

from __future__ import annotations

import struct
import uuid
from typing import Any

from .dds import Participant, Reader, Writer
from .message_store import deserialize, serialize, store
from .names import reply_on_wire, request_on_wire
from .qos_mapping import to_dds, user_data

_HEADER = struct.Struct("<Qq")


def with_header(message: Any, client: int, sequence: int) -> bytearray:
    """CDR of a request or response with client id (uint64) and sequence number (int64) first."""
    body = serialize(message)
    return body[:4] + _HEADER.pack(client, sequence) + body[4:]


def read_body(sample: bytes, kind: Any, *, only_for: int | None = None) -> tuple[int, int, Any]:
    """(client id, sequence number, message); the message is None when it is for another client."""
    order = "<" if sample[1] & 1 else ">"
    client, sequence = struct.unpack_from(order + "Qq", sample, 4)
    if only_for is not None and client != only_for:
        return client, sequence, None
    return client, sequence, deserialize(sample, kind._type_name, offset=20)


class ServiceEndpoints:
    """Request and reply endpoints of one server or client, marked as belonging together."""

    def __init__(self, participant: Participant, srv_type: Any, name: str, profile: Any, *, is_server: bool) -> None:
        request, response = srv_type.Request._type_name, srv_type.Response._type_name
        identity = ".".join(f"{byte:x}" for byte in uuid.uuid4().bytes)
        tag = f"{'serviceid' if is_server else 'clientid'}={identity};"

        def qos(type_name: str, is_writer: bool) -> Any:
            return to_dds(profile, f"{tag}typehash={store().hash_rihs01(type_name)};", is_writer)

        topics = (request_on_wire(name), request), (reply_on_wire(name), response)
        (reading, writing) = topics if is_server else topics[::-1]
        self.reader: Reader = participant.reader(*reading, qos(reading[1], False), with_header=True)
        self.writer: Writer = participant.writer(*writing, qos(writing[1], True), with_header=True)

    def server_is_ready(self) -> bool:
        """Whether one server hears our requests and we hear its replies."""
        if self.writer.is_closed:
            return False
        servers = {_service_id(self.writer.matched_data(handle)) for handle in self.writer.matched()}
        repliers = {_service_id(self.reader.matched_data(handle)) for handle in self.reader.matched()}
        if servers <= {None}:
            return bool(servers and repliers)
        return bool((servers & repliers) - {None})

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


def _service_id(endpoint: Any) -> str | None:
    return user_data(endpoint.qos).get("serviceid") if endpoint is not None else None
