"""The node ``sim_node``: a simulated arm that looks like a real one on the graph."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, NoReturn

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Int64, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.messages import read_trajectory
from ebt_policy_ros.nodes.running import run_and_exit
from ebt_policy_ros.nodes.sim_action import Following, SimAction
from ebt_policy_ros.nodes.sim_senses import SimSenses
from ebt_policy_ros.sim.perturbations import find_kind
from ebt_policy_ros.sim.world import Disturbance, SimWorld

_EPISODE_TICKS = 4
"""Control periods between two ``~/episode`` messages (5 Hz)."""
_RESET_TIMEOUT_S = 60.0
_RUNNING_OUT_S = 0.15
"""How much of a trajectory is left when ``wait_at_most_s`` begins [simulated s]: less than a policy leaves of it when
it wants its next observation (four rows of 0.05 s after a retreat), or each would wait for the other."""

_PARAMETERS: tuple[tuple[str, Any, str, tuple[float, float] | None], ...] = (
    ("task", "lift", "Task of the simulated arm.", None),
    ("object", "", "Object whose distance decides '@reaching' perturbations; empty: the task's own.", None),
    ("image_size", 96, "Height and width of the camera images [pixels].", (16, 2048)),
    ("publish_clock", True, "Publish /clock and stamp with simulated time; false: stamp with this node's clock.", None),
    ("real_time_factor", 1.0, "Fastest pace: simulated seconds per second. A slow machine runs slower.", (0.01, 100.0)),
    (
        "wait_at_most_s",
        0.0,
        "Stand still this long [s] before a trajectory runs out unreplaced; 0: never.",
        (0.0, 60.0),
    ),
    ("episode_seed", 0, "Seed of the next episode; the one after takes the next number.", (0, 2**31 - 1)),
    ("perturb", "", "What happens in every episode: kind[:severity][@reaching[<m>] | @<seconds>], or nothing.", None),
)
_LIVE = frozenset({"real_time_factor", "episode_seed", "perturb"})


class SimNode(Node):  # type: ignore[misc]
    """Callbacks only queue; the thread that calls ``run_until`` simulates, draws and publishes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("sim_node", **kwargs)
        self._finished = threading.Event()
        self._queue: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        # Before the declarations: what a parameter file or the command line says is checked, too.
        self.add_on_set_parameters_callback(self._check_parameters)
        for name, default, description, limits in _PARAMETERS:
            self.declare_parameter(name, default, _descriptor(name, default, description, limits))
        self._next_seed = int(self.get_parameter("episode_seed").value)
        self._arm: Any = None
        self._world: SimWorld | None = None
        self._measured_factor = 0.0

        self._senses: SimSenses | None = None
        self.create_subscription(JointTrajectory, "joint_trajectory", self._on_trajectory, 10)
        self.create_subscription(String, "~/perturb", self._on_perturb, 10)
        self.create_subscription(Int64, "~/new_episode", self._on_new_episode, 10)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._action: SimAction | None = None
        try:
            self._action = SimAction(self, self._ask, self._follow)
        except ImportError as error:
            self.get_logger().info(f"no follow_joint_trajectory action: {error}")

    # --- callbacks: they run on the spinning thread and only queue ------------------------------------------------
    def _on_trajectory(self, message: Any) -> None:
        self._queue.put(lambda: self._follow(message))

    def _on_perturb(self, message: Any) -> None:
        text = str(message.data)
        self._queue.put(lambda: self._perturb(text))

    def _on_new_episode(self, message: Any) -> None:
        seed = int(message.data)
        self._queue.put(lambda: self._reset(seed))

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            seed = self._ask(lambda: self._reset(None), _RESET_TIMEOUT_S)
            response.success, response.message = True, f"episode with seed {seed}"
        except (EbtPolicyError, TimeoutError) as error:
            response.success, response.message = False, str(error)
        return response

    def _ask(self, call: Callable[[], Any], timeout_s: float) -> Any:
        """What ``call`` gives on the simulation's thread; TimeoutError when that takes longer, or has ended."""
        done: Future[Any] = Future()

        def answer() -> None:
            try:
                done.set_result(call())
            except Exception as error:  # noqa: BLE001 - told to whoever asked
                done.set_exception(error)

        self._queue.put(answer)
        until_s = time.monotonic() + timeout_s
        while not self._finished.is_set() and time.monotonic() < until_s:
            with contextlib.suppress(FutureTimeout):
                return done.result(0.1)
        raise TimeoutError(f"the simulation did not answer within {timeout_s:g} s, or it has ended")

    def _check_parameters(self, parameters: list[Any]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "episode_seed" and self.has_parameter("episode_seed"):
                seed = int(parameter.value)
                self._queue.put(lambda seed=seed: setattr(self, "_next_seed", seed))  # type: ignore[misc]
            elif parameter.name == "perturb" and parameter.value:
                try:
                    find_kind(Disturbance.from_text(parameter.value).kind)
                except EbtPolicyError as error:
                    return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    # --- simulation: one thread, since an OpenGL context belongs to its thread ------------------------------------
    def prepare(self) -> bool:
        """Makes the arm, which takes seconds; raises what is wrong with the task or the machine."""
        from ebt_policy_ros.sim.arm import SimulatedArm

        self._arm = SimulatedArm(self._value("task"), image_size=int(self._value("image_size")))
        for camera in self._arm.camera_names:
            # The first picture takes seconds on a cold machine; the clock must not run before there are pictures.
            self._arm.render(camera)
        return True

    def run_until(self, stop: threading.Event) -> int:
        """Simulates on the thread that prepared, until ``stop`` is set; callbacks are served by another thread."""
        arm = self._arm
        executor = SingleThreadedExecutor()
        executor.add_node(self)
        spinner = threading.Thread(target=_spin, args=(executor, self._finished), name="callbacks", daemon=True)
        try:
            self._world = SimWorld(
                arm, self._value("object") or arm.task.target, self._next_seed, self.get_logger().info
            )
            self._senses = SimSenses(self, self._world, with_clock=bool(self._value("publish_clock")))
            self._begin_episode()
            self.get_logger().info(f"simulating '{self._value('task')}' with cameras {', '.join(arm.camera_names)}")
            spinner.start()
            self._simulate(stop)
        finally:
            self._finished.set()
            if spinner.is_alive():
                spinner.join(5.0)
            executor.shutdown()
            arm.close()
        return 0

    def _simulate(self, stop: threading.Event) -> None:
        assert self._world is not None
        assert self._senses is not None
        period_s = self._world.arm.control_period_ns / 1e9
        deadline_s = time.monotonic()
        ticks, was_s = 0, time.monotonic()
        while not stop.is_set():
            stamp_ns = self._stamp_ns()
            self._senses.publish(stamp_ns, is_success=self._world.success_ns is not None)
            if ticks % _EPISODE_TICKS == 0:
                self._publish_episode(stamp_ns)
            # No catching up: a machine that is late runs slower, and no picture is dropped.
            deadline_s = max(deadline_s + period_s / float(self._value("real_time_factor")), time.monotonic())
            self._serve_queue(deadline_s, stop)
            self._wait_for_command(stop)
            self._world.step(self._stamp_ns())
            if self._action is not None:
                self._action.look(self._world.num_accepted, self._stamp_ns())
            ticks += 1
            now_s = time.monotonic()
            self._measured_factor += 0.05 * (period_s / max(now_s - was_s, 1e-6) - self._measured_factor)
            was_s = now_s

    def _serve_queue(self, until_s: float, stop: threading.Event) -> None:
        """Does what callbacks asked for until ``until_s`` [s, steady time]; everything queued at least once."""
        while not stop.is_set():
            remaining_s = until_s - time.monotonic()
            try:
                if remaining_s > 0.0:
                    request = self._queue.get(timeout=min(remaining_s, 0.1))
                else:
                    request = self._queue.get_nowait()
            except queue.Empty:
                if remaining_s <= 0.1:
                    return
                continue
            try:
                request()
            except EbtPolicyError as error:
                self.get_logger().error(str(error))

    def _wait_for_command(self, stop: threading.Event) -> None:
        """Lets simulated time stand still while a policy on a slow machine is late with its next trajectory.

        A real arm does not wait; this is what makes a slow machine run slower instead of worse. It has to stay shorter
        than the policy's limit for silent sources, since nothing is published meanwhile.
        """
        assert self._world is not None
        patience_s = float(self._value("wait_at_most_s"))
        if patience_s <= 0.0 or not self._world.runs_out_within(self._stamp_ns(), _RUNNING_OUT_S):
            return
        accepted, until_s = self._world.num_accepted, time.monotonic() + patience_s
        while self._world.num_accepted == accepted and time.monotonic() < until_s and not stop.is_set():
            self._serve_queue(time.monotonic() + 0.01, stop)

    def _follow(self, message: Any) -> Following | None:
        """Hands a trajectory message to the controller; None when that refuses it."""
        assert self._world is not None
        accepted, now_ns = self._world.num_accepted, self._stamp_ns()
        try:
            trajectory = read_trajectory(message)
        except EbtPolicyError as error:
            self._world.reject(str(error))
            return None
        self._world.follow(trajectory, now_ns)
        if self._world.num_accepted == accepted:
            return None
        end_ns = (trajectory.start_ns or now_ns) + round(float(trajectory.times_s[-1]) * 1e9)
        return Following(self._world.num_accepted, end_ns)

    def _perturb(self, text: str) -> None:
        assert self._world is not None
        self._world.disturb(Disturbance.from_text(text))

    def _reset(self, seed: int | None) -> int:
        """Begins an episode with ``seed`` (None: the next one) and returns its seed."""
        assert self._world is not None
        seed = self._next_seed if seed is None else seed
        self._world.reset(seed)
        if self._action is not None:
            self._action.look(0, self._stamp_ns())
        self._begin_episode()
        return seed

    def _begin_episode(self) -> None:
        assert self._world is not None
        self._next_seed = self._world.seed + 1
        if self._value("perturb"):
            self._perturb(self._value("perturb"))
        self.get_logger().info(f"episode {self._world.num_episodes} with seed {self._world.seed}")
        self._publish_episode(self._stamp_ns())

    def _publish_episode(self, stamp_ns: int) -> None:
        assert self._world is not None
        assert self._senses is not None
        values = {**self._world.values(), "real_time_factor": f"{self._measured_factor:.3f}"}
        self._senses.publish_episode(stamp_ns, self._value("task"), values)

    def _stamp_ns(self) -> int:
        assert self._world is not None
        if self._value("publish_clock"):
            return self._world.arm.time_ns
        return int(self.get_clock().now().nanoseconds)

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value


def _spin(executor: Any, finished: threading.Event) -> None:
    while not finished.is_set():
        executor.spin_once(timeout_sec=0.1)


def _descriptor(name: str, default: Any, description: str, limits: tuple[float, float] | None) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(name=name, description=description, read_only=name not in _LIVE)
    if limits is not None and isinstance(default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=limits[0], to_value=limits[1], step=0.0)]
    elif limits is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(limits[0]), to_value=int(limits[1]), step=1)]
    return descriptor


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the process; always ends it."""
    run_and_exit(SimNode, args)
