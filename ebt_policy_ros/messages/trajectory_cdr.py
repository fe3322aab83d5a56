"""SafeChunk -> the bytes of its JointTrajectory, with no message object in between.

Making the points of a trajectory, 30 messages of four arrays, and serialising them one by one takes as long as all
limits together; as bytes they are one table. These are the bytes that the middleware would make of the message: common
data representation (CDR) version 1, little endian (OMG DDSI-RTPS 2.5, clause 10). Whoever sends them makes sure once
that they are read back as the message they stand for.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence

import numpy as np

from ebt_policy_ros.core.types import SafeChunk
from ebt_policy_ros.messages.stamps import SECOND_NS

_LITTLE_ENDIAN = b"\x00\x01\x00\x00"
"""Encapsulation: what follows is plain CDR; positions in it count from here."""


def trajectory_cdr(chunk: SafeChunk, joints: Sequence[str] | None = None) -> bytes:
    """The serialised form of ``trajectory_message(chunk, ..., joints)``; anything but a SafeChunk is a TypeError."""
    if not isinstance(chunk, SafeChunk):
        raise TypeError(f"only a SafeChunk can become a trajectory message, got {type(chunk).__name__}")
    names = chunk.joint_names if joints is None else tuple(joints)
    columns = [chunk.joint_names.index(name) for name in names]
    return _LITTLE_ENDIAN + _head(chunk.start_ns, names, len(chunk.times_s)) + _points(chunk, columns)


def _head(start_ns: int, names: Sequence[str], num_points: int) -> bytes:
    """Header, joint names, and how many points follow; ends where the first number of the first point begins."""
    frame = struct.pack("<iI", *divmod(start_ns, SECOND_NS)) + _string("")
    joints = struct.pack("<I", len(names)) + b"".join(map(_string, names))
    head = frame + joints + struct.pack("<II", num_points, len(names))
    return head + bytes(-len(head) % 8)


def _string(text: str) -> bytes:
    """With its length before it, and filled up to a multiple of four, where whatever follows here begins."""
    raw = text.encode() + b"\0"
    return struct.pack("<I", len(raw)) + raw + bytes(-len(raw) % 4)


def _points(chunk: SafeChunk, columns: Sequence[int]) -> bytes:
    """Every point from its first number on; with it goes the length with which the next point begins, so that all rows
    are alike and every number lies at a multiple of eight."""
    table = np.zeros(len(chunk.times_s), _row(len(columns)))
    for name in ("positions", "velocities", "accelerations"):
        table[name] = getattr(chunk, name)[:, columns]
    table["num_velocities"] = table["num_accelerations"] = table["num_positions_after"] = len(columns)
    times_ns = np.round(chunk.times_s * 1e9).astype(np.int64)
    table["seconds"], table["nanoseconds"] = times_ns // SECOND_NS, times_ns % SECOND_NS
    return table.tobytes()[:-4]


@functools.lru_cache(maxsize=16)
def _row(num_joints: int) -> np.dtype[np.void]:
    numbers = ("<f8", (num_joints,))
    return np.dtype(
        [
            ("positions", *numbers),
            ("num_velocities", "<u8"),  # four bytes, and four up to the next multiple of eight
            ("velocities", *numbers),
            ("num_accelerations", "<u8"),
            ("accelerations", *numbers),
            ("num_efforts", "<u4"),
            ("seconds", "<i4"),
            ("nanoseconds", "<u4"),
            ("num_positions_after", "<u4"),
        ]
    )
