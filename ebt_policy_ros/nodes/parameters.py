"""The parameters of policy_node: declared from the settings classes, so that names, ranges and checks exist once."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
from collections.abc import Mapping
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult

from ebt_policy_ros.assemble import PRECISIONS, RUNTIMES
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.settings import FROM_BUNDLE, SECTIONS

_NOT_PARAMETERS = frozenset({"observe.cameras"})
"""Known from the bundle; their topics are the parameters ``cameras.<name>.topic``."""

_TEXTS = {
    "model": ("lift", "Bundle directory, or the name of one under models/."),
    "robot": ("panda_sim", "Robot file (YAML), or the name of one under config/robots/."),
    "device": ("auto", "Where the model runs: auto, cpu, cuda, cuda:<index>; with runtime onnxruntime also tensorrt."),
    "trajectory_action": ("follow_joint_trajectory", "Name of the action of command_output action."),
    "gripper_action": ("gripper_cmd", "Name of the action of gripper_output gripper_command."),
}
_CHOICES = {
    "runtime": (
        RUNTIMES,
        "What runs the model: torch (CUDA graphs on a GPU), torch_compile (torch.compile, which takes a minute at "
        "configure), onnxruntime (after ebt-policy export), or auto: onnxruntime on a CPU where it can, else torch.",
    ),
    "precision": (PRECISIONS, "Of convolutions and large matrix products; onnxruntime has float32 alone."),
    "command_output": (
        ("trajectory", "action", "positions"),
        "How the arm is commanded: by trajectories on joint_trajectory; by the same trajectories as goals of a "
        "FollowJointTrajectory action; or by positions on commands, positions_hz times a second, for controllers that "
        "only forward them.",
    ),
    "gripper_output": (
        ("in_trajectory", "own_trajectory", "gripper_command"),
        "How the hand is commanded: with the arm's joints; by a trajectory of its own on gripper_trajectory, for a "
        "controller of its own; or by goals of a GripperCommand action.",
    ),
}
"""Name -> what is allowed (the first is the default), and what it means."""
_FLAGS = {
    "autostart": (False, "Configure and activate at start, without a lifecycle manager."),
    "enabled_on_activate": (
        False,
        "Let commands flow as soon as the node is active; false is a dry run until ~/enable.",
    ),
}
_NUMBERS = {
    "positions_hz": (100.0, 1.0, 1000.0, "Rate of command_output positions [1/s]."),
    "gripper_max_effort": (
        0.0,
        0.0,
        10_000.0,
        "max_effort of GripperCommand goals [N or Nm]; 0: the controller's own.",
    ),
}
"""Name -> default, lowest, highest, what it means."""
_LARGE = 2**31 - 1
NAMES = tuple(
    name
    for name in (
        *(*_TEXTS, *_CHOICES, *_NUMBERS, *_FLAGS),
        *(f"{section}.{item.name}" for section, own in SECTIONS.items() for item in dataclasses.fields(own)),
    )
    if name not in _NOT_PARAMETERS
)
"""All parameters whose names do not depend on the bundle."""


def declare_parameters(node: Any) -> None:
    """Declares all parameters whose names do not depend on the bundle; rclpy's exceptions name a bad one."""
    for name, (text, description) in _TEXTS.items():
        node.declare_parameter(name, text, ParameterDescriptor(name=name, description=description))
    for name, (choices, description) in _CHOICES.items():
        constraints = f"one of {', '.join(choices)}"
        node.declare_parameter(
            name,
            choices[0],
            ParameterDescriptor(name=name, description=description, additional_constraints=constraints),
        )
    for name, (number, low, high, description) in _NUMBERS.items():
        span = FloatingPointRange(from_value=low, to_value=high, step=0.0)
        node.declare_parameter(
            name, number, ParameterDescriptor(name=name, description=description, floating_point_range=[span])
        )
    for name, (flag, description) in _FLAGS.items():
        node.declare_parameter(name, flag, ParameterDescriptor(name=name, description=description, read_only=True))
    for section, settings in SECTIONS.items():
        explained = _field_docstrings(settings)
        for item in dataclasses.fields(settings):
            name = f"{section}.{item.name}"
            if name not in _NOT_PARAMETERS:
                default = 0 if name in FROM_BUNDLE else item.default
                node.declare_parameter(name, default, _descriptor(name, item, explained.get(item.name, "")))


