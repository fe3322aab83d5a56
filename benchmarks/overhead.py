"""What is added to inference between a picture and the command made from it, over the DDS graph?

  python -m benchmarks.overhead --model lift --seconds 60 --json benchmarks/results/overhead.json

This process is the robot: two cameras (640 x 480, 30 Hz, raw), joint states at 100 Hz, and a controller that follows
what policy_node, a process of its own, commands. What it publishes was serialised before, since drivers are not written
in Python, and both processes share the machine. Of every command: from the moment before the last picture of its
observation was published to the moment at which the controller got it, less the time in which the model encoded and
descended. Both clocks are the machine's monotonic one. The parts inside the node are its own, from ``~/status``;
``ways`` is the rest: from the picture's publisher to the node's callback, and from the node's publisher to the
controller's callback, which gets bytes.
"""

from __future__ import annotations

import argparse
import os
import struct
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.live import run_live, with_parameters
from benchmarks.reported import reported
from ebt_policy_ros.assemble import load_robot
from ebt_policy_ros.cli.arguments import add_runtime, output_file, whole_number
from ebt_policy_ros.cli.bench import processor
from ebt_policy_ros.cli.demo_processes import Launched, launch_command
from ebt_policy_ros.cli.progress import Estimate
from ebt_policy_ros.cli.results import latency_summary, versions
from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.messages import encode_image, joint_state_message, read_trajectory
from ebt_policy_ros.messages.controller import RejectedTrajectory, TrajectoryController
from ebt_policy_ros.messages.status import LATENCY_PARTS, read_values
from ebt_policy_ros.nodes.memory import keep_freed_memory
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.resources import find_model, find_resource

ROBOT = "panda_sim"
HEIGHT, WIDTH, PICTURES_HZ, JOINTS_HZ = 480, 640, 30.0, 100.0
WARM_UP_S = 5.0
"""At the start, not counted."""
Parts = dict[str, float]
"""Name -> [ms] of one command."""


class Prepared:
    """A message that was serialised once, little endian, and goes out again and again with another stamp."""

    def __init__(self, message: Any) -> None:
        from rclpy.serialization import serialize_message

        self._raw = bytearray(serialize_message(message))

    def place(self, numbers: Floats) -> int:
        """Where these numbers lie in it."""
        return self._raw.index(numbers.astype("<f8").tobytes())

    def write(self, place: int, numbers: Floats) -> None:
        """Replaces the numbers there."""
        self._raw[place : place + 8 * len(numbers)] = numbers.astype("<f8").tobytes()

    def stamped(self, stamp_ns: int) -> bytes:
        """Its bytes with this stamp in the header, which is the first field."""
        struct.pack_into("<iI", self._raw, 4, *divmod(stamp_ns, 1_000_000_000))
        return bytes(self._raw)


class Robot:
    """Cameras, joints and controller on the graph; notes when what came and went."""

    def __init__(self, bundle: Bundle) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.node import Node
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import Image, JointState
        from trajectory_msgs.msg import JointTrajectory

        from ebt_policy_ros.cli.demo_monitor import Spinner

        self._names = bundle.joint_names
        home = (np.array(bundle.positions.low) + np.array(bundle.positions.high)) / 2.0
        self._controller, self._lock = TrajectoryController(self._names, home), threading.Lock()
        self._node = Node("robot")
        sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._cameras = [
            self._node.create_publisher(Image, f"camera/{camera.name}/image_raw", sensor) for camera in bundle.cameras
        ]
        self._joints = self._node.create_publisher(JointState, "joint_states", 10)
        rng = np.random.default_rng(0)
        pictures = [rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(4)]
        self._pictures = [Prepared(encode_image(picture, Image, 0, "camera")) for picture in pictures]
        marks = np.arange(1.0, 2.0 * len(home) + 1.0).reshape(2, -1)
        self._joint_state = Prepared(joint_state_message(JointState, 0, self._names, *marks))
        self._places = [self._joint_state.place(part) for part in marks]
        self.sent: dict[int, float] = {}
        """Stamp -> when its last picture was about to be published [s]."""
        self.came: dict[int, float] = {}
        """Start of a command [ns] -> when the controller got it [s]."""
        self.told: list[dict[str, str]] = []
        self.refused: list[str] = []
        self.published = 0
        topic = "joint_trajectory_controller/joint_trajectory"
        self._trajectory = JointTrajectory
        # Raw: a controller's own decoding is its own affair, and no Python elsewhere.
        self._node.create_subscription(JointTrajectory, topic, self._follow, 10, raw=True)
        self._node.create_subscription(
            DiagnosticArray, "/ebt_policy/status", lambda message: self.told.append(read_values(message)), 50
        )
        self._spinner = Spinner(self._node)

    def run(self, until_s: float, tick: Any) -> None:
        """Publishes until then [s, steady time]; ``tick`` is called ten times a second."""
        begun_s = time.monotonic()
        due = {"joints": begun_s, "pictures": begun_s, "tick": begun_s}
        periods = {"joints": 1.0 / JOINTS_HZ, "pictures": 1.0 / PICTURES_HZ, "tick": 0.1}
        todo = {"joints": self._publish_joints, "pictures": self._publish_pictures, "tick": tick}
        while (now_s := time.monotonic()) < until_s:
            for name, due_s in due.items():
                if due_s <= now_s:
                    todo[name]()
                    due[name] = max(due_s + periods[name], now_s)
            time.sleep(max(0.0, min(due.values()) - time.monotonic()))

    def close(self) -> None:
        """Leaves the graph."""
        self._spinner.close()
        self._node.destroy_node()

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _publish_joints(self) -> None:
        now_ns = self._now_ns()
        with self._lock:
            state = self._controller.running.sample(now_ns)
        for place, numbers in zip(self._places, (state.positions, state.velocities), strict=True):
            self._joint_state.write(place, numbers)
        self._joints.publish(self._joint_state.stamped(now_ns))

    def _publish_pictures(self) -> None:
        stamp_ns = self._now_ns()
        for place, camera in enumerate(self._cameras):
            message = self._pictures[(self.published + place) % len(self._pictures)].stamped(stamp_ns)
            self.sent[stamp_ns] = time.monotonic()
            camera.publish(message)
        self.published += 1

    def _follow(self, raw: bytes) -> None:
        from rclpy.serialization import deserialize_message

        came_s = time.monotonic()
        trajectory = read_trajectory(deserialize_message(raw, self._trajectory))
        self.came[trajectory.start_ns] = came_s
        with self._lock:
            try:
                self._controller.accept(**vars_of(trajectory), now_ns=self._now_ns())
            except RejectedTrajectory as error:
                self.refused.append(str(error))


