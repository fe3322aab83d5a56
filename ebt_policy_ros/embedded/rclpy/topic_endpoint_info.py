"""What is known about one endpoint of the graph."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from ebt_policy_ros.embedded.unsupported import module_getattr

from .qos import QoSPresetProfiles
from .type_hash import TypeHash


class TopicEndpointTypeEnum(IntEnum):
    """Publisher or subscription."""

    INVALID = 0
    PUBLISHER = 1
    SUBSCRIPTION = 2


class TopicEndpointInfo:
    """Node, type, kind, id and QoS of an endpoint; its text is what `ros2 topic info -v` shows."""

    def __init__(self, **kwargs: Any) -> None:
        self.node_name: str = kwargs.get("node_name", "")
        self.node_namespace: str = kwargs.get("node_namespace", "")
        self.topic_type: str = kwargs.get("topic_type", "")
        self.topic_type_hash: TypeHash = kwargs.get("topic_type_hash", TypeHash())
        self.endpoint_type = TopicEndpointTypeEnum(kwargs.get("endpoint_type", TopicEndpointTypeEnum.INVALID))
        self.endpoint_gid: list[int] = kwargs.get("endpoint_gid", [])
        self.qos_profile: Any = kwargs.get("qos_profile", QoSPresetProfiles.UNKNOWN.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TopicEndpointInfo) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        qos = self.qos_profile
        depth = f" ({qos.depth})" if qos.history.name == "KEEP_LAST" else ""
        lines = {
            "Node name": self.node_name,
            "Node namespace": self.node_namespace,
            "Topic type": self.topic_type,
            "Topic type hash": self.topic_type_hash,
            "Endpoint type": self.endpoint_type.name,
            "GID": ".".join(f"{byte:02x}" for byte in self.endpoint_gid),
            "QoS profile": "",
            "  Reliability": qos.reliability.name,
            "  History (Depth)": f"{qos.history.name}{depth}",
            "  Durability": qos.durability.name,
            "  Lifespan": qos.lifespan,
            "  Deadline": qos.deadline,
            "  Liveliness": qos.liveliness.name,
            "  Liveliness lease duration": qos.liveliness_lease_duration,
        }
        return "\n".join(f"{name}: {value}".rstrip() for name, value in lines.items())


__getattr__ = module_getattr(__name__)
