"""Opening bags as recorders leave them: closed or killed, in one file or several, compressed or not.

Reading itself is rosbags'. This adds what its readers refuse or pass over without a word: bags without metadata.yaml,
MCAP files that were not closed or have no index, write-ahead logs and journals of sqlite3, files and messages that are
compressed without metadata that says so, and a metadata.yaml in which somebody has changed a topic's QoS.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.rosbag2.metadata import ReaderMetadata
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from ebt_policy_ros.bags import mcap_scan
from ebt_policy_ros.bags.mcap_scan import McapScan
from ebt_policy_ros.core.errors import DatasetError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STORAGE = (".mcap", ".db3")
COMPRESSED = ".zstd"
METADATA = "metadata.yaml"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SQLITE_MAGIC = b"SQLite format 3\0"
_JOURNALS = ("-wal", "-journal")
_NUMBERED = re.compile(r"(.+)_(\d+)$")

Message = tuple[Connection, int, bytes]


class BagReader(Reader):
    """rosbags' reader of one bag (its directory or a storage file), with ``notes`` on what is missing from it."""

    def __init__(self, path: Path) -> None:
        super().__init__(Path(path))

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of a bag that was not closed; empty when all is well."""
        return tuple(self.storage.notes)


def is_storage(path: Path) -> bool:
    """Whether a file is named as recorders name theirs."""
    return path.suffix in STORAGE or (path.suffix == COMPRESSED and Path(path.stem).suffix in STORAGE)


def is_bag_folder(path: Path) -> bool:
    """Whether a directory is one bag: it has metadata.yaml, or only files that a recorder named after it."""
    if (path / METADATA).is_file():
        return True
    files = loose_files(path) if path.is_dir() else []
    return bool(files) and {_recording(file)[0] for file in files} == {path.name}


def loose_files(folder: Path) -> list[Path]:
    """The storage files in a directory, by recording and number (``bag_2`` before ``bag_10``).

    Of a file and its compressed copy it is the file: a recorder that is killed while it compresses leaves both.
    """
    files = [path for path in folder.iterdir() if path.is_file() and is_storage(path)]
    names = {path.name for path in files}
    files = [path for path in files if path.suffix != COMPRESSED or path.stem not in names]
    return sorted(files, key=_recording)


def _recording(path: Path) -> tuple[str, int]:
    """Name of the recording that a file belongs to, and its number there."""
    stem = path.name.split(".db3")[0].split(".mcap")[0]
    match = _NUMBERED.match(stem)
    return (match[1], int(match[2])) if match else (stem, 0)


class StorageFile:
    """A storage reader for rosbags: one file, whatever state it is in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[Connection] = []
        self.metadata = ReaderMetadata(0, 2**63 - 1, 0, 0, None, None, None, None)
        self.notes: list[str] = []
        self.is_cut = False
        """Whether it ends before its data did."""

    def open(self) -> None:
        """Opens it; a copy in a temporary folder where it is compressed or has a journal."""
        with ExitStack() as stack:
            self._inner = self._open(self._at_hand(stack))
            stack.callback(self._inner.close)
            self._stack = stack.pop_all()
        self.connections, self.metadata = list(self._inner.connections), self._inner.metadata
        self.is_cut = isinstance(self._inner, McapScan) and self._inner.is_cut
        if self.is_cut:
            count = self.metadata.message_count
            self.notes.append(f"{self.path.name} was cut off; read are the {count} messages before that")

    def close(self) -> None:
        """Closes it, and removes the copy."""
        self._stack.close()

    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Iterator[Message]:
        """(connection, time of recording [ns], CDR) by time."""
        for connection, log_ns, data in self._inner.messages(connections, start, stop):
            # CDR begins with a zero byte: this is a message that was compressed by itself.
            is_compressed = data[:4] == _ZSTD_MAGIC
            yield connection, log_ns, zstd.decompress(data) if is_compressed else data

    def _at_hand(self, stack: ExitStack) -> Path:
        path = self.path
        if _head(path)[:4] == _ZSTD_MAGIC:
            copy = Path(stack.enter_context(TemporaryDirectory()), path.stem)
            with zstd.open(path, "rb") as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target)
            return copy
        journals = [file for end in _JOURNALS if (file := path.with_name(path.name + end)).is_file()]
        if path.suffix == ".db3" and any(file.stat().st_size for file in journals):
            # rosbags opens files as they are; sqlite has to take over, or back, what the journal holds. Not in place: a
            # recording is not ours to change, and may be on a disk that cannot be written to.
            folder = Path(stack.enter_context(TemporaryDirectory()))
            for file in (path, *journals):
                shutil.copyfile(file, folder / file.name)
            with closing(sqlite3.connect(folder / path.name)) as database:
                database.execute("PRAGMA journal_mode=DELETE")
                database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return folder / path.name
        return path

    def _open(self, path: Path) -> McapReader | McapScan | Sqlite3Reader:
        head = _head(path)
        if not head:
            raise ReaderError(f"{path.name} is empty.")
        if head[: len(_SQLITE_MAGIC)] == _SQLITE_MAGIC:
            database = Sqlite3Reader(path)
            database.open()
            return database
        if head[: len(mcap_scan.MAGIC)] != mcap_scan.MAGIC:
            raise ReaderError(f"{path.name} is neither an MCAP file nor a sqlite3 database.")
        if mcap_scan.is_closed(path):
            file = McapReader(path)
            file.open()
            if _is_indexed(file):
                return file
            file.close()
        scan = McapScan(path)
        scan.open()
        return scan


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _is_indexed(file: McapReader) -> bool:
    """Whether all messages can be found by the index; those of chunks without one would be passed over."""
    with_messages = [chunk for chunk in file.chunks if chunk.message_start_time <= chunk.message_end_time]
    counted = sum(sum(chunk.channel_count.values()) for chunk in with_messages)
    return counted == file.metadata.message_count


