"""Tells what does not fit between a robot file, a policy bundle, a URDF and a parameter file: everything, by name.

  ebt-policy check --robot my_robot.yaml --model models/pick --urdf my_robot.urdf --params my_params.yaml
  ebt-policy check --urdf my_robot.urdf --model models/pick --draft my_robot.yaml

Nothing is started and nothing moves. Exit status 0 when it fits (warnings allowed), 1 when it does not.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from ebt_policy_ros.cli.arguments import output_file
from ebt_policy_ros.cli.check_robot import bundle_findings, kinematics_findings, robot_findings, urdf_findings
from ebt_policy_ros.cli.check_tool import drafted_kinematics, tool_findings
from ebt_policy_ros.cli.check_words import Finding, listed
from ebt_policy_ros.cli.results import write_json
from ebt_policy_ros.cli.urdf_file import read_urdf_file
from ebt_policy_ros.core.errors import EbtPolicyError, SettingsError

if TYPE_CHECKING:
    from ebt_policy_ros.core.settings import JointSettings
    from ebt_policy_ros.messages.urdf import UrdfJoint
    from ebt_policy_ros.policy.bundle import Bundle

DRAFT_ACCELERATION = {"revolute": 3.0, "prismatic": 0.5}
"""[rad/s^2, m/s^2] of a draft: URDFs have none. Slow, on purpose."""
DRAFT_VELOCITY = {"revolute": 1.0, "prismatic": 0.1}
"""[rad/s, m/s] of a draft where the URDF states none."""
TURN = 6.2832
"""[rad] either way, of a joint without limits."""


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
            yield from tool_findings(options.robot, read_urdf_file(options.urdf))
    elif bundle is not None and urdf is not None:
        for joint in bundle.joints:
            if joint.name not in urdf:
                yield Finding(True, f"joint '{joint.name}'", f"the policy commands it, the URDF has {listed(urdf)}")
    if options.params is not None:
        from ebt_policy_ros.cli.nodes import provide_rclpy

        provide_rclpy()
        from ebt_policy_ros.cli.check_parameters import parameter_findings

        yield from parameter_findings(options.params, bundle)


# ---- a first robot file --------------------------------------------------------------------------------------------


def _draft(options: argparse.Namespace, bundle: Bundle | None, urdf: Mapping[str, UrdfJoint] | None) -> int:
    if urdf is None:
        raise SettingsError("--draft: expected --urdf, which joints and limits are taken from")
    names = (
        [joint.name for joint in bundle.joints] if bundle is not None else [n for n, j in urdf.items() if not j.mimics]
    )
    missing = [name for name in names if name not in urdf]
    if missing:
        raise SettingsError(f"--draft: the URDF lacks the policy's joints {listed(missing)}; it has {listed(urdf)}")
    text = draft(options.urdf.stem, [urdf[name] for name in names])
    text += "# The link whose path RViz draws, and the link that it is drawn in; not used for commands.\n"
    text += drafted_kinematics(yaml.safe_load(text), read_urdf_file(options.urdf))
    options.draft.write_text(text, encoding="utf-8")
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

    text = read_urdf_file(path)
    try:
        return read_urdf(text)
    except EbtPolicyError as error:
        raise SettingsError(f"{path}: {error}") from error
