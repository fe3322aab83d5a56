"""Where the tool is, from a URDF: Pinocchio's forward kinematics.

Pinocchio (``pip install pin``, or ROS's package ``pinocchio``) is imported when it is needed, and not before.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from ebt_policy_ros.core.checked import nearest
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.settings import RobotSettings
from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.messages.kinematics import ToolSettings
from ebt_policy_ros.messages.trial import trouble
from ebt_policy_ros.messages.urdf import KINDS
from ebt_policy_ros.messages.urdf_tree import UrdfTree

_TRIAL = """
import sys
import numpy as np
import pinocchio
model = pinocchio.buildModelFromXML(
    "<robot name='r'><link name='a'/><link name='b'/><joint name='j' type='continuous'>"
    "<parent link='a'/><child link='b'/><origin xyz='0 0 1'/><axis xyz='0 0 1'/></joint></robot>"
)
data = model.createData()
pinocchio.forwardKinematics(model, data, np.array([0.0, 1.0]))
sys.exit(0 if data.oMi[1].translation.tolist() == [0.0, 0.0, 1.0] else "it misplaces a link")
"""


def import_pinocchio() -> Any:
    """The module; SettingsError says what to install.

    One that was built for another numpy may end the process, so it is tried in a process of its own first (a third of a
    second, once).
    """
    if importlib.util.find_spec("pinocchio") is None:
        raise SettingsError(
            "Pinocchio is not installed: pip install 'ebt_policy_ros[kinematics]', or with ROS 2 the package "
            "ros-<distribution>-pinocchio"
        )
    problem = _problem()
    if problem:
        raise SettingsError(
            f"Pinocchio is installed, but does not work with numpy {np.__version__} ({problem}); install the numpy "
            "that it was built for (numpy<2 for ROS 2 up to Jazzy)"
        )
    return importlib.import_module("pinocchio")


@functools.cache
def _problem() -> str:
    return trouble(_TRIAL)


def find_frames(tree: UrdfTree, robot: RobotSettings, settings: ToolSettings) -> tuple[str, str]:
    """(base frame, tool frame): those of the robot file, else those that the tree suggests.

    SettingsError when a named one does not exist, or when the robot's joints do not move the tool.
    """
    hand = None if robot.gripper is None else robot.gripper.joint
    arm = [name for name in robot.joint_names if name != hand]
    tree.require(arm)
    for key, frame in (("base_frame", settings.base_frame), ("tool_frame", settings.tool_frame)):
        if frame and frame not in tree.links:
            near = nearest(frame, tree.links)
            raise SettingsError(f"URDF: it lacks link '{frame}', which the robot file names as {key}; {near}")
    tool = settings.tool_frame or tree.tool_frame(arm, hand)
    base = tree.base_frame(tool, robot.joint_names)
    return settings.base_frame or base, tool


class UrdfTool:
    """The tool of a robot description, moved by the robot's joints.

    Joints that follow another one do, joints that nobody commands stay at zero. Meshes are not read.
    """

    def __init__(self, text: str, robot: RobotSettings, settings: ToolSettings) -> None:
        """From the text of a URDF; SettingsError says what it lacks, or that Pinocchio is missing."""
        self._pinocchio = import_pinocchio()
        tree = UrdfTree.from_text(text)
        self.base_frame, self.tool_frame = find_frames(tree, robot, settings)
        self.assumed = tree.assumed(self.base_frame, self.tool_frame, robot.joint_names)
        """Joints between the two that the policy does not command: they are taken to be at zero."""
        try:
            self._model = self._pinocchio.buildModelFromXML(tree.skeleton)
        except Exception as error:
            raise SettingsError(f"URDF: Pinocchio cannot read it: {error}") from error
        body = self._pinocchio.FrameType.BODY
        self._frames = [self._model.getFrameId(name, body) for name in (self.base_frame, self.tool_frame)]
        self._joints = [
            self._joint(tree, name, robot.joint_names) for name in tree.joints if tree.joints[name].kind in KINDS
        ]
        """(where its configuration starts, how many numbers that has, the joint it follows, multiplier, offset)."""
        if not np.isfinite(self.tool_positions(robot.joint_names, np.zeros((1, len(robot.joint_names))))).all():
            raise SettingsError(f"URDF: '{self.tool_frame}' is nowhere when all joints are at zero")

    def _joint(self, tree: UrdfTree, name: str, known: Sequence[str]) -> tuple[int, int, str, float, float]:
        joint = self._model.joints[self._model.getJointId(name)]
        return (joint.idx_q, joint.nq, *((name, 1.0, 0.0) if name in known else tree.leader(name)))

    def tool_positions(self, joint_names: Sequence[str], positions: Floats) -> Floats:
        """(N, D) joint positions [rad, m] -> (N, 3) tool positions in ``base_frame`` [m]."""
        pinocchio, model = self._pinocchio, self._model
        columns = {name: index for index, name in enumerate(joint_names)}
        data = model.createData()  # of its own: two threads may ask
        path = np.empty((len(np.atleast_2d(positions)), 3))
        for row, joints in enumerate(np.atleast_2d(positions)):
            configuration = pinocchio.neutral(model)
            for start, size, leader, multiplier, offset in self._joints:
                value = offset + (multiplier * joints[columns[leader]] if leader in columns else 0.0)
                # An angle without end is a point on a circle, (cos, sin).
                configuration[start : start + size] = value if size == 1 else (np.cos(value), np.sin(value))
            pinocchio.forwardKinematics(model, data, configuration)
            base, tool = (pinocchio.updateFramePlacement(model, data, frame) for frame in self._frames)
            path[row] = base.actInv(tool).translation
        return path
