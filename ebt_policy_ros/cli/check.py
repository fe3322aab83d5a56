"""Tells what does not fit between a robot file, a policy bundle, a URDF and a parameter file: everything, by name.

  ebt-policy check --robot my_robot.yaml --model models/pick --urdf my_robot.urdf --params my_params.yaml
  ebt-policy check --urdf my_robot.urdf --model models/pick --draft my_robot.yaml

Nothing is started and nothing moves. Exit status 0 when it fits (warnings allowed), 1 when it does not.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebt_policy_ros.cli.arguments import output_file
from ebt_policy_ros.cli.results import write_json
from ebt_policy_ros.core.errors import EbtPolicyError, SettingsError
from ebt_policy_ros.core.settings import FROM_BUNDLE, SECTIONS, GripperSettings, JointSettings

if TYPE_CHECKING:
    from ebt_policy_ros.messages.urdf import UrdfJoint
    from ebt_policy_ros.policy.bundle import Bundle

OTHERS = ("model", "robot", "device", "runtime", "gripper_output", "autostart", "enabled_on_activate", "use_sim_time")
"""Parameters of policy_node outside the sections and cameras."""
UNITS = {"revolute": "rad", "prismatic": "m"}
ROOM = 0.06
"""Part of a joint's range by which the policy's targets may lie outside the limits before that is worth a warning."""
DRAFT_ACCELERATION = {"revolute": 3.0, "prismatic": 0.5}
"""[rad/s^2, m/s^2] of a draft: URDFs have none. Slow, on purpose."""
DRAFT_VELOCITY = {"revolute": 1.0, "prismatic": 0.1}
"""[rad/s, m/s] of a draft where the URDF states none."""
TURN = 6.2832
"""[rad] either way, of a joint without limits."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit."""

    is_error: bool
    where: str
    text: str

    def __str__(self) -> str:
        return f"{'error' if self.is_error else 'warning'}: {self.where}: {self.text}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy check``."""
    parser.add_argument("--robot", help="robot file, or the name of one in config/robots/")
    parser.add_argument("--model", help="bundle directory, or the name of one in models/")
    parser.add_argument(
        "--urdf", type=Path, metavar="F", help="the robot's URDF (what xacro makes, not the xacro file)"
    )
    parser.add_argument("--params", type=Path, metavar="F", help="parameter file of policy_node")
    parser.add_argument("--draft", type=output_file, metavar="F", help="write a robot file from the URDF instead")
    parser.add_argument("--json", type=output_file, metavar="F", help="where the findings go")


def run(options: argparse.Namespace) -> int:
    """Prints all findings; returns the exit status."""
    if options.robot is None and options.urdf is None and options.params is None:
        raise SettingsError("expected --robot, --urdf or --params: there is nothing to check")
    bundle = _bundle(options.model)
    urdf = _urdf(options.urdf)
    if options.draft is not None:
        return _draft(options, bundle, urdf)
    findings = list(_check(options, bundle, urdf))
    errors = sum(finding.is_error for finding in findings)
    if options.json is not None:
        write_json(options.json, {"fits": not errors, "findings": [dataclasses.asdict(one) for one in findings]})
    print("\n".join(str(finding) for finding in findings) or "no mistakes found")
    if findings:
        print(f"{errors} errors, {len(findings) - errors} warnings" if errors else "it fits, with the warnings above")
    return 1 if errors else 0


def _check(
    options: argparse.Namespace, bundle: Bundle | None, urdf: Mapping[str, UrdfJoint] | None
) -> Iterator[Finding]:
    if options.robot is not None:
        from ebt_policy_ros.resources import load_robot_file

        entries = load_robot_file(options.robot)
        joints: dict[str, JointSettings] = {}
        yield from robot_findings(entries, joints)
        yield from kinematics_findings(entries, joints)
        if bundle is not None:
            yield from bundle_findings(bundle, joints)
        if urdf is not None:
            yield from urdf_findings(joints, urdf)
    elif bundle is not None and urdf is not None:
        for joint in bundle.joints:
            if joint.name not in urdf:
                yield Finding(True, f"joint '{joint.name}'", f"the policy commands it, the URDF has {_names(urdf)}")
    if options.params is not None:
        yield from parameter_findings(options.params, bundle)


# ---- robot file ----------------------------------------------------------------------------------------------------


def robot_findings(entries: Mapping[str, Any], joints: dict[str, JointSettings]) -> Iterator[Finding]:
    """Everything wrong with a robot file by itself; the joints that can be read go to ``joints``."""
    known = ("name", "joints", "gripper", "kinematics")
    for key in entries:
        if key not in known:
            yield Finding(True, "robot file", f"unknown entry '{key}'; {_near(str(key), known)}")
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
            yield Finding(True, where, f"unknown setting '{key}'; {_near(str(key), _FIELDS)}")
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
            yield Finding(True, where, _own_words(str(error), where))
    if is_sound:
        try:
            JointSettings.from_mapping(row, where=where)
        except SettingsError as error:
            yield Finding(True, where, _own_words(str(error), where))


