"""The questions a node can ask about the graph."""

from __future__ import annotations

from typing import Any

from ebt_policy_ros.embedded import names
from ebt_policy_ros.embedded.qos_mapping import from_dds

from .duration import Duration
from .qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy
from .topic_endpoint_info import TopicEndpointInfo, TopicEndpointTypeEnum


class NodeGraph:
    """Mixin of Node; answers come from what DDS and `ros_discovery_info` have discovered so far."""

    _rcl_graph: Any
    _rcl_participant: Any
    _context: Any

    def get_node_names(self) -> list[str]:
        return [name for name, _ in self._rcl_graph.nodes()]

    def get_node_names_and_namespaces(self) -> list[tuple[str, str]]:
        return list(self._rcl_graph.nodes())

    def get_topic_names_and_types(self, no_demangle: bool = False) -> list[tuple[str, list[str]]]:
        return sorted((name, sorted(types)) for name, types in self._rcl_graph.topics().items())

    def get_service_names_and_types(self) -> list[tuple[str, list[str]]]:
        found = {}
        for name, types in self._rcl_graph.topics("rq").items():
            if name.endswith("Request"):
                found[name.removesuffix("Request")] = sorted(kind.removesuffix("_Request") for kind in types)
        return sorted(found.items())

    def _rcl_of_topic(self, topic_name: str, side: int) -> list[Any]:
        wire = names.topic_on_wire(self.resolve_topic_name(topic_name))  # type: ignore[attr-defined]
        return [sample for sample in self._rcl_participant.endpoints()[side] if sample.topic_name == wire]

    def count_publishers(self, topic_name: str) -> int:
        return len(self._rcl_of_topic(topic_name, 0))

    def count_subscribers(self, topic_name: str) -> int:
        return len(self._rcl_of_topic(topic_name, 1))

    def get_publishers_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[TopicEndpointInfo]:
        return [self._rcl_info(sample, TopicEndpointTypeEnum.PUBLISHER) for sample in self._rcl_of_topic(topic_name, 0)]

    def get_subscriptions_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[TopicEndpointInfo]:
        return [
            self._rcl_info(sample, TopicEndpointTypeEnum.SUBSCRIPTION) for sample in self._rcl_of_topic(topic_name, 1)
        ]

    def _rcl_info(self, sample: Any, kind: TopicEndpointTypeEnum) -> TopicEndpointInfo:
        owner, namespace = self._rcl_graph.owner(sample.key.bytes)
        policies = from_dds(sample.qos)
        profile = QoSProfile(
            history=HistoryPolicy.UNKNOWN,
            depth=0,
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
            topic_type=names.type_from_wire(sample.type_name),
            endpoint_type=kind,
            endpoint_gid=list(sample.key.bytes),
            qos_profile=profile,
        )
