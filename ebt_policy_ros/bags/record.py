"""Serialised messages -> one MCAP bag, as they come."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer, WriterError

from ebt_policy_ros.bags.store import type_store, types_that_changed
from ebt_policy_ros.bags.write import METADATA_VERSION, RELIABLE, TASK_KEY
from ebt_policy_ros.core.errors import DatasetError

UNKNOWN_HASH = "RIHS01_" + "0" * 64
"""Of a type whose hash is not known: bags from before there were any."""


class BagRecorder:
    """An open bag that any thread may write to; ``close`` makes it readable.

    Chunks are compressed (zstd), as ``ros2 bag record --storage-preset-profile zstd_fast`` does: raw pictures shrink to
    about half. DatasetError when the directory exists already.
    """

    def __init__(self, path: Path, *, task: str = "") -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._connections: dict[str, Connection] = {}
        self.num_messages = 0
        try:
            self._writer: Writer | None = Writer(self.path, version=METADATA_VERSION, storage_plugin=StoragePlugin.MCAP)
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            if task:
                self._writer.set_custom_data(TASK_KEY, task)
            self._writer.open()
            self._name_file()
        except WriterError as error:
            raise DatasetError(
                f"{self.path} exists already; recordings overwrite nothing, name a new folder"
            ) from error

    def add_topic(self, topic: str, kind: str, quality: Qos = RELIABLE) -> None:
        """Makes a topic known by its full name, type (such as sensor_msgs/msg/Image) and offered QoS, with which
        ``ros2 bag play`` publishes it, messages or not."""
        with self._lock:
            if self._writer is not None and topic not in self._connections:
                self._connections[topic] = self._writer.add_connection(
                    topic, kind, typestore=type_store(), offered_qos_profiles=[quality]
                )

    def add_topic_like(self, other: Connection) -> bool:
        """Makes a topic of another bag known, with its own definition and QoS; False when neither that bag
        (sqlite3 bags of Humble hold no definitions) nor we know what its messages are."""
        with self._lock:
            if self._writer is None or other.topic in self._connections:
                return other.topic in self._connections
            definition = other.msgdef.data
            is_known = other.msgtype in type_store().fielddefs and other.msgtype not in types_that_changed()
            if not definition and not is_known:
                return False
            self._connections[other.topic] = self._writer.add_connection(
                other.topic,
                other.msgtype,
                typestore=type_store() if is_known else None,
                msgdef=None if is_known else definition,
                rihs01=None if is_known else other.digest or UNKNOWN_HASH,
                serialization_format=getattr(other.ext, "serialization_format", "cdr"),
                offered_qos_profiles=getattr(other.ext, "offered_qos_profiles", None) or [RELIABLE],
            )
            return True

    def _name_file(self) -> None:
        """``<bag>_0.mcap`` instead of rosbags' ``<bag>.mcap``: ``ros2 bag reindex`` looks for no other names, should we
        not live to close it."""
        storage = self._writer.storage if self._writer is not None else None
        if storage is not None:
            storage.path = storage.path.rename(storage.path.with_stem(f"{storage.path.stem}_0"))

    def write(self, topic: str, log_ns: int, data: bytes) -> None:
        """Stores CDR bytes (with encapsulation header) received at ``log_ns``; passed over once the bag is closed."""
        with self._lock:
            if self._writer is not None:
                self._writer.write(self._connections[topic], log_ns, data)
                self.num_messages += 1

    def close(self) -> None:
        """Writes index and metadata; may be called twice."""
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def __enter__(self) -> BagRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
