"""The managed node's state machine: states, transitions and their numbers as in lifecycle_msgs."""

from __future__ import annotations

from typing import NamedTuple


class LifecycleState(NamedTuple):
    """A state by label and number."""

    label: str
    state_id: int


class LifecycleTransition(NamedTuple):
    """One arrow of the state machine."""

    transition_id: int
    label: str
    start: LifecycleState
    goal: LifecycleState


def _states(*entries: tuple[int, str]) -> dict[str, LifecycleState]:
    return {label: LifecycleState(label, number) for number, label in entries}


STATES = _states(
    (0, "unknown"),
    (1, "unconfigured"),
    (2, "inactive"),
    (3, "active"),
    (4, "finalized"),
    (10, "configuring"),
    (11, "cleaningup"),
    (12, "shuttingdown"),
    (13, "activating"),
    (14, "deactivating"),
    (15, "errorprocessing"),
)
_ARROWS = (
    (1, "configure", "unconfigured", "configuring"),
    (10, "transition_success", "configuring", "inactive"),
    (11, "transition_failure", "configuring", "unconfigured"),
    (12, "transition_error", "configuring", "errorprocessing"),
    (2, "cleanup", "inactive", "cleaningup"),
    (20, "transition_success", "cleaningup", "unconfigured"),
    (21, "transition_failure", "cleaningup", "inactive"),
    (22, "transition_error", "cleaningup", "errorprocessing"),
    (3, "activate", "inactive", "activating"),
    (30, "transition_success", "activating", "active"),
    (31, "transition_failure", "activating", "inactive"),
    (32, "transition_error", "activating", "errorprocessing"),
    (4, "deactivate", "active", "deactivating"),
    (40, "transition_success", "deactivating", "inactive"),
    (41, "transition_failure", "deactivating", "active"),
    (42, "transition_error", "deactivating", "errorprocessing"),
    (5, "shutdown", "unconfigured", "shuttingdown"),
    (6, "shutdown", "inactive", "shuttingdown"),
    (7, "shutdown", "active", "shuttingdown"),
    (50, "transition_success", "shuttingdown", "finalized"),
    (51, "transition_failure", "shuttingdown", "finalized"),
    (52, "transition_error", "shuttingdown", "errorprocessing"),
    (60, "transition_success", "errorprocessing", "unconfigured"),
    (61, "transition_failure", "errorprocessing", "finalized"),
    (62, "transition_error", "errorprocessing", "finalized"),
)
TRANSITIONS = tuple(
    LifecycleTransition(number, label, STATES[start], STATES[goal]) for number, label, start, goal in _ARROWS
)


class StateMachine:
    """Holds the current state; refuses arrows that do not start there."""

    def __init__(self) -> None:
        self.current = STATES["unconfigured"]

    def available(self) -> list[LifecycleTransition]:
        return [arrow for arrow in TRANSITIONS if arrow.start == self.current]

    def find(self, *, label: str | None = None, number: int | None = None) -> LifecycleTransition | None:
        """The arrow from the current state with this label or number."""
        for arrow in self.available():
            if arrow.label == label or arrow.transition_id == number:
                return arrow
        return None
