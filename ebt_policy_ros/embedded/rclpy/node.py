"""Nodes."""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from rcl_interfaces.msg import Log, ParameterEvent

from ebt_policy_ros.embedded import console, names
from ebt_policy_ros.embedded.arguments import parse
from ebt_policy_ros.embedded.message_store import store
from ebt_policy_ros.embedded.qos_mapping import to_dds
from ebt_policy_ros.embedded.services import ServiceEndpoints
from ebt_policy_ros.embedded.unsupported import module_getattr, unsupported

from ._node_graph import NodeGraph
from ._node_parameters import NodeParameters
from .callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from .client import Client
from .clock import Clock, ROSClock
from .exceptions import (
    InvalidHandle,
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidServiceNameException,
    InvalidTopicNameException,
    NotInitializedException,
    NoTypeSupportImportedException,
)
from .guard_condition import GuardCondition
from .logging import get_logger
from .parameter import Parameter
from .parameter_service import ParameterService
from .publisher import Publisher
from .qos import DurabilityPolicy, HistoryPolicy, QoSProfile, qos_profile_parameter_events, qos_profile_services_default
from .qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks
from .qos_overriding_options import QoSOverridingOptions, _declare_qos_parameters
from .service import Service
from .subscription import Subscription
from .time_source import TimeSource
from .timer import Rate, Timer
from .utilities import get_default_context


