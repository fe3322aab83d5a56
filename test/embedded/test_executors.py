"""Executors, timers, clocks, callback groups, futures."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from .conftest import PATIENCE_S, Graph

pytestmark = pytest.mark.graph


class SimTime:
    """A node on sim time and the publisher of its /clock."""

    def __init__(self, graph: Graph) -> None:
        from rclpy.parameter import Parameter
        from rosgraph_msgs.msg import Clock

        self.graph = graph
        self.kind = Clock
        self.node = graph.node("simulated", parameter_overrides=[Parameter("use_sim_time", value=True)])
        self.publisher = graph.node("simulator").create_publisher(Clock, "/clock", 10)
        graph.spin_until(self.publisher.get_subscription_count, "the clock's subscription")

    def set(self, seconds: float) -> None:
        """Publishes a time and waits until the node has it."""
        from rclpy.time import Time

        wanted_ns = round(seconds * 1e9)
        self.publisher.publish(self.kind(clock=Time(nanoseconds=wanted_ns).to_msg()))
        self.graph.spin_until(lambda: self.node.get_clock().now().nanoseconds == wanted_ns, f"{seconds} s")


def test_sim_time_drives_timers_and_survives_a_jump_back(graph: Graph) -> None:
    from rclpy.clock import ClockType, JumpThreshold
    from rclpy.duration import Duration

    sim = SimTime(graph)
    clock = sim.node.get_clock()
    assert clock.clock_type == ClockType.ROS_TIME
    assert clock.ros_time_is_active
    assert clock.now().nanoseconds == 0
    sim.set(100.0)
    jumps: list[int] = []
    threshold = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False)
    handle = clock.create_jump_callback(threshold, post_callback=lambda jump: jumps.append(jump.delta.nanoseconds))
    ticks: list[float] = []
    timer = sim.node.create_timer(1.0, lambda: ticks.append(clock.now().nanoseconds * 1e-9))
    sim.set(100.5)
    sim.set(101.0)
    graph.spin_until(lambda: len(ticks) == 1, "the first tick")
    sim.set(104.25)  # three periods: missed calls are not made up for, the phase is kept
    graph.spin_until(lambda: len(ticks) == 2, "the second tick")
    sim.set(104.9)
    sim.set(105.0)
    graph.spin_until(lambda: len(ticks) == 3, "the third tick")
    assert jumps == []
    sim.set(10.0)
    assert jumps == [-95_000_000_000]
    sim.set(10.9)
    sim.set(11.0)
    graph.spin_until(lambda: len(ticks) == 4, "a tick after the jump")
    assert ticks == [101.0, 104.25, 105.0, 11.0]
    handle.unregister()
    timer.cancel()
    sim.set(1.0)
    sim.set(50.0)
    assert len(jumps) == 1
    assert len(ticks) == 4


def test_sim_time_can_be_switched(graph: Graph) -> None:
    from rclpy.parameter import Parameter

    sim = SimTime(graph)
    sim.set(5.0)
    assert sim.node.set_parameters([Parameter("use_sim_time", value=False)])[0].successful
    assert sim.node.get_clock().now().nanoseconds > 10**18
    assert not sim.node.set_parameters([Parameter("use_sim_time", value="yes")])[0].successful


def test_sleeping_on_sim_time(graph: Graph) -> None:
    from rclpy.duration import Duration

    sim = SimTime(graph)
    sim.set(1.0)
    outcome: list[bool] = []
    sleeper = threading.Thread(target=lambda: outcome.append(sim.node.get_clock().sleep_for(Duration(seconds=2))))
    sleeper.start()
    for seconds in (2.0, 2.9):
        sim.set(seconds)
        assert outcome == []
    # The sleeper may read its start late: go on until it wakes.
    seconds = 3.0
    while sleeper.is_alive():
        sim.set(seconds := seconds + 1.0)
    assert outcome == [True]


def test_timers_on_the_wall_clock(graph: Graph) -> None:
    node = graph.node("ticking")
    ticks: list[int] = []
    timer = node.create_timer(0.01, lambda: ticks.append(1))
    graph.spin_until(lambda: len(ticks) >= 3, "three ticks")
    assert timer.timer_period_ns == 10_000_000
    timer.cancel()
    assert timer.is_canceled()
    count = len(ticks)
    other: list[int] = []
    node.create_timer(0.05, lambda: other.append(1))
    graph.spin_until(lambda: other, "another timer")
    assert len(ticks) == count
    timer.reset()
    graph.spin_until(lambda: len(ticks) > count, "a tick after the reset")
    assert node.destroy_timer(timer)
    assert not node.destroy_timer(timer)


def test_spinning_returns_on_time_and_on_a_future(graph: Graph) -> None:
    from rclpy.task import Future

    graph.node("quiet")
    never, soon = Future(), Future()
    graph.executor.spin_until_future_complete(never, timeout_sec=0.05)
    assert not never.done()
    timer = threading.Timer(0.05, lambda: soon.set_result(7))
    timer.start()
    graph.executor.spin_until_future_complete(soon, timeout_sec=PATIENCE_S)
    assert soon.result() == 7
    graph.executor.spin_once(timeout_sec=0)


def test_an_exception_of_a_callback_ends_the_spin(graph: Graph) -> None:
    node = graph.node("failing")

    def fail() -> None:
        raise ZeroDivisionError("as asked")

    guard = node.create_guard_condition(fail)
    guard.trigger()
    with pytest.raises(ZeroDivisionError, match="as asked"):
        graph.spin_until(lambda: False, "the exception")


def test_coroutines_wait_without_blocking(graph: Graph) -> None:
    from rclpy.task import Future
    from std_srvs.srv import Trigger

    node = graph.node("patient")
    client = node.create_client(Trigger, "patient/slow")
    gate, steps = Future(), []

    async def slow(request: Any, response: Any) -> Any:
        steps.append("asked")
        response.message = await gate
        return response

    async def ask() -> None:
        answer = await client.call_async(Trigger.Request())
        steps.append(answer.message)

    node.create_service(Trigger, "patient/slow", slow)
    assert client.wait_for_service(timeout_sec=PATIENCE_S)
    task = graph.executor.create_task(ask)
    graph.spin_until(lambda: steps, "the request")
    gate.set_result("now")
    graph.executor.spin_until_future_complete(task, timeout_sec=PATIENCE_S)
    assert steps == ["asked", "now"]


def _spin_in_thread(executor: Any) -> threading.Thread:
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def multi(domain: int) -> Any:
    import rclpy
    from rclpy.executors import MultiThreadedExecutor

    rclpy.init(args=[])
    executor = MultiThreadedExecutor(num_threads=4)
    node = rclpy.create_node("multi")
    executor.add_node(node)
    yield executor, node
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


@pytest.mark.parametrize("is_reentrant", [False, True])
def test_groups_decide_what_overlaps(multi: Any, is_reentrant: bool) -> None:
    from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup

    executor, node = multi
    group = ReentrantCallbackGroup() if is_reentrant else MutuallyExclusiveCallbackGroup()
    lock, inside, most, calls, both = threading.Lock(), [0], [0], [0], threading.Event()
    finished = threading.Event()

    def work() -> None:
        with lock:
            inside[0] += 1
            calls[0] += 1
            most[0] = max(most[0], inside[0])
            if inside[0] == 2:
                both.set()
            if calls[0] == 20:
                finished.set()
        both.wait(0.02 if not is_reentrant else PATIENCE_S)
        with lock:
            inside[0] -= 1

    for _ in range(2):
        node.create_timer(0.001, work, callback_group=group)
    _spin_in_thread(executor)
    assert finished.wait(PATIENCE_S)
    assert most[0] == 1 if not is_reentrant else most[0] >= 2


def test_a_blocking_call_from_a_callback(multi: Any) -> None:
    from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
    from std_srvs.srv import Trigger

    executor, node = multi
    answers: list[str] = []
    done = threading.Event()
    client = node.create_client(Trigger, "who", callback_group=MutuallyExclusiveCallbackGroup())

    def answer(request: Any, response: Any) -> Any:
        response.message = "me"
        return response

    def ask() -> None:
        timer.cancel()
        answers.append(client.call(Trigger.Request()).message)
        done.set()

    node.create_service(Trigger, "who", answer, callback_group=MutuallyExclusiveCallbackGroup())
    assert client.wait_for_service(timeout_sec=PATIENCE_S)
    timer = node.create_timer(0.001, ask)
    _spin_in_thread(executor)
    assert done.wait(PATIENCE_S)
    assert answers == ["me"]


def test_nodes_made_while_spinning_are_served(graph: Graph) -> None:
    from std_msgs.msg import Int64

    first = graph.node("first")
    heard: list[int] = []

    def grow() -> None:
        timer.cancel()
        late = graph.node("late")
        late.create_subscription(Int64, "numbers", lambda message: heard.append(message.data), 10)

    timer = first.create_timer(0.001, grow)
    publisher = first.create_publisher(Int64, "numbers", 10)
    graph.spin_until(publisher.get_subscription_count, "the late subscription")
    publisher.publish(Int64(data=3))
    graph.spin_until(lambda: heard == [3], "the number")
    (subscription,) = graph.nodes[1].subscriptions
    assert graph.nodes[1].destroy_subscription(subscription)
    graph.spin_until(lambda: publisher.get_subscription_count() == 0, "its end")


def test_shutdown_ends_a_spin_and_forbids_publishing(domain: int) -> None:
    import rclpy
    from rclpy.exceptions import NotInitializedException
    from std_msgs.msg import String

    rclpy.init(args=[])
    node = rclpy.create_node("ending")
    publisher = node.create_publisher(String, "words", 1)
    node.create_timer(0.001, rclpy.shutdown)
    rclpy.spin(node)
    assert not rclpy.ok()
    with pytest.raises(RuntimeError):
        publisher.publish(String())
    with pytest.raises(NotInitializedException):
        rclpy.create_node("too_late")
    node.destroy_node()
    rclpy.try_shutdown()
    rclpy.init(args=[])  # and again
    assert rclpy.ok()
    rclpy.shutdown()


def test_rates_tick_and_end(graph: Graph) -> None:
    from rclpy.exceptions import ROSInterruptException

    node = graph.node("rated")
    rate = node.create_rate(100.0)
    slow = node.create_rate(0.001)
    outcome: list[Any] = []

    def sleep() -> None:
        rate.sleep()
        outcome.append("ticked")
        try:
            slow.sleep()
        except ROSInterruptException:
            outcome.append("interrupted")

    thread = threading.Thread(target=sleep)
    thread.start()
    graph.spin_until(lambda: outcome, "a tick")
    import rclpy

    rclpy.try_shutdown()
    thread.join(PATIENCE_S)
    assert outcome == ["ticked", "interrupted"]


def test_waiting_for_one_message(graph: Graph) -> None:
    from rclpy.wait_for_message import wait_for_message
    from std_msgs.msg import Int64

    talker, listener = graph.node("talker"), graph.node("listener")
    publisher = talker.create_publisher(Int64, "number", 1)
    talker.create_timer(0.01, lambda: publisher.publish(Int64(data=9)))
    graph.executor.remove_node(listener)
    thread = _spin_in_thread(graph.executor)
    found, message = wait_for_message(Int64, listener, "number", time_to_wait=PATIENCE_S)
    assert found
    assert message.data == 9
    graph.executor.shutdown()
    thread.join(PATIENCE_S)


@pytest.mark.parametrize("make", ["bytes", "message"])
def test_raw_messages(graph: Graph, make: str) -> None:
    from rclpy.serialization import deserialize_message, serialize_message
    from std_msgs.msg import String

    node = graph.node("raw")
    heard: list[Any] = []
    node.create_subscription(String, "words", heard.append, 10, raw=True)
    publisher = node.create_publisher(String, "words", 10)
    graph.spin_until(publisher.get_subscription_count, "the subscription")
    message = String(data="hello")
    publisher.publish(serialize_message(message) if make == "bytes" else message)
    graph.spin_until(lambda: heard, "the bytes")
    assert isinstance(heard[0], bytes)
    assert deserialize_message(heard[0], String) == message


def test_a_group_of_ones_own_decides_for_every_callback(graph: Graph) -> None:
    from rclpy.callback_groups import CallbackGroup

    class Choosy(CallbackGroup):
        """Runs only what is allowed."""

        def __init__(self) -> None:
            super().__init__()
            self.allowed: list[Any] = []

        def can_execute(self, entity: Any) -> bool:
            return entity in self.allowed

        def beginning_execution(self, entity: Any) -> bool:
            return True

        def ending_execution(self, entity: Any) -> None:
            pass

    node, group, ticks = graph.node("choosy"), Choosy(), {"one": 0, "other": 0}

    def tick(name: str) -> None:
        ticks[name] += 1

    one, other = (node.create_timer(0.01, lambda name=name: tick(name), callback_group=group) for name in ticks)
    group.allowed.append(other)
    graph.spin_until(lambda: ticks["other"] >= 3, "the one that may")
    assert ticks["one"] == 0
    group.allowed.append(one)
    graph.spin_until(lambda: ticks["one"] >= 1, "the one that might not")
