"""robomimic HDF5 files: ``data/demo_<n>`` with ``obs/<key>`` and ``actions``, ``mask/<filter>``, ``env_args``.

robomimic's usual actions are deltas of the tool's pose for an operational-space controller. This policy commands joint
targets, so such a file is refused until its description says where targets come from (``Source.action``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ebt_policy_ros.core.errors import DatasetError
from ebt_policy_ros.training.readers import (
    NEXT_POSITION,
    Array32,
    Episode,
    Images,
    Joint,
    Recording,
    Source,
    next_positions,
    on_grid,
    resized,
)

ARM, GRIPPER = "robot0_joint_pos", "robot0_gripper_qpos"
OPTIONS = ("filter", "gripper")
"""filter: name of a list of demonstrations under mask/. gripper: {open: m, closed: m}, what the sign of the last value
of ``actions`` (below 0 opens) means for finger joints; or 'position' when the action key holds their targets too."""
FINGER = {"open": 0.04, "closed": 0.0}
"""Of a Panda's finger [m]."""


def read_robomimic(source: Source, limit: int | None) -> Recording:
    """The first ``limit`` demonstrations that are not skipped; DatasetError names file, demonstration and key."""
    source.check_options(OPTIONS)
    try:
        with h5py.File(source.path, "r") as file:
            return _read(file, source, limit)
    except (OSError, RuntimeError) as error:  # h5py: not HDF5, cut short, a damaged chunk
        raise DatasetError(
            f"{source.path} cannot be read as HDF5: {error}; it is damaged or cut short: copy it again"
        ) from error


def _read(file: h5py.File, source: Source, limit: int | None) -> Recording:
    path = source.path
    if "data" not in file or not any(name.startswith("demo") for name in file["data"]):
        found = ", ".join(sorted(file)) or "nothing"
        raise DatasetError(f"{path}: expected the group 'data' with demo_0, demo_1, ...; found {found}")
    environment = _environment(file, path)
    names = _demonstrations(file, source)
    numbers = source.chosen(len(names), limit)
    first = file["data"][names[numbers[0]]] if numbers else None
    if first is None or "obs" not in first:
        raise DatasetError(
            f"{path}: {names[0] if names else 'no demonstration'} has no observations ('obs'); make them with "
            "robomimic's dataset_states_to_obs.py --camera_names ..."
        )
    plan = _Plan.make(source, first["obs"], environment)
    return Recording(
        kind="robomimic",
        task=source.task or environment.name or path.stem,
        joints=plan.joints,
        cameras=tuple(plan.cameras),
        period_s=source.period_s or environment.period_s or 0.05,
        episodes=[_episode(file["data"][names[n]], f"{path}, {names[n]}", plan, source) for n in numbers],
    )


@dataclass(frozen=True)
class _Environment:
    """What ``env_args`` says."""

    name: str | None
    robot: str | None
    period_s: float | None
    controller: str
    is_joint_target: bool


