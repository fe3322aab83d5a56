"""Closed-loop episodes with the real simulator and a policy without a clue."""

import dataclasses
import importlib.util
import multiprocessing
import os

import numpy as np
import pytest
from nodes.tiny_bundle import make_tiny_bundle

from ebt_policy_ros.core.errors import BundleError
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.training.episodes import EpisodesError, Job, Setup, Stage, _start, find_bundle, play_all, task_of
from ebt_policy_ros.training.rollout import keep, stacked_images

pytestmark = [
    pytest.mark.sim,
    pytest.mark.skipif(importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed"),
]  # not importorskip: whoever imports mujoco first chooses its OpenGL


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    model = make_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")
    overrides = {"retry": {"enabled": False}, "safety": {"on_jump": "clamp"}}
    return Setup(str(model), "lift", overrides, device="cpu", time_limit_s=1.2)


def test_an_episode_is_a_function_of_its_seed(setup):
    stage = Stage()
    first = keep(stage.prepare(Job(setup, 0, 3)), with_images=True)
    other = keep(stage.prepare(Job(setup, 1, 4)))
    again = keep(stage.prepare(Job(setup, 2, 3)), with_images=True)
    stage.close()
    assert len(first.minima) >= 2
    assert first.times_s == again.times_s
    assert [m.energy for m in first.minima] == [m.energy for m in again.minima]
    np.testing.assert_array_equal(first.positions, again.positions)
    assert [m.energy for m in first.minima] != [m.energy for m in other.minima]
    assert stacked_images([first, again], "wrist").shape == (2 * len(first.minima), 96, 96, 3)
    assert other.images == {}
    assert not first.success
    assert first.duration_s == pytest.approx(1.2)


class Bomb:
    """Kills the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (7,)


def test_a_process_that_dies_or_fails_is_an_error_and_leaves_no_other_behind(setup, tmp_path):
    bombs = [Job(setup, index, index, Bomb()) for index in range(2)]
    with pytest.raises(EpisodesError, match="exit code 7"):
        list(play_all(bombs, keep, processes=2))
    missing = [Job(Setup(str(tmp_path / "nothing"), "lift"), index, index) for index in range(2)]
    with pytest.raises(BundleError, match="nothing"):
        list(play_all(missing, keep, processes=2))
    assert multiprocessing.active_children() == []


def test_a_baseline_is_found_beside_the_bundle(setup):
    directory, bundle = find_bundle(setup.model)
    assert bundle.method == "ebt"
    assert task_of(bundle) == "tiny"
    assert find_bundle(setup.model, "ebt")[0] == directory
    with pytest.raises(BundleError, match=r"no 'dp' bundle beside it.*ebt-policy train"):
        find_bundle(setup.model, "dp")
    Bundle.load(directory).save(directory / "dp")
    with pytest.raises(BundleError, match="expected a bundle of method 'dp', got 'ebt'"):
        find_bundle(setup.model, "dp")


def test_a_process_whose_answer_nobody_reads_ends_without_a_word(setup):
    """Ctrl-C in the parent, just when an episode is over: its end of the pipe closes with the answer in it."""
    (worker,) = _start(1, keep)
    worker.send(0, Job(dataclasses.replace(setup, model="no such bundle"), 0, 3))
    assert worker.connection.poll(60.0)
    worker.connection.close()
    worker.process.join(60.0)
    assert worker.process.exitcode == 0
