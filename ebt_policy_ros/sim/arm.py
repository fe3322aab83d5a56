"""A robosuite task with a Panda, headless, behind the node's own observation and command types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.types import Floats, Observation, Pixels, as_floats
from ebt_policy_ros.sim.kinematics import Kinematics, yaw_of
from ebt_policy_ros.sim.panda import common_arguments, draw_coarsely, quiet_robosuite
from ebt_policy_ros.sim.rendering import CameraRenderer, Prop, choose_backend
from ebt_policy_ros.sim.tasks import make_task

ARM_JOINTS = tuple(f"panda_joint{i}" for i in range(1, 8))
FINGER_JOINT = "panda_finger_joint1"
OPEN_M, CLOSED_M = 0.04, 0.0
"""Travel of one finger [m]."""
SUCCESS_TICKS = 10
"""Control periods in a row (0.5 s) during which the task must be fulfilled."""
_SETTLE_TICKS = 6
_STUCK_M = 0.002
"""Objects at rest reach half a millimetre into what they lie on."""


class SimulatedArm:
    """The arm, its cameras and its task; deterministic: the same seed and targets give the same joints and pixels.

    Joint targets are tracked as on a real Panda by an impedance law (200 1/s^2, critically damped), so that the arm
    trails a moving target by 0.14 s. One thread only.
    """

    control_period_ns = 50_000_000

    def __init__(
        self, task: str = "lift", *, image_size: int = 96, cameras: Sequence[str] = ("front", "wrist")
    ) -> None:
        self.task = make_task(task)
        unknown = [camera for camera in cameras if camera not in self.task.views]
        if unknown:
            raise SettingsError(f"camera '{unknown[0]}': task '{task}' has {', '.join(self.task.views)}")
        choose_backend()
        self.joint_names: tuple[str, ...] = (*ARM_JOINTS, FINGER_JOINT)
        self.camera_names: tuple[str, ...] = tuple(cameras)
        self.image_size = image_size
        with quiet_robosuite():
            self.environment = self.task.make_environment(common_arguments())
        self._model: Any = self.environment.sim.model._model
        self._state: Any = self.environment.sim.data._data
        draw_coarsely(self._model)
        self._addresses = np.array([self._joint_address(f"robot0_joint{i}") for i in range(1, 8)])
        self._finger_addresses = np.array([self._joint_address(f"gripper0_right_finger_joint{i}") for i in (1, 2)])
        self._velocity_addresses = self._model.jnt_dofadr[[self._joint_id(f"robot0_joint{i}") for i in range(1, 8)]]
        rest = np.array(self.environment.robots[0].init_qpos, dtype=np.float64)
        self.kinematics = Kinematics(
            self._model, "gripper0_right_grip_site", self._addresses, self._velocity_addresses, rest
        )
        self._cameras = CameraRenderer(self._model, self.task.views)
        self._time_ns = 0
        self._ticks_fulfilled = 0
        self._rng = np.random.default_rng(0)
        self._props: list[Prop] = []
        self.reset(0)

    # --- time ---------------------------------------------------------------------------------------------------
    @property
    def time_ns(self) -> int:
        """Simulated time [ns]; never goes back, not even over a reset."""
        return self._time_ns

    def reset(self, seed: int) -> None:
        """A new episode: cube pose and a little noise on the arm's joints come from ``seed`` alone."""
        rng = np.random.default_rng(seed)
        self._rng = np.random.default_rng([seed, 1])
        self._props.clear()
        # The samplers keep the generator object they were made with: its state is replaced, not the object.
        self.environment.rng.bit_generator.state = rng.bit_generator.state
        self.environment.reset()
        self.push(np.zeros(3))
        self._set_fingers(OPEN_M)
        self._settle()

    def step(self, targets: Floats) -> None:
        """Holds ``targets`` (D,) [rad, m] for one control period. The gripper closes for targets below 0.02 m."""
        targets = as_floats("targets", targets, (len(self.joint_names),))
        gripper = 1.0 if targets[-1] < 0.5 * (OPEN_M + CLOSED_M) else -1.0
        self.environment.step(np.append(targets[:-1], gripper))
        self._time_ns += self.control_period_ns
        self._ticks_fulfilled = self._ticks_fulfilled + 1 if self.task.is_success(self.environment) else 0

    @property
    def is_success(self) -> bool:
        """Whether the task has been fulfilled for the last ``SUCCESS_TICKS`` control periods."""
        return self._ticks_fulfilled >= SUCCESS_TICKS

    # --- senses -------------------------------------------------------------------------------------------------
    def positions(self) -> Floats:
        """(D,) [rad, m] measured now, in the order of ``joint_names``."""
        return np.append(self._state.qpos[self._addresses], self._state.qpos[self._finger_addresses[0]])

    def velocities(self) -> Floats:
        """(D,) [rad/s, m/s] measured now."""
        finger = self._model.jnt_dofadr[self._joint_id("gripper0_right_finger_joint1")]
        return np.append(self._state.qvel[self._velocity_addresses], self._state.qvel[finger])

    def render(self, camera: str, *, height: int | None = None, width: int | None = None) -> Pixels:
        """(height, width, 3) uint8 RGB, ``image_size`` square unless told otherwise."""
        size = height or self.image_size, width or self.image_size
        return self._cameras.render(self._state, camera, *size, props=self._props)

    def observation(self) -> Observation:
        """All cameras and joints at ``time_ns``."""
        images = {camera: self.render(camera) for camera in self.camera_names}
        return Observation(self._time_ns, images, self.joint_names, self.positions())

    # --- what only experts, tasks and experiments may use -----------------------------------------------------------
    def tool_pose(self) -> tuple[Floats, Floats]:
        """Position (3,) [m] and rotation (3, 3) of the point between the fingertips."""
        return self.kinematics.pose(self._state.qpos[self._addresses])

    def object_pose(self, name: str) -> tuple[Floats, Floats]:
        """Position (3,) [m] and rotation (3, 3) of an object of the task."""
        body = self._state.body(f"{name}_main")
        return body.xpos.copy(), body.xmat.reshape(3, 3).copy()

    def place_object(self, name: str, position: Floats, yaw: float) -> None:
        """Puts an object elsewhere, at rest and upright."""
        quaternion = [np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
        joint = self._joint_id(f"{name}_joint0")
        start, velocity = self._model.jnt_qposadr[joint], self._model.jnt_dofadr[joint]
        self._state.qpos[start : start + 7] = np.concatenate([position, quaternion])
        self._state.qvel[velocity : velocity + 6] = 0.0
        self.environment.sim.forward()

    def place_tool(self, position: Floats, turn: float, fingers: float) -> bool:
        """Puts the hand elsewhere, at rest, pointing down, turned by ``turn`` [rad] from now; False: out of reach."""
        start = self._state.qpos[self._addresses].copy()
        joints = self.kinematics.solve(position, yaw_of(self.tool_pose()[1]) + turn, start)
        limits = self._model.jnt_range[[self._joint_id(f"robot0_joint{i}") for i in range(1, 8)]]
        if joints is None or (joints < limits[:, 0] + 0.1).any() or (joints > limits[:, 1] - 0.1).any():
            return False
        self._state.qpos[self._addresses] = joints
        self._set_fingers(fingers)
        self._settle()
        return True

    def move_object(self, name: str, offset: Floats, turn: float) -> bool:
        """Moves an object by ``offset`` (3,) [m] and turns it about the vertical [rad] as it lies, at rest; False, and
        nothing has changed, where it would stick in something."""
        joint = self._joint_id(f"{name}_joint0")
        start, velocity = self._model.jnt_qposadr[joint], self._model.jnt_dofadr[joint]
        pose, speed = self._state.qpos[start : start + 7], self._state.qvel[velocity : velocity + 6]
        before = pose.copy(), speed.copy()
        pose[:3] += offset
        pose[3:] = _turned(pose[3:], turn)
        speed[:] = 0.0
        self.environment.sim.forward()
        if self._is_stuck(name):
            pose[:], speed[:] = before
            self.environment.sim.forward()
            return False
        return True

    def object_speed(self, name: str) -> float:
        """[m/s] of an object of the task."""
        velocity = self._model.jnt_dofadr[self._joint_id(f"{name}_joint0")]
        return float(np.linalg.norm(self._state.qvel[velocity : velocity + 3]))

    def teleport(self, severity: float = 1.0) -> bool:
        """The task's object lies elsewhere at once, see ``Task.teleport``; places come from the episode's seed."""
        return self.task.teleport(self, severity, self._rng)

    def push(self, force: Floats) -> None:
        """A force (3,) [N], in world coordinates, that acts on the hand until another one or a reset."""
        self._state.body("robot0_right_hand").xfrc_applied[:3] = force

    def show(self, prop: Prop) -> None:
        """Something that cameras see until the next reset; nothing can touch it."""
        self._props.append(prop)

    def close(self) -> None:
        """Frees the OpenGL contexts and the environment."""
        self._cameras.close()
        self.environment.close()

    # --- inside -------------------------------------------------------------------------------------------------
    def _settle(self) -> None:
        """Lets the objects come to rest under a still arm, without counting that as time of the episode."""
        targets = np.append(self._state.qpos[self._addresses], self._state.qpos[self._finger_addresses[0]])
        self._state.qvel[:] = 0.0
        self.environment.sim.forward()
        for _ in range(_SETTLE_TICKS):
            gripper = self.environment.robots[0].gripper["right"]
            gripper.current_action = _finger_action(targets[-1])
            # A zero action moves the gripper's set point neither way.
            self.environment.step(np.append(targets[:-1], 0.0))
        self._time_ns += self.control_period_ns
        self._ticks_fulfilled = 0

    def _set_fingers(self, opening: float) -> None:
        self._state.qpos[self._finger_addresses] = [opening, -opening]
        self.environment.robots[0].gripper["right"].current_action = _finger_action(opening)
        self.environment.sim.forward()

    def _is_stuck(self, name: str) -> bool:
        """Whether an object reaches more than ``_STUCK_M`` into something else."""
        body = self._model.body(f"{name}_main").id
        for contact in self._state.contact[: self._state.ncon]:
            bodies = self._model.geom_bodyid[contact.geom]
            if contact.dist < -_STUCK_M and (self._model.body_rootid[bodies] == body).any():
                return True
        return False

    def _joint_id(self, name: str) -> int:
        import mujoco

        return int(mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_JOINT, name))

    def _joint_address(self, name: str) -> int:
        return int(self._model.jnt_qposadr[self._joint_id(name)])


def _finger_action(opening: float) -> Floats:
    """The gripper's internal set point (2,) for one finger's travel [m]; robosuite scales -1..1 to closed..open."""
    level = 2.0 * opening / OPEN_M - 1.0
    return np.array([level, -level])


def _turned(quaternion: Floats, turn: float) -> Floats:
    """(4,) w, x, y, z: ``quaternion`` turned by ``turn`` [rad] about the world's vertical."""
    w, x, y, z = quaternion
    c, s = np.cos(turn / 2), np.sin(turn / 2)
    return np.array([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w])
