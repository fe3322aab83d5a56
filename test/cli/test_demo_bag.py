"""A bag that the demo recorded is a data set as it is: real processes, real middleware, real simulator."""

import json
from dataclasses import replace

import numpy as np
import pytest
from nodes.tiny_bundle import make_tiny_bundle

from ebt_policy_ros.bags import Bag, CutSettings
from ebt_policy_ros.cli.main import main
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.training.dataset import Demonstrations

from .test_demo import start_demo

pytestmark = [pytest.mark.graph, pytest.mark.sim]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    bundle = make_tiny_bundle(folder / "tiny")
    options = ("--episodes", "2", "--seed", "3", "--time-limit", "2.5", "--record", str(folder / "bag"))
    out, err = (demo := start_demo(bundle, folder, *options)).communicate(timeout=300)
    assert demo.returncode == 0, err
    return folder, out


def test_everything_the_nodes_said_is_in_the_bag(recorded):
    folder, out = recorded
    assert f"messages in {folder / 'bag'}" in out
    with Bag(folder / "bag") as bag:
        counts = {connection.topic: connection.msgcount for connection in bag.connections}
        assert bag.task == "lift"
        offered = {c.topic: c.ext.offered_qos_profiles[0].reliability.name for c in bag.connections}
    assert offered["/camera/front/image_raw"] == offered["/camera/front/camera_info"] == "BEST_EFFORT"
    assert offered["/joint_states"] == offered["/ebt_policy/transition_event"] == "RELIABLE"
    ticks = counts["/joint_states"]
    assert ticks > 60
    for topic in ("/clock", "/camera/front/image_raw", "/camera/wrist/image_raw", "/sim_node/success"):
        assert abs(counts[topic] - ticks) <= 3, topic
    for topic in ("/joint_trajectory", "/sim_node/episode", "/ebt_policy/status", "/ebt_policy/energy"):
        assert counts[topic] > 0, topic


def test_its_episodes_are_what_was_executed(recorded):
    """A policy of random weights fulfils nothing, so failures have to be asked for."""
    folder, _ = recorded
    with Bag(folder / "bag", settings=CutSettings(only_successes=False)) as bag:
        found = [bag.load(plan) for plan in bag.plans()]
    played = [f for f in found if f.episode.facts.get("seed") in (3, 4) and len(f.episode.stamps_ns) > 20]
    assert [f.episode.facts["seed"] for f in played] == [3, 4]
    for one in played:
        episode = one.episode
        assert set(np.diff(episode.stamps_ns)) == {50_000_000}
        assert one.trouble.refused == ()
        assert one.trouble.rows_in_gaps == 0
        assert episode.images["front"].shape[1:] == (96, 96, 3)
        # Continuous, and followed by the joints a little later.
        assert np.abs(np.diff(episode.actions, axis=0)).max() < 0.1
        arm = episode.actions[:, :-1], episode.positions[:, :-1]
        apart = [np.abs(arm[0][: len(arm[0]) - lag] - arm[1][lag:]).mean() for lag in range(7)]
        assert np.abs(arm[0] - arm[1]).max() < 0.3
        assert 1 <= int(np.argmin(apart)) <= 5, apart
        assert not episode.success.any()


def test_it_loads_as_demonstrations_without_conversion(recorded):
    folder, _ = recorded
    description = folder / "bag.yaml"
    description.write_text("path: bag\nonly_successes: false\n")
    data = Demonstrations.load(description)
    assert data.kind == "rosbag2"
    assert data.task == "lift"
    assert data.cameras == ("front", "wrist")
    assert data.joint_names[0] == "panda_joint1"
    assert len(data.joint_names) == 8
    assert data.num_episodes >= 2
    assert len(data.actions) == len(data.images["wrist"]) == data.ends[-1]


def test_a_bag_is_never_overwritten(recorded, tmp_path):
    folder, _ = recorded
    demo = start_demo(folder / "tiny", tmp_path, "--record", str(folder / "bag"))
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 2
    assert "exists already" in err


def test_its_replay_gives_the_same_chunks_bit_for_bit(recorded, capsys):
    folder, _ = recorded
    result = folder / "replay.json"
    options = ("--set", "observe.max_receive_age_s=3.0", "--json", str(result), "--report", str(folder / "replay.html"))
    status = main(["replay", str(folder / "bag"), "--model", str(folder / "tiny"), "--strict", *options])
    told = json.loads(result.read_text())["recorded"]
    assert told["trajectories"] >= 8
    if told["rounds_with_lost_messages"] == 0:  # a recorder on a machine that is too busy misses messages
        assert (status, told["first_differences"]) == (0, [])
        assert told["trajectories_equal"] == told["trajectories"]
    else:
        assert told["trajectories_equal"] > 0
    assert "trajectories equal bit for bit" in capsys.readouterr().out


def test_other_weights_are_noticed(recorded):
    """Else equality would say nothing."""
    folder, _ = recorded
    other = make_tiny_bundle(folder / "other")
    weights = Bundle.load(other)
    tensors = {name: value * 1.01 for name, value in weights.tensors.items()}
    replace(weights, tensors=tensors, calibration=None).with_hash().save(other)
    options = ("--set", "observe.max_receive_age_s=3.0", "--json", str(folder / "other.json"))
    assert main(["replay", str(folder / "bag"), "--model", str(other), "--strict", *options]) == 1
    told = json.loads((folder / "other.json").read_text())["recorded"]
    assert told["trajectories_equal"] < told["trajectories"]
    assert told["differs_in"]["energy"] > 0
