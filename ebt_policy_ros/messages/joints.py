"""sensor_msgs JointState <-> arrays, by joint name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebt_policy_ros.core.errors import MessageError
from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.messages.stamps import read_stamp_ns, set_stamp_ns


@dataclass(frozen=True, slots=True, eq=False)
class JointReading:
    """The wanted joints of one JointState, in the wanted order."""

    stamp_ns: int
    names: tuple[str, ...]
    positions: Floats
    """(D,) [rad or m], finite."""
    velocities: Floats | None
    """(D,) [rad/s or m/s], finite; None when the message has none (or the driver fills them with NaN)."""


def read_joint_state(message: Any, joint_names: Sequence[str]) -> JointReading:
    """The joints ``joint_names`` of a JointState, whatever its order; other joints are ignored.

    Raises MessageError when a wanted joint is missing or doubled, its position is not finite, or names and positions
    have different lengths.
    """
    stamp_ns = read_stamp_ns(message)
    names = _names(message)
    positions = _numbers(message, "position")
    if len(positions) != len(names):
        raise MessageError(f"joint state: {len(names)} names but {len(positions)} positions")
    where = _places(tuple(names), tuple(joint_names))
    wanted_positions = positions[where]
    if not np.isfinite(wanted_positions).all():
        bad = int(np.argmin(np.isfinite(wanted_positions)))
        raise MessageError(f"joint state: position of '{joint_names[bad]}' is {wanted_positions[bad]}")
    velocities = _numbers(message, "velocity")
    wanted_velocities = None
    if len(velocities) == len(names) and np.isfinite(velocities[where]).all():
        wanted_velocities = velocities[where]
    elif len(velocities) not in (0, len(names)):
        raise MessageError(f"joint state: {len(names)} names but {len(velocities)} velocities")
    return JointReading(stamp_ns, tuple(joint_names), wanted_positions, wanted_velocities)


def joint_state_message(
    message_class: Callable[[], Any], stamp_ns: int, names: Sequence[str], positions: Floats, velocities: Floats
) -> Any:
    """A JointState of ``message_class``; (D,) positions [rad or m] and velocities [rad/s or m/s]."""
    message = message_class()
    set_stamp_ns(message.header.stamp, stamp_ns)
    message.name = list(names)
    message.position = [float(value) for value in positions]
    message.velocity = [float(value) for value in velocities]
    return message


def _names(message: Any) -> list[str]:
    try:
        names = list(message.name)
    except (AttributeError, TypeError) as error:
        raise MessageError(f"expected a sensor_msgs JointState, got {type(message).__name__}") from error
    if not names:
        raise MessageError("joint state: it names no joint")
    return [str(name) for name in names]


def _numbers(message: Any, field: str) -> Floats:
    try:
        numbers = np.array(getattr(message, field), dtype=np.float64)
    except (AttributeError, TypeError, ValueError) as error:
        raise MessageError(f"joint state {field}: expected a list of numbers ({error})") from error
    if numbers.ndim != 1:
        raise MessageError(f"joint state {field}: expected a list of numbers, got shape {numbers.shape}")
    return numbers


@functools.lru_cache(maxsize=16)
def _places(names: tuple[str, ...], wanted: tuple[str, ...]) -> list[int]:
    return [_only_index(names, name) for name in wanted]


def _only_index(names: tuple[str, ...], wanted: str) -> int:
    count = names.count(wanted)
    if count == 0:
        raise MessageError(f"joint state: joint '{wanted}' is missing; the message has {', '.join(names[:20])}")
    if count > 1:
        raise MessageError(f"joint state: joint '{wanted}' is named {count} times")
    return names.index(wanted)
