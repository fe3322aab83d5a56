"""Trajectories out (only from a SafeChunk) and in, and what is drawn and told about them."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from ebt_policy_ros.core.cycle import Cycle, Event, History, State
from ebt_policy_ros.core.errors import MessageError
from ebt_policy_ros.core.types import SAFETY_KEY, ActionChunk, SafeChunk
from ebt_policy_ros.messages import PlanMarkers, ToolChain, read_trajectory, trajectory_cdr, trajectory_message
from ebt_policy_ros.messages.markers import energy_colour
from ebt_policy_ros.messages.status import cycle_level, cycle_values, diagnostic_array, read_history, read_values

from .safe_chunks import JOINTS, safe_chunk

ROS = get_typestore(Stores.ROS2_JAZZY)
"""Reads CDR by itself."""


def stamp() -> SimpleNamespace:
    return SimpleNamespace(sec=0, nanosec=0)


def trajectory_class() -> SimpleNamespace:
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp(), frame_id=""), joint_names=[], points=[])


def point_class() -> SimpleNamespace:
    return SimpleNamespace(positions=[], velocities=[], accelerations=[], effort=[], time_from_start=stamp())


def vector() -> SimpleNamespace:
    return SimpleNamespace(x=0.0, y=0.0, z=0.0)


class Marker(SimpleNamespace):
    ADD, DELETE, LINE_STRIP, TEXT_VIEW_FACING = 0, 2, 4, 9

    def __init__(self) -> None:
        pose = SimpleNamespace(position=vector(), orientation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=0.0))
        header = SimpleNamespace(stamp=stamp(), frame_id="")
        super().__init__(header=header, pose=pose, scale=vector(), color=SimpleNamespace(), text="", points=[])


class Status(SimpleNamespace):
    OK, WARN, ERROR = b"\x00", b"\x01", b"\x02"


CHAIN = ToolChain("base", (("panda_joint1", 0.0, 0.3, 0.0, 0.0), (None, 0.5, 0.0, 0.0, 0.0)))


def test_a_safe_chunk_survives_the_way_there_and_back() -> None:
    chunk = safe_chunk()
    reading = read_trajectory(trajectory_message(chunk, trajectory_class, point_class))
    assert (reading.start_ns, reading.joint_names) == (chunk.start_ns, chunk.joint_names)
    np.testing.assert_allclose(reading.times_s, chunk.times_s, atol=1e-9)  # whole nanoseconds
    np.testing.assert_array_equal(reading.positions, chunk.positions)
    np.testing.assert_array_equal(reading.velocities, chunk.velocities)
    np.testing.assert_array_equal(reading.accelerations, chunk.accelerations)


def test_nothing_but_a_safe_chunk_becomes_a_trajectory() -> None:
    unsafe = ActionChunk(0, 50_000_000, JOINTS, np.zeros((4, 7)))
    with pytest.raises(TypeError, match="SafeChunk"):
        trajectory_message(unsafe, trajectory_class, point_class)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="SafeChunk"):
        trajectory_cdr(unsafe)  # type: ignore[arg-type]


@pytest.mark.parametrize("joints", [None, *(JOINTS[:count] for count in range(1, 7)), (JOINTS[5], JOINTS[0])])
@pytest.mark.parametrize("num_points", [2, 33])
def test_the_bytes_of_a_trajectory_are_read_as_its_message(joints: tuple[str, ...] | None, num_points: int) -> None:
    chunk = safe_chunk(num_points=num_points)
    message = ROS.deserialize_cdr(trajectory_cdr(chunk, joints), "trajectory_msgs/msg/JointTrajectory")
    expected = trajectory_message(chunk, trajectory_class, point_class, joints)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == divmod(chunk.start_ns, 10**9)
    assert (message.header.frame_id, list(message.joint_names)) == ("", expected.joint_names)
    assert len(message.points) == num_points
    for point, wanted in zip(message.points, expected.points, strict=True):
        for field in ("positions", "velocities", "accelerations", "effort"):
            np.testing.assert_array_equal(getattr(point, field), getattr(wanted, field))
        assert vars(wanted.time_from_start) == {
            "sec": point.time_from_start.sec,
            "nanosec": point.time_from_start.nanosec,
        }


@pytest.mark.parametrize("length", range(1, 9))
def test_names_of_any_length_leave_the_numbers_where_they_belong(length: int) -> None:
    names = ("j" * length, "Gelenk_\u00fc")
    zeros = np.zeros((2, 2))
    chunk = SafeChunk(1, names, np.array([0.0, 1.5]), zeros + 0.25, zeros, zeros, SAFETY_KEY)
    message = ROS.deserialize_cdr(trajectory_cdr(chunk), "trajectory_msgs/msg/JointTrajectory")
    assert tuple(message.joint_names) == names
    assert [point.positions.tolist() for point in message.points] == [[0.25, 0.25]] * 2
    assert (message.points[1].time_from_start.sec, message.points[1].time_from_start.nanosec) == (1, 500_000_000)


def broken(**changes: Any) -> Any:
    message = trajectory_message(safe_chunk(), trajectory_class, point_class)
    for name, value in changes.items():
        setattr(message.points[1], name, value)
    return message


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (broken(positions=[0.0]), "point 1: expected 7 positions, got 1"),
        (broken(velocities=[]), "point 1: expected 7 velocities, got 0"),
        (broken(accelerations=[0.0]), "point 1: expected 7 accelerations, got 1"),
        (broken(positions=["x"] * 7), "JointTrajectory"),
        (broken(time_from_start=SimpleNamespace(sec=0, nanosec=-1)), "nanosec"),
        (broken(time_from_start=None), "sec and nanosec"),
        (None, "header"),
    ],
)
def test_ragged_trajectories_give_a_reason(message: Any, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        read_trajectory(message)


def test_no_velocities_at_all_and_no_points_are_the_controllers_business() -> None:
    message = trajectory_message(safe_chunk(), trajectory_class, point_class)
    for point in message.points:
        point.velocities = point.accelerations = []
    reading = read_trajectory(message)
    assert (reading.velocities, reading.accelerations) == (None, None)
    message.points = []
    assert read_trajectory(message).positions.shape == (0, 7)


def markers_of(paths: PlanMarkers, cycle: Cycle) -> dict[str, Any]:
    array = paths.make(cycle, 5)
    return {} if array is None else {marker.ns: marker for marker in array.markers}


@pytest.mark.parametrize("uncertainty", [0.1, None])
def test_plan_is_the_tools_path(uncertainty: float | None) -> None:
    threshold = 0.95 if uncertainty else math.nan
    cycle = Cycle(State.RUNNING, safe_chunk(), energy=-1.25, uncertainty=uncertainty, threshold=threshold)
    found = markers_of(PlanMarkers(CHAIN, SimpleNamespace, Marker, vector), cycle)
    line, text = found["plan"], found["state"]
    angles = [math.atan2(point.y, point.x) for point in line.points]
    assert angles[0] == pytest.approx(0.0)
    assert angles[-1] == pytest.approx(0.3)
    assert {round(math.hypot(point.x, point.y), 9) for point in line.points} == {0.5}
    assert text.text == "running\nE -1.250" + ("   u 0.10 / 0.95" if uncertainty else "")
    assert found["retreat"].action == Marker.DELETE


def test_a_retreat_is_another_path_and_the_state_stays_to_be_read() -> None:
    paths = PlanMarkers(CHAIN, SimpleNamespace, Marker, vector)
    assert markers_of(paths, Cycle(State.WAITING, None)) == {}
    found = markers_of(paths, Cycle(State.RETREATING, safe_chunk(), attempt=1))
    assert found["retreat"].action == Marker.ADD
    assert found["plan"].action == Marker.DELETE
    assert found["state"].text == "retreating   attempt 1"
    end = found["retreat"].points[-1]
    held = markers_of(paths, Cycle(State.HOLDING, None, uncertainty=1.0, threshold=0.95))
    assert set(held) == {"state"}
    assert held["state"].text == "holding\nu 1.00 / 0.95"
    assert held["state"].pose.position.x == end.x


def test_another_tool_draws_the_next_path_in_its_own_frame() -> None:
    paths = PlanMarkers(None, SimpleNamespace, Marker, vector)
    assert markers_of(paths, Cycle(State.RUNNING, safe_chunk())) == {}
    paths.use(CHAIN)
    first = markers_of(paths, Cycle(State.RUNNING, safe_chunk()))
    paths.use(dataclasses.replace(CHAIN, base_frame="elsewhere"))
    held = markers_of(paths, Cycle(State.HOLDING, None))  # where the last path ended, in whose frame it was
    assert (held["state"].header.frame_id, held["state"].pose.position) == ("base", first["state"].pose.position)
    found = markers_of(paths, Cycle(State.RUNNING, safe_chunk()))
    assert {marker.header.frame_id for marker in found.values()} == {"elsewhere"}


def test_colour_goes_from_green_over_yellow_to_red_and_is_blue_without_calibration() -> None:
    assert energy_colour(0.0, 0.95) == (0.0, 0.9, 0.1)
    assert energy_colour(0.95, 0.95) == (1.0, 0.9, 0.1)
    assert energy_colour(1.0, 0.95)[1] == pytest.approx(0.0)
    assert energy_colour(None, math.nan)[2] == 1.0


@pytest.mark.parametrize("joints_ns", [None, 41])
def test_what_a_replay_needs_reads_back_as_it_was(joints_ns: int | None) -> None:
    history = History(Event.ROUND, 45, 46, {"front": 40, "a=b": 2, "joint_states": 44}, joints_ns, rounds=3, seed=7)
    cycle = Cycle(State.RUNNING, safe_chunk(), history=history)
    values = cycle_values(cycle, enabled=True, commanded=True, think_ms=1.0, stamp_age_ms=None)
    read = read_history(values)
    assert read is not None
    assert dataclasses.asdict(read) == dataclasses.asdict(history)
    assert values["command_start_ns"] == str(safe_chunk().start_ns)
    with pytest.raises(MessageError, match="history of a cycle"):
        read_history({**values, "thought_ns": "soon"})


def test_status_says_everything_as_text_and_reads_back() -> None:
    cycle = Cycle(State.HOLDING, None, energy=math.nan, reason="camera 'front' is silent", clamps={"velocity": 3})
    values = cycle_values(cycle, enabled=True, commanded=False, think_ms=1.5, stamp_age_ms=2.0)
    classes = (lambda: SimpleNamespace(header=SimpleNamespace(stamp=stamp())), Status, SimpleNamespace)
    array = diagnostic_array(classes, 7, [("node: chunk", "arm", Status.WARN, "text", values)])
    read = read_values(array, "node: chunk")
    assert read == values
    assert (read["state"], read["reason"], read["energy"], read["latency_ms"]) == ("holding", cycle.reason, "", "")
    assert (read["clamps"], read["clamps.velocity"], read["enabled"], read["commanded"]) == ("3", "3", "true", "false")
    assert read_values(array, "another") == {}
    assert read_history(read) is None
    assert cycle_level(cycle, Status) == Status.WARN
    assert cycle_level(Cycle(State.GIVEN_UP, None), Status) == Status.ERROR
    assert cycle_level(Cycle(State.RUNNING, None), Status) == Status.OK
