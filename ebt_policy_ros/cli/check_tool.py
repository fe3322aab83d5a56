"""Whether the plan can be drawn with a URDF: the tool's link, the chain of joints that leads to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import yaml

from ebt_policy_ros.cli.check_words import Finding, listed
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.settings import RobotSettings
from ebt_policy_ros.messages.kinematics import ToolSettings
from ebt_policy_ros.messages.urdf_tool import UrdfTool, find_frames
from ebt_policy_ros.messages.urdf_tree import UrdfTree

_APART_M = 0.005
"""How far a robot file's chain may be from its URDF [m]: makers round, and calibrated arms differ by millimetres."""
_NUM_POSES = 50


def tool_findings(robot_file: str, text: str) -> Iterator[Finding]:
    """What keeps the node from drawing the plan with this URDF, and where it would draw it other than without."""
    from ebt_policy_ros.assemble import load_robot

    try:
        robot, settings = load_robot(robot_file)
    except SettingsError:  # told in other findings
        return
    try:
        tree = UrdfTree.from_text(text)
    except SettingsError as error:
        yield Finding(False, "kinematics", f"the plan is not drawn with this URDF: {error}")
        return
    try:
        base, tool = find_frames(tree, robot, settings)
    except SettingsError as error:
        is_named = any(frame and frame not in tree.links for frame in (settings.base_frame, settings.tool_frame))
        yield Finding(is_named, "kinematics", f"the plan is not drawn with this URDF: {error}")
        return
    unknown = tree.assumed(base, tool, robot.joint_names)
    if unknown:
        yield Finding(False, "kinematics", f"nobody commands {listed(unknown)}: the plan is drawn as if at zero")
    yield from _chain_findings(robot, settings, text)


def _chain_findings(robot: RobotSettings, settings: ToolSettings, text: str) -> Iterator[Finding]:
    """A chain that ends elsewhere than the link that is named beside it."""
    chain = settings.chain
    if chain is None or not settings.tool_frame:
        return
    try:
        tool = UrdfTool(text, robot, settings)
    except SettingsError:  # without Pinocchio there is nothing to compare with
        return
    if tool.base_frame != chain.base_frame:
        return
    low, high = robot.per_joint("lower"), robot.per_joint("upper")
    positions = np.random.default_rng(0).uniform(low, high, (_NUM_POSES, len(low)))
    paths = [one.tool_positions(robot.joint_names, positions) for one in (chain, tool)]
    apart = float(np.linalg.norm(paths[0] - paths[1], axis=1).max())
    if apart > _APART_M:
        where = f"'{tool.tool_frame}' in the URDF and the end of modified_dh"
        yield Finding(False, "kinematics", f"{where} are up to {apart:.3f} m apart")


def drafted_kinematics(entries: dict[str, Any], text: str) -> str:
    """The ``kinematics:`` of a drafted robot file: the links that the node would choose by itself."""
    try:
        robot = RobotSettings.from_mapping(entries)
        base, tool = find_frames(UrdfTree.from_text(text), robot, ToolSettings())
    except SettingsError as error:
        return f"# kinematics: {{base_frame: ..., tool_frame: ...}}  # none suggests itself: {error}\n"
    return yaml.safe_dump({"kinematics": {"base_frame": base, "tool_frame": tool}}, default_flow_style=None)
