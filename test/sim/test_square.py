"""The square task: what is seen, what counts as success, an expert that solves it and recovers from trouble."""

import numpy as np
import pytest

from ebt_policy_ros.sim.arm import SUCCESS_TICKS, SimulatedArm
from ebt_policy_ros.sim.experts.base import MAX_VELOCITY
from ebt_policy_ros.sim.experts.square import Phase
from ebt_policy_ros.sim.kinematics import yaw_of
from ebt_policy_ros.sim.tasks.square import HALF_YAW_RAD, PEG, TABLE_HEIGHT_M, X_RANGE_M, Y_RANGE_M

LYING_M = TABLE_HEIGHT_M + 0.01
"""Height of the nut's centre on the table."""


@pytest.fixture(scope="module")
def arm(needs_robosuite):
    arm = SimulatedArm("square")
    yield arm
    arm.close()


class Episode:
    """The expert run to its end; once ``when`` holds, ``disturb`` is called and ``spoil`` changes seven targets."""

    def __init__(self, arm, seed, *, side=None, when=None, disturb=None, spoil=None):
        arm.reset(seed)
        self.expert = arm.task.make_expert(arm, np.random.default_rng([seed, 9]))
        if side is not None:
            self.expert._carry_side = side
        self.phases, targets, nuts, self.grasp_turn, spoiled = [], [], [], None, 0
        for tick in range(400):
            target = self.expert.act()
            if when is not None and when(tick, self.expert):
                when, spoiled = None, 7
                if disturb is not None:
                    disturb()
            if self.phases and self.phases[-1] is Phase.CLOSE and self.expert.phase is Phase.CARRY:
                self.grasp_turn = yaw_of(arm.tool_pose()[1])
            self.phases.append(self.expert.phase)
            targets.append(target)
            nuts.append(arm.object_pose("SquareNut")[0])
            arm.step(spoil(target) if spoil is not None and spoiled > 0 else target)
            spoiled -= 1
            if self.expert.is_done:
                break
        self.targets, self.nuts = np.array(targets), np.array(nuts)

    @property
    def grasps(self):
        """How often the nut was taken up."""
        pairs = zip(self.phases, self.phases[1:], strict=False)
        return sum(pair == (Phase.CLOSE, Phase.CARRY) for pair in pairs)


def with_open_hand(target):
    return np.append(target[:-1], 0.04)


def shoved_aside(target):
    return target + np.array([-0.05, 0.04, 0, 0, 0, 0, 0, 0])


def is_around_the_peg(arm):
    """Whether the nut lies flat on the table with the peg in its hole."""
    nut, rotation = arm.object_pose("SquareNut")
    beside = rotation[:, :2].T @ (np.array([*PEG, nut[2]]) - nut)
    return bool(np.abs(beside).max() < 0.0068 and abs(nut[2] - LYING_M) < 2e-3 and rotation[2, 2] > 0.999)


def stay(arm, ticks):
    targets = arm.positions()
    for _ in range(ticks):
        arm.step(targets)


def coloured(image, *, blue):
    """(n, 2) rows and columns of the peg's pixels, or of the nut's."""
    red, green, blues = (image.astype(int)[..., channel] for channel in range(3))
    return np.argwhere(blues > red + 40 if blue else (red > blues + 30) & (red > green))


def test_the_nut_starts_where_robosuite_puts_it_and_alone(arm):
    places, yaws = [], []
    for seed in range(40):
        arm.reset(seed)
        nut, rotation = arm.object_pose("SquareNut")
        places.append(nut)
        yaws.append((np.arctan2(rotation[1, 0], rotation[0, 0]) - np.pi + np.pi) % (2 * np.pi) - np.pi)
        assert np.linalg.norm(arm.object_pose("RoundNut")[0][:2]) > 5
    low, high = np.min(places, axis=0), np.max(places, axis=0)
    assert (low[:2] >= np.array([X_RANGE_M[0], Y_RANGE_M[0]]) - 2e-3).all()
    assert (high[:2] <= np.array([X_RANGE_M[1], Y_RANGE_M[1]]) + 2e-3).all()
    assert high[1] - low[1] > 0.09
    assert np.max(yaws) - np.min(yaws) > 1.8 * HALF_YAW_RAD
    assert np.abs(yaws).max() <= HALF_YAW_RAD + 0.02


def test_the_front_camera_sees_nut_and_peg(arm):
    for x, y in [(X_RANGE_M[0], Y_RANGE_M[0]), (X_RANGE_M[0], Y_RANGE_M[1]), (0.12, 0.05)]:
        arm.reset(0)
        arm.place_object("SquareNut", np.array([x, y, LYING_M]), np.pi)
        image = arm.render("front")
        for is_peg, enough in ((True, 250), (False, 60)):
            pixels = coloured(image, blue=is_peg)
            assert len(pixels) > enough
            assert pixels.min() > 0
            assert pixels.max() < 95


