"""The hand: where it is going."""

from __future__ import annotations

import numpy as np

from ebt_policy_ros.core.hand import hand_goal
from ebt_policy_ros.core.safety import Admitted, SafetyStage
from ebt_policy_ros.core.settings import SafetySettings
from ebt_policy_ros.core.types import MotionState, Splice

from .fakes import HOME, PERIOD, ROBOT

HAND = ROBOT.joint_names[2]


def test_a_hand_goes_as_far_as_it_moves_on_in_one_direction() -> None:
    way = np.array([0.04] * 4 + [0.0] * 14 + [0.03] * 14)  # rests, closes, opens again
    targets = np.repeat(HOME[None], len(way), axis=0)
    targets[:, 2] = way
    made = SafetyStage(ROBOT, SafetySettings(), PERIOD).make(targets, 0, Splice.at_once(0, MotionState.at_rest(HOME)))
    assert isinstance(made, Admitted)
    chunk = made.chunk
    moving = np.flatnonzero(chunk.velocities[:, 2])
    closing = chunk.times_s[chunk.velocities[:, 2] < 0.0]
    opening = chunk.times_s[chunk.velocities[:, 2] > 0.0]
    assert hand_goal(chunk, HAND, round(float(chunk.times_s[moving[0] - 1]) * 1e9)) == 0.04  # about to set out
    lowest = float(chunk.positions[:, 2].min())
    assert lowest < 0.002
    for time_s in (closing[0], closing[len(closing) // 2]):
        assert hand_goal(chunk, HAND, round(float(time_s) * 1e9)) == lowest
    assert abs(hand_goal(chunk, HAND, round(float(opening[0]) * 1e9)) - 0.03) < 0.002
    assert hand_goal(chunk, HAND, chunk.end_ns + PERIOD) == chunk.positions[-1, 2]
