"""Bags of Humble, Iron and Jazzy, in every storage and compression, whole, split and cut off: the same rows."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ebt_policy_ros.bags import Bag, find_bags
from ebt_policy_ros.bags.mcap_scan import zstd
from ebt_policy_ros.bags.open import BagReader
from ebt_policy_ros.bags.store import type_store
from ebt_policy_ros.bags.timeline import Timeline
from ebt_policy_ros.core.errors import DatasetError
from ebt_policy_ros.training.findings import warnings_of
from ebt_policy_ros.training.quality import examine
from ebt_policy_ros.training.readers.rosbag import read_bags
from ebt_policy_ros.training.readers.source import describe_source

from .distros import Sent, insert, make_tables, write_bag
from .recordings import record

SECONDS = 1.0
DISTROS = ("humble", "iron", "jazzy")


class Heard:
    """Collects what a recorder would receive."""

    def __init__(self):
        self.messages = []

    def add(self, topic, message, log_ns):
        kind = message.__msgtype__
        data = bytes(type_store().serialize_cdr(message, kind))
        self.messages.append(Sent(topic, kind, int(log_ns), data))


@pytest.fixture(scope="module")
def messages():
    heard = Heard()
    record(None, SECONDS, recorder=heard, latency_ns=3_000_000)
    return heard.messages


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """As our own recorder writes it."""
    return contents(record(tmp_path_factory.mktemp("own") / "bag", SECONDS, latency_ns=3_000_000))


def contents(path):
    """Rows of the only episode, and everything a replay hears."""
    with Bag(path) as bag:
        (plan,) = bag.plans()
        episode = bag.load(plan).episode
    with Timeline(path, ("front",)) as timeline:
        heard = [(one.source, one.log_ns, one.stamp_ns, bytes(one.data)) for one in timeline.messages()]
    return episode, heard


def assert_same(found, expected, *, up_to=None):
    """``up_to``: only the first share of it was to be there."""
    (episode, heard), (whole, all_heard) = found, expected
    rows = len(whole.stamps_ns) if up_to is None else len(episode.stamps_ns)
    assert len(episode.stamps_ns) == rows
    assert len(heard) == len(all_heard) if up_to is None else up_to * len(all_heard) < len(heard) < len(all_heard)
    for name in ("stamps_ns", "positions", "velocities", "actions"):
        np.testing.assert_array_equal(getattr(episode, name)[: rows - 1], getattr(whole, name)[: rows - 1])
    np.testing.assert_array_equal(episode.images["front"][: rows - 1], whole.images["front"][: rows - 1])
    # Messages of one time have no order between files of different storage.
    assert sorted(heard) == sorted(all_heard) if up_to is None else set(heard) < set(all_heard)
    assert [one[1] for one in heard] == sorted(one[1] for one in heard)


VARIANTS = [
    *({"storage": "sqlite3", "compression": how, "num_files": n} for how in ("", "file", "message") for n in (1, 3)),
    *({"storage": "mcap", "compression": how, "num_files": n} for how in ("", "file") for n in (1, 3)),
    *({"storage": "mcap", "preset": name} for name in ("fastwrite", "zstd_fast")),
    {"storage": "mcap", "has_message_index": False},
    {"storage": "sqlite3", "num_files": 11},  # 10 comes after 2
]


@pytest.mark.parametrize("distro", DISTROS)
@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("has_metadata", [True, False], ids=["", "no_metadata"])
def test_the_same_messages_are_the_same_rows(tmp_path, messages, expected, distro, options, has_metadata):
    path = write_bag(tmp_path / "bag", messages, distro=distro, has_metadata=has_metadata, **options)
    assert_same(contents(path), expected)
    assert find_bags(tmp_path) == [path]
    with BagReader(path) as reader:
        assert reader.message_count == len(messages)
        qualities = {c.topic: c.ext.offered_qos_profiles[0] for c in reader.connections}
        assert bool(reader.notes) is not has_metadata
    assert qualities["/camera/front/image_raw"].reliability.name == "BEST_EFFORT"
    assert qualities["/joint_states"].reliability.name == "RELIABLE"


@pytest.mark.parametrize("options", [{"storage": "mcap", "preset": "fastwrite"}, {"storage": "mcap"}], ids=str)
def test_messages_that_were_not_written_by_time_are_put_in_order(tmp_path, messages, expected, options):
    """Jazzy notes when a message was received, and writes topic by topic what had queued up."""
    queued = sorted(messages, key=lambda one: (one.log_ns // 100_000_000, one.topic))
    assert_same(contents(write_bag(tmp_path / "bag", queued, distro="jazzy", **options)), expected)


def test_qos_that_somebody_changed_in_the_metadata_hides_nothing(tmp_path, messages, expected):
    path = write_bag(tmp_path / "bag", messages, distro="jazzy", storage="sqlite3")
    file = path / "metadata.yaml"
    file.write_text(file.read_text().replace("reliability: best_effort", "reliability: reliable"))
    assert_same(contents(path), expected)


# --- recorders that were killed ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("distro", DISTROS)
@pytest.mark.parametrize("preset", ["", "fastwrite", "zstd_fast"])
def test_an_mcap_file_is_read_as_far_as_it_goes(tmp_path, messages, expected, distro, preset):
    options = {"distro": distro, "storage": "mcap", "preset": preset, "is_closed": False, "has_metadata": False}
    path = write_bag(tmp_path / "bag", messages, **options)
    assert_same(contents(path), expected)  # all that was sent had been written
    file = path / "bag_0.mcap"
    file.write_bytes(file.read_bytes() + bytes(512))  # room that was set aside and never written
    assert_same(contents(path), expected)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 4 // 5])
    assert_same(contents(path), expected, up_to=0.5)
    assert_same(contents(file), expected, up_to=0.5)
    with Bag(path) as bag:
        assert re.match(r"no metadata.yaml, .*'ros2 bag reindex' makes it anew", bag.notes[0])
        assert re.fullmatch(r"bag_0.mcap was cut off; read are the \d+ messages before that", bag.notes[1])


def test_any_length_of_a_file_can_be_read(tmp_path, messages):
    """Wherever it was cut: no error but that there is too little, and never less than from a shorter one."""
    options = {"distro": "jazzy", "storage": "mcap", "preset": "zstd_fast", "has_metadata": False}
    path = write_bag(tmp_path / "bag", messages[:60], **options)
    whole, counts = (path / "bag_0.mcap").read_bytes(), []
    file = tmp_path / "cut.mcap"
    for size in range(8, len(whole), 97):
        file.write_bytes(whole[:size])
        with BagReader(file) as reader:
            counts.append(reader.message_count)
            assert sum(1 for _ in reader.messages()) == counts[-1]
            assert reader.notes or counts[-1] == 60
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] == 60


def test_a_split_recording_loses_its_last_messages_only(tmp_path, messages, expected):
    options = {"distro": "jazzy", "storage": "mcap", "num_files": 3, "has_metadata": False}
    path = write_bag(tmp_path / "bag", messages, **options)
    last = path / "bag_2.mcap"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    assert find_bags(path) == find_bags(tmp_path) == [path]
    assert_same(contents(path), expected, up_to=0.6)
    last.write_bytes(b"")  # opened, and nothing more
    assert_same(contents(path), expected, up_to=0.6)


def test_a_recorder_that_was_killed_while_it_compressed_leaves_a_file_twice(tmp_path, messages, expected):
    path = write_bag(tmp_path / "bag", messages, distro="humble", storage="sqlite3", num_files=2, has_metadata=False)
    compressed = zstd.compress((path / "bag_0.db3").read_bytes())
    (path / "bag_0.db3.zstd").write_bytes(compressed[: len(compressed) // 2])
    assert_same(contents(path), expected)


WRITER = """
import os, pickle, sqlite3, sys
from bags.distros import insert, make_tables
folder, distro, mode = sys.argv[1:]
messages = pickle.load(sys.stdin.buffer)
database = sqlite3.connect(folder + "/bag_0.db3", isolation_level=None)
database.execute(f"PRAGMA journal_mode={mode}")
database.execute("PRAGMA cache_size=4")  # an unfinished transaction reaches the file
make_tables(database, messages, distro)
half = len(messages) // 2
for part in (messages[:half], messages[half:]):
    database.execute("BEGIN")
    insert(database, part)
    if part[0] is messages[0] or mode == "WAL":
        database.execute("COMMIT")
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("distro", ["humble", "jazzy"])
@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_database_whose_writer_was_killed(tmp_path, messages, expected, distro, mode):
    """WAL is ``--storage-preset-profile resilient``. What was committed is there; what was not is taken back."""
    import pickle

    path = tmp_path / "bag"
    path.mkdir()
    root = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join([root, str(Path(root).parent), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-c", WRITER, str(path), distro, mode],
        input=pickle.dumps(messages),
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    journal = path / ("bag_0.db3-wal" if mode == "WAL" else "bag_0.db3-journal")
    assert journal.stat().st_size > 0
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    if mode == "WAL":
        assert_same(contents(path), expected)
    else:
        assert_same(contents(path), expected, up_to=0.4)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before  # a recording is not ours to change
    with Bag(path) as bag:
        assert bag.notes[0].startswith("no metadata.yaml")


def test_a_damaged_database_is_refused_in_one_sentence(tmp_path, messages):
    path = write_bag(tmp_path / "bag", messages, distro="humble", storage="sqlite3")
    file = path / "bag_0.db3"
    content = bytearray(file.read_bytes())
    content[len(content) // 3 : len(content) * 2 // 3] = b"\xff" * (len(content) * 2 // 3 - len(content) // 3)
    file.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match=r"cannot be read as a rosbag2 bag: .*\.recover") as caught:
        contents(path)
    assert "\n" not in str(caught.value)


def test_metadata_that_was_made_anew_is_believed(tmp_path, messages, expected):
    """'ros2 bag reindex' leaves the files as they are."""
    options = {"distro": "jazzy", "storage": "mcap", "is_closed": False}
    path = write_bag(tmp_path / "bag", messages, **options)
    assert_same(contents(path), expected)
    file = path / "bag_0.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(
        DatasetError, match=rf"tells of {len(messages)} messages, of which its files, cut off, hold \d+"
    ):
        contents(path)


def test_training_and_describe_say_what_is_missing(tmp_path, messages):
    path = write_bag(tmp_path / "bag", messages, distro="jazzy", storage="mcap", is_closed=False, has_metadata=False)
    assert describe_source(path).kind == describe_source(tmp_path).kind == "rosbag2"
    recording = read_bags(describe_source(tmp_path))
    (one,), joints, period_s = recording.episodes, recording.joints, recording.period_s
    said = warnings_of([examine(one, joints, period_s)], joints, one.positions, one.actions, period_s)
    assert any("no metadata.yaml" in sentence for sentence in said)
    shutil.rmtree(path)
    write_bag(path, messages, distro="jazzy", storage="mcap")
    assert "recording" not in read_bags(describe_source(tmp_path)).episodes[0].record.get("trouble", {})


def test_files_of_several_recordings_are_not_one_bag(tmp_path, messages):
    for name in ("first", "second"):
        path = write_bag(tmp_path / name, messages, distro="humble", storage="sqlite3", has_metadata=False)
        shutil.copy(path / f"{name}_0.db3", tmp_path)
    assert len(find_bags(tmp_path)) == 4
    with pytest.raises(DatasetError, match=r"files of several recordings \(first, second\); name one file"):
        contents(tmp_path)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DatasetError, match="no rosbag2 bag there"):
        contents(tmp_path / "nothing")


def test_the_databases_made_here_are_what_sqlite_takes_for_whole(tmp_path, messages):
    """The fixtures would prove nothing if they were broken in a way of their own."""
    with closing(sqlite3.connect(tmp_path / "a.db3")) as database:
        make_tables(database, messages, "jazzy")
        insert(database, messages)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
