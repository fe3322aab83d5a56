"""The ROS graph: which nodes own which endpoints, told and heard on `ros_discovery_info`."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import numpy as np
from cyclonedds.core import Policy
from cyclonedds.qos import Qos

from .dds import Participant, Reader, Writer
from .message_store import deserialize, serialize, store
from .names import type_from_wire

_TYPE = "rmw_dds_common/msg/ParticipantEntitiesInfo"
_QOS = Qos(
    Policy.Reliability.Reliable(2**63 - 1),
    Policy.Durability.TransientLocal,
    Policy.DurabilityService(0, Policy.History.KeepLast(1), -1, -1, -1),
    Policy.History.KeepLast(1),
)
_READER_QOS = Qos(Policy.Reliability.Reliable(2**63 - 1), Policy.Durability.TransientLocal, Policy.History.KeepAll)
NodeKey = tuple[str, str]


def _gid(guid: bytes) -> Any:
    return store().message_class("rmw_dds_common/msg/Gid")(data=np.frombuffer(guid, np.uint8).copy())


class Graph:
    """This participant's nodes and their endpoints, published on every change; and everybody's, on request."""

    def __init__(self, participant: Participant) -> None:
        self._participant = participant
        self._lock = threading.RLock()
        self._nodes: dict[NodeKey, tuple[list[bytes], list[bytes]]] = {}
        self._namesakes: Counter[NodeKey] = Counter()  # a process may have several nodes of one name
        user_data = f"typehash={store().hash_rihs01(_TYPE)};".encode()
        self._writer: Writer = participant.writer("ros_discovery_info", _TYPE, _QOS + Qos(Policy.Userdata(user_data)))
        self._reader: Reader = participant.reader(
            "ros_discovery_info", _TYPE, _READER_QOS + Qos(Policy.Userdata(user_data))
        )
        self._heard: dict[bytes, list[Any]] = {}

    def add_node(self, name: str, namespace: str) -> None:
        with self._lock:
            self._nodes.setdefault((name, namespace), ([], []))
            self._namesakes[name, namespace] += 1
            self._publish()

    def remove_node(self, name: str, namespace: str) -> bool:
        """True when that was the last one."""
        with self._lock:
            self._namesakes[name, namespace] -= 1
            if self._namesakes[name, namespace] <= 0:
                self._nodes.pop((name, namespace), None)
            self._publish()
            return not self._nodes

    def add_endpoint(self, node: NodeKey, endpoint: Reader | Writer) -> None:
        with self._lock:
            if node in self._nodes:
                self._nodes[node][isinstance(endpoint, Writer)].append(endpoint.guid)
                self._publish()

    def remove_endpoint(self, node: NodeKey, endpoint: Reader | Writer) -> None:
        with self._lock:
            guids = self._nodes.get(node, ([], []))[isinstance(endpoint, Writer)]
            if endpoint.guid in guids:
                guids.remove(endpoint.guid)
                self._publish()

    def _publish(self) -> None:
        entry = store().message_class("rmw_dds_common/msg/NodeEntitiesInfo")
        nodes = [
            entry(
                node_namespace=namespace,
                node_name=name,
                reader_gid_seq=[_gid(guid) for guid in readers],
                writer_gid_seq=[_gid(guid) for guid in writers],
            )
            for (name, namespace), owned in self._nodes.items()
            for readers, writers in [owned] + [([], [])] * (self._namesakes[name, namespace] - 1)
        ]
        message = store().message_class(_TYPE)(gid=_gid(self._participant.guid), node_entities_info_seq=nodes)
        self._writer.write(serialize(message))

    def _listen(self) -> None:
        while (message := self._reader.take(lambda raw: deserialize(raw, _TYPE))) is not None:
            self._heard[message.gid.data.tobytes()] = message.node_entities_info_seq

    def nodes(self) -> list[tuple[str, str]]:
        """(name, namespace) of every node of a participant that is alive, sorted."""
        with self._lock:
            self._listen()
            alive = {sample.participant_key.bytes for side in self._participant.endpoints() for sample in side}
            alive.add(self._participant.guid)
            found = [
                (node.node_name, node.node_namespace)
                for gid, nodes in self._heard.items()
                if gid in alive
                for node in nodes
            ]
            return sorted(found)

    def owner(self, guid: bytes) -> tuple[str, str]:
        """(name, namespace) of the node that owns an endpoint; ROS's placeholders when nobody says."""
        with self._lock:
            self._listen()
            for nodes in self._heard.values():
                for node in nodes:
                    for gid in [*node.reader_gid_seq, *node.writer_gid_seq]:
                        if gid.data.tobytes() == guid:
                            return node.node_name, node.node_namespace
            return "_NODE_NAME_UNKNOWN_", "_NODE_NAMESPACE_UNKNOWN_"

    def endpoints_of(self, name: str, namespace: str) -> tuple[list[Any], list[Any]] | None:
        """Discovered publications and subscriptions of one node; None when there is no such node."""
        if (name, namespace) not in self.nodes():
            return None
        with self._lock:
            nodes = [node for heard in self._heard.values() for node in heard]
        owned = {
            gid.data.tobytes()
            for node in nodes
            if (node.node_name, node.node_namespace) == (name, namespace)
            for gid in [*node.reader_gid_seq, *node.writer_gid_seq]
        }
        writers, readers = self._participant.endpoints()
        return (
            [sample for sample in writers if sample.key.bytes in owned],
            [sample for sample in readers if sample.key.bytes in owned],
        )

    def topics(self, prefix: str | None = "rt") -> dict[str, set[str]]:
        """ROS topic name -> type names, of all endpoints of the domain; see `topics_of`."""
        writers, readers = self._participant.endpoints()
        return topics_of([*writers, *readers], prefix)


def topics_of(samples: list[Any], prefix: str | None = "rt") -> dict[str, set[str]]:
    """Topic name -> type names; `prefix` chooses topics ('rt'), requests ('rq') or replies ('rr') by their ROS names.

    Without a prefix (None) they are all given as the middleware has them.
    """
    found: dict[str, set[str]] = {}
    for sample in samples:
        if prefix is None:
            found.setdefault(sample.topic_name, set()).add(sample.type_name)
        elif sample.topic_name.startswith(f"{prefix}/"):
            found.setdefault(sample.topic_name[len(prefix) :], set()).add(type_from_wire(sample.type_name))
    return found
