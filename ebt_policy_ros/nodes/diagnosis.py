"""What policy_node tells ``/diagnostics`` once a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from ebt_policy_ros.assemble import Assembly
from ebt_policy_ros.core.pipeline import Cycle
from ebt_policy_ros.messages.status import cycle_level
from ebt_policy_ros.nodes.inputs import Inputs


def diagnose(
    assembly: Assembly | None,
    inputs: Inputs | None,
    last: Cycle | None,
    *,
    active: bool,
    enabled: bool,
    faults: int,
    incompatible: Mapping[str, int],
    unfollowed: Mapping[str, int],
) -> tuple[Any, str, dict[str, str]]:
    """(level, text, values): the lifecycle in a word, what was received and refused, and the pipeline's counters.

    The level is that of the last chunk (ERROR after a give-up); faults, refused messages, endpoints of another QoS and
    goals that a controller did not follow make it WARN at least.
    """
    values = {"enabled": str(enabled).lower(), "faults": str(faults)}
    if assembly is None or inputs is None:
        return DiagnosticStatus.OK, "unconfigured", values
    values["model"] = assembly.model_name
    values["calibrated"] = str(assembly.calibration is not None).lower()
    for source, topic in inputs.topics.items():
        values[f"{source}.topic"] = topic
        values[f"{source}.received"] = str(inputs.received[source])
        values[f"{source}.refused"] = str(inputs.refused[source])
    values.update({name: str(count) for name, count in assembly.pipeline.counters().items()})
    values.update({name: str(count) for name, count in {**incompatible, **unfollowed}.items()})
    if not active:
        return DiagnosticStatus.OK, "inactive", values
    level = DiagnosticStatus.OK if last is None else cycle_level(last, DiagnosticStatus)
    if level == DiagnosticStatus.OK and (faults or incompatible or unfollowed or any(inputs.refused.values())):
        level = DiagnosticStatus.WARN
    if last is None:
        return level, "active", values
    values["state"] = last.state.value
    return level, last.state.value + (f": {last.reason}" if last.reason else ""), values
