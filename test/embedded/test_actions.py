"""Actions: goals accepted, refused, cancelled, and what a client hears of them."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import PATIENCE_S, Graph

pytestmark = pytest.mark.graph


@pytest.fixture(autouse=True)
def control_msgs() -> None:
    """Skips where ROS 2 is installed without them."""
    pytest.importorskip("control_msgs.action")


class Hand:
    """A server of GripperCommand on a node of its own: closes step by step, refuses negative positions."""

    def __init__(self, graph: Graph, *arguments: str) -> None:
        from control_msgs.action import GripperCommand
        from rclpy.action import ActionServer, CancelResponse, GoalResponse

        self.graph = graph
        self.node = graph.node("hand", *arguments)
        self.kind = GripperCommand
        self.may_end = False
        self.handles: list[Any] = []
        self.statuses: list[int] = []
        self.server = ActionServer(
            self.node,
            GripperCommand,
            "gripper_cmd",
            self._close,
            goal_callback=lambda goal: GoalResponse.ACCEPT if goal.command.position >= 0.0 else GoalResponse.REJECT,
            cancel_callback=lambda _handle: CancelResponse.ACCEPT,
        )

    async def _close(self, handle: Any) -> Any:
        from rclpy.task import Future

        self.handles.append(handle)
        self.statuses.append(handle.status)
        for part in (0.5, 1.0):
            handle.publish_feedback(self.kind.Feedback(position=handle.request.command.position * part))
        released = Future()

        def look() -> None:
            if (self.may_end or handle.is_cancel_requested) and not released.done():
                released.set_result(None)

        timer = self.node.create_timer(0.01, look)
        await released
        self.node.destroy_timer(timer)
        if handle.is_cancel_requested:
            handle.canceled()
        elif handle.request.command.max_effort > 100.0:
            handle.abort()
        else:
            handle.succeed()
        return self.kind.Result(position=handle.request.command.position, reached_goal=not handle.is_active)


def goal(position: float, effort: float = 0.0) -> Any:
    from control_msgs.action import GripperCommand

    made = GripperCommand.Goal()
    made.command.position, made.command.max_effort = position, effort
    return made


def client_of(graph: Graph, name: str = "gripper_cmd") -> Any:
    from control_msgs.action import GripperCommand
    from rclpy.action import ActionClient

    return ActionClient(graph.node("asking"), GripperCommand, name)


def answer(graph: Graph, future: Any) -> Any:
    graph.executor.spin_until_future_complete(future, timeout_sec=PATIENCE_S)
    assert future.done()
    return future.result()


def test_a_goal_is_accepted_fed_back_and_ends_with_its_result(graph: Graph) -> None:
    from action_msgs.msg import GoalStatus

    client = client_of(graph)
    assert not client.server_is_ready()
    assert not client.wait_for_server(timeout_sec=0.0)
    hand = Hand(graph)
    graph.spin_until(client.server_is_ready, "the server")
    heard: list[float] = []
    handle = answer(graph, client.send_goal_async(goal(0.04), lambda message: heard.append(message.feedback.position)))
    assert handle.accepted
    graph.spin_until(lambda: len(heard) == 2, "the feedback")
    assert heard == [0.02, 0.04]
    graph.spin_until(lambda: handle.status == GoalStatus.STATUS_EXECUTING, "the status")
    pending = handle.get_result_async()
    assert not pending.done()
    hand.may_end = True
    result = answer(graph, pending)
    assert (result.status, result.result.position, result.result.reached_goal) == (
        GoalStatus.STATUS_SUCCEEDED,
        0.04,
        True,
    )
    assert hand.statuses == [GoalStatus.STATUS_EXECUTING]
    assert not hand.handles[0].is_active
    assert bytes(hand.handles[0].goal_id.uuid) == bytes(handle.goal_id.uuid)
    # Who asks again gets the same answer.
    assert answer(graph, handle.get_result_async()).status == GoalStatus.STATUS_SUCCEEDED


def test_a_refused_an_aborted_and_a_forgotten_goal(graph: Graph) -> None:
    from action_msgs.msg import GoalStatus

    hand, client = Hand(graph), client_of(graph)
    graph.spin_until(client.server_is_ready, "the server")
    hand.may_end = True
    refused = answer(graph, client.send_goal_async(goal(-0.01)))
    assert not refused.accepted
    assert hand.handles == []
    assert answer(graph, refused.get_result_async()).status == GoalStatus.STATUS_UNKNOWN
    aborted = answer(graph, client.send_goal_async(goal(0.01, effort=200.0)))
    assert answer(graph, aborted.get_result_async()).status == GoalStatus.STATUS_ABORTED
    with pytest.raises(TypeError):
        client.send_goal_async(hand.kind.Result())
    with pytest.raises(TypeError):
        hand.handles[0].publish_feedback(hand.kind.Result())


def test_a_goal_is_cancelled(graph: Graph) -> None:
    from action_msgs.msg import GoalStatus
    from action_msgs.srv import CancelGoal

    _hand, client = Hand(graph), client_of(graph)
    graph.spin_until(client.server_is_ready, "the server")
    handle = answer(graph, client.send_goal_async(goal(0.04)))
    pending = handle.get_result_async()
    cancelled = answer(graph, handle.cancel_goal_async())
    assert cancelled.return_code == CancelGoal.Response.ERROR_NONE
    assert [bytes(info.goal_id.uuid) for info in cancelled.goals_canceling] == [bytes(handle.goal_id.uuid)]
    assert answer(graph, pending).status == GoalStatus.STATUS_CANCELED
    graph.spin_until(lambda: handle.status == GoalStatus.STATUS_CANCELED, "the status")
    again = answer(graph, handle.cancel_goal_async())
    assert again.return_code == CancelGoal.Response.ERROR_GOAL_TERMINATED
    assert again.goals_canceling == []


def test_an_execution_that_fails_or_forgets_to_end_aborts(graph: Graph) -> None:
    from action_msgs.msg import GoalStatus

    hand, client = Hand(graph), client_of(graph)
    graph.spin_until(client.server_is_ready, "the server")

    def broken(_handle: Any) -> Any:
        raise ValueError("the motor is hot")

    for execute in (broken, lambda _handle: hand.kind.Result(position=0.5)):
        hand.server.register_execute_callback(execute)
        handle = answer(graph, client.send_goal_async(goal(0.04)))
        assert answer(graph, handle.get_result_async()).status == GoalStatus.STATUS_ABORTED
    with pytest.raises(TypeError):
        hand.server.register_execute_callback(None)


def test_names_follow_the_namespace_and_are_seen_on_the_graph(graph: Graph) -> None:
    from rclpy.action import ActionClient, ActionServer
    from rclpy.exceptions import NoTypeSupportImportedException

    hand = Hand(graph, "-r", "__ns:=/left")
    client = client_of(graph, "/left/gripper_cmd")
    graph.spin_until(client.server_is_ready, "the server")
    services = dict(hand.node.get_service_names_and_types())
    assert services["/left/gripper_cmd/_action/send_goal"] == ["control_msgs/action/GripperCommand_SendGoal"]
    assert services["/left/gripper_cmd/_action/cancel_goal"] == ["action_msgs/srv/CancelGoal"]
    topics = dict(hand.node.get_topic_names_and_types())
    assert topics["/left/gripper_cmd/_action/feedback"] == ["control_msgs/action/GripperCommand_FeedbackMessage"]
    assert topics["/left/gripper_cmd/_action/status"] == ["action_msgs/msg/GoalStatusArray"]
    hand.server.destroy()
    graph.spin_until(lambda: not client.server_is_ready(), "the end of the server")
    client.destroy()
    for made, further in ((ActionClient, ()), (ActionServer, (lambda _handle: None,))):
        with pytest.raises((AttributeError, NoTypeSupportImportedException)):
            made(hand.node, int, "wrong", *further)
