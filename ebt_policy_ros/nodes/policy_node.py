"""The lifecycle node ``ebt_policy``: cameras and joint states in, safe joint trajectories and their energy out."""

from __future__ import annotations

import dataclasses
import gc
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from ebt_policy_ros.assemble import Assembly, assemble_all, load_robot
from ebt_policy_ros.core.cycle import Cycle, Event, History, State
from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.types import Instant
from ebt_policy_ros.messages.bridge import find_bridge
from ebt_policy_ros.messages.status import diagnostic_array
from ebt_policy_ros.nodes.description import Description
from ebt_policy_ros.nodes.diagnosis import diagnose
from ebt_policy_ros.nodes.incompatible import Incompatible
from ebt_policy_ros.nodes.inputs import Inputs
from ebt_policy_ros.nodes.latency import latency_parts
from ebt_policy_ros.nodes.parameters import check_parameters, declare_parameters, setting_overrides
from ebt_policy_ros.nodes.reporter import DIAGNOSTIC_CLASSES, Reporter
from ebt_policy_ros.nodes.running import BAD_INPUT, run_and_exit
from ebt_policy_ros.nodes.worker import Round, Worker

NODE_NAME = "ebt_policy"
_WATCH_S = 0.05
"""Period of the watchdog [s, steady time]."""
_SPIN_S = 0.1
"""How soon a signal is seen [s]."""


