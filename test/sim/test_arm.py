"""The simulated arm: the same seed gives the same pixels, targets are followed, the cube is seen and can be moved."""

import numpy as np
import pytest

from ebt_policy_ros.core.errors import SettingsError, ShapeError
from ebt_policy_ros.sim.arm import SimulatedArm
from ebt_policy_ros.sim.tasks import make_task


def run(arm, seed):
    arm.reset(seed)
    target = arm.positions() + np.array([0.1, 0, 0, 0, 0, 0, 0.2, 0])
    for _ in range(5):
        arm.step(target)
    return arm.observation()


def test_the_same_seed_gives_the_same_joints_and_pixels_whatever_came_before(arm):
    first = run(arm, 3)
    other = run(arm, 4)
    again = run(arm, 3)
    assert np.array_equal(first.positions, again.positions)
    assert not np.array_equal(first.positions, other.positions)
    for camera in arm.camera_names:
        assert np.array_equal(first.images[camera], again.images[camera])
        assert not np.array_equal(first.images[camera], other.images[camera])


def test_an_observation_has_both_cameras_and_named_joints(arm):
    arm.reset(0)
    observation = arm.observation()
    assert observation.joint_names == (*(f"panda_joint{i}" for i in range(1, 8)), "panda_finger_joint1")
    assert observation.stamp_ns == arm.time_ns
    assert {name: image.shape for name, image in observation.images.items()} == {
        "front": (96, 96, 3),
        "wrist": (96, 96, 3),
    }
    assert observation.positions[-1] == pytest.approx(0.04, abs=1e-3)


@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_the_cube_is_seen_and_moves_in_the_picture(arm, camera):
    centres = []
    for y in (-0.06, 0.06):
        arm.reset(0)
        arm.place_object("cube", np.array([0.0, y, 0.8215]), 0.0)
        image = arm.render(camera).astype(int)
        red = (image[..., 0] > 80) & (image[..., 1] < 0.5 * image[..., 0])
        assert red.sum() >= 30
        centres.append(np.argwhere(red).mean(axis=0))
    assert abs(centres[0][1] - centres[1][1]) > 8


def test_a_picture_can_be_larger_for_a_video(arm):
    assert arm.render("front", height=120, width=160).shape == (120, 160, 3)


def test_time_goes_on_by_the_control_period_and_never_back(arm):
    arm.reset(0)
    before = arm.time_ns
    arm.step(arm.positions())
    assert arm.time_ns == before + 50_000_000
    arm.reset(0)
    assert arm.time_ns > before + 50_000_000


def test_targets_are_reached_and_the_gripper_follows_its_own(arm):
    arm.reset(1)
    target = arm.positions() + np.array([0.2, -0.1, 0.1, 0.1, 0.1, -0.1, 0.3, 0.0])
    target[-1] = 0.0
    for _ in range(30):
        arm.step(target)
    assert arm.positions() == pytest.approx(target, abs=5e-3)
    target[-1] = 0.04
    for _ in range(20):
        arm.step(target)
    assert arm.positions()[-1] == pytest.approx(0.04, abs=2e-3)


def test_targets_with_nan_or_of_the_wrong_size_are_refused(arm):
    with pytest.raises(ShapeError, match="targets"):
        arm.step(np.full(8, np.nan))
    with pytest.raises(ShapeError, match="targets"):
        arm.step(np.zeros(7))


def test_teleport_moves_the_cube_far_enough_and_the_same_way_for_a_seed(arm):
    places = []
    for _ in range(2):
        arm.reset(5)
        before = arm.object_pose("cube")[0]
        assert arm.teleport()
        after = arm.object_pose("cube")[0]
        assert np.linalg.norm(after[:2] - before[:2]) >= 0.08
        assert np.abs(after[:2]).max() <= 0.091
        places.append(after)
    assert np.array_equal(*places)


def test_a_cube_in_the_air_counts_only_when_it_stays_there(arm):
    arm.reset(0)
    arm.place_object("cube", np.array([0.06, 0.06, 0.90]), 0.0)
    arm.step(arm.positions())
    assert arm.task.is_success(arm.environment)
    assert not arm.is_success
    for _ in range(15):
        arm.step(arm.positions())
    assert not arm.is_success


def test_what_is_unknown_is_named_beside_what_there_is(arm):
    with pytest.raises(SettingsError, match=r"'juggle'.*lift"):
        make_task("juggle")
    with pytest.raises(SettingsError, match=r"'top'.*front"):
        SimulatedArm("lift", cameras=("top",))
    with pytest.raises(SettingsError, match=r"'top'.*front"):
        arm.render("top")
