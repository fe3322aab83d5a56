"""Action servers."""

from __future__ import annotations

import inspect
import threading
import time
import traceback
from collections.abc import Callable
from enum import Enum
from typing import Any

from action_msgs.msg import GoalInfo, GoalStatus
from action_msgs.srv import CancelGoal

from ebt_policy_ros.embedded.unsupported import module_getattr

from ..callback_groups import ReentrantCallbackGroup
from ..exceptions import NoTypeSupportImportedException, RCLError
from ..qos import QoSProfile, qos_profile_action_status_default, qos_profile_services_default
from ..task import Future


class GoalResponse(Enum):
    """What a goal callback may answer."""

    REJECT = 1
    ACCEPT = 2


class CancelResponse(Enum):
    """What a cancel callback may answer."""

    REJECT = 1
    ACCEPT = 2


_TRANSITIONS: dict[str, dict[int, int]] = {
    "EXECUTE": {GoalStatus.STATUS_ACCEPTED: GoalStatus.STATUS_EXECUTING},
    "CANCEL_GOAL": {
        GoalStatus.STATUS_ACCEPTED: GoalStatus.STATUS_CANCELING,
        GoalStatus.STATUS_EXECUTING: GoalStatus.STATUS_CANCELING,
    },
    "SUCCEED": {
        GoalStatus.STATUS_EXECUTING: GoalStatus.STATUS_SUCCEEDED,
        GoalStatus.STATUS_CANCELING: GoalStatus.STATUS_SUCCEEDED,
    },
    "ABORT": {
        GoalStatus.STATUS_EXECUTING: GoalStatus.STATUS_ABORTED,
        GoalStatus.STATUS_CANCELING: GoalStatus.STATUS_ABORTED,
    },
    "CANCELED": {GoalStatus.STATUS_CANCELING: GoalStatus.STATUS_CANCELED},
}
"""Event -> status before -> status after."""
_ACTIVE = (GoalStatus.STATUS_ACCEPTED, GoalStatus.STATUS_EXECUTING, GoalStatus.STATUS_CANCELING)


class ServerGoalHandle:
    """One goal as its server sees it."""

    def __init__(self, action_server: ActionServer, goal_info: Any, goal_request: Any) -> None:
        self._action_server = action_server
        self._goal_info = goal_info
        self._goal_request = goal_request
        self._status: int = GoalStatus.STATUS_ACCEPTED
        self._ended_s: float | None = None
        self._lock = threading.Lock()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServerGoalHandle) and bool(self.goal_id == other.goal_id)

    __hash__ = None  # type: ignore[assignment]

    @property
    def request(self) -> Any:
        return self._goal_request

    @property
    def goal_id(self) -> Any:
        return self._goal_info.goal_id

    @property
    def is_active(self) -> bool:
        return self.status in _ACTIVE

    @property
    def is_cancel_requested(self) -> bool:
        return bool(self.status == GoalStatus.STATUS_CANCELING)

    @property
    def status(self) -> int:
        return self._status

    def _update_state(self, event: str) -> None:
        with self._lock:
            after = _TRANSITIONS[event].get(self._status)
            if after is None:
                raise RCLError(f"goal_handle attempted invalid transition from state {self._status} with event {event}")
            self._status = after
            if not self.is_active:
                self._ended_s = time.monotonic()
        self._action_server._publish_status()

    def execute(self, execute_callback: Callable[[Any], Any] | None = None) -> None:
        if not self.is_cancel_requested:
            self._update_state("EXECUTE")
        self._action_server._notify_execute(self, execute_callback)

    def publish_feedback(self, feedback: Any) -> None:
        if not isinstance(feedback, self._action_server._action_type.Feedback):
            raise TypeError()
        message = self._action_server._action_type.Impl.FeedbackMessage(goal_id=self.goal_id, feedback=feedback)
        self._action_server._feedback.publish(message)

    def succeed(self) -> None:
        self._update_state("SUCCEED")

    def abort(self) -> None:
        self._update_state("ABORT")

    def canceled(self) -> None:
        self._update_state("CANCELED")


def default_handle_accepted_callback(goal_handle: ServerGoalHandle) -> None:
    goal_handle.execute()


