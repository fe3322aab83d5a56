import numpy as np
import pytest

from ebt_policy_ros.policy.bundle import Bounds
from ebt_policy_ros.training import dataset
from ebt_policy_ros.training.dataset import DatasetError, Demonstrations
from ebt_policy_ros.training.readers import Episode, Joint, Recording, resized

from . import demonstrations
from .demonstrations import JOINTS


@pytest.fixture
def folder(tmp_path):
    return demonstrations.write(tmp_path / "data")


def test_chunks_begin_at_their_row_and_repeat_the_last_action(folder):
    data = Demonstrations.load(folder)
    chunks = data.chunks(np.array([0, 10, 11, 12]), 4)
    np.testing.assert_array_equal(chunks[0], data.actions[0:4])
    np.testing.assert_array_equal(chunks[1], data.actions[[10, 11, 11, 11]])
    np.testing.assert_array_equal(chunks[2], data.actions[[11, 11, 11, 11]])
    np.testing.assert_array_equal(chunks[3], data.actions[12:16])  # the next episode


def test_rows_of_episodes(folder):
    data = Demonstrations.load(folder, limit=3)
    assert data.num_episodes == 3
    np.testing.assert_array_equal(data.rows([2, 0]), [*range(24, 36), *range(12)])


def test_no_episode_is_in_both_parts():
    training, held_out = dataset.split_episodes(20, 0.1, 0)
    assert sorted(training + held_out) == list(range(20))
    assert len(held_out) == 2
    assert dataset.split_episodes(20, 0.1, 0) == (training, held_out)
    assert dataset.split_episodes(1, 0.1, 0) == ([0], [])


def test_bounds_hold_everything_and_are_never_empty():
    values = np.array([[0.0, 1.0], [2.0, 1.0]], dtype=np.float32)
    bounds = dataset.bounds_of(values, margin=0.1, min_range=0.5)
    np.testing.assert_allclose(bounds.low, [-0.2, 0.75])
    np.testing.assert_allclose(bounds.high, [2.2, 1.25])
    assert np.abs(dataset.normalise(values, bounds)).max() < 1
    np.testing.assert_allclose(dataset.normalise(np.array([[3.0]]), Bounds((1.0,), (3.0,))), [[1.0]])


def test_shifting_moves_whole_pictures():
    images = np.zeros((40, 8, 8, 3), dtype=np.uint8)
    images[:, 4, 4] = 200
    moved = dataset.shifted(images, 2, np.random.default_rng(0))
    places = np.argwhere(moved[..., 0] == 200)[:, 1:]
    assert len(places) == 40
    assert (places.min(), places.max()) == (2, 6)
    assert dataset.shifted(images, 0, np.random.default_rng(0)) is images


def test_jitter_keeps_the_range_near_and_none_is_exact():
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
    exact = dataset.jittered(images, 0.0, np.random.default_rng(0))
    np.testing.assert_allclose(exact, images / 127.5 - 1, atol=1e-6)
    changed = dataset.jittered(images, 0.2, np.random.default_rng(0))
    assert np.abs(changed - exact).max() < 1.0
    assert np.abs(changed - exact).mean() > 0.02


def test_a_data_set_is_what_was_written(folder):
    data = Demonstrations.load(folder)
    assert (data.kind, data.task, data.joint_names, data.units) == ("rosbag2", "lift", JOINTS, ("rad", "rad", "m"))
    assert (data.cameras, data.period_s, data.num_episodes) == (("front",), 0.05, 6)
    np.testing.assert_array_equal(data.positions[1:12], data.actions[:11])
    assert [record["seed"] for record in data.records] == list(range(6))
    assert data.warnings() == []


def test_the_fingerprint_tells_data_sets_apart(folder, tmp_path):
    data = Demonstrations.load(folder)
    assert data.fingerprint() == Demonstrations.load(folder).fingerprint()
    assert data.fingerprint() != Demonstrations.load(folder, limit=5).fingerprint()
    other = Demonstrations.load(demonstrations.write(tmp_path / "other", sideways=0.4))
    assert data.fingerprint() != other.fingerprint()


def test_options_win_over_the_description(folder, tmp_path):
    described = tmp_path / "mine.yaml"
    described.write_text("path: data\ntask: pick\nperiod_s: 0.05\n")
    data = Demonstrations.load(described, task="push", period_s=0.1, image_size=(8, 12), limit=2)
    assert (data.task, data.period_s, data.images["front"].shape) == ("push", 0.1, (12, 8, 12, 3))


def recording(**changes):
    """Two episodes of one joint and one camera in memory."""
    episodes = []
    for number in range(2):
        fields = {
            "name": f"file, episode {number}",
            "stamps_ns": np.arange(5) * 50_000_000,
            "positions": np.arange(5, dtype=np.float32)[:, None] / 10,
            "actions": np.arange(5, dtype=np.float32)[:, None] / 10 + 0.1,
            "images": {"front": np.arange(5 * 48, dtype=np.uint8).reshape(5, 4, 4, 3)},
        }
        episodes.append(Episode(**(fields | (changes if number == 1 else {}))))
    return Recording("rosbag2", "lift", (Joint("elbow", "elbow", "rad"),), ("front",), 0.05, episodes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": np.zeros((4, 1), np.float32)}, "episode 1: positions have shape .4, 1., expected .5, 1."),
        ({"actions": np.full((5, 1), np.nan, np.float32)}, "episode 1: actions.*nan for joint 'elbow' at row 0.*skip"),
        ({"images": {}}, "episode 1: camera 'front' has shape None, expected .5, 'h', 'w', 3."),
        ({"images": {"front": np.zeros((5, 6, 6, 3), np.uint8)}}, "camera 'front': episode 1 has pictures of .6, 6."),
        ({"stamps_ns": np.zeros(5, np.int64)}, "episode 1: expected increasing stamps.*row 1"),
        ({"stamps_ns": np.zeros(1, np.int64)}, "episode 1: expected at least 2 rows, got 1"),
    ],
)
def test_an_episode_that_does_not_fit_is_named(changes, message):
    assert Demonstrations.of(recording()).num_episodes == 2
    with pytest.raises(DatasetError, match=message):
        Demonstrations.of(recording(**changes))


def test_no_episodes_are_no_data_set():
    with pytest.raises(DatasetError, match="no episodes"):
        Demonstrations.of(Recording("rosbag2", "lift", (), (), 0.05, []))


def test_resizing_is_what_the_network_does_at_run_time():
    """Else a policy sees other pictures on the robot than it was trained with."""
    import torch
    from policy import small

    network = small.network()
    images = np.random.default_rng(0).integers(0, 256, (3, 50, 70, 3), dtype=np.uint8)
    size = (network.architecture.height, network.architecture.width)
    ahead = network.prepare(torch.from_numpy(resized(images, size)))
    np.testing.assert_allclose(ahead, network.prepare(torch.from_numpy(images)), atol=0.51 / 127.5)
