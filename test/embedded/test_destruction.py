"""Entities that go while executors spin, exceptions that come out, executors that end, signals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import PATIENCE_S, Graph, Peer

pytestmark = pytest.mark.graph


def test_callbacks_may_destroy_what_called_them(graph: Graph) -> None:
    from std_msgs.msg import Int64
    from std_srvs.srv import Trigger

    node = graph.node("short_lived")
    calls: list[str] = []

    def once(name: str, destroy: Callable[[], Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            calls.append(name)
            assert destroy()
            return arguments[-1] if arguments else None

        return run

    timer = node.create_timer(0.001, once("timer", lambda: node.destroy_timer(timer)))
    guard = node.create_guard_condition(once("guard", lambda: node.destroy_guard_condition(guard)))
    guard.trigger()
    subscription = node.create_subscription(
        Int64, "number", once("subscription", lambda: node.destroy_subscription(subscription)), 10
    )
    publisher = node.create_publisher(Int64, "number", 10)
    graph.spin_until(publisher.get_subscription_count, "the subscription")
    for number in range(3):
        publisher.publish(Int64(data=number))
    graph.spin_until(lambda: sorted(calls) == ["guard", "subscription", "timer"], "one call of each")
    graph.spin_until(lambda: publisher.get_subscription_count() == 0, "the end of the subscription")
    assert list(node.timers) == list(node.guards) == list(node.subscriptions) == []
    client = node.create_client(Trigger, "ask")
    node.create_service(Trigger, "ask", lambda _, response: response)
    graph.call(client, Trigger.Request())
    assert len(calls) == 3


def test_a_callback_may_destroy_its_node(graph: Graph) -> None:
    node, other = graph.node("going"), graph.node("staying")
    done: list[str] = []

    def go() -> None:
        graph.nodes.remove(node)
        node.destroy_node()
        done.append("gone")

    node.create_timer(0.001, go)
    graph.spin_until(lambda: done, "the end of the node")
    ticks: list[int] = []
    other.create_timer(0.001, lambda: ticks.append(1))
    graph.spin_until(lambda: len(ticks) > 3, "ticks of the other")
    assert done == ["gone"]
    graph.spin_until(lambda: other.get_node_names() == ["staying"], "it to leave the graph")


@pytest.mark.parametrize("count", [1, 3])
def test_entities_come_and_go_from_another_thread(domain: int, count: int) -> None:
    import rclpy
    from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
    from std_msgs.msg import Int64

    rclpy.init(args=[])
    executor = SingleThreadedExecutor() if count == 1 else MultiThreadedExecutor(num_threads=count)
    node = rclpy.create_node("busy")
    executor.add_node(node)
    errors: list[BaseException] = []

    def spin() -> None:
        try:
            executor.spin()
        except BaseException as error:  # noqa: BLE001  # whatever comes out fails the test
            errors.append(error)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    publisher = node.create_publisher(Int64, "number", 10)
    node.create_timer(0.001, lambda: publisher.publish(Int64(data=1)))
    for _ in range(10):
        heard = threading.Event()
        subscription = node.create_subscription(Int64, "number", lambda _, heard=heard: heard.set(), 10)
        guard = node.create_guard_condition(lambda: None)
        guard.trigger()
        assert heard.wait(PATIENCE_S)
        assert node.destroy_subscription(subscription)
        assert node.destroy_guard_condition(guard)
    executor.shutdown()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert errors == []
    node.destroy_node()
    rclpy.try_shutdown()


def test_what_is_destroyed_cannot_be_used(graph: Graph) -> None:
    from std_msgs.msg import Int64
    from std_srvs.srv import Trigger

    node = graph.node("here")
    publisher = node.create_publisher(Int64, "number", 10)
    client = node.create_client(Trigger, "ask")
    assert node.destroy_publisher(publisher)
    assert not node.destroy_publisher(publisher)
    assert node.destroy_client(client)
    with pytest.raises(RuntimeError):
        publisher.publish(Int64())
    with pytest.raises(RuntimeError):
        client.call_async(Trigger.Request())
    graph.nodes.remove(node)
    node.destroy_node()
    with pytest.raises(RuntimeError):
        node.create_publisher(Int64, "number", 10)


@pytest.mark.parametrize("where", ["timer", "subscription", "service", "guard", "coroutine", "client"])
def test_exceptions_come_out_of_the_spin(graph: Graph, where: str) -> None:
    from std_msgs.msg import Int64
    from std_srvs.srv import Trigger

    node = graph.node("failing")

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError(where)

    async def fail_later(*_: Any) -> Any:
        raise ZeroDivisionError(where)

    client = node.create_client(Trigger, "ask")
    if where == "timer":
        node.create_timer(0.001, fail)
    elif where == "guard":
        node.create_guard_condition(fail).trigger()
    elif where == "subscription":
        node.create_subscription(Int64, "number", fail, 10)
        publisher = node.create_publisher(Int64, "number", 10)
        graph.spin_until(publisher.get_subscription_count, "the subscription")
        publisher.publish(Int64())
    elif where == "coroutine":
        node.create_guard_condition(fail_later).trigger()
    else:
        node.create_service(Trigger, "ask", fail if where == "service" else lambda _, response: response)
        assert client.wait_for_service(timeout_sec=PATIENCE_S)
        future = client.call_async(Trigger.Request())
        if where == "client":
            future.add_done_callback(fail)
    with pytest.raises(ZeroDivisionError, match=where):
        graph.spin_until(lambda: False, "the exception")
    ticks: list[int] = []
    graph.node("next").create_timer(0.001, lambda: ticks.append(1))
    if where != "timer":
        graph.spin_until(lambda: ticks, "life after that")


def test_exceptions_come_out_of_a_pool(domain: int) -> None:
    import rclpy
    from rclpy.executors import MultiThreadedExecutor

    rclpy.init(args=[])
    executor = MultiThreadedExecutor(num_threads=2)
    node = rclpy.create_node("failing")
    executor.add_node(node)

    def fail() -> None:
        raise ZeroDivisionError("in the pool")

    node.create_guard_condition(fail).trigger()
    with pytest.raises(ZeroDivisionError, match="in the pool"):
        executor.spin()
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


def test_a_task_keeps_its_exception(graph: Graph) -> None:
    graph.node("here")

    def fail() -> None:
        raise ZeroDivisionError("kept")

    task = graph.executor.create_task(fail)
    with pytest.raises(ZeroDivisionError):
        graph.spin_until(task.done, "the task")
    assert task.done()
    assert isinstance(task.exception(), ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        task.result()
    added = graph.executor.create_task(lambda first, second=0: first + second, 1, second=2)
    graph.executor.spin_until_future_complete(added, timeout_sec=PATIENCE_S)
    assert added.result() == 3


def test_executors_and_their_nodes(graph: Graph) -> None:
    from rclpy.executors import SingleThreadedExecutor

    node = graph.node("moving")
    other = SingleThreadedExecutor()
    assert node.executor is graph.executor
    assert not graph.executor.add_node(node)
    assert other.add_node(node)
    assert node.executor is other
    assert node not in graph.executor.get_nodes()
    assert other.get_nodes() == [node]
    node.executor = graph.executor
    assert other.get_nodes() == []
    ticks: list[int] = []
    node.create_timer(0.001, lambda: ticks.append(1))
    graph.spin_until(lambda: ticks, "a tick")
    assert other.shutdown()
    other.spin()  # what is shut down does not spin


def test_guard_conditions_run_once_for_each_time_they_are_seen(graph: Graph) -> None:
    node = graph.node("guarded")
    calls: list[str] = []
    first = node.create_guard_condition(lambda: calls.append("first"))
    second = node.create_guard_condition(lambda: (calls.append("second"), first.trigger()))
    first.trigger()
    first.trigger()
    graph.spin_until(lambda: calls == ["first"], "one call")
    second.trigger()
    graph.spin_until(lambda: calls == ["first", "second", "first"], "a call by a call")
    thread = threading.Thread(target=first.trigger)
    thread.start()
    graph.spin_until(lambda: len(calls) == 4, "a call by a thread")
    thread.join()


def test_waiting_for_a_message_that_does_not_come(graph: Graph) -> None:
    from rclpy.wait_for_message import wait_for_message
    from std_msgs.msg import Int64

    node = graph.node("listener")
    graph.executor.remove_node(node)
    assert wait_for_message(Int64, node, "number", time_to_wait=0.05) == (False, None)
    assert list(node.subscriptions) == []


def test_shutdown_callbacks(domain: int) -> None:
    import rclpy

    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    told: list[str] = []
    context.on_shutdown(lambda: told.append("first"))
    context.on_shutdown(lambda: told.append("second"))
    node = rclpy.create_node("here", context=context)
    assert context.ok()
    rclpy.shutdown(context=context)
    assert sorted(told) == ["first", "second"]
    assert not rclpy.ok(context=context)
    with pytest.raises(RuntimeError):
        rclpy.shutdown(context=context)
    rclpy.try_shutdown(context=context)
    node.destroy_node()
    assert len(told) == 2


@pytest.mark.parametrize(
    ("number", "endings"),
    [(signal.SIGINT, ["INTERRUPTED", "SHUT DOWN", "RETURNED"]), (signal.SIGTERM, ["SHUT DOWN", "RETURNED"])],
    ids=["SIGINT", "SIGTERM"],
)
def test_signals_end_a_pool_too(start_peer: Callable[..., Peer], number: int, endings: list[str]) -> None:
    peer = start_peer("pool")
    assert peer.end(number) == 0
    assert peer.lines[-2] in endings, peer.lines
    assert peer.lines[-1] == "OK False"
