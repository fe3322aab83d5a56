"""Lockstep episodes as the records of results and reports, every trajectory judged as in the live demo."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ebt_policy_ros.cli.demo_record import CycleRecord, EpisodeRecord
from ebt_policy_ros.cli.film import FILM_PERIOD_S, film_frame
from ebt_policy_ros.cli.trajectory_rules import TrajectoryRules
from ebt_policy_ros.core.cycle import Cycle, State
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.sim.perturbations import GROUPS, PERTURBATIONS
from ebt_policy_ros.sim.world import Disturbance

if TYPE_CHECKING:
    from ebt_policy_ros.sim.lockstep import Turn
    from ebt_policy_ros.training.episodes import Episode


def record_episode(episode: Episode, *, is_filmed: bool = False) -> EpisodeRecord:
    """Plays an episode to success, give-up or the time limit; every trajectory is judged before it is followed.

    ``is_filmed``: with what the cameras saw, as the policy was shown it.
    """
    world, job, began_s = episode.world, episode.job, time.monotonic()
    record = EpisodeRecord(job.index, job.seed, world.arm.task.done_text)
    rules = TrajectoryRules(world.arm.joint_names)
    rejected_before = world.num_rejected
    for turn in episode.play():
        record.cycles.append(cycle_record(turn.cycle, turn.elapsed_s, turn.latency_ms))
        _judge(turn, rules, record)
        if is_filmed and turn.elapsed_s - (record.frames[-1].time_s if record.frames else -1.0) >= FILM_PERIOD_S:
            record.frames += [film_frame(turn.elapsed_s, camera, pixels) for camera, pixels in turn.images.items()]
        record.gave_up = turn.cycle.state is State.GIVEN_UP
    record.success = world.success_ns is not None
    record.duration_s, record.duration_wall_s = world.elapsed_s, time.monotonic() - began_s
    record.num_rejected = world.num_rejected - rejected_before
    record.perturbation = None if job.disturbance is None else job.disturbance.label
    if world.disturbed_ns is not None:
        record.perturbed_at_s = (world.disturbed_ns - world.began_ns) / 1e9
    if is_filmed:  # how it ended is seen after the last turn only; the world begins anew with the next episode
        last = world.pictures()
        record.frames += [film_frame(world.elapsed_s, camera, picture.pixels) for camera, picture in last.items()]
    return record


def _judge(turn: Turn, rules: TrajectoryRules, record: EpisodeRecord) -> None:
    command = turn.cycle.command
    rules.measure(turn.positions)
    if command is not None:
        record.num_trajectories += 1
        record.violations += rules.check(command, turn.now_ns)


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
        parts_ms={name: took_s * 1e3 for name, took_s in cycle.parts_s.items()},
        reason=cycle.reason,
        dropped_points=cycle.dropped_points,
        clamps=sum(cycle.clamps.values()),
        surprise=cycle.surprise,
    )


def disturbances(text: str | None) -> Callable[[int], Disturbance | None]:
    """Episode index -> its disturbance: none, or those that ``text`` names in turn.

    ``text`` lists kinds or groups of kinds (``GROUPS``, such as ``all`` or ``camera``), each with a severity, a
    duration and a moment of its own where wanted: ``teleport``, ``slip,black:0.5~3``, ``scene@1.5``. SettingsError
    for a name that is unknown or a kind that is named twice: results are told apart by kind.
    """
    if not text:
        return lambda _index: None
    chosen: dict[str, Disturbance] = {}
    for entry in text.split(","):
        asked = Disturbance.from_text(entry)
        if asked.kind not in GROUPS and asked.kind not in PERTURBATIONS:
            raise SettingsError(
                f"perturbation '{asked.kind}': expected kinds ({', '.join(PERTURBATIONS)}) or groups of them "
                f"({', '.join(GROUPS)}), with commas between them"
            )
        for kind in GROUPS.get(asked.kind, (asked.kind,)):
            disturbance = dataclasses.replace(asked, kind=kind)
            if chosen.setdefault(disturbance.label, disturbance) != disturbance:
                raise SettingsError(
                    f"perturbations '{text}': expected every kind once, got '{kind}' with different severities or "
                    "moments; play them in runs of their own"
                )
    in_turn = list(chosen.values())
    return lambda index: in_turn[index % len(in_turn)]


def by_perturbation(episodes: Sequence[EpisodeRecord]) -> dict[str, dict[str, Any]]:
    """Kind -> what came of the episodes in which it was to happen; empty when none was planned."""
    kinds = dict.fromkeys(episode.perturbation for episode in episodes if episode.perturbation is not None)
    return {kind: _counts([episode for episode in episodes if episode.perturbation == kind]) for kind in kinds}


def table_by_perturbation(results: Mapping[str, Mapping[str, Any]]) -> str:
    """``by_perturbation`` for people to read, a line a kind."""
    lines = [f"{'perturbation':<14}{'succeeded':>12}{'95 % interval':>18}{'set in':>8}{'retries':>9}{'given up':>10}"]
    for kind, counts in results.items():
        low, high = counts["interval"]
        lines.append(
            f"{kind:<14}{counts['successes']:>5} of {counts['episodes']:<3}{100 * low:>9.1f} to {100 * high:>5.1f}"
            f"{counts['disturbed']:>8}{counts['retries']:>9}{counts['gave_up']:>10}"
        )
    return "\n".join(lines)


def _counts(episodes: Sequence[EpisodeRecord]) -> dict[str, Any]:
    from ebt_policy_ros.training.statistics import wilson

    successes = sum(episode.success for episode in episodes)
    return {
        "episodes": len(episodes),
        "disturbed": sum(episode.perturbed_at_s is not None for episode in episodes),
        "successes": successes,
        "success_rate": successes / len(episodes),
        "interval": [round(value, 4) for value in wilson(successes, len(episodes))],
        "retries": sum(episode.retries for episode in episodes),
        "gave_up": sum(episode.gave_up for episode in episodes),
    }
