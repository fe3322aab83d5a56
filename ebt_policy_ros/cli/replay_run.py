"""A bag through the pipeline again: at the moments at which the node worked when it was recorded, or at its own."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from ebt_policy_ros.assemble import Assembly
from ebt_policy_ros.bags.timeline import CLOCK_SOURCE, JOINT_STATES, STATUS, TRAJECTORY, Heard, Timeline
from ebt_policy_ros.core.cycle import Cycle, Event, History
from ebt_policy_ros.core.errors import MessageError
from ebt_policy_ros.core.types import Floats, Instant
from ebt_policy_ros.messages import TrajectoryReading, decode_image, read_joint_state, read_trajectory
from ebt_policy_ros.messages.stamps import SECOND_NS
from ebt_policy_ros.messages.status import read_history, read_values

LOOKAHEAD_NS = SECOND_NS
"""Messages may have been recorded so much later than what the node made of them [ns]."""
JUMP_NS = SECOND_NS
"""ROS time that goes back by more than this is a clock that jumped [ns]."""


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """One round of the replay, and of the recording."""

    cycle: Cycle | None
    """None where the recording has a cycle and the replay has none."""
    time_ns: int
    """When the input was looked at [ns, ROS time]."""
    think_ms: float
    log_ns: int
    """When the recording got to it [ns, the recorder's clock]."""
    told: Mapping[str, str] = field(default_factory=dict)
    """Values of the recorded status; empty when the replay went its own way."""
    sent: TrajectoryReading | None = None
    """The recorded trajectory, where one was sent and is in the bag."""
    lost: tuple[str, ...] = ()
    """Sources whose message the node had but the bag lacks."""


@dataclass
class Course:
    """How one source of a bag went."""

    messages: int = 0
    refused: int = 0
    longest_gap_s: float = 0.0
    """Between two header stamps."""
    gaps: int = 0
    """Longer than the pipeline lets a stamp be old."""
    jumps_back: int = 0
    """Stamps further back than ``JUMP_NS``."""
    out_of_order: int = 0
    """Stamps not after the newest so far."""
    last_ns: int | None = None

    def note(self, stamp_ns: int, allowed_s: float) -> None:
        """One more message."""
        self.messages += 1
        if self.last_ns is not None:
            step_s = (stamp_ns - self.last_ns) * 1e-9
            self.longest_gap_s = max(self.longest_gap_s, step_s)
            self.gaps += step_s > allowed_s
            self.jumps_back += step_s * SECOND_NS < -JUMP_NS
            if -JUMP_NS <= step_s * SECOND_NS <= 0:
                self.out_of_order += 1
                return
        self.last_ns = stamp_ns


class Replay:
    """Feeds one bag to one pipeline."""

    def __init__(self, timeline: Timeline, assembly: Assembly) -> None:
        self._timeline, self._assembly, self._pipeline = timeline, assembly, assembly.pipeline
        self.cameras = assembly.settings.observe.cameras
        self.courses = {source: Course() for source in (*self.cameras, JOINT_STATES)}
        self.notes = timeline.notes
        """What people should know of a bag that was not closed."""
        self.events: Counter[str] = Counter()
        self.refusals: list[str] = []
        """The first reason of every kind why a message was refused."""
        self._waiting: dict[str, deque[Heard]] = {source: deque() for source in self.courses}
        self._sent: dict[int, deque[Heard]] = {}  # several may begin at one stamp: time may stand still
        self._fed: dict[str, int] = {}
        self._cleared_ns: dict[str, int] = {}  # sources of which nothing was heard since the buffers were cleared

    # --- as recorded ------------------------------------------------------------------------------------------------
    def as_recorded(self) -> Iterator[Replayed]:
        """Every round that the recording tells of, from what the node had received by then."""
        told: deque[Heard] = deque()
        for heard in self._timeline.messages():
            if heard.source == STATUS:
                told.append(heard)
            elif heard.source == TRAJECTORY:
                self._sent.setdefault(heard.stamp_ns, deque()).append(heard)
            elif heard.source != CLOCK_SOURCE:
                self._note(heard)
                self._waiting[heard.source].append(heard)
            while told and heard.log_ns > told[0].log_ns + LOOKAHEAD_NS:
                yield from self._repeat(told.popleft())
        for heard in told:
            yield from self._repeat(heard)

    def _repeat(self, status: Heard) -> Iterator[Replayed]:
        values = read_values(status.message())
        history = read_history(values)
        if history is None:
            return
        self.events[history.event.value] += 1
        if history.event in (Event.RESET, Event.CLEAR):
            if history.event is Event.RESET:
                self._pipeline.reset()
            self._pipeline.clear()
            self._forget(history.thought_ns)
        elif history.event is Event.RETRY:
            self._pipeline.request_retry()
        else:
            yield self._round(status, values, history)

    def _round(self, status: Heard, values: Mapping[str, str], history: History) -> Replayed:
        self._pipeline.continue_from(history.seed, int(values["chunk"]))
        lost = self._feed(history.newest_ns)
        thought = Instant(history.thought_ns, status.log_ns)
        began_s = time.monotonic()
        cycle: Cycle | None
        if history.event is Event.ROUND:
            most = {"max_rounds": max(1, history.rounds), "max_steps": int(values.get("steps") or 0) or None}
            plan = self._pipeline.think(thought, **most)
            think_ms = (time.monotonic() - began_s) * 1e3
            if history.acted_joints_ns is not None:
                lost += self._feed({JOINT_STATES: history.acted_joints_ns})
            acted = Instant(history.acted_ns, status.log_ns)
            cycle = self._pipeline.act(plan, acted, dry_run=values.get("enabled") != "true")
        else:
            cycle = self._pipeline.watch(thought) if history.event is Event.WATCH else self._pipeline.stop(thought)
            think_ms = 0.0
        sent = None
        if values.get("commanded") == "true" and values.get("command_start_ns"):
            waiting = self._sent.get(int(values["command_start_ns"]))
            sent = read_trajectory(waiting.popleft().message()) if waiting else None
        return Replayed(cycle, history.thought_ns, think_ms, status.log_ns, values, sent, lost)

    def _feed(self, newest_ns: Mapping[str, int]) -> tuple[str, ...]:
        """Everything up to these stamps, by source; returns the sources whose newest message the bag lacks."""
        for source, stamp_ns in newest_ns.items():
            waiting, cleared_ns = self._waiting.get(source), self._cleared_ns.pop(source, None)
            while waiting and waiting[0].stamp_ns <= stamp_ns:
                heard = waiting.popleft()
                # One that was on its way when the buffers were cleared is known by being the newest.
                if cleared_ns is None or heard.stamp_ns > cleared_ns or heard.stamp_ns == stamp_ns:
                    self._add(heard)
        return tuple(source for source, stamp_ns in newest_ns.items() if self._fed.get(source) != stamp_ns)

    def _forget(self, now_ns: int) -> None:
        """The node cleared its buffers: what had come by then is not to come again."""
        self._cleared_ns = dict.fromkeys(self._waiting, now_ns)
        self._fed.clear()

    # --- on its own -------------------------------------------------------------------------------------------------
    def on_its_own(self, latency_s: float = 0.0) -> Iterator[Replayed]:
        """A plan whenever the pipeline wants one; nothing that it commands happens, the arm moves as recorded.

        ROS time is the bag's /clock, or where it has none the newest stamp so far; every thought takes ``latency_s``.
        """
        now_ns: int | None = None
        for heard in self._timeline.messages():
            if heard.source in (STATUS, TRAJECTORY):
                continue
            if heard.source == CLOCK_SOURCE or not self._timeline.has_clock:
                if now_ns is not None and heard.stamp_ns < now_ns - JUMP_NS:
                    self.events["clock jumped back"] += 1
                    self._pipeline.clear()
                    now_ns = heard.stamp_ns
                now_ns = heard.stamp_ns if now_ns is None else max(now_ns, heard.stamp_ns)
            if heard.source == CLOCK_SOURCE:
                continue
            self._note(heard)
            self._add(heard)
            now = Instant(heard.stamp_ns if now_ns is None else now_ns, heard.log_ns)
            if not self._pipeline.is_due(now):
                continue
            self.events[Event.ROUND.value] += 1
            began_s = time.monotonic()
            plan = self._pipeline.think(now)
            think_ms = (time.monotonic() - began_s) * 1e3
            delay_ns = round(latency_s * SECOND_NS)
            later = Instant(now.ros_ns + delay_ns, now.steady_ns + delay_ns)
            yield Replayed(self._pipeline.act(plan, later, dry_run=True), now.ros_ns, think_ms, heard.log_ns)

    # --- both -------------------------------------------------------------------------------------------------------
    def _note(self, heard: Heard) -> None:
        self.courses[heard.source].note(heard.stamp_ns, self._assembly.settings.observe.max_stamp_age_s)

    def _add(self, heard: Heard) -> None:
        """A message as the node receives it; a malformed one is counted, as there."""
        try:
            if heard.source == JOINT_STATES:
                reading = read_joint_state(heard.message(), self._assembly.robot.joint_names)
                self._pipeline.add_joints(
                    reading.stamp_ns, heard.log_ns, reading.names, reading.positions, reading.velocities
                )
            else:
                pixels = decode_image(heard.message())
                self._pipeline.add_image(heard.source, heard.stamp_ns, heard.log_ns, pixels)
        except MessageError as error:
            self.courses[heard.source].refused += 1
            reason = f"{self._timeline.topic_of(heard.source)}: {error}"
            if reason not in self.refusals and len(self.refusals) < 20:
                self.refusals.append(reason)
        self._fed[heard.source] = heard.stamp_ns


def trajectory_difference(cycle: Cycle | None, sent: TrajectoryReading) -> float:
    """The largest difference of positions, velocities and accelerations (rad, m, s) between what was replayed and
    recorded; infinite when points, times or joints differ, 0 when they are equal bit for bit."""
    command = None if cycle is None else cycle.command
    if command is None or command.start_ns != sent.start_ns or not set(sent.joint_names) <= set(command.joint_names):
        return float("inf")
    if [round(time_s * 1e9) for time_s in command.times_s] != [round(time_s * 1e9) for time_s in sent.times_s]:
        return float("inf")
    columns = [command.joint_names.index(name) for name in sent.joint_names]  # without a hand that has its own
    largest = 0.0
    for replayed, recorded in (
        (command.positions, sent.positions),
        (command.velocities, sent.velocities),
        (command.accelerations, sent.accelerations),
    ):
        if recorded is None or recorded.shape != replayed[:, columns].shape:
            return float("inf")
        largest = max(largest, float(np.abs(replayed[:, columns] - recorded).max()))
    return largest


def targets(assembly: Assembly, cycle: Cycle) -> Floats:
    """(H, D) joint targets [rad, m] of a cycle that has a chunk."""
    assert cycle.minimum is not None
    return assembly.normaliser.unnormalise_chunk(cycle.minimum.chunk)
