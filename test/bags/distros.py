"""Bags as ``ros2 bag record`` of each distribution writes them, byte for byte of what matters, without rosbags' writer.

After rosbag2's own sources and test bags: Humble (metadata version 5), Iron (7) and Jazzy (9).
"""

from __future__ import annotations

import sqlite3
import struct
import textwrap
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rosbags.typesys import Stores, get_typestore

from ebt_policy_ros.bags.mcap_scan import zstd

STORE = get_typestore(Stores.ROS2_JAZZY)
NAMES = {
    "history": ("system_default", "keep_last", "keep_all", "unknown"),
    "reliability": ("system_default", "reliable", "best_effort", "unknown"),
    "durability": ("system_default", "transient_local", "volatile", "unknown"),
    "liveliness": ("system_default", "automatic", "manual_by_node", "manual_by_topic", "unknown"),
}
VERSIONS = {"humble": 5, "iron": 7, "jazzy": 9}


@dataclass(frozen=True)
class Sent:
    """A message as a recorder received it."""

    topic: str
    kind: str
    log_ns: int
    data: bytes


def quality(topic: str, distro: str) -> str:
    """A publisher's QoS as the recorder discovers it (history is not told over the wire), as YAML."""
    values = {
        "history": 3,
        "depth": 0,
        "reliability": 2 if "camera" in topic else 1,
        "durability": 1 if topic == "/tf_static" else 2,
        "deadline": None,
        "lifespan": None,
        "liveliness": 1,
        "liveliness_lease_duration": None,
        "avoid_ros_namespace_conventions": "false",
    }
    lines = []
    for key, value in values.items():
        if value is None:
            lines += [f"{key}:", "  sec: 9223372036", "  nsec: 854775807"]
        elif distro == "jazzy" and key in NAMES:
            lines.append(f"{key}: {NAMES[key][value]}")
        else:
            lines.append(f"{key}: {value}")
    return "- " + "\n  ".join(lines)


def metadata(
    distro: str,
    storage: str,
    files: list[tuple[str, list[Sent]]],
    compression: str = "",
    topics: list[str] | None = None,
) -> str:
    """What stands under rosbag2_bagfile_information."""
    everything = [message for _, messages in files for message in messages]
    begin, duration = _span(everything)
    kinds = {message.topic: message.kind for message in everything}
    lines = [
        f"version: {VERSIONS[distro]}",
        f"storage_identifier: {storage}",
        "duration:",
        f"  nanoseconds: {duration}",
    ]
    lines += ["starting_time:", f"  nanoseconds_since_epoch: {begin}", f"message_count: {len(everything)}"]
    lines.append("topics_with_message_count:")
    for topic, kind in kinds.items():
        lines += [
            "  - topic_metadata:",
            f"      name: {topic}",
            f"      type: {kind}",
            "      serialization_format: cdr",
        ]
        text = quality(topic, distro)
        if distro == "jazzy":
            lines += ["      offered_qos_profiles:", textwrap.indent(text, " " * 8)]
        else:
            escaped = text.replace("\n", "\\n")
            lines.append(f'      offered_qos_profiles: "{escaped}"')
        if distro != "humble":
            lines.append(f"      type_description_hash: {STORE.hash_rihs01(kind)}")
        lines.append(f"    message_count: {sum(message.topic == topic for message in everything)}")
    lines += [f"compression_format: {'zstd' if compression else chr(34) * 2}"]
    lines += [f"compression_mode: {compression.upper() or chr(34) * 2}", "relative_file_paths:"]
    lines += [f"  - {name}{'.zstd' if compression == 'file' else ''}" for name, _ in files] + ["files:"]
    for name, messages in files:
        begin, duration = _span(messages)
        lines += [f"  - path: {name}", "    starting_time:", f"      nanoseconds_since_epoch: {begin}"]
        lines += ["    duration:", f"      nanoseconds: {duration}", f"    message_count: {len(messages)}"]
    if distro != "humble":
        lines.append("custom_data: ~")
    if distro == "jazzy":
        lines.append("ros_distro: jazzy")
    return "\n".join(lines)


def _span(messages: list[Sent]) -> tuple[int, int]:
    times = [message.log_ns for message in messages]
    return (min(times), max(times) - min(times)) if times else (2**63 - 1, 0)


