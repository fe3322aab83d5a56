"""The message types of bags (ROS 2 Jazzy's, with their CDR, as rosbags has them), and errors in reading them."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
from rosbags.rosbag2 import ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from ebt_policy_ros.core.errors import DatasetError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE = "sensor_msgs/msg/Image"
JOINT_STATE = "sensor_msgs/msg/JointState"
JOINT_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
TRAJECTORY_POINT = "trajectory_msgs/msg/JointTrajectoryPoint"
BOOL = "std_msgs/msg/Bool"
CLOCK = "rosgraph_msgs/msg/Clock"
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
MULTI_ARRAY = "std_msgs/msg/Float64MultiArray"
_ADVICE = (
    " Was it cut off, or copied in part? Copy it again; else 'mcap recover' or 'sqlite3 OLD.db3 .recover | sqlite3 "
    "NEW.db3' saves what a damaged file still has, and 'ros2 bag reindex' makes its metadata anew"
)


@functools.cache
def type_store() -> Typestore:
    """The process's one type store (made on first use: about 0.1 s)."""
    return get_typestore(Stores.ROS2_JAZZY)


@functools.cache
def types_that_changed() -> frozenset[str]:
    """Types that had other fields in Humble than in Jazzy: a bag without definitions does not say which are meant."""
    old, new = get_typestore(Stores.ROS2_HUMBLE), type_store()
    # First members are constants, which no message carries.
    return frozenset(
        name for name, (_, fields) in old.fielddefs.items() if new.fielddefs.get(name, (0, 0))[1] != fields
    )


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Whatever goes wrong in reading the bag at ``path`` becomes a DatasetError that names it."""
    try:
        yield
    except DatasetError:
        raise
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: a file is missing: {error}") from error
    except (ReaderError, OSError, EOFError, sqlite3.Error, apsw.Error, zstd.ZstdError) as error:
        advice = "" if "not supported" in str(error) else _ADVICE
        raise DatasetError(f"{path}: cannot be read as a rosbag2 bag: {error}{advice}") from error
    except (
        *(struct.error, ValueError, IndexError, KeyError, TypeError, AssertionError, MemoryError),
        *(SerdeError, RuntimeError),  # rosbags', and lz4's
    ) as error:
        raise DatasetError(f"{path}: its contents are corrupt ({error!r}); record again, or remove it") from error