def vars_of(trajectory: Any) -> dict[str, Any]:
    """The fields of a TrajectoryReading."""
    return {name: getattr(trajectory, name) for name in trajectory.__slots__}


def parts_of(robot: Robot, told: dict[str, str]) -> Parts | None:
    """Every part of one command's way [ms]; None for a round that sent none."""
    if told.get("commanded") != "true" or not told.get("latency_ms") or not told.get("observation_stamp_ns"):
        return None
    sent_s = robot.sent.get(int(told["observation_stamp_ns"]))
    came_s = robot.came.get(int(told["command_start_ns"]))
    if sent_s is None or came_s is None:
        return None
    inside = {part: float(told[f"{part}_ms"]) for part in LATENCY_PARTS}
    whole, inference = (came_s - sent_s) * 1e3, inside["ahead"] + inside["think"]
    latency = float(told["latency_ms"])
    return {
        "whole": whole,
        "overhead": whole - inference,
        "overhead in the node": latency - inference,
        "ways": whole - latency,
        **inside,
    }


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Runs both sides; the result."""
    import rclpy

    bundle = Bundle.load(find_model(options.model))
    changes = {"runtime": options.runtime, "precision": options.precision}
    # Pictures of noise are no scene the policy knows: with retries the arm would hold most of the time.
    changes |= {"retry.enabled": False}
    parameters = with_parameters("config/policy.yaml", {"/**/ebt_policy": changes}, folder)
    given = {"model": str(find_model(options.model).resolve()), "robot": ROBOT, "params_file": str(parameters)}
    given |= {"device": options.device, "enabled": "true"}
    rclpy.init(args=[])
    robot, estimate = Robot(bundle), Estimate("seconds")
    launched = Launched(launch_command(find_resource("launch/policy.launch.xml"), given), folder / "node.log")
    try:
        until_s = time.monotonic() + 120.0
        while not robot.came and time.monotonic() < until_s:
            robot.run(time.monotonic() + 0.5, launched.check)
        robot.run(time.monotonic() + WARM_UP_S, launched.check)
        robot.told.clear()
        began_s = time.monotonic()

        def tick() -> None:
            launched.check()
            estimate.show(int(time.monotonic() - began_s), options.seconds)

        robot.run(began_s + options.seconds, tick)
    finally:
        launched.close()
        robot.close()
        rclpy.try_shutdown()
    found = [parts for parts in (parts_of(robot, told) for told in robot.told) if parts is not None]
    if not found:
        raise EbtPolicyError(f"no command came; the node's log: {launched.tail()}")
    return {
        "model": options.model,
        "runtime": options.runtime,
        "settings": {"height": HEIGHT, "width": WIDTH, "pictures_hz": PICTURES_HZ, "cameras": len(bundle.cameras)},
        "seconds": options.seconds,
        "commands": len(found),
        "refused_by_the_controller": robot.refused,
        "processor": processor(),
        "cores": os.cpu_count(),
        "parts_ms": {name: latency_summary([parts[name] for parts in found if name in parts]) for name in found[0]},
        "versions": versions(),
    }


def in_words(result: dict[str, Any]) -> str:
    """The result for people."""
    lines = [
        f"{result['processor']}, {result['cores']} cores; {result['commands']} commands in {result['seconds']} s, "
        f"{len(result['refused_by_the_controller'])} refused",
        f"{'[ms]':22}{'median':>10}{'99 %':>10}",
    ]
    for name, told in result["parts_ms"].items():
        lines.append(f"{name:22}{told['p50']:>10.2f}{told['p99']:>10.2f}")
    return "\n".join(lines)


@reported("overhead")
def main(given: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="lift")
    parser.add_argument("--seconds", type=whole_number(1), default=60)
    add_runtime(parser)
    parser.add_argument("--json", type=output_file)
    options = parser.parse_args(given)
    load_robot(ROBOT)
    keep_freed_memory()
    return run_live(partial(measure, options), in_words, options.json)


if __name__ == "__main__":
    raise SystemExit(main())
