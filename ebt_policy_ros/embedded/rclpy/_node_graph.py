"""The questions a node can ask about the graph."""

from __future__ import annotations

import time
from typing import Any

from ebt_policy_ros.embedded import names
from ebt_policy_ros.embedded.graph import topics_of
from ebt_policy_ros.embedded.qos_mapping import from_dds, user_data

from .duration import Duration
from .exceptions import RCLError
from .qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy
from .topic_endpoint_info import TopicEndpointInfo, TopicEndpointTypeEnum
from .type_hash import TypeHash

NamesAndTypes = list[tuple[str, list[str]]]


class NodeNameNonExistentError(RCLError):
    """No node of that name and namespace is known."""


class NodeGraph:
    """Mixin of Node; answers come from what DDS and `ros_discovery_info` have discovered so far."""

    _rcl_graph: Any
    _rcl_participant: Any
    _context: Any

    def get_node_names(self) -> list[str]:
        return [name for name, _ in self._rcl_graph.nodes()]

    def get_fully_qualified_node_names(self) -> list[str]:
        return [f"{namespace.rstrip('/')}/{name}" for name, namespace in self._rcl_graph.nodes()]

    def get_node_names_and_namespaces(self) -> list[tuple[str, str]]:
        return list(self._rcl_graph.nodes())

    def get_node_names_and_namespaces_with_enclaves(self) -> list[tuple[str, str, str]]:
        """Name, namespace and enclave; without security every enclave is '/'."""
        return [(name, namespace, "/") for name, namespace in self._rcl_graph.nodes()]

    def wait_for_node(self, fully_qualified_node_name: str, timeout: float) -> bool:
        """True as soon as the node is there; False after `timeout` seconds."""
        wanted = f"/{fully_qualified_node_name.lstrip('/')}"
        until = time.monotonic() + timeout
        while wanted not in self.get_fully_qualified_node_names():
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)
        return True

    def get_topic_names_and_types(self, no_demangle: bool = False) -> NamesAndTypes:
        return _sorted(self._rcl_graph.topics(None if no_demangle else "rt"))

    def get_service_names_and_types(self) -> NamesAndTypes:
        return _services(self._rcl_graph.topics("rq"), "Request")

    def _rcl_endpoints_of(self, node_name: str, node_namespace: str) -> tuple[list[Any], list[Any]]:
        found = self._rcl_graph.endpoints_of(node_name, node_namespace)
        if found is None:
            raise NodeNameNonExistentError(
                f"Cannot get information of node '{node_name}' in namespace '{node_namespace}': it does not exist"
            )
        return found  # type: ignore[no-any-return]

    def get_publisher_names_and_types_by_node(
        self, node_name: str, node_namespace: str, no_demangle: bool = False
    ) -> NamesAndTypes:
        writers, _ = self._rcl_endpoints_of(node_name, node_namespace)
        return _sorted(topics_of(writers, None if no_demangle else "rt"))

    def get_subscriber_names_and_types_by_node(
        self, node_name: str, node_namespace: str, no_demangle: bool = False
    ) -> NamesAndTypes:
        _, readers = self._rcl_endpoints_of(node_name, node_namespace)
        return _sorted(topics_of(readers, None if no_demangle else "rt"))

    def get_service_names_and_types_by_node(self, node_name: str, node_namespace: str) -> NamesAndTypes:
        _, readers = self._rcl_endpoints_of(node_name, node_namespace)
        return _services(topics_of(readers, "rq"), "Request")

    def get_client_names_and_types_by_node(self, node_name: str, node_namespace: str) -> NamesAndTypes:
        _, readers = self._rcl_endpoints_of(node_name, node_namespace)
        return _services(topics_of(readers, "rr"), "Reply")

    def _rcl_of_topic(self, topic_name: str, side: int, *, no_mangle: bool = False) -> list[Any]:
        wire = topic_name
        if not no_mangle:
            wire = names.topic_on_wire(self.resolve_topic_name(topic_name))  # type: ignore[attr-defined]
        return self._rcl_on_wire(wire, side)

    def _rcl_on_wire(self, wire: str, side: int) -> list[Any]:
        return [sample for sample in self._rcl_participant.endpoints()[side] if sample.topic_name == wire]

    def count_publishers(self, topic_name: str) -> int:
        return len(self._rcl_of_topic(topic_name, 0))

    def count_subscribers(self, topic_name: str) -> int:
        return len(self._rcl_of_topic(topic_name, 1))

    def count_clients(self, service_name: str) -> int:
        name = self.resolve_service_name(service_name)  # type: ignore[attr-defined]
        return len(self._rcl_on_wire(names.request_on_wire(name), 0))

    def count_services(self, service_name: str) -> int:
        name = self.resolve_service_name(service_name)  # type: ignore[attr-defined]
        return len(self._rcl_on_wire(names.request_on_wire(name), 1))

    def get_publishers_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[TopicEndpointInfo]:
        found = self._rcl_of_topic(topic_name, 0, no_mangle=no_mangle)
        return [self._rcl_info(sample, TopicEndpointTypeEnum.PUBLISHER, no_mangle) for sample in found]

    def get_subscriptions_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[TopicEndpointInfo]:
        found = self._rcl_of_topic(topic_name, 1, no_mangle=no_mangle)
        return [self._rcl_info(sample, TopicEndpointTypeEnum.SUBSCRIPTION, no_mangle) for sample in found]

    def _rcl_info(self, sample: Any, kind: TopicEndpointTypeEnum, no_mangle: bool) -> TopicEndpointInfo:
        owner, namespace = self._rcl_graph.owner(sample.key.bytes)
        policies = from_dds(sample.qos)
        profile = QoSProfile(
            history=HistoryPolicy[policies["history"]],
            depth=policies["depth"],
            reliability=ReliabilityPolicy[policies["reliability"]],
            durability=DurabilityPolicy[policies["durability"]],
            liveliness=LivelinessPolicy[policies["liveliness"]],
            deadline=Duration(nanoseconds=policies["deadline_ns"]),
            lifespan=Duration(nanoseconds=policies["lifespan_ns"]),
            liveliness_lease_duration=Duration(nanoseconds=policies["lease_ns"]),
        )
        return TopicEndpointInfo(
            node_name=owner,
            node_namespace=namespace,
            topic_type=sample.type_name if no_mangle else names.type_from_wire(sample.type_name),
            topic_type_hash=TypeHash.from_user_data(user_data(sample.qos)),
            endpoint_type=kind,
            endpoint_gid=list(sample.key.bytes),
            qos_profile=profile,
        )


def _sorted(topics: dict[str, set[str]]) -> NamesAndTypes:
    return sorted((name, sorted(types)) for name, types in topics.items())


def _services(topics: dict[str, set[str]], suffix: str) -> NamesAndTypes:
    """Services by their request or reply topics, which end in `suffix`."""
    return _sorted(
        {
            name.removesuffix(suffix): {kind.removesuffix("_Request").removesuffix("_Response") for kind in types}
            for name, types in topics.items()
            if name.endswith(suffix)
        }
    )
