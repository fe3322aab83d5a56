"""Quality of service profiles with rclpy's names, defaults and presets (the part that Humble and Jazzy share)."""

from __future__ import annotations

from enum import Enum, EnumMeta, IntEnum
from typing import Any
from warnings import warn

from ebt_policy_ros.embedded.unsupported import UnsupportedMemberError, module_getattr, unsupported

from .duration import Duration


class QoSPolicyKind(IntEnum):
    """Policies by the number they have in events."""

    INVALID = 1 << 0
    DURABILITY = 1 << 1
    DEADLINE = 1 << 2
    LIVELINESS = 1 << 3
    RELIABILITY = 1 << 4
    HISTORY = 1 << 5
    LIFESPAN = 1 << 6
    DEPTH = 1 << 7
    LIVELINESS_LEASE_DURATION = 1 << 8
    AVOID_ROS_NAMESPACE_CONVENTIONS = 1 << 9


def qos_policy_name_from_kind(policy_kind: QoSPolicyKind | int) -> str:
    """Name of a policy kind, as used in logs."""
    return QoSPolicyKind(policy_kind).name


class InvalidQoSProfileException(Exception):
    """A profile lacks history or depth."""

    def __init__(self, *args: Any) -> None:
        super().__init__("Invalid QoSProfile", *args)


class _PolicyMeta(EnumMeta):
    """Names the members that newer releases have and the subset has not."""

    def __getattr__(cls, name: str) -> Any:
        if name == "BEST_AVAILABLE":
            raise UnsupportedMemberError(str(unsupported(f"{cls.__name__}.{name}")))
        raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")


class QoSPolicyEnum(IntEnum, metaclass=_PolicyMeta):
    """Base of the policies; short keys are the lower-case names."""

    @classmethod
    def short_keys(cls) -> list[str]:
        return [key.lower() for key in cls.__members__]

    @classmethod
    def get_from_short_key(cls, name: str) -> int:
        return cls[name.upper()].value

    @property
    def short_key(self) -> str:
        return self.name.lower()


class HistoryPolicy(QoSPolicyEnum):
    """How many samples are kept."""

    SYSTEM_DEFAULT = 0
    KEEP_LAST = 1
    KEEP_ALL = 2
    UNKNOWN = 3


class ReliabilityPolicy(QoSPolicyEnum):
    """Whether lost samples are sent again; a reliable subscription does not hear a best-effort publisher."""

    SYSTEM_DEFAULT = 0
    RELIABLE = 1
    BEST_EFFORT = 2
    UNKNOWN = 3


class DurabilityPolicy(QoSPolicyEnum):
    """Whether late subscriptions get earlier samples."""

    SYSTEM_DEFAULT = 0
    TRANSIENT_LOCAL = 1
    VOLATILE = 2
    UNKNOWN = 3


class LivelinessPolicy(QoSPolicyEnum):
    """Who asserts that a publisher is alive."""

    SYSTEM_DEFAULT = 0
    AUTOMATIC = 1
    MANUAL_BY_TOPIC = 3
    UNKNOWN = 4


QoSHistoryPolicy = HistoryPolicy
QoSReliabilityPolicy = ReliabilityPolicy
QoSDurabilityPolicy = DurabilityPolicy
QoSLivelinessPolicy = LivelinessPolicy

_UNSPECIFIED = Duration()
_DEFAULTS: dict[str, Any] = {
    "depth": 10,
    "reliability": ReliabilityPolicy.RELIABLE,
    "durability": DurabilityPolicy.VOLATILE,
    "lifespan": _UNSPECIFIED,
    "deadline": _UNSPECIFIED,
    "liveliness": LivelinessPolicy.SYSTEM_DEFAULT,
    "liveliness_lease_duration": _UNSPECIFIED,
    "avoid_ros_namespace_conventions": False,
}
_KINDS: dict[str, Any] = {
    "history": HistoryPolicy,
    "depth": int,
    "reliability": ReliabilityPolicy,
    "durability": DurabilityPolicy,
    "lifespan": Duration,
    "deadline": Duration,
    "liveliness": LivelinessPolicy,
    "liveliness_lease_duration": Duration,
    "avoid_ros_namespace_conventions": bool,
}


