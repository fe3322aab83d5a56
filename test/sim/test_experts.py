"""The scripted expert: solves what it should, in several ways, within limits, and recovers from trouble."""

import numpy as np
import pytest

from ebt_policy_ros.sim.experts.base import MAX_VELOCITY, Way
from ebt_policy_ros.sim.experts.lift import Phase
from ebt_policy_ros.sim.kinematics import yaw_of


def demonstrate(arm, seed, *, way=None, when=None, disturb=None):
    """Runs the expert to its end; (T, 8) targets, (T, 3) hand positions, the hand's yaw when it grasped."""
    rng = np.random.default_rng([seed, 9])
    arm.reset(seed)
    expert = arm.task.make_expert(arm, rng)
    if way is not None:
        expert._way = way
    targets, hands = [], []
    for tick in range(200):
        if when is not None and when(tick, expert):
            disturb()
            when = None
        targets.append(expert.act())
        hands.append(arm.tool_pose()[0])
        arm.step(targets[-1])
        if expert.is_done:
            break
    return np.array(targets), np.array(hands), yaw_of(arm.tool_pose()[1])


@pytest.mark.parametrize("seed", range(6))
def test_solves_every_seed_within_the_limits_of_the_safety_stage(arm, seed):
    targets, _, _ = demonstrate(arm, seed)
    assert arm.is_success
    assert len(targets) <= 110
    velocities = np.diff(targets, axis=0) / 0.05
    assert (np.abs(velocities[:, :-1]).max(axis=0) <= 1.2 * MAX_VELOCITY).all()
    assert np.abs(np.diff(velocities[:, :-1], axis=0) / 0.05).max() <= 10.0
    assert np.abs(velocities[:, -1]).max() <= 0.2 + 1e-9
    assert targets[:, -1].min() >= 0.0
    assert targets[:, -1].max() <= 0.0401


def test_ways_differ_on_the_way_and_agree_on_the_grasp(arm):
    ways = [Way(side, is_low, 0.1) for side in (-1, 1) for is_low in (False, True)]
    runs = [demonstrate(arm, 11, way=way) for way in ways]
    right_high, right_low, left_high, left_low = (hands for _, hands, _ in runs)
    assert left_high[20, 1] - right_high[20, 1] > 0.10
    assert left_low[20, 1] - right_low[20, 1] > 0.10
    assert right_high[18, 2] - right_low[18, 2] > 0.03
    turns = [yaw for _, _, yaw in runs]
    assert max(turns) - min(turns) < 0.1


def test_goes_to_where_the_cube_went(arm):
    demonstrate(arm, 2, when=lambda tick, _: tick == 40, disturb=lambda: arm.teleport())
    assert arm.is_success


def test_a_cube_in_the_hand_is_not_teleported(arm):
    answers = []
    demonstrate(
        arm,
        2,
        when=lambda _, expert: expert.phase is Phase.LIFT,
        disturb=lambda: answers.append(arm.teleport()),
    )
    assert answers == [False]
    assert arm.is_success


@pytest.mark.parametrize("fingers", [0.0, 0.04])
def test_recovers_from_standing_low_beside_the_cube(arm, fingers):
    def put_beside():
        cube = arm.object_pose("cube")[0]
        assert arm.place_tool(cube + np.array([-0.065, 0.0, 0.0]), 0.0, fingers)

    demonstrate(arm, 7, when=lambda tick, _: tick == 0, disturb=put_beside)
    assert arm.is_success


def test_tries_again_after_closing_on_nothing(arm):
    def drop():
        arm.place_object("cube", np.array([-0.02, 0.07, 0.8215]), 0.3)

    targets, _, _ = demonstrate(arm, 13, when=lambda _, expert: expert.phase is Phase.CLOSE, disturb=drop)
    assert arm.is_success
    assert np.diff(targets[:, -1]).max() > 0.0  # it opened again
