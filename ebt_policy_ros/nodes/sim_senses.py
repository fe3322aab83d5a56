"""What sim_node publishes: the senses of an arm, and how its episode goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool

from ebt_policy_ros.messages import encode_image, joint_state_message, set_stamp_ns
from ebt_policy_ros.messages.status import diagnostic_array
from ebt_policy_ros.sim.world import SimWorld, camera_matrix


class SimSenses:
    """Publishers of what a world lets be seen of joints and cameras, of its clock and its episode; to be used by the
    thread that renders."""

    def __init__(self, node: Any, world: SimWorld, *, with_clock: bool) -> None:
        self._node = node
        self._world = world
        self._arm = arm = world.arm
        sensor = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
        overridable = QoSOverridingOptions.with_default_policies()
        self._clock = node.create_publisher(Clock, "/clock", 10) if with_clock else None
        self._joints = node.create_publisher(JointState, "joint_states", 10, qos_overriding_options=overridable)
        self._success = node.create_publisher(Bool, "~/success", 10)
        self._episode = node.create_publisher(DiagnosticArray, "~/episode", 10)
        self._cameras = {}
        for camera in arm.camera_names:
            topic = f"camera/{camera}/image_raw"
            image = node.create_publisher(Image, topic, sensor, qos_overriding_options=overridable)
            info = node.create_publisher(CameraInfo, f"camera/{camera}/camera_info", sensor)
            self._cameras[camera] = (image, info, self._camera_info(camera))

    def publish(self, stamp_ns: int, *, is_success: bool) -> None:
        """Clock first (receivers judge stamps by it), then joints, then pictures: all of the same instant, unless
        something delays the pictures."""
        world, arm = self._world, self._arm
        if self._clock is not None:
            clock = Clock()
            set_stamp_ns(clock.clock, stamp_ns)
            self._clock.publish(clock)
        self._joints.publish(
            joint_state_message(JointState, stamp_ns, arm.joint_names, world.positions(), world.velocities())
        )
        for camera, picture in world.pictures().items():
            image_publisher, info_publisher, info = self._cameras[camera]
            taken_ns = stamp_ns - (arm.time_ns - picture.stamp_ns)
            set_stamp_ns(info.header.stamp, taken_ns)
            info_publisher.publish(info)
            image_publisher.publish(encode_image(picture.pixels, Image, taken_ns, f"{camera}_optical_frame"))
        self._success.publish(Bool(data=is_success))

    def publish_episode(self, stamp_ns: int, task: str, values: Mapping[str, str]) -> None:
        """``~/episode``: the episode as key/value text."""
        text = "success" if values.get("success") == "true" else "running"
        entry = (f"{self._node.get_name()}: episode", task, DiagnosticStatus.OK, text, values)
        self._episode.publish(diagnostic_array((DiagnosticArray, DiagnosticStatus, KeyValue), stamp_ns, [entry]))

    def _camera_info(self, camera: str) -> Any:
        size = self._arm.image_size
        fx, fy, cx, cy = camera_matrix(self._arm, camera, size)
        info = CameraInfo()
        info.header.frame_id = f"{camera}_optical_frame"
        info.height = info.width = size
        info.distortion_model, info.d = "plumb_bob", [0.0] * 5
        info.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
        info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        info.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
        return info
