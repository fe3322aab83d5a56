"""Action clients."""

from __future__ import annotations

import threading
import time
import uuid
import weakref
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from action_msgs.srv import CancelGoal
from unique_identifier_msgs.msg import UUID

from ebt_policy_ros.embedded.unsupported import module_getattr

from ..exceptions import NoTypeSupportImportedException
from ..qos import QoSProfile, qos_profile_action_status_default, qos_profile_services_default
from ..task import Future

_ENDED = (GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_ABORTED)


class ClientGoalHandle:
    """One goal as its client sees it."""

    def __init__(self, action_client: ActionClient, goal_id: Any, goal_response: Any) -> None:
        self._action_client = action_client
        self._goal_id = goal_id
        self._goal_response = goal_response
        self._status: int = GoalStatus.STATUS_UNKNOWN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClientGoalHandle) and bool(self._goal_id == other.goal_id)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ClientGoalHandle <id={self.goal_id.uuid}, accepted={self.accepted}, status={self.status}>"

    @property
    def goal_id(self) -> Any:
        return self._goal_id

    @property
    def stamp(self) -> Any:
        return self._goal_response.stamp

    @property
    def accepted(self) -> bool:
        return bool(self._goal_response.accepted)

    @property
    def status(self) -> int:
        return self._status

    def cancel_goal(self) -> Any:
        """Waits for the answer; another thread must spin the node."""
        return _wait_for(self.cancel_goal_async())

    def cancel_goal_async(self) -> Future:
        return self._action_client._cancel_goal_async(self)

    def get_result(self) -> Any:
        """Waits for the result; another thread must spin the node."""
        return _wait_for(self.get_result_async())

    def get_result_async(self) -> Future:
        return self._action_client._get_result_async(self)


