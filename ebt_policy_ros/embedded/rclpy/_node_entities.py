"""What a node makes and destroys: publishers, subscriptions, services, clients, timers, guard conditions."""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable
from typing import Any

from ebt_policy_ros.embedded import names
from ebt_policy_ros.embedded.message_store import store
from ebt_policy_ros.embedded.qos_mapping import to_dds
from ebt_policy_ros.embedded.services import ServiceEndpoints
from ebt_policy_ros.embedded.unsupported import unsupported

from .callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from .client import Client
from .clock import Clock
from .event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from .exceptions import InvalidHandle, NoTypeSupportImportedException
from .guard_condition import GuardCondition
from .publisher import Publisher
from .qos import QoSProfile, qos_profile_services_default
from .qos_overriding_options import QoSOverridingOptions, _declare_qos_parameters
from .service import Service
from .subscription import Subscription
from .timer import Rate, Timer


class NodeEntities:
    """Mixin of Node."""

    _rcl_name: str
    _rcl_namespace: str
    _context: Any
    _rcl_participant: Any
    _rcl_graph: Any
    _logger: Any
    _clock: Clock
    executor: Any
    resolve_topic_name: Callable[[str], str]
    resolve_service_name: Callable[[str], str]

    def _rcl_init_entities(self) -> None:
        self._rcl_entities_lock = threading.RLock()
        self._publishers: list[Publisher] = []
        self._subscriptions: list[Subscription] = []
        self._clients: list[Client] = []
        self._services: list[Service] = []
        self._timers: list[Timer] = []
        self._guards: list[GuardCondition] = []
        self._rcl_events: dict[int, Any] = {}
        self._rcl_is_destroyed = False
        self._default_callback_group = MutuallyExclusiveCallbackGroup()
        self._rate_group = ReentrantCallbackGroup()

    def _rcl_entities(self) -> list[Any]:
        """Everything an executor waits for, in the order in which it is served."""
        with self._rcl_entities_lock:
            events = list(self._rcl_events.values())
            return [*self._timers, *self._subscriptions, *self._guards, *self._clients, *self._services, *events]

    def _rcl_add(self, kept: list[Any], entity: Any) -> None:
        with self._rcl_entities_lock:
            kept.append(entity)
        if entity.callback_group is not None:
            entity.callback_group.add_entity(entity)
        if (executor := self.executor) is not None:
            executor._entities_changed()

    def _rcl_remove(self, kept: list[Any], entity: Any) -> bool:
        with self._rcl_entities_lock:
            if entity not in kept:
                return False
            kept.remove(entity)
            self._rcl_events.pop(id(entity), None)
        if (executor := self.executor) is not None:
            executor._entities_changed()
        for name in ("_reader", "_writer"):
            if (endpoint := getattr(entity, name, None)) is not None:
                self._rcl_graph.remove_endpoint((self._rcl_name, self._rcl_namespace), endpoint)
        endpoints = getattr(entity, "_endpoints", None)
        if endpoints is not None:
            self._rcl_graph.remove_endpoint((self._rcl_name, self._rcl_namespace), endpoints.reader)
            self._rcl_graph.remove_endpoint((self._rcl_name, self._rcl_namespace), endpoints.writer)
        entity.destroy()
        return True

    def _rcl_check_usable(self) -> None:
        if self._rcl_is_destroyed:
            raise InvalidHandle("cannot use Destroyable because destruction was requested")

    def _rcl_endpoint_qos(self, msg_type: Any, topic: str, given: Any, options: Any, kind: str) -> QoSProfile:
        self._rcl_check_usable()
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
        profile = self._rcl_endpoint_qos(msg_type, full, qos_profile, qos_overriding_options, "publisher")
        qos = to_dds(profile, _user_data(msg_type), is_writer=True)
        wire = full.lstrip("/") if profile.avoid_ros_namespace_conventions else names.topic_on_wire(full)
        writer = self._rcl_participant.writer(wire, msg_type._type_name, qos)
        group = callback_group or self._default_callback_group
        callbacks = event_callbacks or PublisherEventCallbacks()
        publisher = publisher_class(writer, msg_type, full, profile, callbacks, group)
        publisher._context = self._context
        self._rcl_graph.add_endpoint((self._rcl_name, self._rcl_namespace), writer)
        events = callbacks._handler(group, writer, topic, self._logger)
        if events is not None:
            self._rcl_events[id(publisher)] = events
        self._rcl_add(self._publishers, publisher)
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
        profile = self._rcl_endpoint_qos(msg_type, full, qos_profile, qos_overriding_options, "subscription")
        qos = to_dds(profile, _user_data(msg_type), is_writer=False)
        wire = full.lstrip("/") if profile.avoid_ros_namespace_conventions else names.topic_on_wire(full)
        reader = self._rcl_participant.reader(wire, msg_type._type_name, qos)
        group = callback_group or self._default_callback_group
        callbacks = event_callbacks or SubscriptionEventCallbacks()
        subscription = Subscription(reader, msg_type, full, callback, group, profile, raw, callbacks)
        self._rcl_graph.add_endpoint((self._rcl_name, self._rcl_namespace), reader)
        events = callbacks._handler(group, reader, topic, self._logger)
        if events is not None:
            self._rcl_events[id(subscription)] = events
        self._rcl_add(self._subscriptions, subscription)
        return subscription

    def create_client(
        self,
        srv_type: Any,
        srv_name: str,
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Client:
        full, endpoints = self._rcl_service_endpoints(srv_type, srv_name, qos_profile, is_server=False)
        group = callback_group or self._default_callback_group
        client = Client(self._context, endpoints, srv_type, full, qos_profile, group)
        reference = weakref.ref(self)
        client._executor = lambda: node.executor if (node := reference()) is not None else None
        self._rcl_add(self._clients, client)
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
        full, endpoints = self._rcl_service_endpoints(srv_type, srv_name, qos_profile, is_server=True)
        group = callback_group or self._default_callback_group
        service = Service(endpoints, srv_type, full, callback, group, qos_profile)
        self._rcl_add(self._services, service)
        return service

    def _rcl_service_endpoints(
        self, srv_type: Any, name: str, profile: QoSProfile, *, is_server: bool
    ) -> tuple[str, ServiceEndpoints]:
        self._rcl_check_usable()
        if not isinstance(getattr(srv_type, "_service_name", None), str):
            raise NoTypeSupportImportedException()
        full = self.resolve_service_name(name)
        endpoints = ServiceEndpoints(self._rcl_participant, srv_type, full, profile, is_server=is_server)
        for endpoint in (endpoints.reader, endpoints.writer):
            self._rcl_graph.add_endpoint((self._rcl_name, self._rcl_namespace), endpoint)
        return full, endpoints

    def create_timer(
        self,
        timer_period_sec: float,
        callback: Callable[[], Any],
        callback_group: CallbackGroup | None = None,
        clock: Clock | None = None,
    ) -> Timer:
        self._rcl_check_usable()
        group = callback_group or self._default_callback_group
        period_ns = int(float(timer_period_sec) * 1e9)
        timer = Timer(callback, group, period_ns, clock or self._clock, context=self._context)
        reference = weakref.WeakMethod(self._wake_executor)
        timer._wake = lambda: wake() if (wake := reference()) is not None else None
        self._rcl_add(self._timers, timer)
        return timer

    def create_guard_condition(
        self, callback: Callable[[], Any], callback_group: CallbackGroup | None = None
    ) -> GuardCondition:
        guard = GuardCondition(callback, callback_group or self._default_callback_group, context=self._context)
        guard._attach(self)
        self._rcl_add(self._guards, guard)
        return guard

    def create_rate(self, frequency: float, clock: Clock | None = None) -> Rate:
        if frequency <= 0:
            raise ValueError("frequency must be > 0")
        timer = self.create_timer(1.0 / frequency, lambda: None, self._rate_group, clock)
        return Rate(timer, context=self._context)

    def add_waitable(self, waitable: Any) -> None:
        raise unsupported("Node.add_waitable")

    def destroy_publisher(self, publisher: Publisher) -> bool:
        return self._rcl_remove(self._publishers, publisher)

    def destroy_subscription(self, subscription: Subscription) -> bool:
        return self._rcl_remove(self._subscriptions, subscription)

    def destroy_client(self, client: Client) -> bool:
        return self._rcl_remove(self._clients, client)

    def destroy_service(self, service: Service) -> bool:
        return self._rcl_remove(self._services, service)

    def destroy_timer(self, timer: Timer) -> bool:
        return self._rcl_remove(self._timers, timer)

    def destroy_guard_condition(self, guard: GuardCondition) -> bool:
        return self._rcl_remove(self._guards, guard)

    def destroy_rate(self, rate: Rate) -> bool:
        was_known = self.destroy_timer(rate._timer)
        rate.destroy()
        return was_known


def _user_data(msg_type: Any) -> str:
    return f"typehash={store().hash_rihs01(msg_type._type_name)};"