def write_bag(
    path: Path,
    messages: list[Sent],
    *,
    distro: str,
    storage: str,
    compression: str = "",
    num_files: int = 1,
    has_metadata: bool = True,
    **options: object,
) -> Path:
    """``options``: see ``write_mcap`` and ``write_sqlite3``."""
    path.mkdir()
    share = -(-len(messages) // num_files)
    suffix = "mcap" if storage == "mcap" else "db3"
    files = [
        (f"{path.name}_{number}.{suffix}", messages[number * share : (number + 1) * share])
        for number in range(num_files)
    ]
    for name, held in files:
        stored = held
        if compression == "message":
            stored = [Sent(one.topic, one.kind, one.log_ns, zstd.compress(one.data)) for one in held]
        (write_mcap if storage == "mcap" else write_sqlite3)(path / name, stored, distro, **options)
        if compression == "file":
            (path / f"{name}.zstd").write_bytes(zstd.compress((path / name).read_bytes()))
            (path / name).unlink()
    if has_metadata:
        text = metadata(distro, storage, files, compression)
        (path / "metadata.yaml").write_text("rosbag2_bagfile_information:\n" + textwrap.indent(text, "  "))
    return path


# --- sqlite3 ----------------------------------------------------------------------------------------------------------
def make_tables(database: sqlite3.Connection, messages: list[Sent], distro: str) -> None:
    """Everything but the messages."""
    hashed = "" if distro == "humble" else ", type_description_hash TEXT NOT NULL"
    statements = [
        "CREATE TABLE schema(schema_version INTEGER PRIMARY KEY,ros_distro TEXT NOT NULL)",
        "CREATE TABLE metadata(id INTEGER PRIMARY KEY,metadata_version INTEGER NOT NULL,metadata TEXT NOT NULL)",
        "CREATE TABLE topics(id INTEGER PRIMARY KEY,name TEXT NOT NULL,type TEXT NOT NULL,"
        f"serialization_format TEXT NOT NULL,offered_qos_profiles TEXT NOT NULL{hashed})",
        "CREATE TABLE messages(id INTEGER PRIMARY KEY,topic_id INTEGER NOT NULL,timestamp INTEGER NOT NULL, "
        "data BLOB NOT NULL)",
        "CREATE INDEX timestamp_idx ON messages (timestamp ASC)",
        f"INSERT INTO schema (schema_version, ros_distro) VALUES ({3 if distro == 'humble' else 4}, '{distro}')",
    ]
    if distro != "humble":
        statements.insert(
            3,
            "CREATE TABLE message_definitions(id INTEGER PRIMARY KEY,topic_type TEXT NOT NULL,encoding TEXT NOT NULL,"
            "encoded_message_definition TEXT NOT NULL,type_description_hash TEXT NOT NULL)",
        )
    for statement in statements:
        database.execute(statement)
    kinds = {message.topic: message.kind for message in messages}
    for topic, kind in kinds.items():
        row = [topic, kind, "cdr", quality(topic, distro)]
        row += [] if distro == "humble" else [STORE.hash_rihs01(kind)]
        database.execute(f"INSERT INTO topics VALUES (NULL{', ?' * len(row)})", row)
    for kind in dict.fromkeys(kinds.values()) if distro != "humble" else ():
        row = [kind, "ros2msg", STORE.generate_msgdef(kind, ros_version=2)[0], STORE.hash_rihs01(kind)]
        database.execute("INSERT INTO message_definitions VALUES (NULL, ?, ?, ?, ?)", row)


def insert(database: sqlite3.Connection, messages: list[Sent]) -> None:
    """The messages, in the order of arrival."""
    numbers = dict(database.execute("SELECT name, id FROM topics"))
    rows = [(one.log_ns, numbers[one.topic], one.data) for one in messages]
    database.executemany("INSERT INTO messages (timestamp, topic_id, data) VALUES (?, ?, ?)", rows)


def write_sqlite3(path: Path, messages: list[Sent], distro: str) -> None:
    """A database that was closed."""
    with closing(sqlite3.connect(path)) as database:
        make_tables(database, messages, distro)
        insert(database, messages)
        if distro != "humble":
            text = metadata(distro, "sqlite3", [(path.name, messages)])
            database.execute("INSERT INTO metadata VALUES (NULL, ?, ?)", (VERSIONS[distro], text))
        database.commit()


# --- MCAP -------------------------------------------------------------------------------------------------------------
def text(value: str) -> bytes:
    return struct.pack("<I", len(value.encode())) + value.encode()


def texts(values: dict[str, str]) -> bytes:
    content = b"".join(text(key) + text(value) for key, value in values.items())
    return struct.pack("<I", len(content)) + content


def record(opcode: int, content: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(content)) + content


def write_mcap(
    path: Path,
    messages: list[Sent],
    distro: str,
    *,
    preset: str = "",
    has_message_index: bool = True,
    per_chunk: int = 40,
    is_closed: bool = True,
) -> None:
    """``preset``: '', 'fastwrite' (no chunks) or 'zstd_fast', as ``--storage-preset-profile``; not ``is_closed``: as it
    lies there while the recorder runs."""
    out = bytearray(b"\x89MCAP0\r\n" + record(0x01, text("ros2") + text("libmcap 1.1.0")))
    noted = {"serialized_metadata": metadata(distro, "mcap", [(path.name, [])])}
    metadata_at, own = len(out), {"ROS_DISTRO": distro} if distro == "humble" else noted
    out += record(0x0C, text("rosbag2") + texts(own))
    metadata_size = len(out) - metadata_at

    kinds = list(dict.fromkeys(message.kind for message in messages))
    topics = {message.topic: message.kind for message in messages}
    schemas = {
        kind: record(
            0x03,
            struct.pack("<H", kinds.index(kind) + 1)
            + text(kind) + text("ros2msg") + text(STORE.generate_msgdef(kind, ros_version=2)[0]),
        )
        for kind in kinds
    }  # fmt: skip
    channels = {}
    for number, (topic, kind) in enumerate(topics.items(), 1):
        told = {"offered_qos_profiles": quality(topic, distro)}
        told |= {} if distro == "humble" else {"topic_type_hash": STORE.hash_rihs01(kind)}
        numbers = struct.pack("<HH", number, kinds.index(kind) + 1)
        channels[topic] = record(0x04, numbers + text(topic) + text("cdr") + texts(told))
    numbers = {topic: number for number, topic in enumerate(topics, 1)}

    def one(message: Sent) -> bytes:
        head = struct.pack("<HIQQ", numbers[message.topic], 0, message.log_ns, message.log_ns)
        return record(0x05, head + message.data)

    described: set[str] = set()

    def described_first(message: Sent) -> bytes:
        """A channel and its schema come before its first message."""
        new = b""
        if message.topic not in described:
            if not any(topics[topic] == message.kind for topic in described):
                new += schemas[message.kind]
            new += channels[message.topic]
            described.add(message.topic)
        return new

    indexes = []
    if preset == "fastwrite":
        for message in messages:
            out += described_first(message) + one(message)
    for begin in range(0, len(messages) if preset != "fastwrite" else 0, per_chunk):
        held = messages[begin : begin + per_chunk]
        records, index = bytearray(), {}
        for message in held:
            records += described_first(message)
            index.setdefault(numbers[message.topic], []).append((message.log_ns, len(records)))
            records += one(message)
        times = [message.log_ns for message in held]
        span = struct.pack("<QQ", min(times), max(times))
        name = "zstd" if preset == "zstd_fast" else ""
        stored = zstd.compress(bytes(records)) if name else bytes(records)
        chunk_at = len(out)
        out += record(
            0x06, span + struct.pack("<QI", len(records), 0) + text(name) + struct.pack("<Q", len(stored)) + stored
        )
        chunk_size, index_at, offsets = len(out) - chunk_at, len(out), b""
        for number, entries in index.items() if has_message_index else ():
            offsets += struct.pack("<HQ", number, len(out))
            packed = b"".join(struct.pack("<QQ", *entry) for entry in entries)
            out += record(0x07, struct.pack("<HI", number, len(packed)) + packed)
        indexes.append(
            record(
                0x08,
                span + struct.pack("<QQI", chunk_at, chunk_size, len(offsets)) + offsets
                + struct.pack("<Q", len(out) - index_at) + text(name) + struct.pack("<QQ", len(stored), len(records)),
            )
        )  # fmt: skip
    if is_closed:
        out += record(0x0F, struct.pack("<I", 0))
        summary_at = len(out)
        out += b"".join([*schemas.values(), *channels.values()])
        counts = b"".join(
            struct.pack("<HQ", number, sum(message.topic == topic for message in messages))
            for topic, number in numbers.items()
        )
        begin_ns, duration = _span(messages)
        end_ns = begin_ns + duration
        sizes = (len(messages), len(kinds), len(topics), 0, 1, len(indexes), begin_ns, end_ns, len(counts))
        out += record(0x0B, struct.pack("<QHIIIIQQI", *sizes) + counts) + b"".join(indexes)
        out += record(0x0D, struct.pack("<QQ", metadata_at, metadata_size) + text("rosbag2"))
        out += record(0x02, struct.pack("<QQI", summary_at, 0, 0)) + b"\x89MCAP0\r\n"
    path.write_bytes(bytes(out))