def _environment(file: h5py.File, path: Path) -> _Environment:
    try:
        entries = json.loads(file["data"].attrs.get("env_args", "{}"))
        arguments = entries.get("env_kwargs") or {}
        robots = arguments.get("robots") or [None]
        frequency = arguments.get("control_freq")
        controller = arguments.get("controller_configs") or {}
    except (ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: attribute env_args of 'data': expected JSON, got {error}") from error
    if isinstance(controller, list):
        controller = controller[0] if controller else {}
    arm = (controller.get("body_parts") or {}).get("right") or controller  # robosuite 1.5, or before
    kind = str(arm.get("type", "unknown"))
    is_absolute = arm.get("input_type") == "absolute" or arm.get("control_delta") is False
    return _Environment(
        name=entries.get("env_name"),
        robot=robots[0] if isinstance(robots, list) else robots,
        period_s=1 / float(frequency) if frequency else None,
        controller=kind,
        is_joint_target=kind == "JOINT_POSITION" and is_absolute,
    )


def _demonstrations(file: h5py.File, source: Source) -> list[str]:
    """Names of the demonstrations by number; those of the filter where there is one."""
    names = sorted((n for n in file["data"] if n.startswith("demo")), key=lambda n: (len(n), n))
    wanted = source.options.get("filter")
    if wanted is None:
        return names
    masks = file.get("mask", {})
    if wanted not in masks:
        raise DatasetError(f"{source.path}: filter '{wanted}' is not in mask/; found {', '.join(masks) or 'none'}")
    chosen = {n.decode() if isinstance(n, bytes) else str(n) for n in masks[wanted][()]}
    return [name for name in names if name in chosen]


@dataclass(frozen=True)
class _Plan:
    """Where positions, targets and pictures come from: the same for every demonstration of a file."""

    joints: tuple[Joint, ...]
    cameras: Mapping[str, str]
    size: tuple[int, int]
    action: str
    finger: Mapping[str, float] | None
    """Targets of finger joints for the sign of the last value of ``actions``; None: the action key has them."""
    period_s: float

    @classmethod
    def make(cls, source: Source, obs: h5py.Group, environment: _Environment) -> _Plan:
        joints = source.joints or _default_joints(source, obs, environment)
        cameras = _cameras(source, obs)
        action = source.action
        if action is None:
            if not environment.is_joint_target:
                raise DatasetError(
                    f"{source.path}: its actions are for the controller '{environment.controller}', and this policy "
                    "commands absolute joint targets. Describe the file in a YAML that says where they are: "
                    "'action: KEY' (a data set of joint targets), or 'action: next_position' (joints one step later)"
                )
            action = "actions"
        period_s = environment.period_s or source.period_s
        if period_s is None:
            raise DatasetError(f"{source.path}: env_args names no control_freq; say period_s in a YAML")
        gripper = source.options.get("gripper", FINGER)
        finger = None if gripper == "position" else gripper
        if finger is not None and (not isinstance(finger, dict) or set(finger) != set(FINGER)):
            raise DatasetError(f"{source.path}: gripper: expected 'position' or {{open: m, closed: m}}, got {gripper}")
        return cls(joints, cameras, source.size_for([obs[key].shape[1:3] for key in cameras.values()]), action,
                   finger, period_s)  # fmt: skip


def _default_joints(source: Source, obs: h5py.Group, environment: _Environment) -> tuple[Joint, ...]:
    """The arm's joints and one finger, as robosuite names their observations."""
    key = source.state or ARM
    if key not in obs:
        found = ", ".join(sorted(obs))
        raise DatasetError(f"{source.path}: expected the observation '{key}' (joint positions); found {found}")
    prefix = "panda" if environment.robot == "Panda" else "robot0"
    joints = [Joint(f"{prefix}_joint{i + 1}", f"{key}/{i}", "rad") for i in range(obs[key].shape[1])]
    if GRIPPER in obs and source.state is None:
        joints.append(Joint(f"{prefix}_finger_joint1", f"{GRIPPER}/0", "m"))
    return tuple(joints)


def _cameras(source: Source, obs: h5py.Group) -> dict[str, str]:
    found = {
        key.removesuffix("_image"): key
        for key in sorted(obs)
        if key.endswith("_image") and obs[key].ndim == 4 and obs[key].shape[-1] == 3
    }
    if not source.cameras:
        if not found:
            raise DatasetError(
                f"{source.path}: expected at least one observation '<camera>_image'; found {', '.join(sorted(obs))}; "
                "make them with robomimic's dataset_states_to_obs.py --camera_names ..."
            )
        return found
    for name, key in source.cameras.items():
        if key not in found.values():
            listed = ", ".join(found.values()) or "none"
            raise DatasetError(f"{source.path}: camera '{name}': expected the observation '{key}'; images: {listed}")
    return dict(source.cameras)


def _episode(demo: h5py.Group, name: str, plan: _Plan, source: Source) -> Episode:
    positions = np.stack([_column(demo["obs"], joint, name) for joint in plan.joints], 1)
    images: dict[str, Images] = {}
    for camera, key in plan.cameras.items():
        if key not in demo["obs"] or demo["obs"][key].dtype != np.uint8:
            got = demo["obs"][key].dtype if key in demo["obs"] else "none"
            raise DatasetError(f"{name}: observation '{key}': expected uint8 pictures, got {got}")
        images[camera] = resized(demo["obs"][key][()], plan.size)
    episode = Episode(
        name=name,
        stamps_ns=np.arange(len(positions), dtype=np.int64) * round(plan.period_s * 1e9),
        positions=positions,
        actions=_targets(demo, name, plan, positions),
        images=images,
        record={"demo": name.rsplit(" ", 1)[-1]},
    )
    return on_grid(episode, source.period_s or plan.period_s)


def _column(obs: h5py.Group, joint: Joint, name: str) -> Array32:
    """(T,) positions of a joint, whose key is 'observation/place'."""
    key, _, place = joint.key.rpartition("/")
    if key not in obs or not place.isdigit() or obs[key].ndim != 2 or int(place) >= obs[key].shape[1]:
        got = f"shape {obs[key].shape}" if key in obs else f"found {', '.join(sorted(obs))}"
        raise DatasetError(f"{name}: joint '{joint.name}': expected key 'observation/place', got '{joint.key}'; {got}")
    return np.asarray(obs[key][:, int(place)], dtype=np.float32) * np.float32(joint.factor)


def _targets(demo: h5py.Group, name: str, plan: _Plan, positions: Array32) -> Array32:
    """(T, D) commanded joint targets."""
    is_finger = np.array([joint.robot_unit == "m" for joint in plan.joints])
    if plan.action == NEXT_POSITION:
        targets = next_positions(positions)
        return targets if plan.finger is None else _with_finger(demo, name, plan.finger, targets, is_finger)
    stored = _stored(demo, plan.action, name, len(positions))
    factors = np.array([joint.factor for joint in plan.joints], dtype=np.float32)
    arm_only = (~is_finger).sum()
    if stored.shape[1] == len(plan.joints):
        targets = stored * factors
    elif plan.finger is not None and stored.shape[1] == arm_only:
        targets = positions.copy()
        targets[:, ~is_finger] = stored * factors[~is_finger]
    else:
        listed = ", ".join(joint.name for joint in plan.joints)
        raise DatasetError(
            f"{name}: '{plan.action}' has {stored.shape[1]} values a row, expected one for each joint ({listed})"
        )
    return targets if plan.finger is None else _with_finger(demo, name, plan.finger, targets, is_finger)


def _with_finger(demo: h5py.Group, name: str, finger: Mapping[str, float], targets: Array32, is_finger: Any) -> Array32:
    """Finger targets from the sign of the last action: a measured finger stops at what it holds, without squeezing."""
    if not is_finger.any():
        return targets
    last = _stored(demo, "actions", name, len(targets))[:, -1]
    targets = targets.copy()
    targets[:, is_finger] = np.where(last > 0, float(finger["closed"]), float(finger["open"]))[:, None]
    return targets


def _stored(demo: h5py.Group, key: str, name: str, rows: int) -> Array32:
    if key not in demo or not isinstance(demo[key], h5py.Dataset) or demo[key].ndim != 2:
        found: Sequence[str] = sorted(demo)
        raise DatasetError(f"{name}: expected the data set '{key}' of shape (rows, joints); found {', '.join(found)}")
    if len(demo[key]) != rows:
        raise DatasetError(
            f"{name}: '{key}' has {len(demo[key])} rows, the joint positions {rows}; leave it out ('skip')"
        )
    return np.asarray(demo[key][()], dtype=np.float32)
