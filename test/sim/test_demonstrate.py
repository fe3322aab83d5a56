"""Demonstrations: what they hold, and that they depend on the seed alone."""

import numpy as np
import pytest

from ebt_policy_ros.sim.demonstrate import SmoothNoise, record_episode


def is_clean(seed):
    rng = np.random.default_rng([seed, 2])
    return rng.random() >= 0.55 and rng.random() >= 0.30


@pytest.fixture(scope="module")
def clean(arm):
    return record_episode(arm, next(seed for seed in range(100) if is_clean(seed)))


def test_rows_are_one_period_apart_and_complete(clean, arm):
    length = len(clean.stamps_ns)
    assert clean.success
    assert clean.stamps_ns.tolist() == [50_000_000 * tick for tick in range(length)]
    for rows in (clean.positions, clean.velocities, clean.actions):
        assert rows.shape == (length, len(arm.joint_names))
        assert rows.dtype == np.float64
    for camera in arm.camera_names:
        assert clean.images[camera].shape == (length, 96, 96, 3)
        assert clean.images[camera].dtype == np.uint8
    assert np.abs(clean.actions - clean.positions)[:, :-1].max() < 0.25
    assert not clean.fulfilled[: length // 2].any()
    assert np.all(np.diff(clean.fulfilled.astype(int)) >= 0)


def test_clean_actions_replayed_without_looking_lift_the_cube_again(clean, arm):
    assert clean.noise == 0.0
    assert clean.disturbance == "none"
    arm.reset(clean.seed)
    for action in clean.actions:
        arm.step(action)
    assert arm.is_success


def test_an_expert_that_takes_too_long_is_cut_off(arm, monkeypatch):
    monkeypatch.setattr(type(arm.task), "max_ticks", 5)
    shown = record_episode(arm, 3)
    assert len(shown.stamps_ns) == 5
    assert not shown.success


def test_an_object_is_moved_only_where_the_task_knows_how(arm, monkeypatch):
    seed = next(s for s in range(100) if _draws_teleport(s))
    monkeypatch.setattr(type(arm.task), "max_ticks", 2)
    assert record_episode(arm, seed).disturbance == "teleport"
    monkeypatch.setattr(type(arm.task), "perturbations", ())
    assert record_episode(arm, seed).disturbance == "none"


def test_nothing_goes_wrong_in_plain_demonstrations(arm, monkeypatch):
    monkeypatch.setattr(type(arm.task), "max_ticks", 2)
    seeds = [next(s for s in range(100) if _draws_teleport(s)), next(s for s in range(100) if not is_clean(s))]
    plain = [record_episode(arm, seed, plain=True) for seed in seeds]
    assert [(shown.noise, shown.disturbance) for shown in plain] == [(0.0, "none")] * 2
    varied = [record_episode(arm, seed) for seed in seeds]
    assert any((shown.noise, shown.disturbance) != (0.0, "none") for shown in varied)
    assert [shown.mode for shown in varied] == [shown.mode for shown in plain]  # the same scene, shown the same way


def _draws_teleport(seed):
    rng = np.random.default_rng([seed, 2])
    if rng.random() < 0.55:
        rng.uniform()
    return rng.random() < 0.14


def test_noise_is_smooth_and_of_the_size_asked_for():
    noise = SmoothNoise(7, 0.01, np.random.default_rng(0))
    samples = np.array([noise.advance() for _ in range(4000)])
    assert samples.std() == pytest.approx(0.01, rel=0.25)
    assert np.abs(np.diff(samples, axis=0)).std() < 0.5 * samples.std()
