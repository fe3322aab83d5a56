"""Collections of bags: a stopped one goes on to the same result, nothing is mixed up."""

import json

import numpy as np
import pytest

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.sim.demonstrate import Demonstration
from ebt_policy_ros.training import collect as collecting
from ebt_policy_ros.training.collect import collect, count_episodes, wanted_episodes

JOINTS = ("shoulder", "finger")


class StandInArm:
    """What the workers use of an arm; the simulator itself is tested elsewhere."""

    joint_names = JOINTS
    control_period_ns = 50_000_000

    def __init__(self, task):
        self.task = task


def shown(_arm, seed, _plain):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(4, 2))
    return Demonstration(
        np.arange(4) * 50_000_000, rows, rows, rows + 0.1, {"front": np.full((4, 8, 8, 3), seed % 200, np.uint8)},
        np.array([False, False, True, True]), seed, "left", 0.0, "none", success=bool(seed % 3),
    )  # fmt: skip


class InThisProcess:
    """A pool that needs no second process, so that the stand-ins are seen."""

    def __init__(self, _processes, initializer, arguments):
        initializer(*arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def imap_unordered(self, function, items):
        return map(function, items)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    import ebt_policy_ros.sim.arm

    monkeypatch.setattr(ebt_policy_ros.sim.arm, "SimulatedArm", StandInArm)
    monkeypatch.setattr(collecting, "record_episode", shown)
    monkeypatch.setattr(collecting.signal, "signal", lambda *_: None)
    context = type("Context", (), {"Pool": InThisProcess})
    monkeypatch.setattr(collecting.multiprocessing, "get_context", lambda _: context)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.mcap"))}


def test_a_stopped_collection_goes_on_to_the_same_result(tmp_path):
    seen = []
    whole = collect("lift", tmp_path / "whole", 4, 21, progress=lambda done, wanted: seen.append((done, wanted)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (whole.num_episodes, whole.num_recorded) == (4, 4)
    assert whole.num_tries > 4  # failed ones are not kept
    part = tmp_path / "part"
    collect("lift", part, 2, 21)
    kept = {path: path.stat().st_mtime_ns for path in part.rglob("*.mcap")}
    (part / ".partial" / "episode_00002").mkdir(parents=True)  # as a killed worker leaves it
    (part / ".partial" / "episode_00002" / "episode_00002.mcap").write_bytes(b"half")
    assert collect("lift", part, 4, 21).num_recorded == 2
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert contents(part) == contents(tmp_path / "whole")
    assert count_episodes(part) == wanted_episodes(part) == 4


def test_a_folder_of_another_seed_is_not_mixed_up(tmp_path):
    collect("lift", tmp_path, 1, 21)
    with pytest.raises(
        SettingsError, match="seed 21, not demonstrations of task 'lift', seed 22; choose another folder"
    ):
        collect("lift", tmp_path, 1, 22)
    with pytest.raises(SettingsError, match="holds demonstrations .* not plain demonstrations"):
        collect("lift", tmp_path, 1, 21, plain=True)
    (tmp_path / "collection.json").write_text("{}")
    with pytest.raises(SettingsError, match=r"collection\.json"):
        collect("lift", tmp_path, 1, 21)


def test_the_facts_of_an_episode_are_in_its_bag(tmp_path):
    from rosbags.rosbag2 import Reader

    collect("lift", tmp_path, 1, 21)
    with Reader(tmp_path / "episode_00000") as reader:
        facts = json.loads(reader.storage.metadata.custom["ebt_policy.episode"])
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
    assert set(counts.values()) == {4}
    assert "/camera/front/image_raw/compressed" in counts
    assert (facts["task"], facts["mode"], facts["success"]) == ("lift", "left", True)
