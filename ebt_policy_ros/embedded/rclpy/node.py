"""Nodes."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

from rcl_interfaces.msg import Log, ParameterEvent

from ebt_policy_ros.embedded import console, names
from ebt_policy_ros.embedded.arguments import parse
from ebt_policy_ros.embedded.unsupported import UnsupportedMember, module_getattr

from ._node_entities import NodeEntities
from ._node_graph import NodeGraph, NodeNameNonExistentError  # noqa: F401  # rclpy.node is where users find it
from ._node_parameters import NodeParameters
from .callback_groups import CallbackGroup
from .client import Client
from .clock import Clock, ROSClock
from .exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidServiceNameException,
    InvalidTopicNameException,
    NotInitializedException,
)
from .guard_condition import GuardCondition
from .logging import get_logger
from .parameter import Parameter
from .parameter_service import ParameterService
from .publisher import Publisher
from .qos import DurabilityPolicy, HistoryPolicy, QoSProfile, qos_profile_parameter_events
from .service import Service
from .subscription import Subscription
from .time_source import TimeSource
from .timer import Timer
from .utilities import get_default_context


class Node(NodeEntities, NodeParameters, NodeGraph):
    """A node of the ROS graph; owns its publishers, subscriptions, services, clients, timers and parameters."""

    handle = UnsupportedMember()
    waitables = UnsupportedMember()
    remove_waitable = UnsupportedMember()

    def __init__(
        self,
        node_name: str,
        *,
        context: Any = None,
        cli_args: list[str] | None = None,
        namespace: str | None = None,
        use_global_arguments: bool = True,
        enable_rosout: bool = True,
        start_parameter_services: bool = True,
        parameter_overrides: list[Parameter] | None = None,
        allow_undeclared_parameters: bool = False,
        automatically_declare_parameters_from_overrides: bool = False,
    ) -> None:
        self._context = get_default_context() if context is None else context
        if not self._context.ok():
            raise NotInitializedException("cannot create node")
        self._rcl_executor_reference: Any = None
        self._rcl_init_entities()
        self._rcl_arguments = [parse(cli_args)] if cli_args else []
        if use_global_arguments:
            self._rcl_arguments.append(self._context._arguments)
        self._rcl_set_names(node_name, namespace or "")
        self._rcl_participant = self._context._dds()
        self._rcl_graph = self._context._ros_graph()
        self._rcl_graph.add_node(self._rcl_name, self._rcl_namespace)
        self._logger = get_logger(self._rcl_full_name().strip("/").replace("/", "."))
        self._clock = ROSClock()
        overrides = {
            name: Parameter(name, value=value)
            for arguments in reversed(self._rcl_arguments)
            for name, value in arguments.parameters_for(self._rcl_full_name()).items()
        }
        overrides.update({parameter.name: parameter for parameter in parameter_overrides or ()})
        self._rcl_init_parameters(overrides, allow_undeclared_parameters)
        self._parameter_event_publisher = self.create_publisher(
            ParameterEvent, "/parameter_events", qos_profile_parameter_events
        )
        self._rcl_rosout = self._rcl_make_rosout() if enable_rosout and self._rcl_is_rosout_enabled() else None
        if automatically_declare_parameters_from_overrides:
            self._rcl_declare_overrides()
        self._time_source = TimeSource(node=self)
        if start_parameter_services:
            self._parameter_service = ParameterService(self)

    def _rcl_set_names(self, node_name: str, namespace: str) -> None:
        renamed = next((target for item in self._rcl_arguments if (target := item.first("node", node_name))), None)
        # Every rule but the one that renames knows the node by its new name.
        known_as = renamed or node_name
        moved = next((target for item in self._rcl_arguments if (target := item.first("namespace", known_as))), None)
        if problem := names.node_name_problem(node_name):
            raise InvalidNodeNameException(node_name, *problem)
        namespace = namespace if namespace.startswith("/") else f"/{namespace}"
        if problem := names.namespace_problem(namespace):
            raise InvalidNamespaceException(namespace, *problem)
        self._rcl_name = renamed or node_name
        self._rcl_namespace = moved or namespace
        if problem := names.node_name_problem(self._rcl_name):
            raise InvalidNodeNameException(self._rcl_name, *problem)
        if problem := names.namespace_problem(self._rcl_namespace):
            raise InvalidNamespaceException(self._rcl_namespace, *problem)

    def _rcl_declare_overrides(self) -> None:
        from rcl_interfaces.msg import ParameterDescriptor

        entries = [(name, item.value, ParameterDescriptor()) for name, item in self._parameter_overrides.items()]
        self.declare_parameters("", entries, ignore_override=True)

    def _rcl_is_rosout_enabled(self) -> bool:
        return bool(self._context._arguments.rosout_enabled)  # a switch of the process, not of one node

    def _rcl_make_rosout(self) -> Publisher:
        depth_and_kept = {"history": HistoryPolicy.KEEP_LAST, "depth": 1000}
        qos = QoSProfile(**depth_and_kept, durability=DurabilityPolicy.TRANSIENT_LOCAL, lifespan=_ten_seconds())
        publisher = self.create_publisher(Log, "/rosout", qos)

        def send(stamp_ns: int, severity: Any, name: str, message: str, caller: tuple[str, str, int]) -> None:
            if self._rcl_is_destroyed or not self._context.ok():
                return
            line = Log(level=int(severity), name=name, msg=message, function=caller[0], file=caller[1], line=caller[2])
            line.stamp.sec, line.stamp.nanosec = divmod(stamp_ns, 10**9)
            publisher.publish(line)

        console.add_sink(self._logger.name, send)
        return publisher

    @property
    def publishers(self) -> Iterator[Publisher]:
        yield from self._publishers

    @property
    def subscriptions(self) -> Iterator[Subscription]:
        yield from self._subscriptions

    @property
    def clients(self) -> Iterator[Client]:
        yield from self._clients

    @property
    def services(self) -> Iterator[Service]:
        yield from self._services

    @property
    def timers(self) -> Iterator[Timer]:
        yield from self._timers

    @property
    def guards(self) -> Iterator[GuardCondition]:
        yield from self._guards

    @property
    def executor(self) -> Any:
        return self._rcl_executor_reference() if self._rcl_executor_reference is not None else None

    @executor.setter
    def executor(self, new_executor: Any) -> None:
        current = self.executor
        if current is new_executor:
            return
        if current is not None:
            current.remove_node(self)
        if new_executor is None:
            self._rcl_executor_reference = None
        else:
            self._rcl_executor_reference = weakref.ref(new_executor)
            new_executor.add_node(self)

    def _wake_executor(self) -> None:
        if (executor := self.executor) is not None:
            executor.wake()

    @property
    def context(self) -> Any:
        return self._context

    @property
    def default_callback_group(self) -> CallbackGroup:
        return self._default_callback_group

    def get_name(self) -> str:
        return self._rcl_name

    def get_namespace(self) -> str:
        return self._rcl_namespace

    def get_clock(self) -> Clock:
        return self._clock

    def get_logger(self) -> Any:
        return self._logger

    def _rcl_full_name(self) -> str:
        return f"{self._rcl_namespace.rstrip('/')}/{self._rcl_name}"

    def get_fully_qualified_name(self) -> str:
        return self._rcl_full_name()

    def _rcl_event_stamp(self) -> Any:
        return self._clock.now().to_msg()

    def _rcl_publish_parameter_event(self, event: Any) -> None:
        if self._context.ok():
            self._parameter_event_publisher.publish(event)

    def _rcl_resolve(self, name: str, kind: str, only_expand: bool) -> str:
        if problem := names.name_problem(name):
            error = InvalidTopicNameException if kind == "topic" else InvalidServiceNameException
            raise error(name, *problem)
        full = names.expand(name, self._rcl_name, self._rcl_namespace)
        rules = [rule for arguments in self._rcl_arguments for rule in arguments.remaps]
        return full if only_expand else names.remap(full, kind, rules, self._rcl_name, self._rcl_namespace)

    def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str:
        return self._rcl_resolve(topic, "topic", only_expand)

    def resolve_service_name(self, service: str, *, only_expand: bool = False) -> str:
        return self._rcl_resolve(service, "service", only_expand)

    def destroy_node(self) -> None:
        """Destroys everything the node owns; it leaves the graph."""
        if self._rcl_is_destroyed:
            return
        if (executor := self.executor) is not None:
            executor.remove_node(self)
        console.remove_sink(self._logger.name)
        self._rcl_is_destroyed = True
        for kept in (self._timers, self._guards, self._subscriptions, self._clients, self._services, self._publishers):
            for entity in list(kept):
                self._rcl_remove(kept, entity)
        if self._rcl_graph.remove_node(self._rcl_name, self._rcl_namespace):
            self._context._leave_graph(self._rcl_graph)


def _ten_seconds() -> Any:
    from .duration import Duration

    return Duration(seconds=10)


__getattr__ = module_getattr(__name__)