_FIELDS = tuple(item.name for item in dataclasses.fields(JointSettings))


def _gripper_findings(entry: Any, joints: Mapping[str, JointSettings], names: set[Any]) -> Iterator[Finding]:
    if entry is None:
        yield Finding(False, "gripper", "there is none: retry never opens a hand")
        return
    try:
        gripper = GripperSettings.from_mapping(entry, where="gripper")
    except SettingsError as error:
        yield Finding(True, "gripper", _own_words(str(error), "gripper"))
        return
    if gripper.joint not in names:
        yield Finding(True, "gripper", f"joint '{gripper.joint}' is none of the robot's ({_names(names)})")
    joint = joints.get(gripper.joint)
    for key, value in (("open", gripper.open), ("closed", gripper.closed)):
        if joint is not None and not joint.lower <= value <= joint.upper:
            allowed = f"{joint.lower:g} to {joint.upper:g}"
            yield Finding(True, "gripper", f"{key}: {value:g} lies outside the limits of '{joint.name}' ({allowed})")


def kinematics_findings(entries: Mapping[str, Any], joints: Mapping[str, JointSettings]) -> Iterator[Finding]:
    """What is wrong with the chain that RViz draws."""
    from ebt_policy_ros.messages.kinematics import ToolChain

    entry = entries.get("kinematics")
    if entry is None:
        yield Finding(False, "kinematics", "there are none: no tool path is drawn in RViz")
        return
    try:
        chain = ToolChain.from_mapping(entry)
    except (SettingsError, AttributeError, TypeError) as error:
        yield Finding(True, "kinematics", _own_words(str(error), "kinematics"))
        return
    for name in chain.missing_joints(tuple(joints)):
        yield Finding(True, "kinematics", f"joint '{name}' is none of the robot's")


# ---- against a bundle, a URDF --------------------------------------------------------------------------------------


def bundle_findings(bundle: Bundle, joints: Mapping[str, JointSettings]) -> Iterator[Finding]:
    """Joints of the policy that the robot lacks, and the other way round; units; targets beyond the limits."""
    wanted = {joint.name: joint.unit for joint in bundle.joints}
    for name, unit in wanted.items():
        if name not in joints:
            yield Finding(True, f"joint '{name}'", f"the policy commands it, the robot file has {_names(joints)}")
        elif UNITS[joints[name].kind] != unit:
            kind = joints[name].kind
            yield Finding(True, f"joint '{name}'", f"[{unit}] in the policy, but {kind} [{UNITS[kind]}] on the robot")
    for name in joints:
        if name not in wanted:
            yield Finding(True, f"joint '{name}'", "the policy does not command it; leave it out of the robot file")
    for name, low, high in zip(wanted, bundle.actions.low, bundle.actions.high, strict=True):
        joint = joints.get(name)
        if joint is None or UNITS[joint.kind] != wanted[name]:
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
            yield Finding(True, f"joint '{name}'", f"the URDF does not have it; it has {_names(urdf)}")
            continue
        if own.mimics:
            yield Finding(True, f"joint '{name}'", f"it follows '{own.mimics}' in the URDF and cannot be commanded")
        if own.kind != joint.kind:
            yield Finding(True, f"joint '{name}'", f"{joint.kind} in the robot file, {own.kind} in the URDF")
            continue
        unit = UNITS[joint.kind]
        if own.lower is not None and joint.lower < own.lower - 1e-6:
            yield Finding(True, f"joint '{name}'", f"lower {joint.lower:g} is below the URDF's {own.lower:g} {unit}")
        if own.upper is not None and joint.upper > own.upper + 1e-6:
            yield Finding(True, f"joint '{name}'", f"upper {joint.upper:g} is above the URDF's {own.upper:g} {unit}")
        if own.velocity and joint.velocity > own.velocity + 1e-6:
            yield Finding(
                True, f"joint '{name}'", f"velocity {joint.velocity:g} is above the URDF's {own.velocity:g} {unit}/s"
            )


# ---- parameter file ------------------------------------------------------------------------------------------------


