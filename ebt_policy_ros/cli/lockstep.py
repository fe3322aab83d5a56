"""Lockstep episodes as the records of results and reports, every trajectory judged as in the live demo."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ebt_policy_ros.cli.demo_record import CycleRecord, EpisodeRecord
from ebt_policy_ros.cli.trajectory_rules import Trajectory, TrajectoryRules
from ebt_policy_ros.core.cycle import Cycle, State
from ebt_policy_ros.sim.world import Disturbance

if TYPE_CHECKING:
    from ebt_policy_ros.sim.lockstep import Turn
    from ebt_policy_ros.training.episodes import Episode


def record_episode(episode: Episode) -> EpisodeRecord:
    """Plays an episode to success, give-up or the time limit; every trajectory is judged before it is followed."""
    world, job, began_s = episode.world, episode.job, time.monotonic()
    record = EpisodeRecord(job.index, job.seed, world.arm.task.done_text)
    rules = TrajectoryRules(world.arm.joint_names)
    rejected_before = world.num_rejected
    for turn in episode.play():
        record.cycles.append(cycle_record(turn.cycle, turn.elapsed_s, turn.latency_ms))
        _judge(turn, rules, record)
        record.gave_up = turn.cycle.state is State.GIVEN_UP
    record.success = world.success_ns is not None
    record.duration_s, record.duration_wall_s = world.elapsed_s, time.monotonic() - began_s
    record.num_rejected = world.num_rejected - rejected_before
    if world.disturbed_ns is not None:
        record.perturbed_at_s = (world.disturbed_ns - world.began_ns) / 1e9
    return record


def _judge(turn: Turn, rules: TrajectoryRules, record: EpisodeRecord) -> None:
    command = turn.cycle.command
    rules.measure(turn.positions)
    if command is not None:
        values = (command.start_ns, command.joint_names, command.times_s, command.positions, command.velocities)
        record.num_trajectories += 1
        record.violations += rules.check(Trajectory(*values), turn.now_ns)


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
