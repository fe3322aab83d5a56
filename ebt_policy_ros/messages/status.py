"""What the node says about itself: diagnostic_msgs DiagnosticArray as key/value text, and back.

Keys of a chunk's status (``~/status``), all values text: state, attempt, steps, network_evaluations, energy,
energy_trace, uncertainty, threshold, what the uncertainty is made of (expected_error, unfamiliarity, change, motion),
surprise, stamp_age_ms, latency_ms and its parts (decode_ms, ahead_ms, wait_ms, think_ms, encode_ms, descend_ms, act_ms,
send_ms), clamps, clamps.<limit>, dropped_points, reason, enabled, commanded, chunk, observation_stamp_ns,
command_start_ns (the trajectory's stamp). What a replay needs: event, thought_ns, acted_ns, newest_ns
(``source=stamp`` with spaces between), acted_joints_ns, rounds, seed. A number that does not exist is an empty text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ebt_policy_ros.core.cycle import Cycle, Event, History, State
from ebt_policy_ros.core.errors import MessageError
from ebt_policy_ros.core.uncertainty import motion
from ebt_policy_ros.messages.stamps import set_stamp_ns

Classes = tuple[Callable[[], Any], Any, Callable[[], Any]]
"""(DiagnosticArray, DiagnosticStatus, KeyValue)."""

LATENCY_PARTS = ("decode", "ahead", "wait", "think", "encode", "descend", "act", "send")
"""Of the way from a picture's arrival to the command; ``encode`` and ``descend`` are parts of ``think``."""
_CALM = (State.WAITING, State.RUNNING)


def cycle_values(
    cycle: Cycle,
    *,
    enabled: bool,
    commanded: bool,
    think_ms: float,
    stamp_age_ms: float | None,
    latency: Mapping[str, float] | None = None,
) -> dict[str, str]:
    """The status of one chunk.

    ``latency`` is wall time from the observation's arrival to the command (or the decision), whole and by part [ms];
    ``stamp_age_ms`` is ROS time from its stamp, which includes the way from the sensor and excludes whatever a
    simulation skips.
    """
    values = {
        "state": cycle.state.value,
        "reason": cycle.reason,
        "chunk": str(cycle.number),
        "attempt": str(cycle.attempt),
        "steps": str(cycle.steps),
        "network_evaluations": str(cycle.network_evaluations),
        "energy": _number(cycle.energy),
        "energy_trace": "" if cycle.minimum is None else " ".join(_number(float(e)) for e in cycle.minimum.trace),
        "uncertainty": _number(cycle.uncertainty),
        "surprise": _number(cycle.surprise),
        "change": _number(cycle.change),
        "motion": "" if cycle.minimum is None else _number(motion(cycle.minimum.chunk)),
        "threshold": _number(cycle.threshold),
        **{f"{part}_ms": _number((latency or {}).get(part)) for part in ("latency", *LATENCY_PARTS)},
        "think_ms": _number(think_ms),
        "stamp_age_ms": _number(stamp_age_ms),
        "clamps": str(sum(cycle.clamps.values())),
        "dropped_points": str(cycle.dropped_points),
        "enabled": str(enabled).lower(),
        "commanded": str(commanded).lower(),
        "observation_stamp_ns": _stamp(cycle.observation_stamp_ns),
        "command_start_ns": _stamp(None if cycle.command is None else cycle.command.start_ns),
    }
    if cycle.history is not None:
        values.update(history_values(cycle.history))
    if cycle.minimum is not None:
        values.update({term: _number(value) for term, value in cycle.minimum.terms.items()})
    values.update({f"clamps.{limit}": str(count) for limit, count in cycle.clamps.items() if count})
    return values


def history_values(history: History) -> dict[str, str]:
    """What a replay needs of a cycle, as text."""
    return {
        "event": history.event.value,
        "thought_ns": str(history.thought_ns),
        "acted_ns": str(history.acted_ns),
        "newest_ns": " ".join(f"{source}={stamp_ns}" for source, stamp_ns in history.newest_ns.items()),
        "acted_joints_ns": _stamp(history.acted_joints_ns),
        "rounds": str(history.rounds),
        "seed": str(history.seed),
    }


def read_history(values: Mapping[str, str]) -> History | None:
    """The history in a status's values; None when it has none (a status of another node, or of an older one).

    MessageError when it has one that makes no sense.
    """
    if "event" not in values:
        return None
    try:
        newest = dict(part.rsplit("=", 1) for part in values["newest_ns"].split())
        return History(
            Event(values["event"]),
            int(values["thought_ns"]),
            int(values["acted_ns"]),
            {source: int(stamp_ns) for source, stamp_ns in newest.items()},
            int(values["acted_joints_ns"]) if values["acted_joints_ns"] else None,
            int(values["rounds"]),
            int(values["seed"]),
        )
    except (KeyError, ValueError) as error:
        raise MessageError(f"status: expected the history of a cycle, got {dict(values)} ({error!r})") from error


def cycle_level(cycle: Cycle, status_class: Any) -> Any:
    """OK while calm, ERROR after giving up, WARN in between."""
    if cycle.state is State.GIVEN_UP:
        return status_class.ERROR
    return status_class.OK if cycle.state in _CALM else status_class.WARN


def diagnostic_array(
    classes: Classes, stamp_ns: int, statuses: Sequence[tuple[str, str, Any, str, Mapping[str, str]]]
) -> Any:
    """A DiagnosticArray of (name, hardware id, level, message, values) entries."""
    array_class, status_class, value_class = classes
    array = array_class()
    set_stamp_ns(array.header.stamp, stamp_ns)
    entries = []
    for name, hardware, level, text, values in statuses:
        status = status_class()
        status.name, status.hardware_id, status.level, status.message = name, hardware, level, text
        pairs = []
        for key, value in values.items():
            pair = value_class()
            pair.key, pair.value = key, value
            pairs.append(pair)
        status.values = pairs
        entries.append(status)
    array.status = entries
    return array


def read_values(array: Any, name: str | None = None) -> dict[str, str]:
    """Key -> value of the first status in a DiagnosticArray (or of the one called ``name``); empty without one."""
    for status in array.status:
        if name is None or str(status.name) == name:
            return {str(pair.key): str(pair.value) for pair in status.values}
    return {}


def _stamp(stamp_ns: int | None) -> str:
    return "" if stamp_ns is None else str(stamp_ns)


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.6g}"
