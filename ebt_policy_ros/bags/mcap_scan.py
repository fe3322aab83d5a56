"""MCAP files that nobody closed, or that were written without an index: read record by record, as far as they go.

Format: https://mcap.dev/spec. Every file is a sequence of records (opcode, length, content); messages lie among them
(``ros2 bag record --storage-preset-profile fastwrite``) or in chunks, which may be compressed. A recorder that was
killed leaves neither summary nor footer, and its last record incomplete.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import lz4.frame
import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.metadata import ReaderMetadata, parse_qos

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"\x89MCAP0\r\n"
_HEADER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x01, 0x03, 0x04, 0x05, 0x06, 0x0F
_FOOTER_LENGTH = 9 + 20 + len(MAGIC)
_MESSAGE_HEADER = struct.Struct("<HIQQ")
_CHUNKS_AT_HAND = 8
_DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    # What is there of a frame that ends too early is decoded as well.
    "": lambda raw: raw,
    "zstd": lambda raw: zstd.ZstdDecompressor().decompress(raw),
    "lz4": lambda raw: bytes(lz4.frame.LZ4FrameDecompressor().decompress(raw)),
}
_FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}


def is_closed(path: Path) -> bool:
    """Whether a file's writer got to its end."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - len(MAGIC)))
        return size > len(MAGIC) + _FOOTER_LENGTH and file.read() == MAGIC


class _Chunk(NamedTuple):
    """Where a chunk's records lie in the file, as they are stored."""

    offset: int
    size: int
    compression: str


