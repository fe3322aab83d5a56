"""Managed nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import State, Transition, TransitionDescription, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState

from ebt_policy_ros.embedded.unsupported import module_getattr

from ..exceptions import RCLError
from ..node import Node
from ..publisher import Publisher
from ..qos import QoSProfile
from ._state_machine import STATES, TRANSITIONS, LifecycleState, LifecycleTransition, StateMachine
from .managed_entity import ManagedEntity, TransitionCallbackReturn
from .publisher import LifecyclePublisher


class LifecycleNodeMixin(ManagedEntity):
    """The managed part of a node; mixed with Node, whose methods it uses."""

    def __init__(self, *, enable_communication_interface: bool = True, callback_group: Any = None) -> None:
        self._callbacks: dict[str, Callable[[LifecycleState], TransitionCallbackReturn]] = {
            "configuring": self.on_configure,
            "cleaningup": self.on_cleanup,
            "shuttingdown": self.on_shutdown,
            "activating": self.on_activate,
            "deactivating": self.on_deactivate,
            "errorprocessing": self.on_error,
        }
        self._managed_entities: set[ManagedEntity] = set()
        self._state_machine = StateMachine()
        node: Any = self
        # rcl publishes events with the default profile: reliable, volatile, the last 10; with or without services.
        self._rcl_transition_event: Publisher = Node.create_publisher(
            node, TransitionEvent, "~/transition_event", QoSProfile(depth=10)
        )
        if enable_communication_interface:
            self._rcl_open_interface(callback_group)

    def _rcl_open_interface(self, group: Any) -> None:
        node: Any = self
        for kind, name, callback in (
            (ChangeState, "change_state", self._rcl_on_change_state),
            (GetState, "get_state", self._rcl_on_get_state),
            (GetAvailableStates, "get_available_states", self._rcl_on_get_available_states),
            (GetAvailableTransitions, "get_available_transitions", self._rcl_on_get_available_transitions),
            (GetAvailableTransitions, "get_transition_graph", self._rcl_on_get_transition_graph),
        ):
            node.create_service(kind, f"~/{name}", callback, callback_group=group)

    def trigger_configure(self) -> TransitionCallbackReturn:
        return self._rcl_change_state(Transition.TRANSITION_CONFIGURE)

    def trigger_cleanup(self) -> TransitionCallbackReturn:
        return self._rcl_change_state(Transition.TRANSITION_CLEANUP)

    def trigger_activate(self) -> TransitionCallbackReturn:
        return self._rcl_change_state(Transition.TRANSITION_ACTIVATE)

    def trigger_deactivate(self) -> TransitionCallbackReturn:
        return self._rcl_change_state(Transition.TRANSITION_DEACTIVATE)

    def trigger_shutdown(self) -> TransitionCallbackReturn:
        arrow = self._state_machine.find(label="shutdown")
        if arrow is None:
            raise RCLError("Shutdown transtion not possible")  # rclpy's spelling
        return self._rcl_change_state(arrow.transition_id)

    def add_managed_entity(self, entity: ManagedEntity) -> None:
        if not isinstance(entity, ManagedEntity):
            raise TypeError("Expected a rclpy.lifecycle.ManagedEntity instance.")
        self._managed_entities.add(entity)

    def _rcl_tell_entities(self, callback_name: str, state: LifecycleState) -> TransitionCallbackReturn:
        for entity in self._managed_entities:
            outcome = getattr(entity, callback_name)(state)
            if not isinstance(outcome, TransitionCallbackReturn):
                raise TypeError(
                    f"{callback_name}() return value of class {type(entity)} should be `TransitionCallbackReturn`.\n"
                    f"Instance of the class that caused the failure: {entity}"
                )
            if outcome != TransitionCallbackReturn.SUCCESS:
                return outcome
        return TransitionCallbackReturn.SUCCESS

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._rcl_tell_entities("on_configure", state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._rcl_tell_entities("on_cleanup", state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._rcl_tell_entities("on_shutdown", state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._rcl_tell_entities("on_activate", state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._rcl_tell_entities("on_deactivate", state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._rcl_tell_entities("on_error", state)

    def create_lifecycle_publisher(self, *args: Any, **kwargs: Any) -> LifecyclePublisher:
        if "publisher_class" in kwargs:
            raise TypeError("create_publisher() got an unexpected keyword argument 'publisher_class'")
        node: Any = self
        publisher = Node.create_publisher(node, *args, **kwargs, publisher_class=LifecyclePublisher)
        assert isinstance(publisher, LifecyclePublisher)
        self._managed_entities.add(publisher)
        return publisher

    def destroy_lifecycle_publisher(self, publisher: LifecyclePublisher) -> bool:
        self._managed_entities.discard(publisher)
        node: Any = self
        return Node.destroy_publisher(node, publisher)

    def _rcl_follow(self, arrow: LifecycleTransition | None, wanted: object) -> None:
        if arrow is None:
            node: Any = self
            state = self._state_machine.current
            node.get_logger().warning(f"No transition matching {wanted} found for current state {state.label}")
            raise RCLError("Failed to trigger lifecycle state machine transition")
        self._state_machine.current = arrow.goal
        if self._rcl_transition_event._context.ok():
            event = TransitionEvent(start_state=_state(arrow.start), goal_state=_state(arrow.goal))
            self._rcl_transition_event.publish(event)

    def _rcl_outcome(self, previous: LifecycleState) -> TransitionCallbackReturn:
        callback = self._callbacks.get(self._state_machine.current.label)
        if callback is None:
            return TransitionCallbackReturn.SUCCESS
        try:
            return callback(previous)
        except Exception as error:  # what user code raises is the transition's error, as in rclpy
            node: Any = self
            name = getattr(callback, "__name__", "callback")
            node.get_logger().error(f"{name} raised {type(error).__name__}: {error}")
            return TransitionCallbackReturn.ERROR

    def _rcl_change_state(self, transition_id: int) -> TransitionCallbackReturn:
        machine = self._state_machine
        previous = machine.current
        self._rcl_follow(machine.find(number=transition_id), transition_id)
        outcome = self._rcl_outcome(previous)
        self._rcl_follow(machine.find(label=outcome.to_label()), outcome)
        if outcome == TransitionCallbackReturn.ERROR:
            handled = self._rcl_outcome(previous)
            self._rcl_follow(machine.find(label=handled.to_label()), handled)
        return outcome

    def _rcl_on_change_state(self, request: Any, response: Any) -> Any:
        number = request.transition.id
        if request.transition.label:
            arrow = self._state_machine.find(label=request.transition.label)
            if arrow is None:
                response.success = False
                return response
            number = arrow.transition_id
        if self._state_machine.find(number=number) is None:
            # Some releases of rclpy let the error end the node here; a refused request is what rclcpp makes of it.
            node: Any = self
            state = self._state_machine.current.label
            node.get_logger().warning(f"No transition matching {number} found for current state {state}")
            response.success = False
            return response
        response.success = self._rcl_change_state(number) == TransitionCallbackReturn.SUCCESS
        return response

    def _rcl_on_get_state(self, request: Any, response: Any) -> Any:
        response.current_state = _state(self._state_machine.current)
        return response

    def _rcl_on_get_available_states(self, request: Any, response: Any) -> Any:
        response.available_states = [_state(state) for state in STATES.values()]
        return response

    def _rcl_on_get_available_transitions(self, request: Any, response: Any) -> Any:
        response.available_transitions = [_description(arrow) for arrow in self._state_machine.available()]
        return response

    def _rcl_on_get_transition_graph(self, request: Any, response: Any) -> Any:
        response.available_transitions = [_description(arrow) for arrow in TRANSITIONS]
        return response


def _state(state: LifecycleState) -> Any:
    return State(id=state.state_id, label=state.label)


def _description(arrow: LifecycleTransition) -> Any:
    return TransitionDescription(
        transition=Transition(id=arrow.transition_id, label=arrow.label),
        start_state=_state(arrow.start),
        goal_state=_state(arrow.goal),
    )


class LifecycleNode(LifecycleNodeMixin, Node):
    """A managed node: unconfigured, inactive, active, finalized."""

    def __init__(self, node_name: str, *, enable_communication_interface: bool = True, **kwargs: Any) -> None:
        Node.__init__(self, node_name, **kwargs)
        LifecycleNodeMixin.__init__(self, enable_communication_interface=enable_communication_interface)


__getattr__ = module_getattr(__name__)