def _merged(
    storages: Iterable[StorageFile], connections: Collection[Connection], start: int | None, stop: int | None
) -> Iterator[Message]:
    """File by file; a topic is the same one in all of them, whatever they say of its QoS."""
    wanted = {(connection.topic, connection.msgtype): connection for connection in connections}
    for storage in storages:
        found = {c.id: wanted[c.topic, c.msgtype] for c in storage.connections if (c.topic, c.msgtype) in wanted}
        own = [connection for connection in storage.connections if connection.id in found]
        for connection, log_ns, data in storage.messages(own, start, stop) if own else ():
            yield found[connection.id], log_ns, data


class DescribedFolder(DirectoryReader):
    """A bag directory with metadata.yaml."""

    STORAGE_PLUGINS = {"mcap": StorageFile, "sqlite3": StorageFile}  # noqa: RUF012 - as rosbags declares it

    @property
    def notes(self) -> list[str]:
        """None: metadata that was made anew (``ros2 bag reindex``) tells of what the files hold."""
        return []

    def open(self) -> None:
        """Opens all files; ReaderError when they hold less than metadata.yaml tells of."""
        super().open()
        held, told = sum(storage.metadata.message_count for storage in self.storages), self.metadata.message_count
        if any(storage.is_cut for storage in self.storages) and held < told:
            self.close()
            raise ReaderError(f"{METADATA} tells of {told} messages, of which its files, cut off, hold {held}.")

    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Iterator[Message]:
        """(connection, time of recording [ns], CDR)."""
        return _merged(self.storages, connections, start, stop)


class LooseFolder:
    """A bag directory whose recorder did not get to write metadata.yaml."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[Connection] = []
        self.metadata = ReaderMetadata(0, 2**63 - 1, 0, 0, None, None, None, None)
        self.notes: list[str] = []

    def open(self) -> None:
        """Opens all files; DatasetError when there are none, or those of several recordings."""
        files = loose_files(self.path)
        if not files:
            raise DatasetError(f"{self.path}: no rosbag2 bag there; expected {METADATA}, *.mcap or *.db3")
        if len(names := sorted({_recording(file)[0] for file in files})) > 1:
            raise DatasetError(
                f"{self.path}: no {METADATA}, and files of several recordings ({', '.join(names[:4])}); name one file"
            )
        with ExitStack() as stack:
            self._storages = [StorageFile(file) for file in files if file.stat().st_size]
            for storage in self._storages:
                storage.open()
                stack.callback(storage.close)
            self._stack = stack.pop_all()
        first: dict[tuple[str, str], Connection] = {}
        for connection in (c for storage in self._storages for c in storage.connections):
            key = (connection.topic, connection.msgtype)
            before = first.get(key, connection._replace(id=len(first) + 1, msgcount=0, owner=self))
            first[key] = before._replace(msgcount=before.msgcount + connection.msgcount)
        self.connections = list(first.values())
        self.metadata = _together([storage.metadata for storage in self._storages])
        self.notes = [
            f"no {METADATA}, as when the recorder is killed before it writes it; 'ros2 bag reindex' makes it anew",
            *(note for storage in self._storages for note in storage.notes),
        ]

    def close(self) -> None:
        """Closes all files."""
        self._stack.close()

    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Iterator[Message]:
        """(connection, time of recording [ns], CDR)."""
        return _merged(self._storages, connections, start, stop)


def _together(parts: list[ReaderMetadata]) -> ReaderMetadata:
    filled = [part for part in parts if part.message_count]
    if not filled:
        return ReaderMetadata(0, 2**63 - 1, 0, 0, None, None, None, None)
    begin, end = min(part.start_time for part in filled), max(part.end_time for part in filled)
    count = sum(part.message_count for part in filled)
    return ReaderMetadata(end - begin, begin, end, count, None, None, None, None)


def _folder(path: Path) -> DescribedFolder | LooseFolder:
    return DescribedFolder(path) if (path / METADATA).exists() else LooseFolder(path)


BagReader.STORAGE_PLUGINS = {"dir": _folder, **dict.fromkeys((*STORAGE, COMPRESSED), StorageFile)}
