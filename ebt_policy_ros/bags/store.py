"""The message types of bags (ROS 2 Jazzy's, with their CDR, as rosbags has them), and errors in reading them."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

from rosbags.rosbag2 import ReaderError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from ebt_policy_ros.core.errors import DatasetError

COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE = "sensor_msgs/msg/Image"
JOINT_STATE = "sensor_msgs/msg/JointState"
JOINT_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
TRAJECTORY_POINT = "trajectory_msgs/msg/JointTrajectoryPoint"
BOOL = "std_msgs/msg/Bool"
CLOCK = "rosgraph_msgs/msg/Clock"
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
MULTI_ARRAY = "std_msgs/msg/Float64MultiArray"


@functools.cache
def type_store() -> Typestore:
    """The process's one type store (made on first use: about 0.1 s)."""
    return get_typestore(Stores.ROS2_JAZZY)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Whatever goes wrong in reading the bag at ``path`` becomes a DatasetError that names it."""
    try:
        yield
    except DatasetError:
        raise
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: a file is missing: {error}") from error
    except (ReaderError, OSError, EOFError, sqlite3.Error) as error:
        raise DatasetError(
            f"{path}: cannot be read as a rosbag2 bag: {error} Was the recording cut off? 'ros2 bag reindex' "
            "makes missing metadata anew; 'mcap recover' saves what a truncated file still has"
        ) from error
    except (struct.error, ValueError, IndexError, KeyError, TypeError, AssertionError, MemoryError) as error:
        raise DatasetError(f"{path}: its contents are corrupt ({error!r}); record again, or remove it") from error
