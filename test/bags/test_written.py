"""What we write is what the readers of Humble, Iron and Jazzy take: after the decoders in rosbag2's own sources."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import yaml
from rosbags.interfaces import Nodetype
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.typesys import Stores, get_typestore

from ebt_policy_ros.bags import Bag, write_episode
from ebt_policy_ros.bags.open import BagReader
from ebt_policy_ros.bags.record import BagRecorder
from ebt_policy_ros.bags.store import type_store
from ebt_policy_ros.bags.timeline import Timeline
from ebt_policy_ros.bags.write import BEST_EFFORT

from .distros import Sent, quality, write_bag
from .recordings import T0, TYPES, Recorder, episode, header, joint_state, record

ROOT = Path(__file__).resolve().parents[2]
HASH = re.compile(r"RIHS01_[0-9a-f]{64}")
SPOKEN = {
    # What lies beside the topics of docs/reference.md: the simulated arm's, and those of every node.
    "/clock": "rosgraph_msgs/msg/Clock",
    "/gripper_trajectory": "trajectory_msgs/msg/JointTrajectory",
    "/commands": "std_msgs/msg/Float64MultiArray",
    "/sim_node/success": "std_msgs/msg/Bool",
    "/sim_node/episode": "diagnostic_msgs/msg/DiagnosticArray",
    "/sim_node/perturb": "std_msgs/msg/String",
    "/sim_node/new_episode": "std_msgs/msg/Int64",
    "/camera/front/camera_info": "sensor_msgs/msg/CameraInfo",
    "/camera/front/image_raw/compressed": "sensor_msgs/msg/CompressedImage",
    "/ebt_policy/transition_event": "lifecycle_msgs/msg/TransitionEvent",
    "/tf": "tf2_msgs/msg/TFMessage",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/robot_description": "std_msgs/msg/String",
    "/rosout": "rcl_interfaces/msg/Log",
    "/parameter_events": "rcl_interfaces/msg/ParameterEvent",
}


def node_topics():
    """Topic -> type, of the reference and of the simulated arm."""
    rows = re.findall(r"^\| (?:in|out) \| `([^`]+)` \| (\S+) \|", (ROOT / "docs" / "reference.md").read_text(), re.M)
    assert len(rows) > 8
    return {re.sub("^~", "/ebt_policy", name) if name[0] in "~/" else f"/{name}": kind for name, kind in rows} | SPOKEN


def decode_qos(text, has_names):
    """As Rosbag2QoS is decoded: numbers before version 9, names from then on."""
    profiles = yaml.safe_load(text) if isinstance(text, str) else text
    assert isinstance(profiles, list)
    for profile in profiles:
        for key in ("history", "reliability", "durability", "liveliness"):
            assert isinstance(profile[key], str if has_names else int)
        for key in ("deadline", "lifespan", "liveliness_lease_duration"):
            assert set(profile[key]) == {"sec", "nsec"}
            assert all(0 <= value < 2**63 for value in profile[key].values())
        assert isinstance(profile["depth"], int)
        assert isinstance(profile["avoid_ros_namespace_conventions"], bool)
    return profiles


def decode(information):
    """What every key is decoded as, by version: metadata_io.cpp of Humble, yaml.hpp of Iron and Jazzy."""
    version = information["version"]
    assert information["storage_identifier"] in ("mcap", "sqlite3")
    spans = [information, *information["files"]]
    for span in spans:
        assert 0 <= span["duration"]["nanoseconds"] < 2**63
        assert 0 <= span["starting_time"]["nanoseconds_since_epoch"] < 2**63
        assert span["message_count"] >= 0
    assert [file["path"] for file in information["files"]] == information["relative_file_paths"]
    assert isinstance(information["compression_format"], str)
    assert isinstance(information["compression_mode"], str)
    for topic in information["topics_with_message_count"]:
        told = topic["topic_metadata"]
        assert all(isinstance(told[key], str) for key in ("name", "type", "serialization_format"))
        # Humble and Iron take the text as it is; a sequence in its place is an error there.
        assert isinstance(told["offered_qos_profiles"], str) is (version < 9)
        decode_qos(told["offered_qos_profiles"], has_names=version >= 9)
        assert HASH.fullmatch(told["type_description_hash"])
    assert information["custom_data"] is None or all(
        isinstance(value, str) for item in information["custom_data"].items() for value in item
    )
    assert isinstance(information["ros_distro"], str)
    return information


def information_of(path):
    return decode(yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"])


def records(path):
    """(opcode, content) of every record of an MCAP file."""
    content, position = path.read_bytes(), 8
    assert content[:8] == content[-8:] == b"\x89MCAP0\r\n"
    while position < len(content) - 8:
        opcode, length = struct.unpack_from("<BQ", content, position)
        yield opcode, content[position + 9 : position + 9 + length]
        position += 9 + length
    assert position == len(content) - 8


@pytest.mark.parametrize("make", ["demo", "episode", "episode_sqlite3", "empty"])
def test_metadata_has_what_each_distribution_decodes(tmp_path, make):
    path = tmp_path / "bag"
    if make.startswith("episode"):
        write_episode(path, episode(5), period_s=0.05, storage=make.partition("_")[2] or "mcap")
    else:
        with BagRecorder(path, task="lift" if make == "demo" else "") as bag:
            bag.add_topic("/joint_states", "sensor_msgs/msg/JointState")
            if make == "demo":
                bag.write(
                    "/joint_states",
                    T0,
                    bytes(type_store().serialize_cdr(joint_state(T0, [1, 2, 3]), "sensor_msgs/msg/JointState")),
                )
    information = information_of(path)
    assert information["version"] == 8
    assert len(information["relative_file_paths"]) == 1
    assert (path / information["relative_file_paths"][0]).is_file()


def test_every_topic_of_the_nodes_can_be_recorded_with_its_definition(tmp_path):
    topics = node_topics()
    with BagRecorder(tmp_path / "bag") as bag:
        for topic, kind in topics.items():
            bag.add_topic(topic, kind)
            message = blank(kind)
            bag.write(topic, T0, bytes(type_store().serialize_cdr(message, kind)))
    information = information_of(tmp_path / "bag")
    assert information["relative_file_paths"] == ["bag_0.mcap"]  # 'ros2 bag reindex' looks for the number
    told = {t["topic_metadata"]["name"]: t["topic_metadata"] for t in information["topics_with_message_count"]}
    assert {name: entry["type"] for name, entry in told.items()} == topics
    jazzy = get_typestore(Stores.ROS2_JAZZY)
    with Reader(tmp_path / "bag") as reader:
        for connection in reader.connections:
            assert told[connection.topic]["type_description_hash"] == jazzy.hash_rihs01(connection.msgtype)
            assert_complete(connection.msgdef.data, connection.msgtype)


def blank(kind):
    """A message with nothing in it."""
    store = type_store()

    def value(description):
        which, detail = description
        if which == Nodetype.NAME:
            return blank(detail)
        if which == Nodetype.BASE:
            return {"string": "", "bool": False}.get(detail[0], 0)
        if which == Nodetype.ARRAY:
            inner, length = detail
            return np.zeros(length, inner[1][0]) if inner[0] == Nodetype.BASE else [value(inner)] * length
        inner = detail[0]
        if inner[0] == Nodetype.BASE and inner[1][0] not in ("string",):
            return np.zeros(0, inner[1][0])
        return []

    return store.types[kind](**{name: value(what) for name, what in store.fielddefs[kind][1]})


def assert_complete(text, kind):
    """Every type that the definition names is defined in it, as rosbag2 puts them together."""
    parts = re.split(r"^={80}\nMSG: (\S+)\n", text, flags=re.M)
    defined = dict(zip([kind.replace("/msg/", "/"), *parts[1::2]], parts[::2], strict=True))
    for name, body in defined.items():
        for line in (line.split("#")[0].strip() for line in body.splitlines()):
            field = re.match(r"([A-Za-z]\w*(?:/\w+)?)[\[\]<=\d]*\s+\w+$", line)
            if not field or "=" in line.split()[-1]:
                continue
            used = field[1]
            if used[0].isupper() or "/" in used:
                full = used if "/" in used else f"{name.split('/')[0]}/{used}"
                assert full in defined, f"{kind}: {used}"


def test_an_mcap_file_has_all_that_playing_needs(tmp_path):
    path = record_large(tmp_path / "bag")
    (file,) = path.glob("*.mcap")
    found = list(records(file))
    opcodes = [opcode for opcode, _ in found]
    assert found[0][1][4:8] == b"ros2"
    assert opcodes[0] == 0x01
    assert opcodes[-1] == 0x02
    assert opcodes.count(0x06) == opcodes.count(0x08) > 1  # chunks, and the index of each
    assert opcodes.count(0x07) >= opcodes.count(0x06)  # messages by time: Jazzy plays by it
    assert opcodes.count(0x0B) == opcodes.count(0x0F) == 1
    assert b"serialized_metadata" in next(content for opcode, content in found if opcode == 0x0C)
    summary_at, offsets_at, _ = struct.unpack("<QQI", found[-1][1])
    assert 0 < summary_at < offsets_at
    schemas = [content for opcode, content in found[opcodes.index(0x0F) :] if opcode == 0x03]
    assert all(b"\x07\x00\x00\x00ros2msg" in content for content in schemas)
    reader = McapReader(file)
    reader.open()
    stated = reader.statistics
    assert stated.message_count == sum(stated.channel_message_counts.values()) == 140 + 30
    for channel in reader.channels.values():
        size = struct.unpack_from("<I", channel.metadata)[0]
        assert channel.metadata[4 : 4 + size] == b"offered_qos_profiles"
        (length,) = struct.unpack_from("<I", channel.metadata, 4 + size)
        assert decode_qos(channel.metadata[8 + size : 8 + size + length].decode(), has_names=False)
    reader.close()
    held = yaml.safe_load(next(c for o, c in found if o == 0x0C).split(b"serialized_metadata", 1)[1][4:])
    assert decode(held)["version"] == 8  # what Jazzy reads of a file alone


def record_large(path):
    """Several chunks, and messages that come out of order."""
    with BagRecorder(path) as bag:
        store = type_store()
        own = Collected(bag, store)
        record(None, 1.0, recorder=own)
        bag.add_topic("/late", "sensor_msgs/msg/Image", BEST_EFFORT)
        for i in range(30):
            pixels = bytes(store.serialize_cdr(noise(i), "sensor_msgs/msg/Image"))
            bag.write("/late", T0 + i * 10_000_000, pixels)
    return path


class Collected:
    def __init__(self, bag, store):
        self._bag, self._store = bag, store

    def add(self, topic, message, log_ns):
        self._bag.add_topic(topic, message.__msgtype__)
        self._bag.write(topic, int(log_ns), bytes(self._store.serialize_cdr(message, message.__msgtype__)))


def noise(number):
    pixels = np.random.default_rng(number).integers(0, 256, 3 * 160 * 120, np.uint8)
    return TYPES["sensor_msgs/msg/Image"](header(T0), 120, 160, "rgb8", 0, 480, pixels)


def test_messages_come_back_by_time_however_they_were_written(tmp_path):
    with BagReader(record_large(tmp_path / "bag")) as reader:
        times = [log_ns for _, log_ns, _ in reader.messages()]
    assert times == sorted(times)


@pytest.mark.parametrize("distro", ["humble", "iron", "jazzy"])
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_copied_topic_keeps_qos_and_definition(tmp_path, distro, storage):
    """Latched topics are played back latched."""
    sent = [
        Sent(topic, kind, T0 + number, bytes(type_store().serialize_cdr(blank(kind), kind)))
        for number, (topic, kind) in enumerate(node_topics().items())
    ]
    source = write_bag(tmp_path / "bag", sent, distro=distro, storage=storage)
    with BagRecorder(tmp_path / "copy") as bag, BagReader(source) as reader:
        assert all(bag.add_topic_like(connection) for connection in reader.connections)
        for connection, log_ns, data in reader.messages():
            bag.write(connection.topic, log_ns, data)
    information = information_of(tmp_path / "copy")
    told = {t["topic_metadata"]["name"]: t["topic_metadata"] for t in information["topics_with_message_count"]}
    assert len(told) == len(sent)
    for name, entry in told.items():
        (profile,) = decode_qos(entry["offered_qos_profiles"], has_names=False)
        assert profile == yaml.safe_load(quality(name, "humble"))[0]
        assert HASH.fullmatch(entry["type_description_hash"])
    assert yaml.safe_load(told["/tf_static"]["offered_qos_profiles"])[0]["durability"] == 1
    with BagReader(tmp_path / "copy") as reader:
        assert [bytes(data) for _, _, data in reader.messages()] == [one.data for one in sent]


def test_a_type_that_changed_since_humble_is_copied_only_with_its_own_definition(tmp_path):
    """sensor_msgs/Range has one more field in Jazzy: a Humble database does not say which of them its bytes are."""
    humble = get_typestore(Stores.ROS2_HUMBLE)
    kind = "sensor_msgs/msg/Range"
    message = humble.types[kind](header(T0), 0, 0.1, 0.2, 3.0, 1.0)
    sent = [Sent("/range", kind, T0, bytes(humble.serialize_cdr(message, kind)))]
    source = write_bag(tmp_path / "bag", sent, distro="humble", storage="sqlite3")
    with BagRecorder(tmp_path / "copy") as bag, BagReader(source) as reader:
        assert not bag.add_topic_like(reader.connections[0])
    with Recorder(tmp_path / "own") as recorder:
        recorder.add("/joint_states", joint_state(T0, [1, 2, 3]), T0)
        definition, digest = humble.generate_msgdef(kind, ros_version=2)[0], humble.hash_rihs01(kind)
        connection = recorder._writer.add_connection("/range", kind, msgdef=definition, rihs01=digest)
        recorder._writer.write(connection, T0, sent[0].data)
    with BagRecorder(tmp_path / "kept") as bag, BagReader(tmp_path / "own") as reader:
        assert all(bag.add_topic_like(connection) for connection in reader.connections)
    with Reader(tmp_path / "kept") as reader:
        texts = {connection.topic: connection.msgdef.data for connection in reader.connections}
    assert "float32 range" in texts["/range"]
    assert "variance" not in texts["/range"]


def test_a_recorder_that_was_killed_leaves_a_bag(tmp_path):
    """Ours too: what had filled a chunk is there, and its file has a name that 'ros2 bag reindex' finds."""
    bag = BagRecorder(tmp_path / "bag")
    own = Collected(bag, type_store())
    record(None, 1.0, recorder=own)
    bag.add_topic("/noise", "sensor_msgs/msg/Image")
    for i in range(60):
        bag.write("/noise", T0 + i, bytes(type_store().serialize_cdr(noise(i), "sensor_msgs/msg/Image")))
    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / "killed_0.mcap").write_bytes((tmp_path / "bag" / "bag_0.mcap").read_bytes())
    bag.close()
    with Bag(killed) as found:
        assert len(found.plans()) == 1
        assert len(found.notes) == 2
    with Timeline(killed, ("front",)) as timeline:
        assert sum(1 for _ in timeline.messages()) == 140
