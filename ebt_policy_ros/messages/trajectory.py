"""SafeChunk -> trajectory_msgs JointTrajectory (the only way out), and JointTrajectory -> arrays for the simulator."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebt_policy_ros.core.errors import MessageError
from ebt_policy_ros.core.types import Floats, SafeChunk
from ebt_policy_ros.messages.stamps import read_nanoseconds, read_stamp_ns, set_duration_ns, set_stamp_ns


def trajectory_message(
    chunk: SafeChunk,
    trajectory_class: Callable[[], Any],
    point_class: Callable[[], Any],
    joints: Sequence[str] | None = None,
) -> Any:
    """A JointTrajectory of ``trajectory_class`` that keeps the rules of a joint_trajectory_controller.

    ``joints``: only these, for a controller of its own; None: all.

    Positions [rad or m], velocities [rad/s or m/s] and accelerations [rad/s^2 or m/s^2] at every point, strictly
    increasing ``time_from_start``, rest at the last point: a SafeChunk has them by construction. Anything else is a
    TypeError.
    """
    if not isinstance(chunk, SafeChunk):
        raise TypeError(f"only a SafeChunk can become a trajectory message, got {type(chunk).__name__}")
    message = trajectory_class()
    set_stamp_ns(message.header.stamp, chunk.start_ns)
    message.joint_names = list(chunk.joint_names if joints is None else joints)
    columns = [chunk.joint_names.index(name) for name in message.joint_names]
    points, parts = [], (chunk.positions, chunk.velocities, chunk.accelerations)
    # Messages take an array of doubles as it is, and look at every number of a list.
    rows = ([array("d", row) for row in part[:, columns].tolist()] for part in parts)
    for time_s, *state in zip(chunk.times_s.tolist(), *rows, strict=True):
        point = point_class()
        point.positions, point.velocities, point.accelerations = state
        set_duration_ns(point.time_from_start, round(time_s * 1e9))
        points.append(point)
    message.points = points
    return message


@dataclass(frozen=True, slots=True, eq=False)
class TrajectoryReading:
    """A JointTrajectory as arrays: N points, D joints."""

    start_ns: int
    """Header stamp [ns, ROS time]; 0 means at once."""
    joint_names: tuple[str, ...]
    times_s: Floats
    """(N,) time_from_start [s], as sent."""
    positions: Floats
    """(N, D) [rad or m]."""
    velocities: Floats | None
    """(N, D) [rad/s or m/s]; None when no point has any."""
    accelerations: Floats | None = None
    """(N, D) [rad/s^2 or m/s^2]; None when no point has any."""


_FIELDS = ("positions", "velocities", "accelerations")


def read_trajectory(message: Any) -> TrajectoryReading:
    """A JointTrajectory as arrays; MessageError when it is ragged or not made of numbers. The controller judges it."""
    start_ns = read_stamp_ns(message)
    try:
        names = tuple(str(name) for name in message.joint_names)
        points = list(message.points)
        times_s = np.array([read_nanoseconds("time_from_start", p.time_from_start) for p in points], np.float64) / 1e9
        parts = {field: [np.array(getattr(point, field), np.float64) for point in points] for field in _FIELDS}
    except (AttributeError, TypeError, ValueError) as error:
        if isinstance(error, MessageError):
            raise
        raise MessageError(f"expected a trajectory_msgs JointTrajectory ({error})") from error
    matrices: dict[str, Floats | None] = {}
    for field, rows in parts.items():
        if field != "positions" and not any(row.size for row in rows):
            matrices[field] = None
            continue
        for index, row in enumerate(rows):
            if row.shape != (len(names),):
                raise MessageError(f"trajectory point {index}: expected {len(names)} {field}, got {row.size}")
        matrices[field] = np.reshape(np.array(rows, dtype=np.float64), (len(points), len(names)))
    positions = matrices["positions"]
    assert positions is not None
    return TrajectoryReading(start_ns, names, times_s, positions, matrices["velocities"], matrices["accelerations"])
