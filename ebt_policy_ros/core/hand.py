"""What is to be known of the hand: whether it holds nothing, how it opens on the way back, where it is going."""

from __future__ import annotations

import numpy as np

from ebt_policy_ros.core.settings import RobotSettings
from ebt_policy_ros.core.types import Floats, SafeChunk


def holds_nothing(robot: RobotSettings, command: Floats, measured: Floats) -> bool:
    """Whether the hand is commanded closed and measured at its closed end; positions (D,) [rad or m]."""
    gripper, index = robot.gripper, robot.gripper_index
    if gripper is None or index is None:
        return False
    return all(abs(float(at[index]) - gripper.closed) <= gripper.tolerance for at in (command, measured))


def with_hand(targets: Floats, robot: RobotSettings, period_s: float, *, release: bool) -> Floats:
    """Targets (M, D) whose hand keeps the position of row 0, or opens at its own speed; longer when that takes longer.

    The executed path must not decide about the hand: going back over it would let go of what was grasped on the way.
    """
    gripper, index = robot.gripper, robot.gripper_index
    if gripper is None or index is None:
        return targets
    at = float(targets[0, index])
    end = gripper.open if release else at
    step = robot.joints[index].velocity * period_s
    num_rows = max(len(targets), 2 + int(np.ceil(abs(end - at) / step)))
    rows: Floats = np.concatenate([targets, np.repeat(targets[-1:], num_rows - len(targets), axis=0)])
    rows[:, index] = at + np.sign(end - at) * np.minimum(step * np.arange(num_rows), abs(end - at))
    return rows


def hand_goal(chunk: SafeChunk, joint: str, stamp_ns: int) -> float:
    """Where the hand ends that sets out, or is under way, at ``stamp_ns`` [rad or m]: as far as it goes on in one
    direction; where it is while it rests."""
    column = chunk.joint_names.index(joint)
    state = chunk.sample(stamp_ns)
    way = np.sign(state.velocities[column])
    later = chunk.times_s > (stamp_ns - chunk.start_ns) * 1e-9
    goal = float(state.positions[column])
    for position in chunk.positions[later, column]:
        if way == 0.0 or (position - goal) * way < 0.0:
            break
        goal = float(position)
    return goal
