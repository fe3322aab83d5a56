"""What does not fit in a robot file: by itself, with a bundle, with a URDF."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ebt_policy_ros.cli.check_words import Finding, listed, own_words
from ebt_policy_ros.core.checked import nearest
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.settings import GripperSettings, JointSettings

if TYPE_CHECKING:
    from ebt_policy_ros.messages.urdf import UrdfJoint
    from ebt_policy_ros.policy.bundle import Bundle

ROOM = 0.06
"""Part of a joint's range by which the policy's targets may lie outside the limits before that is worth a warning."""


def robot_findings(entries: Mapping[str, Any], joints: dict[str, JointSettings]) -> Iterator[Finding]:
    """Everything wrong with a robot file by itself; the joints that can be read go to ``joints``."""
    known = ("name", "joints", "gripper", "kinematics")
    for key in entries:
        if key not in known:
            yield Finding(True, "robot file", f"unknown entry '{key}'; {nearest(key, known)}")
    if not isinstance(entries.get("name"), str) or not entries.get("name"):
        yield Finding(True, "robot file", f"name: expected a text, got {entries.get('name')!r}")
    rows = entries.get("joints")
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not rows:
        yield Finding(True, "robot file", f"joints: expected a list of joints, got {rows!r}")
        rows = []
    for index, row in enumerate(rows):
        name = row.get("name") if isinstance(row, Mapping) else None
        where = f"joint '{name}'" if name else f"joints[{index}]"
        if name in joints:
            yield Finding(True, where, "it is listed twice")
            continue
        wrong = list(_joint_mistakes(row, where))
        yield from wrong
        if not wrong:
            joint = JointSettings.from_mapping(row, where=where)
            joints[joint.name] = joint
    yield from _gripper_findings(
        entries.get("gripper"), joints, {r.get("name") for r in rows if isinstance(r, Mapping)}
    )


def _joint_mistakes(row: Any, where: str) -> Iterator[Finding]:
    """Every field of a joint by itself, so that one mistake does not hide the next."""
    if not isinstance(row, Mapping):
        yield Finding(True, where, f"expected a mapping with {', '.join(_FIELDS)}, got {row!r}")
        return
    for key in row:
        if key not in _FIELDS:
            yield Finding(True, where, f"unknown setting '{key}'; {nearest(key, _FIELDS)}")
    good = {"name": "x", "kind": "revolute", "lower": -1.0, "upper": 1.0, "velocity": 1.0, "acceleration": 1.0}
    is_sound = set(row) == set(_FIELDS)
    for key in _FIELDS:
        if key not in row:
            yield Finding(True, where, f"setting '{key}' is missing")
            continue
        alone = {**good, key: row[key]}
        if key in ("lower", "upper"):  # the order of the two is looked at when both are numbers
            alone = {**good, "lower": -1e300, "upper": 1e300, key: row[key]}
        try:
            JointSettings.from_mapping(alone, where=where)
        except SettingsError as error:
            is_sound = False
            yield Finding(True, where, own_words(str(error), where))
    if is_sound:
        try:
            JointSettings.from_mapping(row, where=where)
        except SettingsError as error:
            yield Finding(True, where, own_words(str(error), where))


_FIELDS = tuple(item.name for item in dataclasses.fields(JointSettings))


def _gripper_findings(entry: Any, joints: Mapping[str, JointSettings], names: set[Any]) -> Iterator[Finding]:
    if entry is None:
        yield Finding(False, "gripper", "there is none: retry never opens a hand")
        return
    try:
        gripper = GripperSettings.from_mapping(entry, where="gripper")
    except SettingsError as error:
        yield Finding(True, "gripper", own_words(str(error), "gripper"))
        return
    if gripper.joint not in names:
        yield Finding(True, "gripper", f"joint '{gripper.joint}' is none of the robot's ({listed(names)})")
    joint = joints.get(gripper.joint)
    for key, value in (("open", gripper.open), ("closed", gripper.closed)):
        if joint is not None and not joint.lower <= value <= joint.upper:
            allowed = f"{joint.lower:g} to {joint.upper:g}"
            yield Finding(True, "gripper", f"{key}: {value:g} lies outside the limits of '{joint.name}' ({allowed})")


def kinematics_findings(entries: Mapping[str, Any], joints: Mapping[str, JointSettings]) -> Iterator[Finding]:
    """What is wrong with what the file says of the tool, whose path RViz draws."""
    from ebt_policy_ros.messages.kinematics import ToolSettings

    entry = entries.get("kinematics")
    if entry is None:
        yield Finding(
            False, "kinematics", "there are none: a tool path is drawn only where robot_description is published"
        )
        return
    try:
        chain = ToolSettings.from_mapping(entry).chain
    except (SettingsError, AttributeError, TypeError) as error:
        yield Finding(True, "kinematics", own_words(str(error), "kinematics"))
        return
    for name in [] if chain is None else chain.missing_joints(tuple(joints)):
        yield Finding(True, "kinematics", f"joint '{name}' is none of the robot's")


# ---- against a bundle, a URDF --------------------------------------------------------------------------------------


def bundle_findings(bundle: Bundle, joints: Mapping[str, JointSettings]) -> Iterator[Finding]:
    """Joints of the policy that the robot lacks, and the other way round; units; targets beyond the limits."""
    wanted = {joint.name: joint.unit for joint in bundle.joints}
    for name, unit in wanted.items():
        if name not in joints:
            yield Finding(True, f"joint '{name}'", f"the policy commands it, the robot file has {listed(joints)}")
        elif joints[name].unit != unit:
            own = joints[name]
            yield Finding(True, f"joint '{name}'", f"[{unit}] in the policy, but {own.kind} [{own.unit}] on the robot")
    for name in joints:
        if name not in wanted:
            yield Finding(True, f"joint '{name}'", "the policy does not command it; leave it out of the robot file")
    for name, low, high in zip(wanted, bundle.actions.low, bundle.actions.high, strict=True):
        joint = joints.get(name)
        if joint is None or joint.unit != wanted[name]:
            continue
        room = ROOM * (joint.upper - joint.lower)
        if low < joint.lower - room or high > joint.upper + room:
            yield Finding(
                False,
                f"joint '{name}'",
                f"the policy was trained on targets from {low:.4g} to {high:.4g}, the robot may go from "
                f"{joint.lower:g} to {joint.upper:g}: what lies beyond is clipped",
            )


def urdf_findings(joints: Mapping[str, JointSettings], urdf: Mapping[str, UrdfJoint]) -> Iterator[Finding]:
    """Joints that the URDF lacks, other kinds, limits wider than the URDF's."""
    for name, joint in joints.items():
        own = urdf.get(name)
        if own is None:
            yield Finding(True, f"joint '{name}'", f"the URDF does not have it; it has {listed(urdf)}")
            continue
        if own.mimics:
            yield Finding(True, f"joint '{name}'", f"it follows '{own.mimics}' in the URDF and cannot be commanded")
        if own.kind != joint.kind:
            yield Finding(True, f"joint '{name}'", f"{joint.kind} in the robot file, {own.kind} in the URDF")
            continue
        unit = joint.unit
        if own.lower is not None and joint.lower < own.lower - 1e-6:
            yield Finding(True, f"joint '{name}'", f"lower {joint.lower:g} is below the URDF's {own.lower:g} {unit}")
        if own.upper is not None and joint.upper > own.upper + 1e-6:
            yield Finding(True, f"joint '{name}'", f"upper {joint.upper:g} is above the URDF's {own.upper:g} {unit}")
        if own.velocity and joint.velocity > own.velocity + 1e-6:
            yield Finding(
                True, f"joint '{name}'", f"velocity {joint.velocity:g} is above the URDF's {own.velocity:g} {unit}/s"
            )
