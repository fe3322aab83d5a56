"""Episodes -> rosbag2 bags (MCAP) with the node's own topics: a training set is what a recording of the node is.

``ros2 bag info`` and ``ros2 bag play`` of Humble (with its MCAP plugin) and later read them. Every row becomes, all at
one stamp: joint states, one JPEG picture a camera, the target as a trajectory of two points (reached at once, held for
one period) and whether the task is fulfilled.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer

from ebt_policy_ros.bags.episode import Episode
from ebt_policy_ros.bags.store import (
    BOOL,
    COMPRESSED_IMAGE,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    TRAJECTORY_POINT,
    type_store,
)
from ebt_policy_ros.core.errors import MessageError
from ebt_policy_ros.core.types import Floats, Pixels
from ebt_policy_ros.messages.stamps import SECOND_NS

FACTS_KEY = "ebt_policy.episode"
"""Entry of ``custom_data`` in metadata.yaml: JSON of an episode's facts. A bag that has it is exactly one episode."""
TASK_KEY = "ebt_policy.task"
"""Entry of ``custom_data``: the task that a recording of many episodes is of."""
JOINT_STATES_TOPIC = "/joint_states"
TRAJECTORY_TOPIC = "/joint_trajectory"
SUCCESS_TOPIC = "/sim_node/success"
METADATA_VERSION = 8
"""Of metadata.yaml. All distributions from Foxy on read it: each takes the keys that it knows. 9, which Jazzy writes
itself, has QoS as YAML and by name, which Humble and Iron cannot read."""
_FOREVER = QosTime(9223372036, 854775807)
"""RMW_DURATION_INFINITE, as recorders write it."""
RELIABLE = Qos(
    QosHistory.KEEP_LAST,
    10,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _FOREVER,
    _FOREVER,
    QosLiveliness.AUTOMATIC,
    _FOREVER,
    False,
)
BEST_EFFORT = RELIABLE._replace(depth=5, reliability=QosReliability.BEST_EFFORT)
"""Of sensors."""
_JPEG = [
    *(cv2.IMWRITE_JPEG_QUALITY, 95),
    # Half the colour resolution, JPEG's default, is a lot at 96 x 96 pixels.
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
]


def camera_topic(camera: str) -> str:
    """Topic of a camera's JPEG pictures."""
    return f"/camera/{camera}/image_raw/compressed"


def write_episode(path: Path, episode: Episode, *, period_s: float, storage: str = "mcap") -> None:
    """Writes the bag directory ``path`` whole or not at all; ``storage`` is mcap or sqlite3.

    It is made beside its place in ``.partial`` and moved when finished. FileExistsError when ``path`` exists.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"bag {path} exists already and is not overwritten")
    partial = path.parent / ".partial" / path.name
    shutil.rmtree(partial, ignore_errors=True)  # what an interrupted run left
    partial.parent.mkdir(parents=True, exist_ok=True)
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    with Writer(partial, version=METADATA_VERSION, storage_plugin=plugin) as writer:
        writer.set_custom_data(FACTS_KEY, json.dumps({**episode.facts, "period_s": period_s}))
        _write_rows(writer, episode, round(period_s * SECOND_NS))
    partial.rename(path)


def _write_rows(writer: Writer, episode: Episode, period_ns: int) -> None:
    store = type_store()

    def topic(name: str, kind: str) -> Connection:
        return writer.add_connection(name, kind, typestore=store, offered_qos_profiles=[RELIABLE])

    joints, trajectory = topic(JOINT_STATES_TOPIC, JOINT_STATE), topic(TRAJECTORY_TOPIC, JOINT_TRAJECTORY)
    cameras = {camera: topic(camera_topic(camera), COMPRESSED_IMAGE) for camera in episode.images}
    success = topic(SUCCESS_TOPIC, BOOL) if episode.success is not None else None

    def write(connection: Connection, stamp_ns: int, message: Any) -> None:
        writer.write(connection, stamp_ns, store.serialize_cdr(message, connection.msgtype))

    for row, stamp_ns in enumerate(int(stamp) for stamp in episode.stamps_ns):
        velocities = None if episode.velocities is None else episode.velocities[row]
        write(joints, stamp_ns, _joint_state(stamp_ns, episode.joint_names, episode.positions[row], velocities))
        for camera, connection in cameras.items():
            write(connection, stamp_ns, jpeg_message(stamp_ns, camera, episode.images[camera][row]))
        write(trajectory, stamp_ns, _trajectory(stamp_ns, episode.joint_names, episode.actions[row], period_ns))
        if success is not None and episode.success is not None:
            write(success, stamp_ns, store.types[BOOL](data=bool(episode.success[row])))


def jpeg_message(stamp_ns: int, camera: str, pixels: Pixels) -> Any:
    """A CompressedImage of (height, width, 3) uint8 RGB; MessageError when it cannot be encoded."""
    is_encoded, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _JPEG)
    if not is_encoded:
        raise MessageError(f"camera '{camera}': a picture of shape {pixels.shape} cannot be encoded as JPEG")
    kind = type_store().types[COMPRESSED_IMAGE]
    return kind(_header(stamp_ns, f"{camera}_optical_frame"), "rgb8; jpeg compressed bgr8", np.ravel(data))


def _joint_state(stamp_ns: int, names: tuple[str, ...], positions: Floats, velocities: Floats | None) -> Any:
    speeds = _NONE if velocities is None else np.asarray(velocities, np.float64)
    kind = type_store().types[JOINT_STATE]
    return kind(_header(stamp_ns), list(names), np.asarray(positions, np.float64), speeds, _NONE)


def _trajectory(stamp_ns: int, names: tuple[str, ...], target: Floats, period_ns: int) -> Any:
    types = type_store().types
    duration, rest = types["builtin_interfaces/msg/Duration"], np.zeros(len(names))
    points = [
        types[TRAJECTORY_POINT](np.asarray(target, np.float64), rest, _NONE, _NONE, duration(*divmod(time, SECOND_NS)))
        for time in (0, period_ns)
    ]
    return types[JOINT_TRAJECTORY](_header(stamp_ns), list(names), points)


_NONE = np.empty(0)


def _header(stamp_ns: int, frame_id: str = "") -> Any:
    types: Mapping[str, Any] = type_store().types
    return types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, SECOND_NS)), frame_id)