@pytest.mark.parametrize(
    ("place", "succeeds"),
    [
        ((*PEG, LYING_M), True),
        ((*PEG, LYING_M + 0.02), True),  # falls
        ((PEG[0] - 0.07, PEG[1], LYING_M), False),
        ((PEG[0] + 0.025, PEG[1], 0.9605), False),  # on the peg's top, beside its hole
    ],
)
def test_success_is_the_nut_around_the_peg(arm, place, succeeds):
    arm.reset(3)
    arm.place_object("SquareNut", np.array(place), np.pi)
    stay(arm, SUCCESS_TICKS - 1)
    assert not arm.is_success
    stay(arm, 4)
    assert arm.is_success is succeeds
    assert is_around_the_peg(arm) is succeeds


@pytest.mark.parametrize("seed", [0, 1, 2, 5])
def test_solves_every_seed_within_the_limits_of_the_safety_stage(arm, seed):
    episode = Episode(arm, seed)
    assert arm.is_success
    assert is_around_the_peg(arm)
    assert arm.positions()[-1] > 0.03
    assert arm.tool_pose()[0][2] > 0.95
    assert len(episode.targets) <= 165
    assert episode.grasps == 1
    velocities = np.diff(episode.targets, axis=0) / 0.05
    assert (np.abs(velocities[:, :-1]).max(axis=0) <= 1.2 * MAX_VELOCITY).all()
    assert np.abs(np.diff(velocities[:, :-1], axis=0) / 0.05).max() <= 10.0
    assert np.abs(velocities[:, -1]).max() <= 0.2 + 1e-9
    assert episode.targets[:, -1].min() >= 0.0
    assert episode.targets[:, -1].max() <= 0.0401


def test_carries_the_nut_over_either_side_and_grasps_it_alike(arm):
    left, right = (Episode(arm, 8, side=side) for side in (1, -1))
    assert abs(left.grasp_turn - right.grasp_turn) < 0.05

    def widest(episode):
        carried = episode.nuts[[phase is Phase.CARRY for phase in episode.phases]]
        along = (np.array(PEG) - carried[0, :2]) / np.linalg.norm(np.array(PEG) - carried[0, :2])
        sides = (carried[:, :2] - carried[0, :2]) @ np.array([-along[1], along[0]])
        return sides[int(np.argmax(np.abs(sides)))]

    assert widest(left) > 0.03
    assert widest(right) < -0.03


@pytest.mark.parametrize("yaw", [0.15, -1.2])
def test_a_handle_that_points_away_is_turned_back_to_the_robot(arm, yaw):
    def turn():
        arm.place_object("SquareNut", np.array([-0.11, 0.16, LYING_M]), yaw)

    Episode(arm, 4, when=lambda tick, _: tick == 0, disturb=turn)
    assert is_around_the_peg(arm)
    handle = arm.object_pose("SquareNut")[1][:, 0]
    assert handle[0] < -0.95


def test_goes_to_where_the_nut_went(arm):
    answers = []
    episode = Episode(arm, 2, when=lambda tick, _: tick == 35, disturb=lambda: answers.append(arm.teleport()))
    assert answers == [True]
    assert np.linalg.norm(episode.nuts[40] - episode.nuts[30]) >= 0.08
    assert is_around_the_peg(arm)


def test_a_nut_in_the_hand_or_on_the_peg_is_not_teleported(arm):
    answers = []
    Episode(
        arm,
        2,
        when=lambda _, expert: expert.phase is Phase.INSERT,
        disturb=lambda: answers.append(arm.teleport()),
    )
    assert is_around_the_peg(arm)
    assert [*answers, arm.teleport()] == [False, False]


def test_takes_up_a_nut_that_fell(arm):
    episode = Episode(arm, 3, when=lambda _, expert: expert._nut[0] > 0.03, spoil=with_open_hand)
    assert Phase.RECOVER in episode.phases
    assert episode.grasps == 2
    assert is_around_the_peg(arm)


def test_puts_aside_a_nut_that_was_shoved_crooked_onto_the_peg(arm):
    episode = Episode(
        arm,
        1,
        when=lambda _, expert: expert.phase is Phase.INSERT and expert._nut[2] < 0.975,
        spoil=shoved_aside,
    )
    assert Phase.PUT_ASIDE in episode.phases
    assert is_around_the_peg(arm)


def test_tries_again_after_closing_on_nothing(arm):
    def snatch():
        arm.place_object("SquareNut", np.array([-0.05, 0.02, LYING_M]), np.pi)

    episode = Episode(arm, 1, when=lambda _, expert: expert.phase is Phase.CLOSE, disturb=snatch)
    assert Phase.RECOVER in episode.phases
    assert is_around_the_peg(arm)


@pytest.mark.parametrize("seed", [1, 6])
def test_starts_from_what_a_failure_leaves(arm, seed):
    def leave():
        before = arm.tool_pose()[0]
        arm.task.start_awkwardly(arm, np.random.default_rng(seed))
        assert np.linalg.norm(arm.tool_pose()[0] - before) > 0.05

    Episode(arm, seed, when=lambda tick, _: tick == 0, disturb=leave)
    assert is_around_the_peg(arm)


def test_noise_is_small_where_the_nut_meets_fingers_or_peg(arm):
    scales = {}
    Episode(arm, 2, when=lambda _, expert: scales.setdefault(expert.phase, arm.task.noise_scale(arm)) < 0)
    assert scales[Phase.APPROACH] == 1.0
    assert max(scales[Phase.CLOSE], scales[Phase.INSERT]) < 0.3
