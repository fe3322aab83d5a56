"""QoS policies of an endpoint as read-only parameters `qos_overrides.<topic>.<publisher|subscription>.<policy>`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult

from ebt_policy_ros.embedded.unsupported import module_getattr

from . import qos as _qos
from .duration import Duration
from .exceptions import ParameterAlreadyDeclaredException
from .qos import QoSPolicyKind, QoSProfile

QosCallbackResult = SetParametersResult
QosCallbackType = Callable[[QoSProfile], Any]
_ENUMS = {
    QoSPolicyKind.HISTORY: _qos.HistoryPolicy,
    QoSPolicyKind.RELIABILITY: _qos.ReliabilityPolicy,
    QoSPolicyKind.DURABILITY: _qos.DurabilityPolicy,
    QoSPolicyKind.LIVELINESS: _qos.LivelinessPolicy,
}
_DURATIONS = (QoSPolicyKind.LIFESPAN, QoSPolicyKind.DEADLINE, QoSPolicyKind.LIVELINESS_LEASE_DURATION)


class InvalidQosOverridesError(Exception):
    """The validation callback refused the overridden profile."""


class QoSOverridingOptions:
    """Which policies become parameters, and who checks the result."""

    def __init__(
        self,
        policy_kinds: Iterable[QoSPolicyKind],
        *,
        callback: QosCallbackType | None = None,
        entity_id: str | None = None,
    ) -> None:
        self._policy_kinds = policy_kinds
        self._callback = callback
        self._entity_id = entity_id

    @property
    def policy_kinds(self) -> Iterable[QoSPolicyKind]:
        return self._policy_kinds

    @property
    def callback(self) -> QosCallbackType | None:
        return self._callback

    @property
    def entity_id(self) -> str | None:
        return self._entity_id

    @classmethod
    def with_default_policies(
        cls, *, callback: QosCallbackType | None = None, entity_id: str | None = None
    ) -> QoSOverridingOptions:
        kinds = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY)
        return cls(policy_kinds=kinds, callback=callback, entity_id=entity_id)


def _declare_qos_parameters(
    kind: str, node: Any, topic: str, profile: QoSProfile, options: QoSOverridingOptions
) -> None:
    """Declares the parameters and writes their values into `profile`; kind is 'publisher' or 'subscription'."""
    suffix = "" if options.entity_id is None else f"_{options.entity_id}"
    described = f"for {kind} `{topic}` with id `{options.entity_id}`"
    for policy in options.policy_kinds:
        if kind == "subscription" and policy is QoSPolicyKind.LIFESPAN:
            continue
        key = policy.name.lower()
        name = f"qos_overrides.{topic}.{kind}{suffix}.{key}"
        descriptor = ParameterDescriptor(description=f"{key} {described}", read_only=True)
        try:
            parameter = node.declare_parameter(name, _value(profile, policy), descriptor)
        except ParameterAlreadyDeclaredException:
            parameter = node.get_parameter(name)
        setattr(profile, key, _policy(policy, parameter.value))
    if options.callback is not None:
        result = options.callback(profile)
        if not result.successful:
            raise InvalidQosOverridesError(f"Provided QoS overrides {described}, are not valid: {result.reason}")


def _value(profile: QoSProfile, policy: QoSPolicyKind) -> Any:
    value = getattr(profile, policy.name.lower())
    if policy in _ENUMS:
        if value.name == "UNKNOWN":
            raise ValueError("User provided QoS profile is invalid")
        return value.name.lower()
    return value.nanoseconds if policy in _DURATIONS else value


def _policy(policy: QoSPolicyKind, value: Any) -> Any:
    if policy in _ENUMS:
        try:
            return _ENUMS[policy][value.upper()]
        except KeyError:
            raise RuntimeError(f"Unexpected QoS override for policy `{policy.name.lower()}`: `{value}`") from None
    return Duration(nanoseconds=value) if policy in _DURATIONS else value


__getattr__ = module_getattr(__name__)
