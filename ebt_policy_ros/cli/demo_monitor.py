"""The demo's eyes on the graph: a plain rclpy node that records what passes and judges every trajectory."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from ebt_policy_ros.cli.demo_record import CycleRecord, EpisodeRecord
from ebt_policy_ros.cli.film import FILM_PERIOD_S, film_frame
from ebt_policy_ros.cli.trajectory_rules import TrajectoryRules, Violation
from ebt_policy_ros.core.errors import EbtPolicyError, MessageError
from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.messages import decode_image, read_joint_state, read_trajectory
from ebt_policy_ros.messages.stamps import read_nanoseconds, read_stamp_ns
from ebt_policy_ros.messages.status import LATENCY_PARTS, read_values

POLICY = "/ebt_policy"


class NoAnswerError(EbtPolicyError):
    """A service of one of the nodes was not there, did not answer, or refused; names the service."""


class Monitor(Node):  # type: ignore[misc]
    """Subscribes to everything a person would watch; callbacks run on the thread of ``Spinner``."""

    def __init__(self, joint_names: Sequence[str], cameras: Sequence[str], sim: str) -> None:
        super().__init__("ebt_demo")
        self._joint_names = tuple(joint_names)
        self._rules = TrajectoryRules(joint_names)
        self._lock = threading.Lock()
        self._episode: EpisodeRecord | None = None
        self._begin_ns = 0
        self._filmed_ns: dict[str, int] = {}
        self.clock_ns = 0
        """Newest /clock [ns]."""
        self.joints_stamp_ns = 0
        self.positions: Floats | None = None
        """(D,) measured, newest."""
        self.success = False
        self.threshold: float | None = None
        self.last_cycle: CycleRecord | None = None
        reliable = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        sensor = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(Clock, "/clock", self._on_clock, sensor)
        self.create_subscription(JointState, "/joint_states", self._on_joints, sensor)
        self.create_subscription(JointTrajectory, "/joint_trajectory", self._on_trajectory, reliable)
        self.create_subscription(DiagnosticArray, f"{POLICY}/status", self._on_status, reliable)
        self.create_subscription(Bool, f"{sim}/success", self._on_success, reliable)
        for camera in cameras:
            topic = f"/camera/{camera}/image_raw"
            self.create_subscription(Image, topic, functools.partial(self._on_image, camera), sensor)
        self.enable_client = self.create_client(SetBool, f"{POLICY}/enable")
        self.reset_client = self.create_client(Trigger, f"{POLICY}/reset")

    # --- an episode -------------------------------------------------------------------------------------------------
    def begin(self, episode: EpisodeRecord) -> None:
        """From now on what passes belongs to ``episode``; the arm was put elsewhere, so nothing has to be continued."""
        with self._lock:
            self._rules.restart()
            if self.positions is not None:
                self._rules.measure(self.positions)
            self._episode, self._begin_ns = episode, self.clock_ns
            self._filmed_ns.clear()
            self.success, self.last_cycle = False, None

    def end(self) -> None:
        """Nothing belongs to the episode any more."""
        with self._lock:
            self._episode = None

    def episode_time_s(self, time_ns: int) -> float:
        """``time_ns`` [ns, ROS time] as simulated time since the episode began [s]."""
        return (time_ns - self._begin_ns) / 1e9

    def elapsed_s(self) -> float:
        """Simulated time since the episode began [s]."""
        return self.episode_time_s(self.clock_ns)

    # --- callbacks --------------------------------------------------------------------------------------------------
    def _on_clock(self, message: Any) -> None:
        self.clock_ns = read_nanoseconds("clock", message.clock)

    def _on_joints(self, message: Any) -> None:
        try:
            reading = read_joint_state(message, self._joint_names)
        except MessageError:
            return  # policy_node counts these; here they are only not looked at
        order = [reading.names.index(name) for name in self._joint_names]
        with self._lock:
            self.positions = reading.positions[order]
            self.joints_stamp_ns = reading.stamp_ns
            self._rules.measure(self.positions)

    def _on_trajectory(self, message: Any) -> None:
        with self._lock:
            if self._episode is None:
                return
            self._episode.num_trajectories += 1
            try:
                reading = read_trajectory(message)
            except MessageError as error:
                self._episode.violations.append(Violation("shape", 0, str(error)))
                return
            self._episode.violations += self._rules.check(reading, self.clock_ns)

    def _on_status(self, message: Any) -> None:
        values = read_values(message)
        self.threshold = _float(values.get("threshold")) if values.get("threshold") else self.threshold
        stamp_ns = read_stamp_ns(message)
        with self._lock:
            if self._episode is None or stamp_ns < self._begin_ns or values.get("enabled") != "true":
                return
            self.last_cycle = CycleRecord(
                time_s=(stamp_ns - self._begin_ns) / 1e9,
                state=values.get("state", "unknown"),
                energy=_float(values.get("energy")),
                uncertainty=_float(values.get("uncertainty")),
                attempt=_int(values.get("attempt")),
                steps=_int(values.get("steps")),
                network_evaluations=_int(values.get("network_evaluations")),
                latency_ms=_float(values.get("latency_ms")) if _int(values.get("network_evaluations")) else None,
                reason=values.get("reason", ""),
                dropped_points=_int(values.get("dropped_points")),
                clamps=_int(values.get("clamps")),
                surprise=_float(values.get("surprise")),
                parts_ms=_parts_ms(values),
            )
            self._episode.cycles.append(self.last_cycle)

    def _on_success(self, message: Any) -> None:
        self.success = bool(message.data)

    def _on_image(self, camera: str, message: Any) -> None:
        stamp_ns = read_stamp_ns(message)
        with self._lock:
            episode, last_ns = self._episode, self._filmed_ns.get(camera, -(10**18))
            if episode is None or stamp_ns < self._begin_ns or stamp_ns - last_ns < FILM_PERIOD_S * 1e9:
                return
            self._filmed_ns[camera] = stamp_ns
        try:
            pixels = decode_image(message)
        except MessageError:
            return
        frame = film_frame((stamp_ns - self._begin_ns) / 1e9, camera, pixels)
        with self._lock:
            episode.frames.append(frame)


class Spinner:
    """Runs a node's callbacks on a thread, and asks services from the caller's."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._thread.start()

    def call(self, client: Any, request: Any, timeout_s: float = 30.0) -> Any:
        """The response; NoAnswerError when there is none in time or it says that it failed."""
        name = client.srv_name
        if not client.wait_for_service(timeout_sec=timeout_s):
            raise NoAnswerError(f"service {name} did not appear within {timeout_s:g} s; look into the nodes' log")
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _future: answered.set())
        if not answered.wait(timeout_s):
            raise NoAnswerError(f"service {name} did not answer within {timeout_s:g} s; look into the nodes' log")
        response = future.result()
        if not getattr(response, "success", True):
            raise NoAnswerError(f"service {name} refused: {response.message}")
        return response

    def close(self) -> None:
        """Ends the thread."""
        self._closing = True
        self._thread.join(5.0)
        self._executor.shutdown()

    def _run(self) -> None:
        while not self._closing and rclpy.ok():
            try:
                self._executor.spin_once(timeout_sec=0.1)
            except ExternalShutdownException:
                return


def wait_until(condition: Callable[[], bool], timeout_s: float, alive: Callable[[], None]) -> bool:
    """Whether ``condition`` came true in time [wall s]; ``alive`` raises when waiting has become pointless."""
    end = time.monotonic() + timeout_s
    while not condition():
        alive()
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _parts_ms(values: Mapping[str, str]) -> dict[str, float]:
    """The parts of the latency in a status, those that it has."""
    told = {part: _float(values.get(f"{part}_ms")) for part in LATENCY_PARTS}
    return {part: took_ms for part, took_ms in told.items() if took_ms is not None}


def _float(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _int(text: str | None) -> int:
    return int(text) if text and text.lstrip("-").isdigit() else 0
