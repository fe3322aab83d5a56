"""The can task: placed widely, seen by the cameras, solved in several ways, recovered from trouble, judged rightly."""

import numpy as np
import pytest

from ebt_policy_ros.sim.arm import SUCCESS_TICKS, SimulatedArm
from ebt_policy_ros.sim.demonstrate import record_episode
from ebt_policy_ros.sim.experts.base import MAX_VELOCITY
from ebt_policy_ros.sim.experts.can import PLACE, Phase
from ebt_policy_ros.sim.tasks.can import GOAL_X, GOAL_Y, SOURCE_X, SOURCE_Y, STANDING_M, is_in_goal

SOURCE_CORNERS = [(x, y) for x in SOURCE_X for y in SOURCE_Y]


@pytest.fixture(scope="module")
def arm(needs_robosuite):
    arm = SimulatedArm("can")
    yield arm
    arm.close()


def demonstrate(arm, seed, *, near=None, when=None, disturb=None):
    """Runs the expert to its end; the expert, (T, 8) targets, (T, 3) hand positions."""
    arm.reset(seed)
    expert = arm.task.make_expert(arm, np.random.default_rng([seed, 9]))
    if near is not None:
        expert._carries_near = near
    targets, hands = [], []
    for tick in range(arm.task.max_ticks):
        if when is not None and when(tick, expert):
            disturb()
            when = None
        targets.append(expert.act())
        hands.append(arm.tool_pose()[0])
        arm.step(targets[-1])
        if expert.is_done:
            break
    return expert, np.array(targets), np.array(hands)


def place(arm, x, y):
    arm.place_object("Can", np.array([x, y, STANDING_M]), 0.0)


def lay_down(arm, x, y, yaw):
    """The can on its side, its axis at ``yaw`` from the x axis."""
    place(arm, x, y)
    joint = arm._model.joint("Can_joint0").qposadr[0]
    half = yaw / 2
    upright_to_x = np.array([np.cos(np.pi / 4), 0.0, np.sin(np.pi / 4), 0.0])
    w, _, y_part, _ = upright_to_x
    turned = [np.cos(half) * w, -np.sin(half) * y_part, np.cos(half) * y_part, np.sin(half) * w]
    arm._state.qpos[joint + 2 : joint + 7] = [0.846, *turned]
    arm.environment.sim.forward()


def red_pixels(image):
    """(n, 2) rows and columns of the can's pixels."""
    values = image.astype(int)
    return np.argwhere((values[..., 0] > 60) & (values[..., 1] < 0.45 * values[..., 0]))


def test_the_can_starts_anywhere_in_its_bin_and_alone(arm):
    places = []
    for seed in range(25):
        arm.reset(seed)
        places.append(arm.object_pose("Can")[0])
        for other in ("Milk", "Bread", "Cereal"):
            assert np.linalg.norm(arm.object_pose(other)[0][:2]) > 5
    places = np.array(places)
    low, high = places.min(axis=0), places.max(axis=0)
    assert (low[:2] >= np.array([SOURCE_X[0], SOURCE_Y[0]]) - 0.01).all()
    assert (high[:2] <= np.array([SOURCE_X[1], SOURCE_Y[1]]) + 0.01).all()
    assert (high[:2] - low[:2] > np.array([0.20, 0.28])).all()
    assert places[:, 2] == pytest.approx(STANDING_M, abs=2e-3)


def test_the_front_camera_sees_the_can_wherever_it_is(arm):
    arm.reset(0)
    centres = {}
    for x, y in [*SOURCE_CORNERS, tuple(PLACE)]:
        place(arm, x, y)
        pixels = red_pixels(arm.render("front"))
        height, width = np.ptp(pixels, axis=0) + 1
        assert len(pixels) >= 25
        assert height >= 6
        assert width >= 5
        centres[x, y] = pixels.mean(axis=0)
    (near_left, near_right), (far_left, far_right) = ([centres[x, y] for y in SOURCE_Y] for x in SOURCE_X)
    assert near_right[1] - near_left[1] > 25
    assert far_right[1] - far_left[1] > 25
    assert far_left[0] - near_left[0] > 10
    assert centres[tuple(PLACE)][1] > near_right[1] + 30


def test_the_wrist_camera_sees_the_can_from_above(arm):
    arm.reset(0)
    centres = []
    for offset in (-0.03, 0.03):
        place(arm, 0.10, -0.25 + offset)
        assert arm.place_tool(np.array([0.08, -0.25, 1.0]), 0.0, 0.04)
        pixels = red_pixels(arm.render("wrist"))
        assert len(pixels) >= 100
        centres.append(pixels.mean(axis=0)[1])
    assert abs(centres[0] - centres[1]) > 10


