"""Writes docs/reference.md: every topic, service and parameter of policy_node, as the running node declares them.

python tools/reference.py            writes it
python tools/reference.py --check    exit status 1 when it is not what the node declares
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ebt_policy_ros.cli.nodes import provide_rclpy

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
OWN_SERVICES = ("enable", "reset", "retry")
BUILTIN_TOPICS = ("/rosout", "/parameter_events", "~/transition_event")
TOPIC_NOTES = {
    "joint_trajectory": "the command; remap it to `<controller>/joint_trajectory`",
    "gripper_trajectory": "the hand alone, with `gripper_output` own_trajectory",
    "~/energy": "energy of the chunk",
    "~/uncertainty": "calibrated score in [0, 1]; 1 when input is lost",
    "~/status": "everything about a chunk, and what a replay needs ([replay.md](replay.md))",
    "~/plan": "the tool's path of the command, coloured by how sure the policy is of it",
    "/diagnostics": "once a second: lifecycle, messages received and refused, counters",
    "joint_states": "by joint name, any order, more joints are ignored",
    "robot_description": "a URDF, kept for those who come late (transient local): whose tool `~/plan` shows",
}
SERVICE_NOTES = {
    "~/enable": "commands flow (true), or a dry run (false: brakes to rest)",
    "~/reset": "forget attempts, doubt and buffers; leave a latched give-up",
    "~/retry": "retreat and try again",
}
EVERY_NODES = ("use_sim_time", "start_type_description_service")
"""Parameters that rclpy declares itself, the second one since Iron."""
UNBOUNDED = 2.0**31 - 1
KINDS = {1: "bool", 2: "integer", 3: "double", 4: "string"}
HEAD = """# Reference of `policy_node`

Written by `python tools/reference.py` from what the running node declares (here with the bundle `lift`), and checked
by a test. `~` is the node's name, `/ebt_policy` unless it is remapped. A managed lifecycle node: its services
`~/change_state`, `~/get_state`, `~/get_available_states`, `~/get_available_transitions`, `~/get_transition_graph`,
the topic `~/transition_event` and the parameter services are those of every such node.
"""


def reference() -> str:
    """The document."""
    import rclpy

    from ebt_policy_ros.nodes.policy_node import PolicyNode

    rclpy.init(args=["--ros-args", "-p", "model:=lift"])
    try:
        node = PolicyNode()
        if not node.trigger_configure():
            raise SystemExit("policy_node could not be configured")
        try:
            return "\n".join([HEAD, *topics(node), *services(node), *parameters(node)])
        finally:
            node.trigger_cleanup()
            node.destroy_node()
    finally:
        rclpy.try_shutdown()


def topics(node: Any) -> Iterator[str]:
    """What the configured node publishes and subscribes to."""
    yield "## Topics\n"
    yield "| direction | topic | type | reliability | depth | |"
    yield "|---|---|---|---|---|---|"
    for direction, ends in (("in", node.subscriptions), ("out", node.publishers)):
        for end in sorted(ends, key=lambda one: own_name(node, one.topic_name)):
            name = own_name(node, end.topic_name)
            if name in BUILTIN_TOPICS:
                continue
            quality = end.qos_profile
            note = TOPIC_NOTES.get(name, "a camera of the bundle; parameter `cameras.<name>.topic`")
            yield (
                f"| {direction} | `{name}` | {type_name(end.msg_type)} | "
                f"{quality.reliability.name.lower().replace('_', ' ')} | {quality.depth} | {note} |"
            )
    yield ""


def services(node: Any) -> Iterator[str]:
    """The node's own services."""
    yield "## Services\n"
    yield "| service | type | |"
    yield "|---|---|---|"
    for service in sorted(node.services, key=lambda one: one.srv_name):
        name = own_name(node, service.srv_name)
        if name.removeprefix("~/") in OWN_SERVICES:
            yield f"| `{name}` | {type_name(service.srv_type, 'srv')} | {SERVICE_NOTES[name]} |"
    yield ""


def parameters(node: Any) -> Iterator[str]:
    """Everything declared, but for what every node has."""
    yield "## Parameters\n"
    yield "They take effect at *configure*; a bad one is refused with its name, its value and what is allowed.\n"
    yield "| parameter | type | default | allowed | meaning |"
    yield "|---|---|---|---|---|"
    for name in sorted(node.get_parameters_by_prefix("")):
        if name in EVERY_NODES or name.startswith("qos_overrides."):
            continue
        told, value = node.describe_parameter(name), node.get_parameter(name).value
        ranges = [*told.floating_point_range, *told.integer_range]
        allowed = "; ".join(
            part
            for part in (
                *(bounds(one, told.additional_constraints) for one in ranges),
                told.additional_constraints.replace(".0", ""),
                "read only" if told.read_only else "",
            )
            if part
        )
        default = "" if value == "" else f"`{str(value).lower() if isinstance(value, bool) else value}`"
        yield f"| `{name}` | {KINDS[told.type]} | {default} | {allowed} | {words(told.description)} |"
    yield ""
    yield "QoS of every topic can be overridden with `qos_overrides.<topic>.<publisher or subscription>.<policy>`."
    yield ""


def bounds(allowed: Any, more: str) -> str:
    """A range in words; what has no upper end in truth has a very large one in the descriptor."""
    low, high = f"{allowed.from_value:.10g}", f"{allowed.to_value:.10g}"
    if allowed.to_value < UNBOUNDED:
        return f"{low} to {high}"
    return "" if more.startswith("more than") else f"at least {low}"


def words(description: str) -> str:
    """A docstring as Markdown in a table."""
    return description.replace("``", "`").replace("<", "&lt;").replace("|", "\\|")


def own_name(node: Any, name: str) -> str:
    """A name as the node's code has it: ``~/x``, ``x``, or absolute."""
    if name.startswith("/"):
        inside = f"/{node.get_name()}/"
        absolute = ("/diagnostics", "/rosout", "/parameter_events")
        return f"~/{name.removeprefix(inside)}" if name.startswith(inside) else name if name in absolute else name[1:]
    return name


def type_name(kind: type, folder: str = "msg") -> str:
    """Such as sensor_msgs/msg/Image."""
    return f"{kind.__module__.split('.')[0]}/{folder}/{kind.__name__}"


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks the document; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when it is not current")
    options = parser.parse_args(arguments)
    provide_rclpy()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    text = reference()
    if not options.check:
        REFERENCE.write_text(text, encoding="utf-8")
        return 0
    is_current = REFERENCE.exists() and REFERENCE.read_text(encoding="utf-8") == text
    if not is_current:
        sys.stderr.write(f"{REFERENCE} is not what the node declares: run python tools/reference.py\n")
    return 0 if is_current else 1


if __name__ == "__main__":
    raise SystemExit(main())
