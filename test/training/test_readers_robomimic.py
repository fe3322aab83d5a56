"""robomimic files: joint targets are read, pose deltas are refused, and what is broken is named."""

import json

import numpy as np
import pytest

from ebt_policy_ros.training.dataset import DatasetError, Demonstrations

from .robomimic_files import JOINT_TARGETS, LENGTHS, h5py, joints_of, picture, write


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "image.hdf5")


def describe(file, **entries):
    path = file.parent / "described.yaml"
    path.write_text(json.dumps({"path": file.name, **entries}))
    return path


def test_pose_deltas_are_refused_and_the_ways_out_are_named(file):
    with pytest.raises(DatasetError, match=r"OSC_POSE.*absolute joint targets.*action: KEY.*next_position"):
        Demonstrations.load(file)


def test_the_next_position_is_the_target_and_the_finger_follows_the_gripper_command(file):
    data = Demonstrations.load(describe(file, action="next_position"))
    assert data.joint_names == (*(f"panda_joint{i}" for i in range(1, 8)), "panda_finger_joint1")
    assert (data.kind, data.task, data.cameras) == ("robomimic", "Lift", ("agentview", "robot0_eye_in_hand"))
    assert (data.period_s, data.ends.tolist(), data.units[-1]) == (0.05, np.cumsum(LENGTHS).tolist(), "m")
    arm = joints_of(0, LENGTHS[0])[:-1]
    np.testing.assert_allclose(data.positions[: LENGTHS[0], :7], arm, atol=1e-6)
    np.testing.assert_allclose(data.actions[: LENGTHS[0], :7], [*arm[1:], arm[-1]], atol=1e-6)
    np.testing.assert_allclose(data.actions[: LENGTHS[0], 7], [0.04] * 3 + [0.0] * 3)
    np.testing.assert_array_equal(data.images["agentview"][2], picture(0, 2))


def test_absolute_joint_commands_need_no_description(tmp_path):
    data = Demonstrations.load(write(tmp_path / "joints.hdf5", JOINT_TARGETS))
    np.testing.assert_allclose(data.actions[: LENGTHS[0], :7], joints_of(0, LENGTHS[0])[1:], atol=1e-6)
    np.testing.assert_allclose(data.actions[: LENGTHS[0], 7], [0.04] * 3 + [0.0] * 3)


def test_a_named_action_key_and_a_filter(file):
    with h5py.File(file, "a") as opened:
        for demo, length in enumerate(LENGTHS):
            opened[f"data/demo_{demo}/joint_targets"] = np.full((length, 8), 0.01 * demo)
    data = Demonstrations.load(describe(file, action="joint_targets", filter="train", gripper="position"))
    assert [record["demo"] for record in data.records] == ["demo_0", "demo_2"]
    assert set(np.unique(data.actions)) == {np.float32(0), np.float32(0.02)}


def test_chosen_joints_and_cameras(file):
    joints = {"elbow": {"key": "robot0_joint_pos/3", "unit": "rad"}}
    data = Demonstrations.load(
        describe(file, action="next_position", joints=joints, cameras={"front": "agentview_image"}, image_size=[10, 12])
    )
    assert (data.joint_names, data.cameras, data.images["front"].shape[1:3]) == (("elbow",), ("front",), (10, 12))
    np.testing.assert_allclose(data.positions[: LENGTHS[0], 0], joints_of(0, LENGTHS[0])[:-1, 3], atol=1e-6)


def edit(file, change):
    with h5py.File(file, "a") as opened:
        change(opened)


def _replace(opened, key, values):
    del opened[key]
    opened[key] = values


BREAKS = {
    "no demonstrations": (lambda f: f.move("data", "other"), "expected the group 'data'.*mask, other"),
    "no observations": (lambda f: f.__delitem__("data/demo_0/obs"), "demo_0 has no observations"),
    "a missing key": (
        lambda f: f.__delitem__("data/demo_1/obs/robot0_joint_pos"),
        "demo_1: joint 'panda_joint1'.*robot0_joint_pos/0.*found agentview_image",
    ),
    "a missing camera": (lambda f: f.__delitem__("data/demo_1/obs/agentview_image"), "demo_1.*agentview_image.*uint8"),
    "missing actions": (lambda f: f.__delitem__("data/demo_1/actions"), "demo_1: expected the data set 'actions'"),
    "pictures of floats": (
        lambda f: _replace(f, "data/demo_0/obs/agentview_image", np.zeros((6, 20, 20, 3))),
        "demo_0: observation 'agentview_image': expected uint8 pictures, got float64",
    ),
    "too few pictures": (
        lambda f: _replace(f, "data/demo_2/obs/agentview_image", np.zeros((3, 20, 20, 3), np.uint8)),
        "demo_2: camera 'agentview' has shape .3, 20, 20, 3., expected .7",
    ),
    "numbers that are not finite": (
        lambda f: _replace(f, "data/demo_1/obs/robot0_joint_pos", np.full((9, 7), np.inf)),
        "demo_1: positions.*inf for joint 'panda_joint1' at row 0",
    ),
    "one row": (
        lambda f: [_replace(f, f"data/demo_0/{k}", f[f"data/demo_0/{k}"][:1]) for k in ("actions", *_keys(f))],
        "demo_0: expected at least 2 rows, got 1",
    ),
    "other JSON": (lambda f: f["data"].attrs.__setitem__("env_args", "{"), "env_args.*expected JSON"),
}


def _keys(file):
    return [f"obs/{key}" for key in file["data/demo_0/obs"]]


@pytest.mark.parametrize("what", BREAKS)
def test_broken_data_is_named(file, what):
    change, message = BREAKS[what]
    edit(file, change)
    with pytest.raises(DatasetError, match=message):
        Demonstrations.load(describe(file, action="next_position"))


def test_a_file_that_is_cut_short(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DatasetError, match=r"image.hdf5 cannot be read as HDF5.*copy it again"):
        Demonstrations.load(file)


def test_a_file_without_pictures_and_a_frequency_that_nobody_knows(tmp_path):
    file = write(tmp_path / "low_dim.hdf5", JOINT_TARGETS, images=False)
    with pytest.raises(DatasetError, match="at least one observation '<camera>_image'"):
        Demonstrations.load(file)
    file = write(tmp_path / "image.hdf5")
    edit(file, lambda f: f["data"].attrs.__delitem__("env_args"))
    with pytest.raises(DatasetError, match="no control_freq"):
        Demonstrations.load(describe(file, action="next_position"))
    assert Demonstrations.load(describe(file, action="next_position", period_s=0.1)).period_s == 0.1


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"filter": "test"}, "filter 'test' is not in mask/; found train, valid"),
        ({"cameras": {"top": "birdview_image"}}, "camera 'top'.*agentview_image"),
        ({"action": "actions"}, "'actions' has 7 values a row, expected one for each joint"),
        ({"action": "states"}, "'states' has 32 values"),
        ({"gripper": "open"}, "gripper: expected 'position'"),
        ({"speed": 3}, "unknown key 'speed'.*filter, gripper"),
    ],
)
def test_a_description_that_does_not_fit(file, entries, message):
    if entries.get("action") == "actions":
        edit(file, lambda f: _replace(f, "data/demo_0/actions", np.zeros((6, 9))))
        message = message.replace("7 values", "9 values")
    with pytest.raises(DatasetError, match=message):
        Demonstrations.load(describe(file, **{"action": "next_position", **entries}))
