"""Bad bags: every error names the bag, what was expected and what to do."""

import numpy as np
import pytest

from ebt_policy_ros.bags import ActionTopic, Bag, BagTopics, write_episode
from ebt_policy_ros.core.errors import DatasetError

from .recordings import T0, Recorder, episode, image, joint_state, picture, record, trajectory

MS = 1_000_000


def use(path, topics=None):
    with Bag(path, topics) as bag:
        return [bag.load(plan) for plan in bag.plans()]


def refused(path, topics=None):
    with pytest.raises(DatasetError) as caught:
        use(path, topics)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_missing_topic_is_told_with_what_there_is(tmp_path):
    path = record(tmp_path / "bag", 0.5)
    sentence = refused(path, BagTopics(joint_states="/arm/joint_states"))
    assert "no messages on topic /arm/joint_states (joint states); the bag has /camera/front/image_raw" in sentence
    assert "/joint_trajectory [trajectory_msgs/msg/JointTrajectory]" in sentence
    assert "camera 'top'" in refused(path, BagTopics(cameras={"top": "/top"}))
    assert "(actions)" in refused(path, BagTopics(actions=(ActionTopic("/arm/joint_trajectory"),)))
    assert "expected sensor_msgs/msg/JointState, got trajectory" in refused(
        path, BagTopics(joint_states="/joint_trajectory")
    )
    assert "action type 'velocity'" in refused(path, BagTopics(actions=(ActionTopic("/x", "velocity"),)))
    assert "list its joints" in refused(path, BagTopics(actions=(ActionTopic("/x", "commands"),)))


def test_a_bag_without_cameras_says_how_to_name_them(tmp_path):
    with Recorder(tmp_path / "bag") as recorder:
        recorder.add("/joint_states", joint_state(T0, [1, 2, 3]), T0)
        recorder.add("/webcam", image(T0, picture(0)), T0)
    assert "cameras: {front: /topic}" in refused(tmp_path / "bag")


def test_another_controllers_topic_is_found_when_it_is_the_only_one(tmp_path):
    with Recorder(tmp_path / "bag") as recorder:
        for t in range(0, 500, 50):
            recorder.add("/joint_states", joint_state(T0 + t * MS, [1, 2, 3]), T0 + t * MS)
            recorder.add("/camera/front/image_raw", image(T0 + t * MS, picture(0)), T0 + t * MS)
        recorder.add("/arm_controller/joint_trajectory", trajectory(T0, [0.0, 0.1], [[1, 2, 3]] * 2), T0)
    assert len(use(tmp_path / "bag")) == 1


def test_an_empty_bag(tmp_path):
    with Recorder(tmp_path / "bag"):
        pass
    assert "the bag is empty" in refused(tmp_path / "bag")


def test_a_file_with_less_than_its_metadata_tells_of_says_how_to_save_it(tmp_path):
    path = record(tmp_path / "bag", 1.0)
    file = path / "bag.mcap"
    file.write_bytes(file.read_bytes()[:20_000])
    assert "mcap recover" in refused(path)
    file.write_bytes(b"")
    assert "cannot be read as a rosbag2 bag" in refused(path)
    file.unlink()
    assert "missing" in refused(path)


def test_metadata_that_is_no_yaml_or_not_a_bags(tmp_path):
    path = record(tmp_path / "bag", 0.5)
    for text in ("{", "hello: 1", "rosbag2_bagfile_information: 3"):
        (path / "metadata.yaml").write_text(text)
        refused(path)


def test_a_damaged_database(tmp_path):
    path = record(tmp_path / "bag", 0.5, storage="sqlite3")
    file = path / "bag.db3"
    content = bytearray(file.read_bytes())
    content[100:6000] = b"\x00" * 5900
    file.write_bytes(bytes(content))
    refused(path)


def test_joints_that_are_missing_or_not_finite_are_named(tmp_path):
    path = record(tmp_path / "bag", 0.5)
    assert "joint 'wrist' is missing" in refused(path, BagTopics(joint_names=("shoulder", "wrist")))
    assert "no message on /joint_states has any of the joints wrist" in refused(path, BagTopics(joint_names=("wrist",)))
    broken = record(tmp_path / "nan", 0.5, joints=lambda t: [t, np.nan if t > 0.2 else 0.0, 0.0])
    assert "message 21 on /joint_states: joint state: position of 'elbow' is nan" in refused(broken)


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path):
    path = tmp_path / "bag"
    with Recorder(path) as recorder:
        for t in range(0, 500, 50):
            encoding = "thermal" if t == 200 else "rgb8"
            recorder.add("/joint_states", joint_state(t * MS, [1, 2, 3]), T0 + t * MS)
            recorder.add("/camera/front/image_raw", image(t * MS, picture(0), encoding), T0 + t * MS)
        recorder.add("/joint_trajectory", trajectory(0, [0.0, 0.1], [[1, 2, 3]] * 2), T0)
    assert "/camera/front/image_raw, picture at 0.200 s: image encoding 'thermal'" in refused(path)


def test_pictures_of_two_sizes_are_refused_unless_fitted(tmp_path):
    path = tmp_path / "bag"
    with Recorder(path) as recorder:
        for t in range(0, 500, 50):
            recorder.add("/joint_states", joint_state(T0 + t * MS, [1, 2, 3]), T0 + t * MS)
            pixels = picture(t, 8 if t < 300 else 12)
            recorder.add("/camera/front/image_raw", image(T0 + t * MS, pixels), T0 + t * MS)
        recorder.add("/joint_trajectory", trajectory(T0, [0.0, 0.1], [[1, 2, 3]] * 2), T0)
    assert "image_size" in refused(path)
    with Bag(path) as bag:
        found = bag.load(bag.plans()[0], fit=lambda pixels: pixels[:4, :4])
    assert found.episode.images["front"].shape == (10, 4, 4, 3)


def test_facts_that_are_no_json(tmp_path):
    write_episode(tmp_path / "e", episode(5), period_s=0.05)
    file = tmp_path / "e" / "metadata.yaml"
    file.write_text(file.read_text().replace("'{\"task", "'{task"))
    assert "is not JSON" in refused(tmp_path / "e")


def test_streams_that_never_meet(tmp_path):
    path = tmp_path / "bag"
    with Recorder(path) as recorder:
        for t in range(0, 500, 50):
            recorder.add("/joint_states", joint_state(T0 + t * MS, [1, 2, 3]), T0 + t * MS)
            # A camera whose clock was never set.
            recorder.add("/camera/front/image_raw", image(t * MS, picture(0)), T0 + t * MS)
        recorder.add("/joint_trajectory", trajectory(T0, [0.0, 0.1], [[1, 2, 3]] * 2), T0)
    with Bag(path) as bag:
        assert bag.plans() == []
        assert "nothing from front" in bag.left_out[0]


def test_a_message_that_is_not_what_its_topic_says(tmp_path):
    """CDR of the wrong size, as a disk leaves it that lost power."""
    path = record(tmp_path / "bag", 0.5)
    file = path / "bag.mcap"
    content = file.read_bytes()
    name = content.index(b"finger_slide")
    file.write_bytes(content[:name] + b"\xff" * 40 + content[name + 40 :])
    assert "message 0 on /joint_states is corrupt" in refused(path)
