"""What was commanded at a stamp: a trajectory controller's reference, or the newest command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.messages import TrajectoryReading
from ebt_policy_ros.messages.controller import RejectedTrajectory, Spline, TrajectoryController

Times = NDArray[np.int64]


@dataclass
class References:
    """Targets of some joints over time."""

    joint_names: tuple[str, ...]
    received_ns: list[int] = field(default_factory=list)
    """When each command came into force [ns, ROS time], not decreasing."""
    commands: list[Spline] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Why a controller would not have followed the others."""

    @property
    def first_ns(self) -> int | None:
        """From when on there is a target."""
        return self.received_ns[0] if self.received_ns else None

    def at(self, stamps_ns: Times) -> Floats:
        """(T, d) [rad or m] in force at the stamps, none of which may lie before ``first_ns``."""
        running = np.searchsorted(np.array(self.received_ns), stamps_ns, side="right") - 1
        rows = [
            self.commands[index].sample(int(stamp)).positions for index, stamp in zip(running, stamps_ns, strict=True)
        ]
        return np.array(rows).reshape(len(stamps_ns), len(self.joint_names))


def follow(
    readings: Sequence[tuple[int, TrajectoryReading | str]], joint_names: Sequence[str], measured: Floats
) -> References:
    """What a joint_trajectory_controller makes of trajectories.

    ``readings`` are (time of receipt [ns, ROS time], trajectory or why it cannot be read), in order; ``measured`` (d,)
    is where the joints were at first. Each accepted one replaces what was running from its receipt on; a refused one
    changes nothing.
    """
    controller = TrajectoryController(joint_names, measured)
    references = References(tuple(joint_names))
    for received_ns, reading in readings:
        if isinstance(reading, str):
            references.refused.append(reading)
            continue
        try:
            controller.accept(
                start_ns=reading.start_ns,
                joint_names=reading.joint_names,
                times_s=reading.times_s,
                positions=reading.positions,
                velocities=reading.velocities,
                accelerations=reading.accelerations,
                now_ns=received_ns,
            )
        except RejectedTrajectory as error:
            references.refused.append(str(error))
        else:
            references.received_ns.append(received_ns)
            references.commands.append(controller.running)
    return references


def hold(stamps_ns: Sequence[int], targets: Sequence[Floats], joint_names: Sequence[str]) -> References:
    """Commands that hold until the next one: (d,) each, by increasing stamp."""
    commands = [Spline((0,), target[None, :]) for target in targets]
    return References(tuple(joint_names), list(stamps_ns), commands)