def declare_camera(node: Any, camera: str) -> tuple[str, bool]:
    """Declares ``cameras.<camera>.topic`` and ``.compressed`` unless they are; returns (topic, is compressed)."""
    topic_name, compressed_name = f"cameras.{camera}.topic", f"cameras.{camera}.compressed"
    if not node.has_parameter(topic_name):
        node.declare_parameter(
            topic_name,
            f"camera/{camera}/image_raw",
            ParameterDescriptor(name=topic_name, description=f"Image topic of camera '{camera}'.", read_only=True),
        )
    topic = str(node.get_parameter(topic_name).value)
    if not node.has_parameter(compressed_name):
        node.declare_parameter(
            compressed_name,
            topic.endswith("/compressed"),
            ParameterDescriptor(
                name=compressed_name,
                description="The topic carries CompressedImage; by default what its name says.",
                read_only=True,
            ),
        )
    return topic, bool(node.get_parameter(compressed_name).value)


def check_parameter(name: str, value: Any) -> str:
    """Why ``value`` is not allowed for a declared parameter, with what is; empty when it is."""
    section, _, field = name.partition(".")
    if name in _TEXTS:
        return "" if value else f"parameter {name}: expected a text, got an empty one. {_TEXTS[name][1]}"
    if name in _CHOICES and value not in _CHOICES[name][0]:
        return f"parameter {name}: expected one of {', '.join(_CHOICES[name][0])}, got {value!r}"
    if name in _NUMBERS:
        _, low, high, _ = _NUMBERS[name]
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            return f"parameter {name}: expected a number from {low:g} to {high:g}, got {value!r}"
    if section not in SECTIONS or (name in FROM_BUNDLE and value == 0):
        return ""
    try:
        SECTIONS[section].from_mapping({field: value})
    except SettingsError as error:
        return f"parameter {name}: {error}"
    return ""


def check_parameters(parameters: list[Any]) -> SetParametersResult:
    """Refuses the whole set when one value is not allowed."""
    reasons = [reason for reason in (check_parameter(p.name, p.value) for p in parameters) if reason]
    return SetParametersResult(successful=not reasons, reason="; ".join(reasons))


def setting_overrides(node: Any) -> dict[str, dict[str, Any]]:
    """{section: {field: value}} of everything declared, without the zeros that stand for the bundle's values."""
    overrides: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for section, settings in SECTIONS.items():
        for item in dataclasses.fields(settings):
            name = f"{section}.{item.name}"
            if name in _NOT_PARAMETERS:
                continue
            value = node.get_parameter(name).value
            if not (name in FROM_BUNDLE and value == 0):
                overrides[section][item.name] = value
    return overrides


def _descriptor(name: str, item: dataclasses.Field[Any], description: str) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(name=name, description=description)
    allowed = item.metadata
    if allowed.get("choices"):
        descriptor.additional_constraints = f"one of {', '.join(allowed['choices'])}"
    low = allowed.get("low") if allowed.get("low") is not None else allowed.get("above")
    high = allowed.get("high")
    if low is None and high is None:
        return descriptor
    if isinstance(item.default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(low or 0.0), to_value=float(_LARGE if high is None else high), step=0.0)
        ]
    else:
        lowest = 0 if name in FROM_BUNDLE else int(low or 0)
        descriptor.integer_range = [IntegerRange(from_value=lowest, to_value=int(high or _LARGE), step=1)]
    if name in FROM_BUNDLE:
        descriptor.additional_constraints = "0: the bundle's own value"
    elif allowed.get("above") is not None:
        descriptor.additional_constraints = f"more than {allowed['above']}"
    return descriptor


@functools.cache
def _field_docstrings(settings: type) -> Mapping[str, str]:
    """Field -> the string below it in the source; empty where the source is not at hand."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(settings))).body[0]
    except (OSError, TypeError, SyntaxError):
        return {}
    found = {}
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for item, below in itertools.pairwise(statements):
        text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and isinstance(text, str):
            found[item.target.id] = " ".join(text.split())
    return found
