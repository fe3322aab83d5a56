"""First pass over a bag: stamps of all pictures, and everything but the pictures decoded."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.serde import SerdeError

from ebt_policy_ros.bags.open import BagReader
from ebt_policy_ros.bags.store import type_store
from ebt_policy_ros.bags.topics import ActionTopic, ResolvedTopics
from ebt_policy_ros.core.errors import DatasetError, MessageError
from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.messages import read_joint_state, read_stamp_ns, read_trajectory
from ebt_policy_ros.messages.stamps import SECOND_NS
from ebt_policy_ros.messages.status import read_values

Times = NDArray[np.int64]


@dataclass
class Stream:
    """Messages of one topic in the order in which they were recorded."""

    topic: str
    logs: list[int] = field(default_factory=list)
    """When each was recorded [ns, the recorder's clock]."""
    stamps: list[int] = field(default_factory=list)
    """Header stamps [ns, ROS time]; empty where messages have no header."""
    values: list[Any] = field(default_factory=list)
    """What they say; empty for pictures."""

    @property
    def log_ns(self) -> Times:
        return np.array(self.logs, np.int64)

    @property
    def stamp_ns(self) -> Times:
        return np.array(self.stamps, np.int64)


@dataclass
class Streams:
    """A bag's contents by role, without pictures."""

    joint_names: tuple[str, ...]
    joints: Stream
    """Values are (D,) positions."""
    velocities: list[Floats | None]
    cameras: dict[str, Stream]
    actions: list[tuple[ActionTopic, Stream]]
    """Values are TrajectoryReading or the reason why it cannot be read (str); or (names, (d,) targets)."""
    success: Stream | None
    episode: Stream | None
    """Values are the first status's text by key."""
    has_clock: bool


def read_streams(reader: BagReader, topics: ResolvedTopics, joint_names: Sequence[str], where: str) -> Streams:
    """Reads everything but the pictures; DatasetError names topic and message of what cannot be read."""
    raw = _read_raw(reader, topics, where)
    joints_topic = topics.joint_states.topic
    actions = [(action, _action_stream(action, connection, raw, where)) for action, connection in topics.actions]
    names = tuple(joint_names) or _commanded(raw[joints_topic].values[0], actions)
    joints, velocities = _joint_stream(raw[joints_topic], names, where)
    episode = raw[topics.episode.topic] if topics.episode else None
    if episode is not None:
        episode.values = [read_values(message) for message in episode.values]
    success = raw[topics.success.topic] if topics.success else None
    if success is not None:
        success.values = [bool(message.data) for message in success.values]
    cameras = {camera: raw[connection.topic] for camera, connection in topics.cameras.items()}
    return Streams(names, joints, velocities, cameras, actions, success, episode, topics.has_clock)


def _read_raw(reader: BagReader, topics: ResolvedTopics, where: str) -> dict[str, Stream]:
    store = type_store()
    pictures = {connection.topic for connection in topics.cameras.values()}
    others = [topics.joint_states, topics.success, topics.episode, *(connection for _, connection in topics.actions)]
    wanted: dict[str, Connection] = {c.topic: c for c in [*topics.cameras.values(), *others] if c is not None}
    streams = {topic: Stream(topic) for topic in wanted}
    for connection, log_ns, data in reader.messages(list(wanted.values())):
        stream = streams[connection.topic]
        try:
            if connection.topic in pictures:
                stream.stamps.append(picture_stamp_ns(data))
            else:
                message = store.deserialize_cdr(data, connection.msgtype)
                if hasattr(message, "header"):
                    stream.stamps.append(read_stamp_ns(message))
                stream.values.append(message)
        except (struct.error, ValueError, IndexError, AssertionError, SerdeError, MessageError) as error:
            raise DatasetError(
                f"{where}: message {len(stream.logs)} on {connection.topic} is corrupt: {error}"
            ) from error
        stream.logs.append(log_ns)
    for topic, stream in streams.items():
        if not stream.logs:
            raise DatasetError(f"{where}: topic {topic} has no messages; record again, or name another topic")
    return streams


def picture_stamp_ns(data: bytes) -> int:
    """Header stamp of a serialised Image or CompressedImage, without decoding the rest."""
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds * SECOND_NS + nanoseconds)


def _action_stream(action: ActionTopic, connection: Connection | None, raw: dict[str, Stream], where: str) -> Stream:
    if connection is None:
        return Stream("")
    stream = raw[connection.topic]
    kept = Stream(stream.topic, stream.logs, stream.stamps)
    for number, message in enumerate(stream.values):
        if action.type == "joint_trajectory":
            try:
                kept.values.append(read_trajectory(message))
            except MessageError as error:  # a controller refuses it and goes on
                kept.values.append(str(error))
            continue
        names = action.joints if action.type == "commands" else tuple(message.name)
        targets = np.asarray(message.data if action.type == "commands" else message.position, np.float64)
        if len(names) != len(targets) or not np.isfinite(targets).all():
            raise DatasetError(
                f"{where}: message {number} on {stream.topic}: expected {len(names)} finite targets for "
                f"{', '.join(names)}, got {targets.tolist()}"
            )
        kept.values.append((names, targets))
    return kept


def _commanded(first: Any, actions: Sequence[tuple[ActionTopic, Stream]]) -> tuple[str, ...]:
    """Joints of the first JointState, without those that nothing commands (a mimic finger, a lift)."""
    names = [str(name) for name in first.name]
    commanded: set[str] = set()
    for action, stream in actions:
        readable = [value for value in stream.values if not isinstance(value, str)]
        if not readable:
            return tuple(names)
        value = readable[0]
        commanded |= set(action.joints or (value[0] if isinstance(value, tuple) else value.joint_names))
    return tuple(name for name in names if name in commanded) or tuple(names)


def _joint_stream(stream: Stream, names: tuple[str, ...], where: str) -> tuple[Stream, list[Floats | None]]:
    kept, velocities = Stream(stream.topic), []
    for number, (log_ns, message) in enumerate(zip(stream.logs, stream.values, strict=True)):
        if not set(names) & set(message.name):
            continue  # another publisher's joints on the same topic
        try:
            reading = read_joint_state(message, names)
        except MessageError as error:
            raise DatasetError(f"{where}: message {number} on {stream.topic}: {error}") from error
        kept.logs.append(log_ns)
        kept.stamps.append(reading.stamp_ns)
        kept.values.append(reading.positions)
        velocities.append(reading.velocities)
    if not kept.logs:
        raise DatasetError(
            f"{where}: no message on {stream.topic} has any of the joints {', '.join(names)}; "
            f"the first has {', '.join(stream.values[0].name) or 'none'}"
        )
    return kept, velocities