class PolicyNode(LifecycleNode):  # type: ignore[misc]
    """Configure loads and warms up, activate lets the model work, enable lets its commands out."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(NODE_NAME, **kwargs)
        self._assembly: Assembly | None = None
        self._inputs: Inputs | None = None
        self._reporter: Reporter | None = None
        self._description: Description | None = None
        self._worker: Worker | None = None
        self._enabled = False
        self._active = False
        self._finalised = False
        self._last: Cycle | None = None
        self._faults = 0
        self._incompatible = Incompatible(self)
        # Before the declarations: what a parameter file or the command line says is checked, too.
        self.add_on_set_parameters_callback(self._check_parameters)
        declare_parameters(self)
        self._is_autostarted = bool(self.get_parameter("autostart").value)
        # The node's own clock may be simulated and stand still; diagnostics go on.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(1.0, self._publish_diagnostics, clock=self._steady)
        self.create_timer(_WATCH_S, self._watch, clock=self._steady)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/retry", self._on_retry)
        self._jump = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True),
            post_callback=self._on_clock_jump,
        )

    # --- lifecycle --------------------------------------------------------------------------------------------------
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self._configure()
        except EbtPolicyError as error:
            self.get_logger().error(f"cannot configure: {error}")
            self._release()
            return TransitionCallbackReturn.FAILURE
        except Exception:  # noqa: BLE001 - rclpy would swallow it without a word
            self.get_logger().error(f"cannot configure:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._worker is not None
        self._enabled = bool(self.get_parameter("enabled_on_activate").value)
        result = super().on_activate(state)
        self._active = True
        self._worker.resume()
        self.get_logger().info("active: " + ("commands flow" if self._enabled else "dry run until ~/enable"))
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_and_hold("deactivated")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_and_hold("shut down")
        self._release()
        self._finalised = True
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.get_logger().error("a transition failed unexpectedly; back to unconfigured")
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        def text(name: str) -> str:
            return str(self.get_parameter(name).value)

        robot, tool = load_robot(text("robot"))
        began_s = time.monotonic()
        assembly = assemble_all(
            text("model"),
            robot,
            setting_overrides(self),
            text("device"),
            text("runtime"),
            precision=text("precision"),
            warm_up=True,
        )
        self._assembly = assembly
        self._incompatible = Incompatible(self)
        self._reporter = Reporter(self, assembly.robot, tool.chain, self._incompatible)
        self._description = Description(self, assembly.robot, tool, self._reporter.use_tool, self._incompatible)
        self._worker = Worker(
            assembly.pipeline, self._now, self._deliver, self._on_fault, is_dry_run=lambda: not self._enabled
        )
        self._inputs = Inputs(
            self, assembly.pipeline, assembly.robot.joint_names, self._worker.wake, self._incompatible
        )
        self._inputs.subscribe(assembly.settings.observe.cameras)
        gc.collect()
        gc.freeze()  # what the model is made of need not be looked through again: that takes a tenth of a second
        log = self.get_logger()
        if problem := find_bridge().problem:
            log.warning(problem)
        log.info(f"configured: {assembly.model_dir} for {robot.name} in {time.monotonic() - began_s:.1f} s")
        log.info("listening: " + ", ".join(f"{source} on {topic}" for source, topic in self._inputs.topics.items()))
        if assembly.calibration is None:
            log.warning("the bundle is not calibrated: there is no uncertainty, and retry acts on failures only")
        elif assembly.calibration.caution:
            log.warning(assembly.calibration.caution)

    def _release(self) -> None:
        """Ends everything that configure began, as far as it came."""
        if self._worker is not None:
            self._worker.close()
        if self._inputs is not None:
            self._inputs.destroy()
        if self._description is not None:
            self._description.destroy()
        if self._reporter is not None:
            self._reporter.destroy()
        self._worker = self._inputs = self._description = self._reporter = self._assembly = self._last = None
        gc.unfreeze()
        self._enabled = self._active = False

    # --- work -------------------------------------------------------------------------------------------------------
    def _now(self) -> Instant:
        return Instant(self.get_clock().now().nanoseconds, time.monotonic_ns())

    def _deliver(self, done: Round) -> None:
        """Sends what a round gave; on the model's thread."""
        assert self._reporter is not None
        assert self._inputs is not None
        cycle, before, self._last = done.cycle, self._last, done.cycle
        if before is None or before.state is not cycle.state:
            why = f"{cycle.state.value}: {cycle.reason}" if cycle.reason else cycle.state.value
            if cycle.state in (State.RUNNING, State.WAITING):
                self.get_logger().info(why)
            else:  # a call of its own: rclpy refuses another severity from the same one
                self.get_logger().warning(why)
        commanded = self._enabled and cycle.command is not None
        if commanded and cycle.command is not None:
            self._reporter.command(cycle.command)
        now = self._now()
        latency = latency_parts(done, self._inputs.arrival(cycle.observation_stamp_ns), now.steady_ns)
        self._reporter.report(done, enabled=self._enabled, commanded=commanded, now_ns=now.ros_ns, latency=latency)

    def _watch(self) -> None:
        """Brakes an arm whose input went stale while the model is still thinking about the last one."""
        if self._assembly is None or self._worker is None or not self._enabled or not self._worker.is_working:
            return
        with self._worker.between_rounds():
            cycle = self._assembly.pipeline.watch(self._now())
            if cycle is not None:
                self._deliver(Round(cycle))

    def _on_fault(self, error: Exception) -> None:
        """Something broke on the model's thread: hold, and stay so until ~/reset or the next activation."""
        self._faults += 1
        self.get_logger().error(f"the policy failed and holds: {error!r}\n{traceback.format_exc()}")
        self._hold(f"fault: {error!r}")

    def _stop_and_hold(self, reason: str) -> None:
        """First no more work, then the command to hold."""
        if self._worker is not None and self._active:
            self._active = False
            self._worker.pause()
            was_enabled = self._enabled
            self._hold(reason)
            self._enabled = False
            if was_enabled and self._reporter is not None:
                self._reporter.finish()

    def _hold(self, reason: str) -> None:
        if self._assembly is None:
            return
        try:
            cycle = self._assembly.pipeline.stop(self._now())
        except EbtPolicyError as error:
            self.get_logger().error(f"cannot hold ({reason}): {error}")
            return
        self._deliver(Round(dataclasses.replace(cycle, reason=reason)))

    # --- requests ---------------------------------------------------------------------------------------------------
    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        worker, wanted = self._worker, bool(request.data)
        if worker is None or not worker.is_working:
            response.success, response.message = False, "the node is not active"
            return response
        with worker.between_rounds():
            if self._enabled and not wanted:
                self._hold("disabled")
            self._enabled = wanted
        worker.wake()
        response.success, response.message = True, "commands flow" if wanted else "dry run"
        return response

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._assembly is None or self._worker is None:
            response.success, response.message = False, "the node is not configured"
            return response
        with self._worker.between_rounds():
            self._assembly.pipeline.reset()
            # Whoever resets may have moved the arm or the scene: nothing seen before counts any more.
            self._assembly.pipeline.clear()
            self._tell(Event.RESET)
        if self._active:
            self._worker.resume()
        response.success, response.message = True, "attempts, doubt and buffers are forgotten"
        return response

    def _on_retry(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._assembly is None or self._worker is None or not self._worker.is_working:
            response.success, response.message = False, "the node is not active"
            return response
        self._assembly.pipeline.request_retry()
        self._tell(Event.RETRY)
        self._worker.wake()
        response.success, response.message = True, "a retry is asked for"
        return response

    def _on_clock_jump(self, jump: Any) -> None:
        if self._assembly is not None:
            self._assembly.pipeline.clear()
            if self._reporter is not None:
                self._reporter.forget()
            self._tell(Event.CLEAR)
            self.get_logger().warning(f"ROS time jumped by {jump.delta.nanoseconds / 1e9:.3f} s: buffers are cleared")

    def _tell(self, event: Event) -> None:
        """Says on ``~/status`` what happened between two rounds, for whoever replays a recording."""
        if self._reporter is None:
            return
        now, last = self._now(), self._last
        state = last.state if event is Event.RETRY and last is not None else State.WAITING
        cycle = Cycle(state, None, reason=event.value, history=History(event, now.ros_ns, now.ros_ns, {}, None))
        self._reporter.report(Round(cycle), enabled=self._enabled, commanded=False, now_ns=now.ros_ns)

    def _check_parameters(self, parameters: list[Any]) -> Any:
        result = check_parameters(parameters)
        changed = [parameter.name for parameter in parameters if self.has_parameter(parameter.name)]
        own = [name for name in changed if name != "use_sim_time" and not name.startswith("qos_overrides.")]
        if result.successful and own and self._assembly is not None:
            result.successful = False
            result.reason = f"{', '.join(own)}: takes effect at configure; clean the node up first"
        return result

    def _publish_diagnostics(self) -> None:
        level, text, values = diagnose(
            self._assembly,
            self._inputs,
            self._last,
            active=self._active,
            enabled=self._enabled,
            faults=self._faults,
            incompatible=self._incompatible.counts(),
            unfollowed={} if self._reporter is None else self._reporter.counts(),
        )
        if self._description is not None:
            values.update(self._description.values())
        entry = (self.get_name(), "" if self._assembly is None else self._assembly.robot.name, level, text, values)
        now_ns = self.get_clock().now().nanoseconds
        self._diagnostics.publish(diagnostic_array(DIAGNOSTIC_CLASSES, now_ns, [entry]))

    # --- process ----------------------------------------------------------------------------------------------------
    def prepare(self) -> bool:
        """Configures, when ``autostart`` asks for it; False when that failed (the reason is logged)."""
        return not self._is_autostarted or self.trigger_configure() == TransitionCallbackReturn.SUCCESS

    def run_until(self, stop: threading.Event) -> int:
        """Activates, when ``autostart`` asks for it, spins until ``stop`` is set, holds and shuts down."""
        if self._is_autostarted and self.trigger_activate() != TransitionCallbackReturn.SUCCESS:
            return BAD_INPUT
        executor = SingleThreadedExecutor()
        executor.add_node(self)
        while not stop.is_set():
            executor.spin_once(timeout_sec=_SPIN_S)
        executor.shutdown()
        if not self._finalised:
            self.trigger_shutdown()
        return 0


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the process; always ends it."""
    run_and_exit(PolicyNode, args)