def parameter_findings(path: Path, bundle: Bundle | None) -> Iterator[Finding]:
    """Unknown and bad parameters of policy_node, and cameras that the bundle does not have."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield Finding(True, str(path), f"it is not YAML: {error}")
        return
    nodes = (
        {
            name: entry["ros__parameters"]
            for name, entry in (document or {}).items()
            if isinstance(entry, Mapping) and isinstance(entry.get("ros__parameters"), Mapping)
        }
        if isinstance(document, Mapping)
        else {}
    )
    own = {name: given for name, given in nodes.items() if name.split("/")[-1] in ("ebt_policy", "**", "*")}
    if not own:
        yield Finding(
            True,
            str(path),
            "expected parameters of /ebt_policy under 'ros__parameters:', got " + (_names(nodes) if nodes else "none"),
        )
    for given in own.values():
        for name, value in _flat(given):
            yield from _parameter(name, value, bundle)


def _parameter(name: str, value: Any, bundle: Bundle | None) -> Iterator[Finding]:
    section, _, field = name.partition(".")
    where = f"parameter '{name}'"
    if section == "cameras":
        camera = field.split(".")[0]
        if field.split(".")[-1] not in ("topic", "compressed"):
            yield Finding(True, where, "expected cameras.<name>.topic or cameras.<name>.compressed")
        elif bundle is not None and camera not in [spec.name for spec in bundle.cameras]:
            own = _names([spec.name for spec in bundle.cameras])
            yield Finding(True, where, f"the policy has no camera '{camera}'; its cameras are {own}")
        return
    if section in SECTIONS and field:
        names = [item.name for item in dataclasses.fields(SECTIONS[section])]
        if field not in names:
            yield Finding(True, where, f"there is none; {_near(field, names)}")
            return
        try:
            if not (value == 0 and name in FROM_BUNDLE):
                SECTIONS[section].from_mapping({field: value}, where=section)
        except SettingsError as error:
            yield Finding(True, where, _own_words(str(error), section, field))
    elif name not in OTHERS and not name.startswith("qos_overrides."):
        known = [
            *OTHERS,
            *(f"{part}.{item.name}" for part, own in SECTIONS.items() for item in dataclasses.fields(own)),
        ]
        yield Finding(True, where, f"there is none; {_near(name, known)}")


def _flat(given: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


# ---- a first robot file --------------------------------------------------------------------------------------------


def _draft(options: argparse.Namespace, bundle: Bundle | None, urdf: Mapping[str, UrdfJoint] | None) -> int:
    if urdf is None:
        raise SettingsError("--draft: expected --urdf, which joints and limits are taken from")
    names = (
        [joint.name for joint in bundle.joints] if bundle is not None else [n for n, j in urdf.items() if not j.mimics]
    )
    missing = [name for name in names if name not in urdf]
    if missing:
        raise SettingsError(f"--draft: the URDF lacks the policy's joints {_names(missing)}; it has {_names(urdf)}")
    options.draft.write_text(draft(options.urdf.stem, [urdf[name] for name in names]), encoding="utf-8")
    print(f"{options.draft}: {len(names)} joints; look at every line, accelerations are guesses (URDFs have none)")
    return 0


def draft(name: str, joints: Sequence[UrdfJoint]) -> str:
    """A robot file with a URDF's limits, to be looked at by somebody who knows the robot."""
    lines = [
        f"# Drafted from {name}.urdf. Look at every line: accelerations are guesses, limits are as wide as the URDF's.",
        f"name: {name}",
        "joints:",
        "  # revolute: lower, upper [rad], velocity [rad/s], acceleration [rad/s^2]; prismatic: [m], [m/s], [m/s^2]",
    ]
    for joint in joints:
        lower = -TURN if joint.lower is None else joint.lower
        upper = TURN if joint.upper is None else joint.upper
        velocity = joint.velocity or DRAFT_VELOCITY[joint.kind]
        acceleration = DRAFT_ACCELERATION[joint.kind]
        lines.append(
            f"  - {{name: {joint.name}, kind: {joint.kind}, lower: {float(lower)}, upper: {float(upper)}, "
            f"velocity: {float(velocity)}, acceleration: {acceleration}}}"
        )
    hands = [joint for joint in joints if joint.kind == "prismatic"]
    lines.append(
        "# The gripper, for retries that may open it: which joint, and where it is open and closed on nothing."
    )
    if len(hands) == 1 and hands[0].lower is not None and hands[0].upper is not None:
        lines += ["gripper:", f"  joint: {hands[0].name}", f"  open: {hands[0].upper}", f"  closed: {hands[0].lower}"]
    else:
        lines.append("# gripper: {joint: ..., open: ..., closed: ...}")
    return "\n".join(lines) + "\n"


# ---- reading and words ---------------------------------------------------------------------------------------------


def _bundle(model: str | None) -> Bundle | None:
    if model is None:
        return None
    from ebt_policy_ros.policy.bundle import Bundle
    from ebt_policy_ros.resources import find_model

    return Bundle.load(find_model(model))


def _urdf(path: Path | None) -> Mapping[str, UrdfJoint] | None:
    if path is None:
        return None
    from ebt_policy_ros.messages.urdf import read_urdf

    try:
        return read_urdf(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: expected a URDF, got something that is not text ({error})") from error
    except EbtPolicyError as error:
        raise SettingsError(f"{path}: {error}") from error


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"


def _names(names: Any) -> str:
    return ", ".join(str(name) for name in names) or "none"


def _own_words(text: str, *places: str) -> str:
    """An error without the names of places that a finding says already."""
    text, before = re.sub(r"\b\w+Settings\.", "", text), ""
    while text != before:
        before = text
        for place in places:
            text = text.removeprefix(f"{place}: ").removeprefix(f"{place}.")
    return text
