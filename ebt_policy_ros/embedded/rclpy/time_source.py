"""Sim time: a node's clock follows /clock while its parameter use_sim_time is true."""

from __future__ import annotations

import weakref
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rosgraph_msgs.msg import Clock as ClockMessage

from ebt_policy_ros.embedded.unsupported import UnsupportedMember, module_getattr

from ._clock_type import ClockType
from .clock import ROSClock
from .parameter import Parameter
from .qos import QoSProfile, ReliabilityPolicy
from .time import Time

CLOCK_TOPIC = "/clock"
USE_SIM_TIME_NAME = "use_sim_time"


class TimeSource:
    """Declares use_sim_time on the node and subscribes to /clock as long as it is true."""

    attach_node = UnsupportedMember()
    detach_node = UnsupportedMember()
    clock_callback = UnsupportedMember()

    def __init__(self, *, node: Any) -> None:
        self._node = weakref.ref(node)
        self._clocks: list[ROSClock] = []
        self._last = Time(clock_type=ClockType.ROS_TIME)
        self._subscription: Any = None
        if not node.has_parameter(USE_SIM_TIME_NAME):
            node.declare_parameter(USE_SIM_TIME_NAME, False)
        self.attach_clock(node.get_clock())
        self._activate(bool(node.get_parameter(USE_SIM_TIME_NAME).value))
        node.add_on_set_parameters_callback(self._on_parameters)

    @property
    def ros_time_is_active(self) -> bool:
        return self._subscription is not None

    def attach_clock(self, clock: Any) -> None:
        """Makes another clock follow this time source, beginning with the last time that came."""
        if not isinstance(clock, ROSClock):
            raise ValueError("Only clocks with type ROS_TIME can be attached.")
        clock.set_ros_time_override(self._last)
        clock._set_ros_time_is_active(self.ros_time_is_active)
        self._clocks.append(clock)

    def _activate(self, enabled: bool) -> None:
        node = self._node()
        if enabled == self.ros_time_is_active or node is None:
            return
        for clock in self._clocks:
            clock._set_ros_time_is_active(enabled)
        if enabled:
            qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
            self._subscription = node.create_subscription(ClockMessage, CLOCK_TOPIC, self._on_clock, qos)
        else:
            node.destroy_subscription(self._subscription)
            self._subscription = None

    def _on_clock(self, message: Any) -> None:
        self._last = Time.from_msg(message.clock)
        for clock in self._clocks:
            clock.set_ros_time_override(self._last)

    def _on_parameters(self, parameters: list[Parameter]) -> Any:
        for parameter in parameters:
            if parameter.name == USE_SIM_TIME_NAME:
                if parameter.type_ is not Parameter.Type.BOOL:
                    reason = f"{USE_SIM_TIME_NAME} parameter set to something besides a bool"
                    return SetParametersResult(successful=False, reason=reason)
                self._activate(parameter.value)
        return SetParametersResult(successful=True)


__getattr__ = module_getattr(__name__)