@pytest.mark.parametrize(
    ("x", "y", "is_there"),
    [
        (*PLACE, True),
        (0.25, 0.48, True),
        (0.05, 0.34, False),
        (0.15, 0.20, False),
        (0.15, -0.20, False),
    ],
)
def test_success_is_a_can_that_stays_in_its_quarter(arm, x, y, is_there):
    arm.reset(0)
    place(arm, x, y)
    still = arm.positions()
    for _ in range(SUCCESS_TICKS - 1):
        arm.step(still)
        assert not arm.is_success
    arm.step(still)
    assert arm.is_success is is_there
    assert is_in_goal(arm.object_pose("Can")[0]) is is_there


@pytest.mark.parametrize("seed", range(3))
def test_solves_every_seed_within_the_limits_of_the_safety_stage(arm, seed):
    _, targets, hands = demonstrate(arm, seed)
    assert arm.is_success
    can = arm.object_pose("Can")[0]
    assert GOAL_X[0] < can[0] < GOAL_X[1]
    assert GOAL_Y[0] < can[1] < GOAL_Y[1]
    assert can[2] == pytest.approx(STANDING_M, abs=2e-3)
    assert hands[-1, 2] > 0.96
    assert arm.positions()[-1] > 0.035
    assert len(targets) <= 165
    velocities = np.diff(targets, axis=0) / 0.05
    assert (np.abs(velocities[:, :-1]).max(axis=0) <= 1.2 * MAX_VELOCITY).all()
    assert np.abs(np.diff(velocities[:, :-1], axis=0) / 0.05).max() <= 10.0
    assert np.abs(velocities[:, -1]).max() <= 0.2 + 1e-9
    assert targets[:, -1].min() >= 0.0
    assert targets[:, -1].max() <= 0.0401


def test_carries_on_either_side_to_the_same_place(arm):
    ends, across = [], []
    for near in (True, False):
        _, _, hands = demonstrate(arm, 15, near=near)
        assert arm.is_success
        ends.append(arm.object_pose("Can")[0])
        over_the_wall = int(np.argmax(hands[:, 1] > 0.0))
        assert hands[over_the_wall, 2] > 0.97
        across.append(hands[over_the_wall, 0])
    assert across[1] - across[0] > 0.10
    assert ends[0] == pytest.approx(ends[1], abs=0.02)


def test_every_way_is_drawn(arm):
    modes = {arm.task.make_expert(arm, np.random.default_rng(seed)).mode for seed in range(60)}
    assert modes == {
        f"{side}-{height}-{carry}"
        for side in ("left", "right")
        for height in ("low", "high")
        for carry in ("near", "far")
    }


def test_goes_to_where_the_can_went(arm):
    answers, before = [], []

    def teleport():
        before.append(arm.object_pose("Can")[0])
        answers.append(arm.teleport())
        assert np.linalg.norm(arm.object_pose("Can")[0] - before[0]) >= 0.12

    demonstrate(arm, 2, when=lambda tick, _: tick == 40, disturb=teleport)
    assert answers == [True]
    assert arm.is_success


def test_a_can_in_the_hand_or_in_its_quarter_is_not_teleported(arm):
    answers = []
    demonstrate(
        arm,
        2,
        when=lambda _, expert: expert.phase is Phase.CARRY,
        disturb=lambda: answers.append(arm.teleport()),
    )
    assert arm.is_success
    answers.append(arm.teleport())
    assert answers == [False, False]


def test_fetches_a_can_that_slipped_from_the_hand(arm):
    expert, _, _ = demonstrate(
        arm,
        3,
        when=lambda _, expert: expert.phase is Phase.CARRY and arm.tool_pose()[0][1] > 0.0,
        disturb=lambda: place(arm, 0.05, -0.15),
    )
    assert expert.is_done
    assert arm.is_success


@pytest.mark.parametrize("yaw", [0.0, 0.9])
def test_picks_up_a_can_that_lies_on_its_side(arm, yaw):
    def knock_over():
        lay_down(arm, 0.10, -0.25, yaw)
        assert abs(arm.object_pose("Can")[1][2, 2]) < 0.1

    demonstrate(arm, 5, when=lambda tick, _: tick == 0, disturb=knock_over)
    assert arm.is_success


@pytest.mark.parametrize("fingers", [0.0, 0.04])
def test_recovers_from_standing_low_beside_the_can(arm, fingers):
    def put_beside():
        place(arm, 0.10, -0.20)
        assert arm.place_tool(np.array([0.05, -0.28, STANDING_M]), 0.3, fingers)

    demonstrate(arm, 7, when=lambda tick, _: tick == 0, disturb=put_beside)
    assert arm.is_success


def test_demonstrations_with_noise_and_trouble_succeed(arm, monkeypatch):
    monkeypatch.setattr(arm, "camera_names", ())
    disturbed = [seed for seed in range(40) if np.random.default_rng([seed, 2]).random() < 0.55][:3]
    for seed in disturbed:
        demonstration = record_episode(arm, seed)
        assert demonstration.noise > 0
        assert demonstration.success
