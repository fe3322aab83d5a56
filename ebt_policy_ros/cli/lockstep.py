"""Lockstep episodes as the records of results and reports, every trajectory judged as in the live demo."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ebt_policy_ros.cli.demo_record import CycleRecord, EpisodeRecord
from ebt_policy_ros.cli.trajectory_rules import Trajectory, TrajectoryRules
from ebt_policy_ros.core.cycle import Cycle, State
from ebt_policy_ros.sim.lockstep import Turn, play
from ebt_policy_ros.sim.world import Disturbance, SimWorld

if TYPE_CHECKING:
    from ebt_policy_ros.core.pipeline import Pipeline


class Lockstep:
    """One simulated arm and one pipeline. Deterministic: an episode depends on its seed and disturbance alone."""

    def __init__(self, arm: Any, pipeline: Pipeline, time_limit_s: float) -> None:
        self._world = SimWorld(arm, arm.task.target, 0, lambda _text: None)
        self._pipeline = pipeline
        self._time_limit_s = time_limit_s
        self._rules = TrajectoryRules(arm.joint_names)

    def episode(self, index: int, seed: int, disturbance: Disturbance | None = None) -> EpisodeRecord:
        """Runs one episode to success, give-up or the time limit."""
        world, record, began_s = self._world, EpisodeRecord(index, seed), time.monotonic()
        self._rules.restart()
        for turn in play(world, self._pipeline, seed, disturbance=disturbance, time_limit_s=self._time_limit_s):
            record.cycles.append(cycle_record(turn.cycle, turn.elapsed_s, turn.latency_ms))
            self._judge(turn, record)
            record.gave_up = turn.cycle.state is State.GIVEN_UP
        record.success = world.success_ns is not None
        record.duration_s, record.duration_wall_s = world.elapsed_s, time.monotonic() - began_s
        record.num_rejected = world.num_rejected
        world.num_rejected = 0
        if world.disturbed_ns is not None:
            record.perturbed_at_s = (world.disturbed_ns - world.began_ns) / 1e9
        return record

    def _judge(self, turn: Turn, record: EpisodeRecord) -> None:
        command = turn.cycle.command
        self._rules.measure(turn.positions)
        if command is not None:
            values = (command.start_ns, command.joint_names, command.times_s, command.positions, command.velocities)
            record.num_trajectories += 1
            record.violations += self._rules.check(Trajectory(*values), turn.now_ns)


def cycle_record(cycle: Cycle, time_s: float, latency_ms: float) -> CycleRecord:
    """What is kept of a cycle; only one that used the network has a latency."""
    return CycleRecord(
        time_s=round(time_s, 3),
        state=cycle.state.value,
        energy=cycle.energy,
        uncertainty=cycle.uncertainty,
        attempt=cycle.attempt,
        steps=cycle.steps,
        network_evaluations=cycle.network_evaluations,
        latency_ms=latency_ms if cycle.network_evaluations else None,
        reason=cycle.reason,
        dropped_points=cycle.dropped_points,
        clamps=sum(cycle.clamps.values()),
        surprise=cycle.surprise,
    )


def disturbances(text: str | None, known: Sequence[str]) -> Callable[[int], Disturbance | None]:
    """Episode index -> its disturbance: none, always the one of ``text``, or every known kind in turn for 'all'.

    Without a time or place (``teleport@1.5``, ``teleport@reaching0.1``) it happens when the hand is near the object.
    """
    if not text:
        return lambda _index: None
    names = list(known) if text == "all" else [text]
    chosen = [Disturbance.from_text(name if "@" in name else f"{name}@reaching") for name in names]
    return lambda index: chosen[index % len(chosen)]