class ActionClient:
    """Sends goals of one action; the answers come through the executor that spins the node."""

    def __init__(
        self,
        node: Any,
        action_type: Any,
        action_name: str,
        *,
        callback_group: Any = None,
        goal_service_qos_profile: QoSProfile = qos_profile_services_default,
        result_service_qos_profile: QoSProfile = qos_profile_services_default,
        cancel_service_qos_profile: QoSProfile = qos_profile_services_default,
        feedback_sub_qos_profile: QoSProfile = QoSProfile(depth=10),  # noqa: B008 - as in rclpy
        status_sub_qos_profile: QoSProfile = qos_profile_action_status_default,
    ) -> None:
        if not isinstance(getattr(action_type, "_action_name", None), str):
            raise NoTypeSupportImportedException()
        self._node = node
        self._action_type = action_type
        impl, base = action_type.Impl, f"{action_name}/_action"

        def client(kind: Any, name: str, profile: QoSProfile) -> Any:
            return node.create_client(kind, f"{base}/{name}", qos_profile=profile, callback_group=callback_group)

        self._goal_client = client(impl.SendGoalService, "send_goal", goal_service_qos_profile)
        self._cancel_client = client(impl.CancelGoalService, "cancel_goal", cancel_service_qos_profile)
        self._result_client = client(impl.GetResultService, "get_result", result_service_qos_profile)
        self._feedback = node.create_subscription(
            impl.FeedbackMessage,
            f"{base}/feedback",
            self._on_feedback,
            feedback_sub_qos_profile,
            callback_group=callback_group,
        )
        self._status = node.create_subscription(
            impl.GoalStatusMessage,
            f"{base}/status",
            self._on_status,
            status_sub_qos_profile,
            callback_group=callback_group,
        )
        self._lock = threading.Lock()
        self._goal_handles: dict[bytes, weakref.ref[ClientGoalHandle]] = {}
        self._feedback_callbacks: dict[bytes, Callable[[Any], Any]] = {}
        self._statuses: dict[bytes, int] = {}

    def send_goal(self, goal: Any, **kwargs: Any) -> Any:
        """Waits for the result; another thread must spin the node."""
        return _wait_for(self._get_result_async(_wait_for(self.send_goal_async(goal, **kwargs))))

    def send_goal_async(
        self, goal: Any, feedback_callback: Callable[[Any], Any] | None = None, goal_uuid: Any = None
    ) -> Future:
        """A future of the ClientGoalHandle, done when a server accepted or rejected the goal."""
        if not isinstance(goal, self._action_type.Goal):
            raise TypeError()
        goal_id = UUID(uuid=list(uuid.uuid4().bytes)) if goal_uuid is None else goal_uuid
        if feedback_callback is not None:
            self._feedback_callbacks[bytes(goal_id.uuid)] = feedback_callback

        def handle(response: Any) -> ClientGoalHandle:
            made = ClientGoalHandle(self, goal_id, response)
            if made.accepted:
                with self._lock:
                    self._goal_handles[bytes(goal_id.uuid)] = weakref.ref(made)
                    # It may have come before the response.
                    made._status = self._statuses.get(bytes(goal_id.uuid), made._status)
            return made

        request = self._action_type.Impl.SendGoalService.Request(goal_id=goal_id, goal=goal)
        return self._ask(self._goal_client, request, handle)

    def _cancel_goal_async(self, goal_handle: ClientGoalHandle) -> Future:
        request = CancelGoal.Request()
        request.goal_info.goal_id = self._id_of(goal_handle)
        return self._ask(self._cancel_client, request, lambda response: response)

    def _get_result_async(self, goal_handle: ClientGoalHandle) -> Future:
        goal_id = self._id_of(goal_handle)

        def result(response: Any) -> Any:
            self._feedback_callbacks.pop(bytes(goal_id.uuid), None)
            return response

        request = self._action_type.Impl.GetResultService.Request(goal_id=goal_id)
        return self._ask(self._result_client, request, result)

    @staticmethod
    def _id_of(goal_handle: Any) -> Any:
        if not isinstance(goal_handle, ClientGoalHandle):
            raise TypeError(f"Expected type ClientGoalHandle but received {type(goal_handle)}")
        return goal_handle.goal_id

    def _ask(self, client: Any, request: Any, make: Callable[[Any], Any]) -> Future:
        """A future of what ``make`` makes of the response."""
        asked = Future()

        def answered(response: Future) -> None:
            asked._set_executor(self._node.executor)
            asked.set_result(make(response.result()))

        client.call_async(request).add_done_callback(answered)
        return asked

    def _on_feedback(self, message: Any) -> Any:
        callback = self._feedback_callbacks.get(bytes(message.goal_id.uuid))
        return callback(message) if callback is not None else None

    def _on_status(self, message: Any) -> None:
        self._statuses = {bytes(status.goal_info.goal_id.uuid): status.status for status in message.status_list}
        for status in message.status_list:
            goal_id = bytes(status.goal_info.goal_id.uuid)
            with self._lock:
                reference = self._goal_handles.get(goal_id)
                handle = reference() if reference is not None else None
                if handle is not None:
                    handle._status = status.status
                if reference is not None and (handle is None or status.status in _ENDED):
                    del self._goal_handles[goal_id]

    def server_is_ready(self) -> bool:
        """Whether one server's services and topics are there."""
        clients = (self._goal_client, self._cancel_client, self._result_client)
        topics = (self._feedback, self._status)
        return all(client.service_is_ready() for client in clients) and all(
            subscription._reader.matched() for subscription in topics
        )

    def wait_for_server(self, timeout_sec: float | None = None) -> bool:
        """True as soon as a server is there; False after `timeout_sec` (None: no limit) or shutdown."""
        until = None if timeout_sec is None else time.monotonic() + timeout_sec
        while self._node.context.ok() and not self.server_is_ready():
            if until is not None and time.monotonic() >= until:
                break
            time.sleep(0.02)
        return self.server_is_ready()

    def destroy(self) -> None:
        for client in (self._goal_client, self._cancel_client, self._result_client):
            self._node.destroy_client(client)
        for subscription in (self._feedback, self._status):
            self._node.destroy_subscription(subscription)


def _wait_for(future: Future) -> Any:
    finished = threading.Event()
    future.add_done_callback(lambda _: finished.set())
    finished.wait()
    return future.result()


__getattr__ = module_getattr(__name__)
