"""Clocks and time sources: switching to sim time and back, jumps, sleeping, timers on any clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import PATIENCE_S, Graph

pytestmark = pytest.mark.graph


class Simulator:
    """Publishes `/clock` and waits until a node has the time."""

    def __init__(self, graph: Graph) -> None:
        from rosgraph_msgs.msg import Clock

        self.graph = graph
        self.kind = Clock
        self.publisher = graph.node("simulator").create_publisher(Clock, "/clock", 10)

    def set(self, node: Any, seconds: float) -> None:
        from rclpy.time import Time

        wanted_ns = round(seconds * 1e9)
        self.graph.spin_until(self.publisher.get_subscription_count, "the clock's subscription")
        self.publisher.publish(self.kind(clock=Time(nanoseconds=wanted_ns).to_msg()))
        self.graph.spin_until(lambda: node.get_clock().now().nanoseconds == wanted_ns, f"{seconds} s")


def _simulate(node: Any, is_simulated: bool) -> None:
    from rclpy.parameter import Parameter

    assert node.set_parameters([Parameter("use_sim_time", value=is_simulated)])[0].successful


@pytest.mark.parametrize("way", ["command line", "override", "at run time"])
def test_sim_time_can_be_chosen(graph: Graph, way: str) -> None:
    from rclpy.parameter import Parameter

    if way == "command line":
        node = graph.node("simulated", "-p", "use_sim_time:=true")
    elif way == "override":
        node = graph.node("simulated", parameter_overrides=[Parameter("use_sim_time", value=True)])
    else:
        node = graph.node("simulated")
        assert not node.get_clock().ros_time_is_active
        _simulate(node, True)
    assert node.get_parameter("use_sim_time").value is True
    assert node.get_clock().ros_time_is_active
    assert node.get_clock().now().nanoseconds == 0
    Simulator(graph).set(node, 12.5)
    assert node.get_clock().now().to_msg().sec == 12
    _simulate(node, False)
    assert not node.get_clock().ros_time_is_active
    assert node.get_clock().now().nanoseconds > 10**18


def test_other_clocks_follow_the_time_source(graph: Graph) -> None:
    from rclpy.clock import Clock, ClockType
    from rclpy.time_source import TimeSource

    node = graph.node("owner")
    source = TimeSource(node=node)
    clock = Clock(clock_type=ClockType.ROS_TIME)
    source.attach_clock(clock)
    _simulate(node, True)
    assert source.ros_time_is_active
    assert clock.ros_time_is_active
    Simulator(graph).set(node, 7.0)
    graph.spin_until(lambda: clock.now().nanoseconds == 7 * 10**9, "the other clock")
    late = Clock(clock_type=ClockType.ROS_TIME)
    source.attach_clock(late)
    assert late.now().nanoseconds == 7 * 10**9
    with pytest.raises(ValueError, match="ROS_TIME"):
        source.attach_clock(Clock(clock_type=ClockType.STEADY_TIME))


def _note_jumps(clock: Any, notes: list[Any], name: str, **threshold: Any) -> Any:
    from rclpy.clock import JumpThreshold
    from rclpy.duration import Duration

    spans = {
        key: None if value is None else Duration(seconds=value) for key, value in threshold.items() if "min" in key
    }
    is_told = threshold.get("on_clock_change", False)
    return clock.create_jump_callback(
        JumpThreshold(**{"min_forward": None, "min_backward": None, **spans}, on_clock_change=is_told),
        pre_callback=lambda: notes.append((name, "before")),
        post_callback=lambda jump: notes.append(
            (name, jump.clock_change.name, round(jump.delta.nanoseconds * 1e-9, 3))
        ),
    )


def test_jumps_are_told_from_their_threshold_on(graph: Graph) -> None:
    node = graph.node("simulated", "-p", "use_sim_time:=true")
    simulator = Simulator(graph)
    simulator.set(node, 100.0)
    notes: list[Any] = []
    clock = node.get_clock()
    kept = [
        _note_jumps(clock, notes, "forward", min_forward=2.0),
        _note_jumps(clock, notes, "backward", min_backward=-2.0),
        _note_jumps(clock, notes, "change", on_clock_change=True),
    ]

    def told(seconds: float) -> list[Any]:
        notes.clear()
        simulator.set(node, seconds)
        return list(notes)

    assert told(101.0) == []
    assert told(100.5) == []
    same = "ROS_TIME_NO_CHANGE"
    assert told(103.0) == [("forward", "before"), ("forward", same, 2.5)]
    assert told(105.0) == [("forward", "before"), ("forward", same, 2.0)]
    assert told(104.0) == []
    assert told(102.0) == [("backward", "before"), ("backward", same, -2.0)]
    assert told(1.0) == [("backward", "before"), ("backward", same, -101.0)]
    kept[0].unregister()
    assert told(50.0) == []
    notes.clear()
    _simulate(node, False)
    _simulate(node, True)
    assert [note[:2] for note in notes] == [
        ("change", "before"),
        ("change", "ROS_TIME_DEACTIVATED"),
        ("change", "before"),
        ("change", "ROS_TIME_ACTIVATED"),
    ]


def test_impossible_thresholds_are_refused() -> None:
    from . import provide  # noqa: F401

    from rclpy.clock import JumpThreshold  # isort: skip
    from rclpy.duration import Duration

    for spans in (
        {"min_forward": Duration(seconds=-1), "min_backward": None},
        {"min_forward": None, "min_backward": Duration(seconds=1)},
        {"min_forward": Duration(seconds=0), "min_backward": None},
        {"min_forward": None, "min_backward": None, "on_clock_change": False},
    ):
        with pytest.raises(ValueError):
            JumpThreshold(**spans)


def test_timers_start_anew_when_the_time_source_changes(graph: Graph) -> None:
    node = graph.node("simulated")
    ticks: list[int] = []
    timer = node.create_timer(1000.0, lambda: ticks.append(node.get_clock().now().nanoseconds // 10**9))
    _simulate(node, True)
    simulator = Simulator(graph)
    simulator.set(node, 10.0)
    simulator.set(node, 1009.0)
    assert timer.time_until_next_call() <= 1000 * 10**9
    seconds = 1009.0
    while not ticks:
        seconds += 500.0
        simulator.set(node, seconds)
    first = ticks[0]
    simulator.set(node, first + 999.0)
    assert len(ticks) == 1
    simulator.set(node, first + 1000.0)
    graph.spin_until(lambda: len(ticks) == 2, "the second tick")
    assert timer.clock == node.get_clock()


def test_timers_on_their_own_clock(graph: Graph) -> None:
    from rclpy.clock import Clock, ClockType

    node = graph.node("simulated", "-p", "use_sim_time:=true")
    ticks: dict[str, int] = {}
    for kind in (ClockType.STEADY_TIME, ClockType.SYSTEM_TIME):
        clock = Clock(clock_type=kind)

        def tick(name: str = kind.name) -> None:
            ticks[name] = ticks.get(name, 0) + 1

        node.create_timer(0.01, tick, clock=clock)
    stopped: list[int] = []
    node.create_timer(0.01, lambda: stopped.append(1))
    graph.spin_until(lambda: len(ticks) == 2 and min(ticks.values()) > 2, "ticks of both")
    assert stopped == []  # its clock stands still


def test_sleeping_until(graph: Graph) -> None:
    from rclpy.clock import Clock, ClockType
    from rclpy.duration import Duration
    from rclpy.time import Time

    node = graph.node("simulated", "-p", "use_sim_time:=true")
    simulator = Simulator(graph)
    simulator.set(node, 10.0)
    clock = node.get_clock()
    with pytest.raises(ValueError, match="clock type"):
        clock.sleep_until(Time(seconds=5, clock_type=ClockType.STEADY_TIME))
    thread, outcome = _in_thread(lambda: clock.sleep_until(Time(seconds=20, clock_type=ClockType.ROS_TIME)))
    seconds = 19.0
    while thread.is_alive():  # the sleeper may come late: go on until it wakes
        assert outcome == []
        simulator.set(node, seconds := seconds + 1.0)
        thread.join(0.01)
    assert outcome == [True]
    steady = Clock(clock_type=ClockType.STEADY_TIME)
    assert steady.sleep_until(steady.now())  # over already
    before = steady.now()
    assert steady.sleep_for(Duration(nanoseconds=10_000_000))
    assert steady.now() - before >= Duration(nanoseconds=10_000_000)


def _in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(function()), daemon=True)
    thread.start()
    return thread, outcome


def test_a_sleep_ends_when_the_time_source_changes(graph: Graph) -> None:
    from rclpy.duration import Duration

    node = graph.node("simulated", "-p", "use_sim_time:=true")
    Simulator(graph).set(node, 10.0)
    thread, outcome = _in_thread(lambda: node.get_clock().sleep_for(Duration(seconds=1e6)))
    # The sleeper may not be asleep yet: change until it has noticed.
    is_simulated = True
    while thread.is_alive():
        is_simulated = not is_simulated
        _simulate(node, is_simulated)
        thread.join(0.01)
    assert outcome == [False]


def test_a_sleep_ends_with_rclpy(graph: Graph) -> None:
    import rclpy
    from rclpy.duration import Duration

    node = graph.node("sleepy")
    begun = threading.Event()

    def sleep() -> Any:
        begun.set()
        return node.get_clock().sleep_for(Duration(seconds=1e6))

    thread, outcome = _in_thread(sleep)
    assert begun.wait(PATIENCE_S)
    thread.join(0.05)
    rclpy.try_shutdown()
    thread.join(PATIENCE_S)
    assert outcome == [False]


def test_times_and_durations() -> None:
    from . import provide  # noqa: F401

    from rclpy.clock import Clock, ClockType  # isort: skip
    from rclpy.duration import Duration
    from rclpy.time import Time

    early, late = Time(seconds=1, nanoseconds=5), Time(seconds=3)
    assert late - early == Duration(nanoseconds=1_999_999_995)
    assert early + Duration(seconds=2) > late
    assert (late - Duration(seconds=3)).nanoseconds == 0
    with pytest.raises(ValueError, match="negative"):
        _ = early - Duration(seconds=2)
    for other in (Time(seconds=1, clock_type=ClockType.STEADY_TIME),):
        with pytest.raises(TypeError):
            _ = early < other
        with pytest.raises(TypeError):
            _ = early - other
    assert Time.from_msg(late.to_msg()).clock_type == ClockType.ROS_TIME
    assert Duration.from_msg(Duration(nanoseconds=-1_500_000_000).to_msg()).nanoseconds == -1_500_000_000
    assert early.seconds_nanoseconds() == (1, 5)
    for kind in ClockType.SYSTEM_TIME, ClockType.STEADY_TIME, ClockType.ROS_TIME:
        clock = Clock(clock_type=kind)
        assert clock.clock_type == kind
        assert clock.now().clock_type == kind
    with pytest.raises(OverflowError):
        Time(seconds=2**63)
