"""Bags as demonstrations, by path and by YAML file."""

import numpy as np
import pytest
from bags.recordings import JOINTS, episode, record

from ebt_policy_ros.bags import write_episode
from ebt_policy_ros.core.errors import DatasetError
from ebt_policy_ros.training.readers.rosbag import read_bags
from ebt_policy_ros.training.readers.source import describe_source


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        rows = episode(10 + number, seed=number)
        write_episode(tmp_path / "bags" / f"episode_{number:05d}", rows, period_s=0.05)
    return tmp_path / "bags"


def described(folder, text, name="bags"):
    path = folder.parent / "data.yaml"
    path.write_text(f"path: {name}\n{text}")
    return describe_source(path)


def test_a_collection_is_read_by_its_path(folder):
    found = read_bags(describe_source(folder))
    assert (found.kind, found.task, found.period_s, found.cameras) == ("rosbag2", "lift", 0.05, ("front", "wrist"))
    assert [(joint.name, joint.unit) for joint in found.joints] == [
        ("shoulder", "rad"), ("elbow", "rad"), ("finger_slide", "m"),
    ]  # fmt: skip
    assert [len(e.stamps_ns) for e in found.episodes] == [10, 11, 12, 13]
    for number, one in enumerate(found.episodes):
        written = episode(10 + number, seed=number)
        np.testing.assert_array_equal(one.actions, written.actions.astype(np.float32))
        np.testing.assert_array_equal(one.positions, written.positions.astype(np.float32))
        assert one.record["seed"] == number
        assert set(one.streams) == {"joints", "camera front", "camera wrist"}
        assert "trouble" not in one.record


def test_limit_and_skip(folder):
    seeds = lambda found: [one.record["seed"] for one in found.episodes]  # noqa: E731
    assert seeds(read_bags(describe_source(folder), 2)) == [0, 1]
    assert seeds(read_bags(described(folder, "skip: [0, 2]"), 2)) == [1, 3]
    with pytest.raises(DatasetError, match="no episode can be used: .*skipped"):
        read_bags(described(folder, "skip: [0, 1, 2, 3]"))


def test_the_yaml_names_topics_joints_units_and_size(folder):
    text = """
task: pick
cameras: {hand: /camera/wrist/image_raw}
joints: {finger: {key: finger_slide, unit: mm}, elbow: {unit: deg}}
image_size: [8, 12]
period_s: 0.1
action: /joint_trajectory
action_type: joint_trajectory
after_success_s: 1
"""
    source = described(folder, text)
    found = read_bags(source)
    written = episode(10, seed=0)
    assert (found.task, found.cameras, found.period_s) == ("pick", ("hand",), 0.1)
    assert [joint.name for joint in found.joints] == ["finger", "elbow"]
    first = found.episodes[0]
    assert first.images["hand"].shape == (5, 8, 12, 3)
    np.testing.assert_allclose(first.positions[:, 0], written.positions[::2, 2] * 1e-3, rtol=1e-6)
    np.testing.assert_allclose(first.actions[:, 1], np.radians(written.actions[::2, 1]), rtol=1e-6)


def test_troubles_are_kept_in_the_record(tmp_path):
    record(tmp_path / "bag", 1.0, camera_hz=30)
    (one,) = read_bags(describe_source(tmp_path / "bag")).episodes
    assert one.record["trouble"]["skew_s"] == pytest.approx(1 / 60, abs=1e-3)
    assert len(one.streams["joints"]) > len(one.stamps_ns)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("max_gap_s: long", "max_gap_s: expected float, got 'long'"),
        ("only_successes: 3", "only_successes: expected bool, got 3"),
        ("topic: /x", "unknown key 'topic'; known are .*for rosbag2 also .*action_type"),
        ("actions: /joint_trajectory", "expected a list of {topic, type, joints}"),
        ("actions: [{type: joint_state}]", "expected {topic, type, joints}, got"),
        ("action: /x\nactions: [{topic: /y}]", "instead of 'action' and 'action_type'"),
        ("state: /arm", "no messages on topic /arm"),
    ],
)
def test_a_yaml_that_does_not_fit_is_explained(folder, text, sentence):
    with pytest.raises(DatasetError, match=sentence):
        read_bags(described(folder, text))


def test_bags_that_do_not_belong_together_are_named(folder):
    write_episode(folder / "other", episode(10, cameras=("front",)), period_s=0.05)
    with pytest.raises(DatasetError, match="other: cameras are front, but the bags before have front, wrist"):
        read_bags(describe_source(folder))
    found = read_bags(described(folder, "cameras: {front: /camera/front/image_raw}"))
    assert len(found.episodes) == 5
    assert tuple(joint.key for joint in found.joints) == JOINTS


def test_the_example_for_own_robots_knows_every_key(tmp_path):
    """Read as it is, with a bag that has its topics."""
    import dataclasses

    import yaml
    from bags.recordings import MultiRobot

    from ebt_policy_ros.bags import BagTopics, CutSettings
    from ebt_policy_ros.resources import find_resource

    text = find_resource("config/data/own_robot_bags.yaml").read_text()
    own = {field.name for kind in (BagTopics, CutSettings) for field in dataclasses.fields(kind)}
    assert own - set(yaml.safe_load(text)) == {"joint_states", "joint_names"}  # called state and joints here
    MultiRobot().record(tmp_path / "bag")
    (tmp_path / "data.yaml").write_text(text.replace("../../data/my_robot", "bag"))
    found = read_bags(describe_source(tmp_path / "data.yaml"))
    assert [joint.name for joint in found.joints] == [*(f"joint{i}" for i in range(1, 7)), "gripper"]
    assert len(found.episodes) == 2
    np.testing.assert_allclose(found.episodes[0].actions[5], [0.5] * 6 + [0.02], atol=1e-6)
