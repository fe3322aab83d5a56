"""Makes bags as a robot would record them, message by message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from ebt_policy_ros.bags import Episode
from ebt_policy_ros.bags.store import type_store
from ebt_policy_ros.bags.write import jpeg_message

JOINTS = ("shoulder", "elbow", "finger_slide")
SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND
TYPES = type_store().types
NOTHING = np.empty(0)


def header(stamp_ns):
    time = TYPES["builtin_interfaces/msg/Time"](*divmod(int(stamp_ns), SECOND))
    return TYPES["std_msgs/msg/Header"](time, "")


def joint_state(stamp_ns, positions, names=JOINTS):
    values = np.asarray(positions, np.float64)
    return TYPES["sensor_msgs/msg/JointState"](header(stamp_ns), list(names), values, np.zeros(len(values)), NOTHING)


def image(stamp_ns, pixels, encoding="rgb8"):
    height, width, channels = pixels.shape
    return TYPES["sensor_msgs/msg/Image"](
        header(stamp_ns), height, width, encoding, 0, channels * width, np.ravel(pixels)
    )


def trajectory(stamp_ns, times_s, positions, velocities=None, names=JOINTS):
    duration = TYPES["builtin_interfaces/msg/Duration"]
    speeds = [NOTHING] * len(times_s) if velocities is None else np.asarray(velocities, np.float64)
    points = [
        TYPES["trajectory_msgs/msg/JointTrajectoryPoint"](
            np.asarray(row, np.float64), speed, NOTHING, NOTHING, duration(*divmod(round(time * SECOND), SECOND))
        )
        for time, row, speed in zip(times_s, positions, speeds, strict=True)
    ]
    return TYPES["trajectory_msgs/msg/JointTrajectory"](header(stamp_ns), list(names), points)


def boolean(value):
    return TYPES["std_msgs/msg/Bool"](data=bool(value))


def picture(row, size=8):
    """A picture that says which one it is."""
    return np.full((size, size, 3), row % 250, np.uint8)


class Recorder:
    """Messages by topic, written in the order in which they were added."""

    def __init__(self, path: Path, *, storage="mcap", compression=None, version=8):
        plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
        self._writer = Writer(path, version=version, storage_plugin=plugin)
        if compression is not None:
            self._writer.set_compression(CompressionMode[compression], CompressionFormat.ZSTD)
        self._connections = {}

    def __enter__(self):
        self._writer.open()
        return self

    def __exit__(self, *_):
        self._writer.close()

    def add(self, topic, message, log_ns):
        kind, store = message.__msgtype__, type_store()
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=store)
        self._writer.write(self._connections[topic], int(log_ns), store.serialize_cdr(message, kind))


def record(
    path,
    seconds=2.0,
    *,
    joint_hz=100,
    camera_hz=20,
    begin=T0,
    latency_ns=0,
    joints=lambda t: [t, -t, 0.02],
    recorder=None,
    success=None,
    command=lambda t: [t + 0.1, -t, 0.0],
    **options,
):
    """A plain recording: joint states, one camera of numbered pictures, a new trajectory every 50 ms, maybe success.

    Everything is a function of the time [s] since ``begin``; ``latency_ns`` lies between stamp and recording.
    """
    entries = []
    for i in range(round(seconds * joint_hz)):
        t = i / joint_hz
        entries.append((t, 0, "/joint_states", lambda stamp, t=t: joint_state(stamp, joints(t))))
    for i in range(round(seconds * camera_hz)):
        t = i / camera_hz
        entries.append((t, 1, "/camera/front/image_raw", lambda stamp, i=i: image(stamp, picture(i))))
    for i in range(round(seconds * 20)):
        t = i / 20
        target = command(t)
        entries.append((t, 2, "/joint_trajectory", lambda stamp, g=target: trajectory(stamp, [0.0, 0.05], [g, g])))
        if success is not None:
            entries.append((t, 3, "/sim_node/success", lambda _, t=t: boolean(success(t))))
    own = Recorder(path, **options) if recorder is None else None
    target = own.__enter__() if own is not None else recorder
    for t, _, topic, make in sorted(entries, key=lambda entry: entry[:2]):
        stamp = begin + round(t * SECOND)
        target.add(topic, make(stamp), stamp + latency_ns)
    if own is not None:
        own.__exit__()
    return path


def episode(rows=12, *, seed=0, cameras=("front", "wrist"), size=16, **facts):
    """An episode of smooth pictures, as a collection would hold it."""
    rng = np.random.default_rng(seed)
    along = np.linspace(0.0, 1.0, rows)[:, None]
    y, x = np.mgrid[0:size, 0:size]
    pictures = np.stack([np.stack([8 * x + i, 8 * y, 128 + 0 * x], -1) for i in range(rows)]).astype(np.uint8)
    return Episode(
        stamps_ns=SECOND + 50_000_000 * np.arange(rows),
        joint_names=JOINTS,
        positions=along * rng.normal(size=3),
        velocities=rng.normal(size=(rows, 3)),
        actions=along * rng.normal(size=3) + rng.normal(size=(rows, 3)).astype(np.float32),
        images=dict.fromkeys(cameras, pictures),
        success=np.arange(rows) >= rows - 2,
        facts={"task": "lift", "seed": seed, "success": True, **facts},
    )


def jpeg(stamp_ns, pixels):
    return jpeg_message(int(stamp_ns), "front", pixels)


class MultiRobot:
    """A robot with topics of its own, as config/data/own_robot_bags.yaml describes them: two episodes."""

    arm = tuple(f"joint{i}" for i in range(1, 7))

    def record(self, path):
        layout = TYPES["std_msgs/msg/MultiArrayLayout"]([], 0)
        names = ("gripper_finger_joint", *self.arm, "wheel")
        with Recorder(path) as recorder:
            for tick in range(60):
                stamp = T0 + tick * 50_000_000
                states = joint_state(stamp, [0.03, *[tick / 10] * 6, 0.0], names)
                recorder.add("/joint_states", states, stamp)
                for camera in ("front", "wrist"):
                    recorder.add(f"/{camera}_camera/color/image_raw", image(stamp, picture(tick)), stamp)
                target = trajectory(stamp, [0.0, 0.1], [[tick / 10] * 6] * 2, names=self.arm)
                recorder.add("/arm_controller/joint_trajectory", target, stamp)
                gripper = TYPES["std_msgs/msg/Float64MultiArray"](layout, np.array([0.02]))
                recorder.add("/gripper_controller/commands", gripper, stamp)
                recorder.add("/success", boolean(tick % 30 >= 20), stamp)
        return path
