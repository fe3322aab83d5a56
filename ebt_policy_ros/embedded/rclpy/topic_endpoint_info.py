"""What is known about one endpoint of the graph."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from ebt_policy_ros.embedded.unsupported import module_getattr


class TopicEndpointTypeEnum(IntEnum):
    """Publisher or subscription."""

    INVALID = 0
    PUBLISHER = 1
    SUBSCRIPTION = 2


class TopicEndpointInfo:
    """Node, type, kind, id and QoS of an endpoint."""

    def __init__(self, **kwargs: Any) -> None:
        self.node_name: str = kwargs.get("node_name", "")
        self.node_namespace: str = kwargs.get("node_namespace", "")
        self.topic_type: str = kwargs.get("topic_type", "")
        self.endpoint_type = TopicEndpointTypeEnum(kwargs.get("endpoint_type", TopicEndpointTypeEnum.INVALID))
        self.endpoint_gid: list[int] = kwargs.get("endpoint_gid", [])
        self.qos_profile: Any = kwargs.get("qos_profile")


__getattr__ = module_getattr(__name__)
