"""Where the hand is and how joints move it, on a scratch copy of the simulation's state."""

from __future__ import annotations

from typing import Any

import numpy as np

from ebt_policy_ros.core.types import Floats


class Kinematics:
    """Forward kinematics, Jacobian and damped least squares of one arm's tool site."""

    def __init__(
        self, model: Any, site: str, joint_addresses: Floats, velocity_addresses: Floats, rest: Floats
    ) -> None:
        import mujoco

        self._mujoco = mujoco
        self._model = model
        self._state = mujoco.MjData(model)
        self._site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, site)
        self._joints = joint_addresses
        self._velocities = velocity_addresses
        self._rest = rest

    def pose(self, arm_joints: Floats) -> tuple[Floats, Floats]:
        """Position (3,) [m] and rotation (3, 3) of the tool at ``arm_joints`` (7,) [rad], in world coordinates."""
        self._state.qpos[self._joints] = arm_joints
        self._mujoco.mj_kinematics(self._model, self._state)
        self._mujoco.mj_comPos(self._model, self._state)
        return self._state.site_xpos[self._site].copy(), self._state.site_xmat[self._site].reshape(3, 3).copy()

    def joint_velocity(
        self, arm_joints: Floats, twist: Floats, *, damping: float = 0.04, posture: float = 1.0
    ) -> Floats:
        """(7,) [rad/s] that moves the tool with ``twist`` (6,) [m/s, rad/s], and the spare joint towards rest.

        Damped least squares; the posture term acts in the Jacobian's null space, so that the arm's configuration is
        a function of the tool's pose and does not drift over an episode.
        """
        self.pose(arm_joints)
        jacobian = np.zeros((6, self._model.nv))
        self._mujoco.mj_jacSite(self._model, self._state, jacobian[:3], jacobian[3:], self._site)
        jacobian = jacobian[:, self._velocities]
        inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + damping**2 * np.eye(6))
        null_space = np.eye(len(arm_joints)) - np.linalg.pinv(jacobian) @ jacobian
        velocity: Floats = inverse @ twist + posture * null_space @ (self._rest - arm_joints)
        return velocity

    def solve(self, position: Floats, yaw: float, start: Floats) -> Floats | None:
        """(7,) joints that put the tool at ``position``, pointing down, turned by ``yaw`` [rad]; None out of reach."""
        joints = start.copy()
        for _ in range(200):
            here, rotation = self.pose(joints)
            error = np.concatenate([position - here, rotation_error(rotation, downward(yaw))])
            if np.linalg.norm(error[:3]) < 1e-3 and np.linalg.norm(error[3:]) < 1e-2:
                return joints
            joints = joints + 0.5 * self.joint_velocity(joints, error, posture=0.1)
        return None


def downward(yaw: float) -> Floats:
    """(3, 3) rotation of a tool that points down; its x axis (along which the fingers open) lies at ``yaw``."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])


def yaw_of(rotation: Floats) -> float:
    """[rad] such that ``downward(yaw)`` is nearest to ``rotation`` for a tool that points about down."""
    return float(np.arctan2(rotation[1, 0] + rotation[0, 1], rotation[0, 0] - rotation[1, 1]))


def rotation_error(rotation: Floats, wanted: Floats) -> Floats:
    """(3,) [rad] rotation vector in world coordinates that turns ``rotation`` into ``wanted``."""
    difference = wanted @ rotation.T
    axis = np.array(
        [
            difference[2, 1] - difference[1, 2],
            difference[0, 2] - difference[2, 0],
            difference[1, 0] - difference[0, 1],
        ]
    )
    sine, cosine = np.linalg.norm(axis) / 2, (np.trace(difference) - 1) / 2
    if sine < 1e-9:
        return np.zeros(3)
    error: Floats = axis / (2 * sine) * np.arctan2(sine, cosine)
    return error