class Node(NodeParameters, NodeGraph):
    """A node of the ROS graph; owns its publishers, subscriptions, services, clients, timers and parameters."""

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
        self._entities_lock = threading.RLock()
        self._publishers: list[Publisher] = []
        self._subscriptions: list[Subscription] = []
        self._clients: list[Client] = []
        self._services: list[Service] = []
        self._timers: list[Timer] = []
        self._guards: list[GuardCondition] = []
        self._events: dict[int, Any] = {}
        self._executor_reference: Any = None
        self._is_destroyed = False
        self._default_callback_group = MutuallyExclusiveCallbackGroup()
        self._rate_group = ReentrantCallbackGroup()
        self._arguments = [parse(cli_args)] if cli_args else []
        if use_global_arguments:
            self._arguments.append(self._context._arguments)
        self._set_names(node_name, namespace or "")
        self._participant = self._context._dds()
        self._graph = self._context._ros_graph()
        self._graph.add_node(self._name, self._namespace)
        self._logger = get_logger(self._full_name().strip("/").replace("/", "."))
        self._clock = ROSClock()
        overrides = {
            name: Parameter(name, value=value)
            for arguments in reversed(self._arguments)
            for name, value in arguments.parameters_for(self._full_name()).items()
        }
        overrides.update({parameter.name: parameter for parameter in parameter_overrides or ()})
        self._init_parameters(overrides, allow_undeclared_parameters)
        self._event_publisher = self.create_publisher(ParameterEvent, "/parameter_events", qos_profile_parameter_events)
        self._rosout = self._make_rosout() if enable_rosout and self._is_rosout_enabled() else None
        if automatically_declare_parameters_from_overrides:
            self._declare_overrides()
        self._time_source = TimeSource(node=self)
        if start_parameter_services:
            self._parameter_service = ParameterService(self)

    def _set_names(self, node_name: str, namespace: str) -> None:
        for arguments in self._arguments:
            renamed = arguments.first("node", node_name)
            if renamed is not None:
                break
        else:
            renamed = None
        moved = next((target for item in self._arguments if (target := item.first("namespace", node_name))), None)
        if problem := names.node_name_problem(node_name):
            raise InvalidNodeNameException(node_name, *problem)
        namespace = namespace if namespace.startswith("/") else f"/{namespace}"
        if problem := names.namespace_problem(namespace):
            raise InvalidNamespaceException(namespace, *problem)
        self._name = renamed or node_name
        self._namespace = moved or namespace
        if problem := names.node_name_problem(self._name):
            raise InvalidNodeNameException(self._name, *problem)
        if problem := names.namespace_problem(self._namespace):
            raise InvalidNamespaceException(self._namespace, *problem)

    def _declare_overrides(self) -> None:
        from rcl_interfaces.msg import ParameterDescriptor

        entries = [(name, item.value, ParameterDescriptor()) for name, item in self._parameter_overrides.items()]
        self.declare_parameters("", entries, ignore_override=True)

    def _is_rosout_enabled(self) -> bool:
        return all(arguments.rosout_enabled for arguments in self._arguments)

    def _make_rosout(self) -> Publisher:
        depth_and_kept = {"history": HistoryPolicy.KEEP_LAST, "depth": 1000}
        qos = QoSProfile(**depth_and_kept, durability=DurabilityPolicy.TRANSIENT_LOCAL, lifespan=_ten_seconds())
        publisher = self.create_publisher(Log, "/rosout", qos)

        def send(stamp_ns: int, severity: Any, name: str, message: str, caller: tuple[str, str, int]) -> None:
            if self._is_destroyed or not self._context.ok():
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
        return self._executor_reference() if self._executor_reference is not None else None

    @executor.setter
    def executor(self, new_executor: Any) -> None:
        current = self.executor
        if current is new_executor:
            return
        if current is not None:
            current.remove_node(self)
        if new_executor is None:
            self._executor_reference = None
        else:
            self._executor_reference = weakref.ref(new_executor)
            new_executor.add_node(self)

    def _wake_executor(self) -> None:
        if (executor := self.executor) is not None:
            executor.wake()

    def _entities(self) -> list[Any]:
        """Everything an executor waits for, in the order in which it is served."""
        with self._entities_lock:
            events = list(self._events.values())
            return [*self._timers, *self._subscriptions, *self._guards, *self._clients, *self._services, *events]

    def _add(self, kept: list[Any], entity: Any) -> None:
        with self._entities_lock:
            kept.append(entity)
        if entity.callback_group is not None:
            entity.callback_group.add_entity(entity)
        if (executor := self.executor) is not None:
            executor._entities_changed()

    def _remove(self, kept: list[Any], entity: Any) -> bool:
        with self._entities_lock:
            if entity not in kept:
                return False
            kept.remove(entity)
            self._events.pop(id(entity), None)
        if (executor := self.executor) is not None:
            executor._entities_changed()
        for name in ("_reader", "_writer"):
            if (endpoint := getattr(entity, name, None)) is not None:
                self._graph.remove_endpoint((self._name, self._namespace), endpoint)
        endpoints = getattr(entity, "_endpoints", None)
        if endpoints is not None:
            self._graph.remove_endpoint((self._name, self._namespace), endpoints.reader)
            self._graph.remove_endpoint((self._name, self._namespace), endpoints.writer)
        entity.destroy()
        return True

    @property
    def context(self) -> Any:
        return self._context

    @property
    def default_callback_group(self) -> CallbackGroup:
        return self._default_callback_group

    def get_name(self) -> str:
        return self._name

    def get_namespace(self) -> str:
        return self._namespace

    def get_clock(self) -> Clock:
        return self._clock

    def get_logger(self) -> Any:
        return self._logger

    def _full_name(self) -> str:
        return f"{self._namespace.rstrip('/')}/{self._name}"

    def get_fully_qualified_name(self) -> str:
        return self._full_name()

    def _event_stamp(self) -> Any:
        return self._clock.now().to_msg()

    def _publish_parameter_event(self, event: Any) -> None:
        if self._context.ok():
            self._event_publisher.publish(event)

    def _resolve(self, name: str, kind: str, only_expand: bool) -> str:
        if problem := names.name_problem(name):
            error = InvalidTopicNameException if kind == "topic" else InvalidServiceNameException
            raise error(name, *problem)
        full = names.expand(name, self._name, self._namespace)
        rules = [rule for arguments in self._arguments for rule in arguments.remaps]
        return full if only_expand else names.remap(full, kind, rules, self._name, self._namespace)

    def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str:
        return self._resolve(topic, "topic", only_expand)

    def resolve_service_name(self, service: str, *, only_expand: bool = False) -> str:
        return self._resolve(service, "service", only_expand)

    def _check_usable(self) -> None:
        if self._is_destroyed:
            raise InvalidHandle("cannot use Destroyable because destruction was requested")

    def _endpoint_qos(self, msg_type: Any, topic: str, given: Any, options: Any, kind: str) -> QoSProfile:
        self._check_usable()
        if not isinstance(getattr(msg_type, "_type_name", None), str):
            raise NoTypeSupportImportedException()
        if not isinstance(given, (QoSProfile, int)) or isinstance(given, bool):
            raise TypeError(f"Expected QoSProfile or int, but received {type(given)!r}")
        if isinstance(given, int) and given < 0:
            raise ValueError("history depth must be greater than or equal to zero")
        profile = QoSProfile(depth=given) if isinstance(given, int) else given
        if options is not None:
            profile = copy.copy(profile)
            _declare_qos_parameters(kind, self, topic, profile, options)
        return profile

    def create_publisher(
        self,
        msg_type: Any,
        topic: str,
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        event_callbacks: PublisherEventCallbacks | None = None,
        qos_overriding_options: QoSOverridingOptions | None = None,
        publisher_class: type[Publisher] = Publisher,
    ) -> Publisher:
        full = self.resolve_topic_name(topic)
        profile = self._endpoint_qos(msg_type, full, qos_profile, qos_overriding_options, "publisher")
        qos = to_dds(profile, _user_data(msg_type), is_writer=True)
        wire = full.lstrip("/") if profile.avoid_ros_namespace_conventions else names.topic_on_wire(full)
        writer = self._participant.writer(wire, msg_type._type_name, qos)
        group = callback_group or self._default_callback_group
        callbacks = event_callbacks or PublisherEventCallbacks()
        publisher = publisher_class(writer, msg_type, full, profile, callbacks, group)
        publisher._context = self._context
        self._graph.add_endpoint((self._name, self._namespace), writer)
        events = callbacks._handler(group, writer, full, self._logger)
        if events is not None:
            self._events[id(publisher)] = events
        self._add(self._publishers, publisher)
        return publisher

    def create_subscription(
        self,
        msg_type: Any,
        topic: str,
        callback: Callable[[Any], Any],
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        event_callbacks: SubscriptionEventCallbacks | None = None,
        qos_overriding_options: QoSOverridingOptions | None = None,
        raw: bool = False,
    ) -> Subscription:
        full = self.resolve_topic_name(topic)
        profile = self._endpoint_qos(msg_type, full, qos_profile, qos_overriding_options, "subscription")
        qos = to_dds(profile, _user_data(msg_type), is_writer=False)
        wire = full.lstrip("/") if profile.avoid_ros_namespace_conventions else names.topic_on_wire(full)
        reader = self._participant.reader(wire, msg_type._type_name, qos)
        group = callback_group or self._default_callback_group
        callbacks = event_callbacks or SubscriptionEventCallbacks()
        subscription = Subscription(reader, msg_type, full, callback, group, profile, raw, callbacks)
        self._graph.add_endpoint((self._name, self._namespace), reader)
        events = callbacks._handler(group, reader, full, self._logger)
        if events is not None:
            self._events[id(subscription)] = events
        self._add(self._subscriptions, subscription)
        return subscription

    def create_client(
        self,
        srv_type: Any,
        srv_name: str,
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Client:
        full, endpoints = self._service_endpoints(srv_type, srv_name, qos_profile, is_server=False)
        group = callback_group or self._default_callback_group
        client = Client(self._context, endpoints, srv_type, full, qos_profile, group)
        reference = weakref.ref(self)
        client._executor = lambda: node.executor if (node := reference()) is not None else None
        self._add(self._clients, client)
        return client

    def create_service(
        self,
        srv_type: Any,
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Service:
        full, endpoints = self._service_endpoints(srv_type, srv_name, qos_profile, is_server=True)
        group = callback_group or self._default_callback_group
        service = Service(endpoints, srv_type, full, callback, group, qos_profile)
        self._add(self._services, service)
        return service

    def _service_endpoints(
        self, srv_type: Any, name: str, profile: QoSProfile, *, is_server: bool
    ) -> tuple[str, ServiceEndpoints]:
        self._check_usable()
        if not isinstance(getattr(srv_type, "_service_name", None), str):
            raise NoTypeSupportImportedException()
        full = self.resolve_service_name(name)
        endpoints = ServiceEndpoints(self._participant, srv_type, full, profile, is_server=is_server)
        for endpoint in (endpoints.reader, endpoints.writer):
            self._graph.add_endpoint((self._name, self._namespace), endpoint)
        return full, endpoints

    def create_timer(
        self,
        timer_period_sec: float,
        callback: Callable[[], Any],
        callback_group: CallbackGroup | None = None,
        clock: Clock | None = None,
    ) -> Timer:
        self._check_usable()
        group = callback_group or self._default_callback_group
        period_ns = int(float(timer_period_sec) * 1e9)
        timer = Timer(callback, group, period_ns, clock or self._clock, context=self._context)
        reference = weakref.WeakMethod(self._wake_executor)
        timer._wake = lambda: wake() if (wake := reference()) is not None else None
        self._add(self._timers, timer)
        return timer

    def create_guard_condition(
        self, callback: Callable[[], Any], callback_group: CallbackGroup | None = None
    ) -> GuardCondition:
        guard = GuardCondition(callback, callback_group or self._default_callback_group, context=self._context)
        guard._attach(self)
        self._add(self._guards, guard)
        return guard

    def create_rate(self, frequency: float, clock: Clock | None = None) -> Rate:
        if frequency <= 0:
            raise ValueError("frequency must be > 0")
        timer = self.create_timer(1.0 / frequency, lambda: None, self._rate_group, clock)
        return Rate(timer, context=self._context)

    def add_waitable(self, waitable: Any) -> None:
        raise unsupported("Node.add_waitable")

    def destroy_publisher(self, publisher: Publisher) -> bool:
        return self._remove(self._publishers, publisher)

    def destroy_subscription(self, subscription: Subscription) -> bool:
        return self._remove(self._subscriptions, subscription)

    def destroy_client(self, client: Client) -> bool:
        return self._remove(self._clients, client)

    def destroy_service(self, service: Service) -> bool:
        return self._remove(self._services, service)

    def destroy_timer(self, timer: Timer) -> bool:
        return self._remove(self._timers, timer)

    def destroy_guard_condition(self, guard: GuardCondition) -> bool:
        return self._remove(self._guards, guard)

    def destroy_rate(self, rate: Rate) -> bool:
        was_known = self.destroy_timer(rate._timer)
        rate.destroy()
        return was_known

    def destroy_node(self) -> None:
        """Destroys everything the node owns; it leaves the graph."""
        if self._is_destroyed:
            return
        if (executor := self.executor) is not None:
            executor.remove_node(self)
        console.remove_sink(self._logger.name)
        self._is_destroyed = True
        for kept in (self._timers, self._guards, self._subscriptions, self._clients, self._services, self._publishers):
            for entity in list(kept):
                self._remove(kept, entity)
        if self._graph.remove_node(self._name, self._namespace):
            self._context._leave_graph(self._graph)


def _user_data(msg_type: Any) -> str:
    return f"typehash={store().hash_rihs01(msg_type._type_name)};"


def _ten_seconds() -> Any:
    from .duration import Duration

    return Duration(seconds=10)


__getattr__ = module_getattr(__name__)