class McapScan:
    """A storage reader for rosbags; ReaderError when it is no MCAP file of ROS 2."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_cut = True
        """Whether the file ends before its data did."""
        self.connections: list[Connection] = []
        self.metadata = ReaderMetadata(0, 2**63 - 1, 0, 0, None, None, None, None)
        self._schemas: dict[int, tuple[str, MessageDefinition]] = {}
        self._channels: dict[int, Connection] = {}
        self._chunks: list[_Chunk] = []
        self._at_hand: OrderedDict[int, bytes] = OrderedDict()
        # Of every message: log time [ns], channel, chunk (-1: none), offset and size there.
        self._log_ns, self._channel, self._chunk = array("q"), array("H"), array("l")
        self._offset, self._size = array("Q"), array("Q")

    def open(self) -> None:
        """Reads where everything is."""
        self._file: BinaryIO = self.path.open("rb")
        try:
            self._scan()
        except BaseException:
            self._file.close()
            raise
        channels = np.frombuffer(self._channel, np.uint16)
        counts = {int(key): int(n) for key, n in zip(*np.unique(channels, return_counts=True), strict=True)}
        self.connections = [c._replace(msgcount=counts.get(key, 0)) for key, c in self._channels.items()]
        if self._log_ns:
            begin, end = min(self._log_ns), max(self._log_ns)
            self.metadata = self.metadata._replace(
                duration=end - begin + 1, start_time=begin, end_time=end + 1, message_count=len(self._log_ns)
            )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        self._at_hand.clear()

    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """(connection, log time [ns], data) by log time, those of one time in the order of writing."""
        wanted = {connection.id: connection for connection in connections}
        log_ns, channels = np.frombuffer(self._log_ns, np.int64), np.frombuffer(self._channel, np.uint16)
        kept: NDArray[np.bool_] = np.isin(channels, list(wanted))
        kept &= log_ns >= (0 if start is None else start)
        kept &= log_ns < (2**63 - 1 if stop is None else stop)
        numbers = np.flatnonzero(kept)
        for number in numbers[np.argsort(log_ns[numbers], kind="stable")]:
            yield wanted[self._channel[number]], self._log_ns[number], self._data(int(number))

    # --- inside -----------------------------------------------------------------------------------------------------
    def _scan(self) -> None:
        size, position = self._file.seek(0, 2), len(MAGIC)
        if self._read(0, len(MAGIC)) != MAGIC:
            raise ReaderError("File magic is invalid.")
        while position + 9 <= size:
            opcode, length = struct.unpack("<BQ", self._read(position, 9))
            begin, is_whole = position + 9, position + 9 + length <= size
            if opcode == _DATA_END:
                self.is_cut = False
                return
            if opcode == _CHUNK:
                self._add_chunk(begin, min(length, size - begin))
            if opcode == 0 or not is_whole:  # nothing but zeros: room that the file system had set aside
                return
            if opcode == _MESSAGE:
                self._add_message(self._read(begin, _MESSAGE_HEADER.size), -1, begin, length)
            elif opcode in (_HEADER, _SCHEMA, _CHANNEL):
                self._add_record(opcode, self._read(begin, length))
            position = begin + length

    def _add_chunk(self, begin: int, size: int) -> None:
        head = _Fields(self._read(begin, min(size, 64)))
        try:
            head.take("<QQQI")
            compression = head.text()
            head.take("<Q")
        except struct.error:
            return  # cut off before its first record
        if compression not in _DECOMPRESSORS:
            raise ReaderError(f"Unsupported chunk compression {compression!r}.")
        number = len(self._chunks)
        self._chunks.append(_Chunk(begin + head.position, size - head.position, compression))
        records, position = self._records(number), 0
        while position + 9 <= len(records):
            opcode, length = struct.unpack_from("<BQ", records, position)
            position += 9
            if position + length > len(records):
                return
            if opcode == _MESSAGE:
                self._add_message(records[position : position + _MESSAGE_HEADER.size], number, position, length)
            else:
                self._add_record(opcode, records[position : position + length])
            position += length

    def _add_message(self, head: bytes, chunk: int, offset: int, length: int) -> None:
        channel, _, log_ns, _ = _MESSAGE_HEADER.unpack(head)
        if channel not in self._channels:
            raise ReaderError(f"Message on channel {channel}, which is described nowhere.")
        self._log_ns.append(log_ns)
        self._channel.append(channel)
        self._chunk.append(chunk)
        self._offset.append(offset + _MESSAGE_HEADER.size)
        self._size.append(length - _MESSAGE_HEADER.size)

    def _add_record(self, opcode: int, content: bytes) -> None:
        fields = _Fields(content)
        if opcode == _HEADER and (profile := fields.text()) != "ros2":
            raise ReaderError(f"Profile is not ros2 but {profile!r}.")
        if opcode == _SCHEMA:
            (number,) = fields.take("<H")
            name, encoding, text = fields.text(), fields.text(), fields.text()
            kind = _FORMATS.get(encoding, MessageDefinitionFormat.NONE)
            self._schemas[number] = (name, MessageDefinition(kind, text if encoding in _FORMATS else ""))
        if opcode == _CHANNEL:
            number, schema = fields.take("<HH")
            topic, encoding = fields.text(), fields.text()
            own = fields.texts()
            name, definition = self._schemas.get(schema, ("", MessageDefinition(MessageDefinitionFormat.NONE, "")))
            quality = ConnectionExtRosbag2(encoding, parse_qos(own.get("offered_qos_profiles", "")))
            self._channels[number] = Connection(
                number, topic, name, definition, own.get("topic_type_hash", ""), 0, quality, self
            )

    def _data(self, number: int) -> bytes:
        chunk, offset, size = self._chunk[number], self._offset[number], self._size[number]
        return self._read(offset, size) if chunk < 0 else self._records(chunk)[offset : offset + size]

    def _records(self, chunk: int) -> bytes:
        """A chunk's records, decompressed."""
        if chunk not in self._at_hand:
            offset, size, compression = self._chunks[chunk]
            self._at_hand[chunk] = _DECOMPRESSORS[compression](self._read(offset, size))
            if len(self._at_hand) > _CHUNKS_AT_HAND:
                self._at_hand.popitem(last=False)
        self._at_hand.move_to_end(chunk)
        return self._at_hand[chunk]

    def _read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)


class _Fields:
    """A record's fields, one after the other; struct.error where it ends too early."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.position = 0

    def take(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from(layout, self._content, self.position)
        self.position += struct.calcsize(layout)
        return values

    def text(self) -> str:
        (size,) = self.take("<I")
        return self.take_bytes(size).decode()

    def texts(self) -> dict[str, str]:
        """A map."""
        (size,) = self.take("<I")
        end, found = self.position + size, {}
        while self.position < end:
            key = self.text()
            found[key] = self.text()
        return found

    def take_bytes(self, size: int) -> bytes:
        (content,) = struct.unpack_from(f"{size}s", self._content, self.position)
        self.position += size
        return bytes(content)
