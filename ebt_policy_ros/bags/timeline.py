"""A bag as what the node heard and said, message by message, in the order of recording."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Connection

from ebt_policy_ros.bags.open import BagReader
from ebt_policy_ros.bags.store import CLOCK, DIAGNOSTICS, JOINT_TRAJECTORY, explained, type_store
from ebt_policy_ros.bags.streams import picture_stamp_ns
from ebt_policy_ros.bags.topics import NEXT_POSITION, ActionTopic, BagTopics, resolve
from ebt_policy_ros.core.errors import DatasetError
from ebt_policy_ros.messages import read_stamp_ns
from ebt_policy_ros.messages.stamps import read_nanoseconds
from ebt_policy_ros.messages.status import read_values

JOINT_STATES, STATUS, TRAJECTORY, CLOCK_SOURCE = "joint_states", "status", "joint_trajectory", "clock"


@dataclass(frozen=True, slots=True)
class Heard:
    """One message."""

    source: str
    """A camera's name, or 'joint_states', 'status', 'joint_trajectory', 'clock'."""
    log_ns: int
    """When it was recorded [ns, the recorder's clock]."""
    stamp_ns: int
    """Header stamp; of a clock its time [ns, ROS time]."""
    data: bytes
    """CDR."""
    kind: str
    """Message type, such as sensor_msgs/msg/Image."""

    def message(self) -> Any:
        """Decoded."""
        return type_store().deserialize_cdr(self.data, self.kind)


class Timeline:
    """One open bag; use it in a with statement.

    ``topics``: camera, 'joint_states', 'status' or 'joint_trajectory' -> topic, where it is not the node's own.
    DatasetError when a camera's or the joints' topic is missing; the others need not be there.
    """

    def __init__(self, path: Path, cameras: tuple[str, ...], topics: Mapping[str, str] | None = None) -> None:
        self.path, self._cameras, self._topics = Path(path), cameras, dict(topics or {})
        unknown = set(self._topics) - {*cameras, JOINT_STATES, STATUS, TRAJECTORY}
        if unknown:
            known = ", ".join((*cameras, JOINT_STATES, STATUS, TRAJECTORY))
            raise DatasetError(f"topic of '{sorted(unknown)[0]}': expected one of {known}")

    def __enter__(self) -> Timeline:
        with explained(self.path):
            self._reader = BagReader(self.path)
            self._reader.open()
        try:
            self._source_of = self._sources()
        except BaseException:
            self._reader.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    @property
    def has_clock(self) -> bool:
        """Whether ROS time is in the bag."""
        return CLOCK_SOURCE in self._source_of.values()

    @property
    def connections(self) -> list[Connection]:
        """All topics of the bag."""
        return list(self._reader.connections)

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of a bag that was not closed; empty when all is well."""
        return self._reader.notes

    def topic_of(self, source: str) -> str:
        """The topic that a source is heard on; empty when it is not."""
        return next((topic for topic, own in self._source_of.items() if own == source), "")

    def tells_history(self) -> bool:
        """Whether a node's status in the bag says what a replay needs."""
        connections = [c for c in self._reader.connections if self._source_of.get(c.topic) == STATUS]
        with explained(self.path):
            for connection, _, data in self._reader.messages(connections) if connections else ():
                if "event" in read_values(type_store().deserialize_cdr(data, connection.msgtype)):
                    return True
        return False

    def messages(self) -> Iterator[Heard]:
        """What the node heard and said."""
        wanted = [connection for connection in self._reader.connections if connection.topic in self._source_of]
        with explained(self.path):
            for connection, log_ns, data in self._reader.messages(wanted):
                source = self._source_of[connection.topic]
                yield Heard(source, log_ns, _stamp_ns(source, connection.msgtype, data), data, connection.msgtype)

    def raw(self) -> Iterator[tuple[Connection, int, bytes]]:
        """Everything there is: (connection, time of recording [ns], CDR)."""
        with explained(self.path):
            yield from self._reader.messages()

    def _sources(self) -> dict[str, str]:
        """Topic -> source."""
        cameras = {camera: self._topics.get(camera, f"/camera/{camera}/image_raw") for camera in self._cameras}
        topics = BagTopics(
            cameras=cameras,
            joint_states=self._topics.get(JOINT_STATES, f"/{JOINT_STATES}"),
            actions=(ActionTopic(type=NEXT_POSITION),),
        )
        found = resolve(self._reader.connections, topics, str(self.path))
        sources = {connection.topic: camera for camera, connection in found.cameras.items()}
        sources[found.joint_states.topic] = JOINT_STATES
        spoken = {
            self._topics.get(STATUS, "/ebt_policy/status"): (STATUS, DIAGNOSTICS),
            self._topics.get(TRAJECTORY, "/joint_trajectory"): (TRAJECTORY, JOINT_TRAJECTORY),
            "/clock": (CLOCK_SOURCE, CLOCK),
        }
        for connection in self._reader.connections:
            source, kind = spoken.get(connection.topic, ("", ""))
            if source and connection.msgtype == kind:
                sources[connection.topic] = source
        return sources


def _stamp_ns(source: str, kind: str, data: bytes) -> int:
    if kind.endswith("Image"):
        return picture_stamp_ns(data)  # without decoding the picture
    message = type_store().deserialize_cdr(data, kind)
    if source == CLOCK_SOURCE:
        return read_nanoseconds("clock", message.clock)
    return read_stamp_ns(message)
