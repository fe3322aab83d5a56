"""The tasks the simulated arm can do, by name; one file a task."""

from __future__ import annotations

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.sim.tasks.base import Task
from ebt_policy_ros.sim.tasks.can import Can
from ebt_policy_ros.sim.tasks.lift import Lift
from ebt_policy_ros.sim.tasks.square import Square

TASKS: dict[str, type[Task]] = {Lift.name: Lift, Can.name: Can, Square.name: Square}


def make_task(name: str) -> Task:
    """The task called ``name``; SettingsError lists what there is."""
    if name not in TASKS:
        raise SettingsError(f"task '{name}': expected one of {', '.join(sorted(TASKS))}")
    return TASKS[name]()


__all__ = ["TASKS", "Task", "make_task"]
