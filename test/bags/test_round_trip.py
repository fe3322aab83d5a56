"""What is written comes back: by each storage, from folders and from single files."""

import json

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import Reader

from ebt_policy_ros.bags import Bag, CutSettings, find_bags, write_episode
from ebt_policy_ros.core.errors import DatasetError, ShapeError

from .recordings import JOINTS, episode


def read(path, **settings):
    with Bag(path, settings=CutSettings(**settings) if settings else None) as bag:
        return [bag.load(plan) for plan in bag.plans()]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_an_episode_comes_back_exactly(tmp_path, storage):
    written = episode(30, seed=4, mode="left")
    write_episode(tmp_path / "e", written, period_s=0.05, storage=storage)
    (found,) = read(tmp_path / "e")
    back = found.episode
    assert back.joint_names == JOINTS
    for name in ("stamps_ns", "positions", "velocities", "actions", "success"):
        np.testing.assert_array_equal(getattr(back, name), getattr(written, name), err_msg=name)
    assert sorted(back.images) == ["front", "wrist"]
    for camera, pictures in written.images.items():
        difference = np.abs(back.images[camera].astype(int) - pictures)
        assert back.images[camera].shape == pictures.shape
        assert difference.mean() < 2.0
        assert difference.max() < 16
    assert back.facts == {"task": "lift", "seed": 4, "success": True, "mode": "left", "period_s": 0.05}
    assert not any(found.trouble.backward.values())
    assert found.trouble.skew_s == 0.0


def test_another_period_is_remembered(tmp_path):
    rows = episode(10)
    slower = type(rows)(**{**vars(rows), "stamps_ns": rows.stamps_ns[0] + 100_000_000 * np.arange(10)})
    write_episode(tmp_path / "e", slower, period_s=0.1)
    np.testing.assert_array_equal(read(tmp_path / "e")[0].episode.actions, rows.actions)
    finer = read(tmp_path / "e", period_s=0.05)[0].episode
    np.testing.assert_array_equal(finer.actions[::2], rows.actions)
    np.testing.assert_array_equal(finer.actions[1::2], rows.actions[:-1])  # a target is held until the next one


def test_success_by_the_very_last_command_counts(tmp_path):
    rows = episode(10)
    late = type(rows)(**{**vars(rows), "success": np.full(10, False)})
    write_episode(tmp_path / "e", late, period_s=0.05)
    assert read(tmp_path / "e")[0].episode.success.tolist() == [False] * 9 + [True]


def test_failures_are_left_out_unless_wanted(tmp_path):
    failed = episode(10, **{"success": False})
    write_episode(tmp_path / "e", type(failed)(**{**vars(failed), "success": np.full(10, False)}), period_s=0.05)
    with Bag(tmp_path / "e") as bag:
        assert bag.plans() == []
        assert "no success" in bag.left_out[0]
    assert len(read(tmp_path / "e", only_successes=False)) == 1


def test_metadata_is_what_ros2_bag_reads(tmp_path):
    write_episode(tmp_path / "e", episode(5), period_s=0.05)
    information = yaml.safe_load((tmp_path / "e" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert information["version"] <= 8  # QoS as text, which Humble understands
    assert information["storage_identifier"] == "mcap"
    assert information["relative_file_paths"] == ["e.mcap"]
    assert information["message_count"] == 5 * 5
    assert json.loads(information["custom_data"]["ebt_policy.episode"])["task"] == "lift"
    for topic in information["topics_with_message_count"]:
        qos = yaml.safe_load(topic["topic_metadata"]["offered_qos_profiles"])
        assert qos[0]["reliability"] == 1
        assert topic["topic_metadata"]["type_description_hash"].startswith("RIHS01_")


def test_nothing_half_written_is_taken_for_a_bag(tmp_path, monkeypatch):
    from ebt_policy_ros.bags import write

    monkeypatch.setattr(write, "_trajectory", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_episode(tmp_path / "e", episode(5), period_s=0.05)
    assert not (tmp_path / "e").exists()
    with pytest.raises(DatasetError, match="no rosbag2 bag there"):
        find_bags(tmp_path)
    monkeypatch.undo()
    write_episode(tmp_path / "e", episode(5), period_s=0.05)  # goes over what was left
    with pytest.raises(FileExistsError, match="not overwritten"):
        write_episode(tmp_path / "e", episode(5), period_s=0.05)
    assert find_bags(tmp_path) == [tmp_path / "e"]


def test_bags_are_found_in_folders_and_as_files(tmp_path):
    for name in ("b", "a"):
        write_episode(tmp_path / "more" / name, episode(5), period_s=0.05)
    (tmp_path / "notes.txt").write_text("not a bag")
    loose = tmp_path / "loose.mcap"
    loose.write_bytes((tmp_path / "more" / "a" / "a.mcap").read_bytes())
    assert find_bags(tmp_path) == [loose, tmp_path / "more" / "a", tmp_path / "more" / "b"]
    assert find_bags(loose) == [loose]
    with Reader(loose) as reader:
        assert reader.message_count == 25
    # A file alone has no metadata.yaml, and so no facts: it is read as any recording.
    (found,) = read(loose)
    assert found.episode.images["front"].shape[0] == 5
    assert found.episode.success.any()


def test_shapes_are_checked_once():
    rows = episode(5)
    with pytest.raises(ShapeError, match=r"actions: expected shape \(5, 3\), got \(4, 3\)"):
        type(rows)(**{**vars(rows), "actions": rows.actions[:-1]})
    with pytest.raises(ShapeError, match="images of 'front'"):
        type(rows)(**{**vars(rows), "images": {"front": np.zeros((5, 4, 4), np.uint8)}})
