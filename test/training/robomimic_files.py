"""robomimic HDF5 files as ``dataset_states_to_obs.py`` writes them: the same groups, data sets and attributes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

LENGTHS = (6, 9, 7)
OSC = {"type": "OSC_POSE", "input_max": 1, "control_delta": True}
JOINT_TARGETS = {"type": "BASIC", "body_parts": {"right": {"type": "JOINT_POSITION", "input_type": "absolute"}}}


def joints_of(demo: int, length: int) -> np.ndarray:
    """(length + 1, 7) arm joints."""
    along = np.linspace(0, 1, length + 1)[:, None]
    return (demo + 1) * 0.1 * along * np.arange(1, 8)


def picture(demo: int, row: int) -> np.ndarray:
    image = np.full((20, 20, 3), 10 * demo + 50, dtype=np.uint8)
    image[row : row + 4, 5:9] = 200
    return image


def write(path: Path, controller: dict = OSC, images: bool = True) -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        for demo, length in enumerate(LENGTHS):
            group = data.create_group(f"demo_{demo}")
            path_of_arm = joints_of(demo, length)
            fingers = np.linspace(0.04, 0.02, length)  # stops at the object it holds
            deltas = np.clip(np.diff(path_of_arm, axis=0)[:, :6] * 20, -1, 1)
            closing = np.where(np.arange(length) < length // 2, -1.0, 1.0)[:, None]
            is_joints = controller is JOINT_TARGETS
            group["actions"] = np.concatenate([path_of_arm[1:] if is_joints else deltas, closing], 1)
            group["actions_abs"] = np.zeros((length, 7))
            group["states"] = np.zeros((length, 32))
            group["rewards"], group["dones"] = np.zeros(length), np.zeros(length)
            obs = {
                "robot0_joint_pos": path_of_arm[:-1],
                "robot0_joint_vel": np.zeros((length, 7)),
                "robot0_gripper_qpos": np.stack([fingers, -fingers], 1),
                "robot0_eef_pos": np.zeros((length, 3)),
                "object": np.zeros((length, 10)),
            }
            if images:
                obs["agentview_image"] = np.stack([picture(demo, row) for row in range(length)])
                obs["robot0_eye_in_hand_image"] = obs["agentview_image"][:, ::-1]
            for key, values in obs.items():
                group.create_dataset(f"obs/{key}", data=values, compression="gzip" if values.ndim == 4 else None)
            group.attrs["num_samples"], group.attrs["model_file"] = length, "<mujoco/>"
        file["mask/train"] = np.array([b"demo_0", b"demo_2"])
        file["mask/valid"] = np.array([b"demo_1"])
        data.attrs["total"] = sum(LENGTHS)
        arguments = {"robots": ["Panda"], "control_freq": 20, "controller_configs": controller}
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_type": 1, "env_kwargs": arguments})
    return path
