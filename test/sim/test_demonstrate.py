"""Demonstrations on disk: their fields, that they depend on the seed alone, and that a stopped collection goes on."""

import json

import numpy as np
import pytest

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.sim.demonstrate import SmoothNoise, collect, record_episode


def read(folder):
    arrays = []
    for path in sorted(folder.glob("episode_*.npz")):
        with np.load(path, allow_pickle=False) as archive:
            arrays.append({name: archive[name] for name in archive.files})
    return arrays


@pytest.fixture(scope="module")
def collected(needs_robosuite, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lift")
    seen = []
    dataset = collect("lift", folder, 2, 21, processes=2, progress=lambda done, wanted, _: seen.append((done, wanted)))
    return folder, dataset, seen


def test_the_files_hold_what_the_index_says(collected):
    folder, dataset, seen = collected
    assert seen == [(1, 2), (2, 2)]
    assert json.loads((folder / "dataset.json").read_text()) == dataset
    assert dataset["task"] == "lift"
    assert dataset["period_s"] == 0.05
    assert dataset["cameras"] == ["front", "wrist"]
    assert [note["file"] for note in dataset["episodes"]] == ["episode_00000.npz", "episode_00001.npz"]
    for note, arrays in zip(dataset["episodes"], read(folder), strict=True):
        length = note["length"]
        assert note["success"]
        assert arrays["stamp_ns"].tolist() == [50_000_000 * tick for tick in range(length)]
        for name in ("positions", "actions"):
            assert arrays[name].shape == (length, len(dataset["joint_names"]))
            assert arrays[name].dtype == np.float32
        for camera in dataset["cameras"]:
            assert arrays[f"image.{camera}"].shape == (length, 96, 96, 3)
            assert arrays[f"image.{camera}"].dtype == np.uint8
        assert np.abs(arrays["actions"] - arrays["positions"])[:, :-1].max() < 0.25


def test_a_stopped_collection_goes_on_to_the_same_result(collected):
    folder, dataset, _ = collected
    before = read(folder)
    (folder / "episode_00001.npz").unlink()
    (folder / "dataset.json").unlink()
    kept = (folder / "episode_00000.npz").stat().st_mtime_ns
    assert collect("lift", folder, 2, 21, processes=1) == dataset
    assert (folder / "episode_00000.npz").stat().st_mtime_ns == kept
    for old, new in zip(before, read(folder), strict=True):
        assert old.keys() == new.keys()
        assert all(np.array_equal(old[name], new[name]) for name in old)


def test_a_folder_of_another_seed_is_not_mixed_up(collected):
    with pytest.raises(SettingsError, match="choose another folder"):
        collect("lift", collected[0], 2, 22)


def test_clean_actions_replayed_without_looking_lift_the_cube_again(arm):
    seed = next(s for s in range(100) if is_clean(s))
    arrays, note = record_episode(arm, seed)
    assert note["noise"] == 0.0
    assert note["disturbance"] == "none"
    arm.reset(seed)
    for action in arrays["actions"]:
        arm.step(action)
    assert arm.is_success


def is_clean(seed):
    rng = np.random.default_rng([seed, 2])
    return rng.random() >= 0.55 and rng.random() >= 0.30


def test_noise_is_smooth_and_of_the_size_asked_for():
    noise = SmoothNoise(7, 0.01, np.random.default_rng(0))
    samples = np.array([noise.advance() for _ in range(4000)])
    assert samples.std() == pytest.approx(0.01, rel=0.25)
    assert np.abs(np.diff(samples, axis=0)).std() < 0.5 * samples.std()