def default_goal_callback(goal_request: Any) -> GoalResponse:
    return GoalResponse.ACCEPT


def default_cancel_callback(cancel_request: Any) -> CancelResponse:
    return CancelResponse.REJECT


class ActionServer:
    """Answers goals of one action; callbacks run in the executor that spins the node."""

    def __init__(
        self,
        node: Any,
        action_type: Any,
        action_name: str,
        execute_callback: Callable[[Any], Any],
        *,
        callback_group: Any = None,
        goal_callback: Callable[[Any], Any] = default_goal_callback,
        handle_accepted_callback: Callable[[Any], Any] = default_handle_accepted_callback,
        cancel_callback: Callable[[Any], Any] = default_cancel_callback,
        goal_service_qos_profile: QoSProfile = qos_profile_services_default,
        result_service_qos_profile: QoSProfile = qos_profile_services_default,
        cancel_service_qos_profile: QoSProfile = qos_profile_services_default,
        feedback_pub_qos_profile: QoSProfile = QoSProfile(depth=10),  # noqa: B008 - as in rclpy
        status_pub_qos_profile: QoSProfile = qos_profile_action_status_default,
        result_timeout: float = 900,
    ) -> None:
        if not callable(execute_callback):
            raise TypeError("Failed to register goal execution callback: not callable")
        if not isinstance(getattr(action_type, "_action_name", None), str):
            raise NoTypeSupportImportedException()
        self._node = node
        self._action_type = action_type
        self._execute_callback = execute_callback
        self._goal_callback = goal_callback
        self._handle_accepted_callback = handle_accepted_callback
        self._cancel_callback = cancel_callback
        self._result_timeout_s = result_timeout
        self._lock = threading.RLock()
        self._goal_handles: dict[bytes, ServerGoalHandle] = {}
        self._results: dict[bytes, Future] = {}
        impl, base = action_type.Impl, f"{action_name}/_action"

        def service(kind: Any, name: str, callback: Any, profile: QoSProfile, group: Any) -> Any:
            return node.create_service(kind, f"{base}/{name}", callback, qos_profile=profile, callback_group=group)

        self._services = [
            service(impl.SendGoalService, "send_goal", self._on_goal, goal_service_qos_profile, callback_group),
            service(impl.CancelGoalService, "cancel_goal", self._on_cancel, cancel_service_qos_profile, callback_group),
            # It waits for the end of the goal, and must keep nobody else from running meanwhile.
            service(
                impl.GetResultService,
                "get_result",
                self._on_result,
                result_service_qos_profile,
                ReentrantCallbackGroup(),
            ),
        ]
        self._feedback = node.create_publisher(impl.FeedbackMessage, f"{base}/feedback", feedback_pub_qos_profile)
        self._status = node.create_publisher(impl.GoalStatusMessage, f"{base}/status", status_pub_qos_profile)

    async def _on_goal(self, request: Any, response: Any) -> Any:
        goal_id = bytes(request.goal_id.uuid)
        self._forget_expired()
        if goal_id not in self._goal_handles:
            answer = await _called(self._goal_callback, request.goal)
            if not isinstance(answer, GoalResponse):
                self._node.get_logger().warning(
                    "Goal request callback did not return a GoalResponse type. Rejecting goal."
                )
            response.accepted = answer == GoalResponse.ACCEPT
        if response.accepted:
            response.stamp = self._node.get_clock().now().to_msg()
            handle = ServerGoalHandle(self, GoalInfo(goal_id=request.goal_id, stamp=response.stamp), request.goal)
            with self._lock:
                self._goal_handles[goal_id], self._results[goal_id] = handle, Future()
            # The answer goes out before the goal is worked on.
            self._node.executor.create_task(self._handle_accepted_callback, handle)
        return response

    async def _on_cancel(self, request: Any, response: Any) -> Any:
        wanted, stamp = request.goal_info.goal_id, request.goal_info.stamp
        goal_id, until = bytes(wanted.uuid), (stamp.sec, stamp.nanosec)
        has_id, has_stamp = any(goal_id), any(until)
        with self._lock:
            known = dict(self._goal_handles)
        chosen = []
        for key, handle in known.items():
            accepted = handle._goal_info.stamp
            is_early = has_stamp and (accepted.sec, accepted.nanosec) <= until
            if key == goal_id or is_early or not (has_id or has_stamp):
                chosen.append(handle)
        if has_id and not has_stamp and goal_id not in known:
            response.return_code = CancelGoal.Response.ERROR_UNKNOWN_GOAL_ID
        elif has_id and not has_stamp and not known[goal_id].is_active:
            response.return_code = CancelGoal.Response.ERROR_GOAL_TERMINATED
        for handle in chosen:
            if not handle.is_active:
                continue
            if await _called(self._cancel_callback, handle) != CancelResponse.ACCEPT:
                continue
            try:
                handle._update_state("CANCEL_GOAL")
            except RCLError:  # it ended meanwhile
                continue
            response.goals_canceling.append(handle._goal_info)
        return response

    async def _on_result(self, request: Any, response: Any) -> Any:
        self._forget_expired()
        with self._lock:
            result = self._results.get(bytes(request.goal_id.uuid))
        if result is None:
            response.status = GoalStatus.STATUS_UNKNOWN
            return response
        return await result

    def _notify_execute(self, goal_handle: ServerGoalHandle, execute_callback: Callable[[Any], Any] | None) -> None:
        self._node.executor.create_task(self._execute_goal, execute_callback or self._execute_callback, goal_handle)

    async def _execute_goal(self, execute_callback: Callable[[Any], Any], goal_handle: ServerGoalHandle) -> None:
        try:
            result = await _called(execute_callback, goal_handle)
        except Exception as error:  # the client waits for a result, whatever went wrong
            result = self._action_type.Result()
            self._node.get_logger().error(f"Error raised in execute callback: {error}")
            traceback.print_exc()
        if goal_handle.is_active:
            self._node.get_logger().warning(
                f"Goal state not set, assuming aborted. Goal ID: {goal_handle.goal_id.uuid}"
            )
            goal_handle.abort()
        response = self._action_type.Impl.GetResultService.Response(status=goal_handle.status, result=result)
        with self._lock:
            future = self._results.get(bytes(goal_handle.goal_id.uuid))
        if future is not None:
            future._set_executor(self._node.executor)
            future.set_result(response)

    def _publish_status(self) -> None:
        message = self._action_type.Impl.GoalStatusMessage()
        with self._lock:
            message.status_list = [
                GoalStatus(goal_info=handle._goal_info, status=handle.status) for handle in self._goal_handles.values()
            ]
        self._status.publish(message)

    def _forget_expired(self) -> None:
        """Goals that ended more than ``result_timeout`` ago; none when that is negative."""
        if self._result_timeout_s < 0:
            return
        oldest_s = time.monotonic() - self._result_timeout_s
        with self._lock:
            for key, handle in list(self._goal_handles.items()):
                if handle._ended_s is not None and handle._ended_s < oldest_s:
                    del self._goal_handles[key], self._results[key]

    def register_handle_accepted_callback(self, handle_accepted_callback: Callable[[Any], Any] | None) -> None:
        self._handle_accepted_callback = handle_accepted_callback or default_handle_accepted_callback

    def register_goal_callback(self, goal_callback: Callable[[Any], Any] | None) -> None:
        self._goal_callback = goal_callback or default_goal_callback

    def register_cancel_callback(self, cancel_callback: Callable[[Any], Any] | None) -> None:
        self._cancel_callback = cancel_callback or default_cancel_callback

    def register_execute_callback(self, execute_callback: Callable[[Any], Any]) -> None:
        if not callable(execute_callback):
            raise TypeError("Failed to register goal execution callback: not callable")
        self._execute_callback = execute_callback

    def destroy(self) -> None:
        for service in self._services:
            self._node.destroy_service(service)
        for publisher in (self._feedback, self._status):
            self._node.destroy_publisher(publisher)


async def _called(callback: Callable[..., Any], *arguments: Any) -> Any:
    answer = callback(*arguments)
    return await answer if inspect.isawaitable(answer) else answer


__getattr__ = module_getattr(__name__)
