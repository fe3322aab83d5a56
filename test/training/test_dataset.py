import json

import numpy as np
import pytest

from ebt_policy_ros.policy.bundle import Bounds
from ebt_policy_ros.training import dataset
from ebt_policy_ros.training.dataset import DatasetError, Demonstrations

from . import demonstrations


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


def test_a_broken_data_set_is_named(folder, tmp_path):
    with pytest.raises(DatasetError, match="nowhere.*no such file"):
        Demonstrations.load(tmp_path / "nowhere")
    (folder / "episode_00001.npz").write_bytes(b"not an archive")
    with pytest.raises(DatasetError, match="episode_00001"):
        Demonstrations.load(folder)


def test_an_episode_that_is_not_finite_is_named(folder):
    with np.load(folder / "episode_00002.npz") as file:
        arrays = dict(file)
    arrays["actions"][3, 1] = np.nan
    np.savez(folder / "episode_00002.npz", **arrays)
    with pytest.raises(DatasetError, match="episode_00002.*actions"):
        Demonstrations.load(folder)


def test_pickled_arrays_are_refused(folder):
    np.savez(folder / "episode_00000.npz", positions=np.array([{}]), actions=np.zeros(1))
    with pytest.raises(DatasetError, match="episode_00000"):
        Demonstrations.load(folder)


def test_an_index_without_episodes_is_refused(folder):
    index = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**index, "episodes": []}))
    with pytest.raises(DatasetError, match="no episodes"):
        Demonstrations.load(folder)