class QoSProfile:
    """The policies of one endpoint; a zero duration means 'not specified' (infinite)."""

    __slots__ = tuple(f"_{name}" for name in _KINDS)

    history: Any
    depth: Any
    reliability: Any
    durability: Any
    lifespan: Any
    deadline: Any
    liveliness: Any
    liveliness_lease_duration: Any
    avoid_ros_namespace_conventions: Any

    def __init__(self, **kwargs: Any) -> None:
        if any(key not in _KINDS for key in kwargs):
            raise AssertionError(f"Invalid arguments passed to constructor: {kwargs.keys()!r}")
        if "history" not in kwargs:
            if "depth" not in kwargs:
                raise InvalidQoSProfileException("History and/or depth settings are required.")
            kwargs["history"] = HistoryPolicy.KEEP_LAST
        self.history = kwargs["history"]
        if self.history == HistoryPolicy.KEEP_LAST and "depth" not in kwargs:
            raise InvalidQoSProfileException("History set to KEEP_LAST without a depth setting.")
        for name, default in _DEFAULTS.items():
            setattr(self, name, kwargs.get(name, default))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QoSProfile) and all(getattr(self, name) == getattr(other, name) for name in _KINDS)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)}' for name in _KINDS)})"


def _policy_property(name: str, kind: Any) -> property:
    slot = f"_{name}"

    def assign(self: QoSProfile, value: Any) -> None:
        is_enum = issubclass(kind, IntEnum)
        if not isinstance(value, (kind, int) if is_enum else kind):
            raise AssertionError(f"QoS policy {name} must be {kind.__name__}, got {value!r}")
        if name == "depth" and value == 0 and self.history == HistoryPolicy.KEEP_LAST:
            warn(
                "A zero depth with KEEP_LAST doesn't make sense; no data could be stored. "
                "This will be interpreted as SYSTEM_DEFAULT",
                stacklevel=2,
            )
        object.__setattr__(self, slot, kind(value) if is_enum else value)

    return property(lambda self: getattr(self, slot), assign)


for _name, _kind in _KINDS.items():
    setattr(QoSProfile, _name, _policy_property(_name, _kind))


def _profile(history: HistoryPolicy, depth: int, reliability: Any, durability: Any) -> QoSProfile:
    return QoSProfile(history=history, depth=depth, reliability=reliability, durability=durability)


_LAST, _RELIABLE, _VOLATILE = HistoryPolicy.KEEP_LAST, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE
qos_profile_unknown = QoSProfile(
    history=HistoryPolicy.UNKNOWN,
    depth=0,
    reliability=ReliabilityPolicy.UNKNOWN,
    durability=DurabilityPolicy.UNKNOWN,
    liveliness=LivelinessPolicy.UNKNOWN,
)
qos_profile_system_default = _profile(
    HistoryPolicy.SYSTEM_DEFAULT, 0, ReliabilityPolicy.SYSTEM_DEFAULT, DurabilityPolicy.SYSTEM_DEFAULT
)
qos_profile_sensor_data = _profile(_LAST, 5, ReliabilityPolicy.BEST_EFFORT, _VOLATILE)
qos_profile_services_default = _profile(_LAST, 10, _RELIABLE, _VOLATILE)
qos_profile_parameters = _profile(_LAST, 1000, _RELIABLE, _VOLATILE)
qos_profile_parameter_events = _profile(_LAST, 1000, _RELIABLE, _VOLATILE)
qos_profile_action_status_default = _profile(_LAST, 1, _RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)


class QoSPresetProfiles(Enum):
    """The presets by name."""

    UNKNOWN = qos_profile_unknown
    SYSTEM_DEFAULT = qos_profile_system_default
    SENSOR_DATA = qos_profile_sensor_data
    SERVICES_DEFAULT = qos_profile_services_default
    PARAMETERS = qos_profile_parameters
    PARAMETER_EVENTS = qos_profile_parameter_events
    ACTION_STATUS_DEFAULT = qos_profile_action_status_default

    @classmethod
    def short_keys(cls) -> list[str]:
        return [key.lower() for key in cls.__members__]

    @classmethod
    def get_from_short_key(cls, name: str) -> QoSProfile:
        return cls[name.upper()].value


class QoSCompatibility(IntEnum):
    """Whether two endpoints will be connected; WARNING when system defaults leave it open."""

    OK = 0
    WARNING = 1
    ERROR = 2


def qos_check_compatible(publisher_qos: QoSProfile, subscription_qos: QoSProfile) -> tuple[QoSCompatibility, str]:
    """Compatibility of a publisher's offer with a subscription's request, and the reasons against it."""
    from ebt_policy_ros.embedded.qos_mapping import incompatibilities, uncertainties

    errors = incompatibilities(publisher_qos, subscription_qos)
    if errors:
        return QoSCompatibility.ERROR, "".join(f"ERROR: {reason};" for reason in errors)
    warnings = uncertainties(publisher_qos, subscription_qos)
    if warnings:
        return QoSCompatibility.WARNING, "".join(f"WARNING: {reason};" for reason in warnings)
    return QoSCompatibility.OK, ""


__getattr__ = module_getattr(__name__)
