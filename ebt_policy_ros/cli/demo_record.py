"""What a run saw, live or in lockstep, as data: turned into JSON and into the HTML report."""

from __future__ import annotations

import datetime
import re
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ebt_policy_ros.cli.results import energy_summary, latency_summary, versions
from ebt_policy_ros.cli.thought import ScoreRange, thought_by_score
from ebt_policy_ros.cli.trajectory_rules import Violation

CALM_STATES = ("running", "waiting")
"""States in which the arm does what the policy wants, without retry's help."""
IN_DOUBT = "in doubt"
RUNGS = ("thinking more", IN_DOUBT, "holding", "retreating", "given up")
"""The ladder of doubt, from the least to the most drastic rung."""
LASTING_DOUBT = re.compile(r"; for \d+\.\d s")
"""What ``core.retry.decide`` adds to its reason when thought did not remove the doubt."""


@dataclass(frozen=True, slots=True)
class CycleRecord:
    """One chunk, as ``~/status`` told it. Times are simulated seconds since the episode began."""

    time_s: float
    state: str
    energy: float | None
    uncertainty: float | None
    attempt: int
    steps: int
    network_evaluations: int
    latency_ms: float | None
    """Camera to chunk, wall time [ms]."""
    reason: str = ""
    dropped_points: int = 0
    clamps: int = 0
    surprise: float | None = None
    """Energy of the previous plan less that of the new one at what is seen now."""
    parts_ms: Mapping[str, float] = field(default_factory=dict)
    """What the latency consists of, by name, wall time [ms]; empty where it was not measured."""

    @property
    def rung(self) -> str:
        """The state, with doubt in which the arm goes on told apart from doubt that more thought removed."""
        return IN_DOUBT if self.state == "thinking more" and LASTING_DOUBT.search(self.reason) else self.state


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One camera picture of the film."""

    time_s: float
    camera: str
    jpeg: bytes


@dataclass
class EpisodeRecord:
    """One episode."""

    index: int
    seed: int
    done_text: str = "done"
    """What a success is called (``Task.done_text``)."""
    success: bool = False
    gave_up: bool = False
    interrupted: bool = False
    """The run ended in the middle of the episode."""
    perturbation: str | None = None
    """Kind of what was to disturb the episode, as far as it was planned in advance."""
    perturbed_at_s: float | None = None
    """When the disturbance set in [simulated s]; None in an undisturbed episode."""
    duration_s: float = 0.0
    """[simulated s]"""
    duration_wall_s: float = 0.0
    num_trajectories: int = 0
    num_rejected: int = 0
    """Trajectories that the simulated controller refused."""
    cycles: list[CycleRecord] = field(default_factory=list)
    frames: list[FrameRecord] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)

    @property
    def retries(self) -> int:
        """Retreats begun: each one ends in another try."""
        states = [cycle.state for cycle in self.cycles]
        return sum(
            before != "retreating" and after == "retreating"
            for before, after in zip(["running", *states], states, strict=False)
        )

    @property
    def interventions(self) -> int:
        """How often the arm left the calm states: thinking more, holding (also for want of input) or retreating."""
        states = [cycle.state for cycle in self.cycles]
        return sum(
            before in CALM_STATES and after not in (*CALM_STATES, "given up")
            for before, after in zip(["running", *states], states, strict=False)
        )

    @property
    def is_calm(self) -> bool:
        """Nothing disturbed the episode and the arm never left the calm states."""
        return self.perturbed_at_s is None and self.interventions == 0 and not self.gave_up

    @property
    def verdict(self) -> str:
        """The outcome in a word or two."""
        if self.success:
            return "recovered" if self.perturbed_at_s is not None or self.retries else self.done_text
        if self.interrupted:
            return "interrupted"
        return "gave up" if self.gave_up else "out of time"

    @property
    def verdict_kind(self) -> str:
        """The outcome as good, warn or bad: to give up is better than to fail and not to know it."""
        return "good" if self.success else ("warn" if self.gave_up else "bad")

    def as_json(self) -> dict[str, Any]:
        """The episode as its entry in the result file."""
        evaluations = [cycle.network_evaluations for cycle in self.cycles if cycle.network_evaluations > 0]
        return {
            "index": self.index,
            "seed": self.seed,
            "success": self.success,
            "gave_up": self.gave_up,
            "interrupted": self.interrupted,
            "verdict": self.verdict,
            "perturbed": self.perturbed_at_s is not None,
            "perturbation": self.perturbation,
            "perturbed_at_s": self.perturbed_at_s,
            "calm": self.is_calm,
            "retries": self.retries,
            "interventions": self.interventions,
            "steps": sum(cycle.steps for cycle in self.cycles),
            "chunks": len(evaluations),
            "network_evaluations_per_chunk": _median(evaluations),
            "network_evaluations_per_chunk_mean": _mean(evaluations),
            "duration_s": round(self.duration_s, 3),
            "duration_wall_s": round(self.duration_wall_s, 3),
            "energy": energy_summary([c.energy for c in self.cycles if c.energy is not None]),
            "uncertainty": {
                "max": max((c.uncertainty for c in self.cycles if c.uncertainty is not None), default=None)
            },
            "surprise": {"max": max((c.surprise for c in self.cycles if c.surprise is not None), default=None)},
            "states": dict(Counter(cycle.state for cycle in self.cycles)),
            "trajectories": self.num_trajectories,
            "trajectories_rejected": self.num_rejected,
            "trajectory_violations": len(self.violations),
        }


@dataclass
class DemoRecord:
    """A whole run."""

    model: str
    seed: int
    done_text: str = "done"
    """What a success of the task is called."""
    threshold: float | None = None
    """Uncertainty in [0, 1] at which retry takes over, as the node states it; None when uncalibrated."""
    episodes: list[EpisodeRecord] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    """Sentences about what went wrong with the run itself (a process that died, an interruption)."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What else a reader wants to know, by name: machine, domain, task."""
    command: str = "demo"
    """Subcommand that made it."""
    latency_text: str = "camera to chunk"
    """What the latencies measure, wall time."""

    @property
    def success_rate(self) -> float | None:
        """Share of the episodes that succeeded; None before any."""
        return _mean([float(episode.success) for episode in self.episodes])

    def latencies_ms(self) -> list[float]:
        """Camera-to-chunk latencies of all chunks [ms]."""
        return [c.latency_ms for episode in self.episodes for c in episode.cycles if c.latency_ms is not None]

    def latency_parts_ms(self) -> dict[str, list[float]]:
        """Name -> times of all chunks that a part of the latency took [ms]; empty where they were not measured."""
        found: dict[str, list[float]] = {}
        for episode in self.episodes:
            for cycle in episode.cycles:
                for name, took_ms in cycle.parts_ms.items() if cycle.latency_ms is not None else ():
                    found.setdefault(name, []).append(took_ms)
        return found

    def network_evaluations(self, *, calm_only: bool = False) -> list[int]:
        """Descent steps (forward-and-gradient passes of the network) of every chunk, of all or of the calm episodes."""
        chosen = [episode for episode in self.episodes if episode.is_calm or not calm_only]
        return [c.network_evaluations for e in chosen for c in e.cycles if c.network_evaluations > 0]

    def thought_by_score(self) -> list[ScoreRange]:
        """Mean thought and rungs of all chunks by their score; empty when uncalibrated."""
        return thought_by_score((cycle for episode in self.episodes for cycle in episode.cycles), self.threshold)

    def violations(self) -> list[Violation]:
        """Every rule of the joint_trajectory_controller that a published trajectory broke."""
        return [violation for episode in self.episodes for violation in episode.violations]

    def as_json(self) -> dict[str, Any]:
        """The result file."""
        return {
            "command": self.command,
            "model": self.model,
            "seed": self.seed,
            "episodes": [episode.as_json() for episode in self.episodes],
            "success_rate": self.success_rate,
            "gave_up": sum(episode.gave_up for episode in self.episodes),
            "threshold": self.threshold,
            "thought_by_score": [asdict(one) for one in self.thought_by_score()],
            "chunk_latency_ms": latency_summary(self.latencies_ms()),
            "chunk_latency_parts_ms": {name: latency_summary(times) for name, times in self.latency_parts_ms().items()},
            "network_evaluations_per_chunk": _median(self.network_evaluations()),
            "network_evaluations_per_chunk_mean": _mean(self.network_evaluations()),
            "network_evaluations_per_calm_chunk": _mean(self.network_evaluations(calm_only=True)),
            "trajectory_rules": {
                "checked": sum(episode.num_trajectories for episode in self.episodes),
                "rejected_by_controller": sum(episode.num_rejected for episode in self.episodes),
                "violations": len(self.violations()),
                "by_rule": dict(Counter(violation.rule for violation in self.violations())),
                "details": [f"{v.rule}: {v.detail}" for v in self.violations()[:20]],
            },
            "settings": dict(self.settings),
            "trouble": list(self.trouble),
            "versions": versions(),
            "created_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        }


def _median(values: list[int]) -> float | None:
    return float(statistics.median(values)) if values else None


def _mean(values: list[float] | list[int]) -> float | None:
    return sum(values) / len(values) if values else None
