"""Which checkpoint of a training run is the best, judged by rollouts: offline error does not rank them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ebt_policy_ros.core.errors import BundleError, SettingsError
from ebt_policy_ros.policy.bundle import POLICY_FILE, Bundle
from ebt_policy_ros.training.episodes import Episode, Job, Setup, play_all, task_of
from ebt_policy_ros.training.statistics import wilson

SEED = 6000
SNAPSHOTS = "snapshots"
FEWEST = 8
"""Episodes of a first round, at least: fewer say next to nothing."""
NO_RETRY: Mapping[str, Mapping[str, Any]] = {"retry": {"enabled": False}}
"""What is chosen is the policy, not what retry makes good."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What counts of an episode."""

    success: bool
    duration_s: float
    """[simulated s]; the time limit where it failed."""


@dataclass
class Candidate:
    """A checkpoint and how it has done so far."""

    directory: Path
    bundle: Bundle
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    """By seed of the episode."""

    @property
    def gradient_steps(self) -> int:
        """How long it was trained; 0 where its provenance does not say."""
        return int(self.bundle.provenance.get("gradient_steps", 0))

    @property
    def successes(self) -> int:
        """Episodes that succeeded."""
        return sum(outcome.success for outcome in self.outcomes.values())

    @property
    def rank(self) -> tuple[float, float, int]:
        """Higher is better: success rate, then the shorter episodes, then the longer training."""
        count = max(1, len(self.outcomes))
        duration_s = sum(outcome.duration_s for outcome in self.outcomes.values()) / count
        return self.successes / count, -duration_s, self.gradient_steps

    def score(self) -> dict[str, Any]:
        """The candidate's line in the provenance."""
        count = len(self.outcomes)
        return {
            "gradient_steps": self.gradient_steps,
            "episodes": count,
            "successes": self.successes,
            "interval": [round(value, 4) for value in wilson(self.successes, count)],
            "mean_duration_s": round(-self.rank[1], 3),
        }


@dataclass(frozen=True)
class Choice:
    """The checkpoint chosen, and every candidate's score."""

    best: Candidate
    scores: list[dict[str, Any]]
    """By gradient steps."""


def select(
    run_dir: str | Path,
    task: str | None = None,
    episodes: int = 100,
    seed: int = SEED,
    *,
    sampler: str | None = None,
    processes: int | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Choice:
    """Makes the best checkpoint of a training run its bundle, and writes how it was chosen into its provenance.

    Candidates are ``run_dir`` itself and ``run_dir/snapshots/step_*``. All play the same seeds (``seed`` ...) with
    retry off; after every round the better half goes on (successive halving), and the last two play all ``episodes``.
    ``sampler``: of a diffusion policy. ``progress`` is told episodes done and wanted. A bundle replaced by a snapshot
    loses its score heads and calibration, which belong to other weights: choose first, calibrate then.

    Raises BundleError where there is no bundle.
    """
    run_dir = Path(run_dir)
    if episodes < 1:
        raise SettingsError(f"episodes: expected at least 1, got {episodes}")
    everyone = candidates(run_dir)
    name = task or task_of(everyone[0].bundle)
    plan = rounds(len(everyone), episodes)
    wanted = sum(count * (until - since) for count, since, until in plan)
    done, remaining = 0, list(everyone)
    for count, since, until in plan:
        remaining = sorted(remaining, key=lambda one: one.rank, reverse=True)[:count]
        setups = [Setup(str(one.directory), name, NO_RETRY, device, sampler=sampler) for one in remaining]
        for place, at, outcome in play_outcomes(setups, range(seed + since, seed + until), processes=processes):
            remaining[place].outcomes[at] = outcome
            done += 1
            if progress is not None:
                progress(done, wanted)
    best = max(remaining, key=lambda one: one.rank)
    choice = Choice(best, [one.score() for one in sorted(everyone, key=lambda one: one.gradient_steps)])
    _install(choice, run_dir, {"task": name, "first_seed": seed, "episodes": episodes, "sampler": sampler})
    return choice


def candidates(run_dir: str | Path) -> list[Candidate]:
    """The checkpoints of a training run, by gradient steps; the run's own bundle stands for the snapshot it equals."""
    run_dir = Path(run_dir)
    snapshots = sorted(path.parent for path in (run_dir / SNAPSHOTS).glob(f"*/{POLICY_FILE}"))
    places = [*([run_dir] if (run_dir / POLICY_FILE).exists() else []), *snapshots]
    if not places:
        raise BundleError(
            f"{run_dir}: expected a training run with {POLICY_FILE} or {SNAPSHOTS}/*/{POLICY_FILE}, found neither; "
            "train one with `ebt-policy train --out DIR`"
        )
    found: dict[int | str, Candidate] = {}
    for place in places:
        one = Candidate(place, Bundle.load(place))
        found.setdefault(one.gradient_steps or one.bundle.weights_sha256, one)
    methods = sorted({one.bundle.method for one in found.values()})
    if len(methods) > 1:
        raise BundleError(f"{run_dir}: expected snapshots of one method, got {' and '.join(methods)}")
    return sorted(found.values(), key=lambda one: one.gradient_steps)


def rounds(num_candidates: int, episodes: int) -> list[tuple[int, int, int]]:
    """(candidates, first episode, end) of every round: half as many go on, and play twice as many episodes in all."""
    counts = [num_candidates]
    while counts[-1] > 2:
        counts.append(math.ceil(counts[-1] / 2))
    plan, since = [], 0
    for place, count in enumerate(counts):
        left = len(counts) - 1 - place
        until = max(since, min(episodes, max(FEWEST, round(episodes / 2**left))))
        if until > since:
            plan.append((count, since, until))
        since = until
    return plan


def play_outcomes(
    setups: Sequence[Setup], seeds: Sequence[int], *, processes: int | None = None
) -> Iterator[tuple[int, int, Outcome]]:
    """Plays every setup on every seed, in parallel; yields (place in ``setups``, seed, outcome) as each is there."""
    order = [(place, seed) for place in range(len(setups)) for seed in seeds]
    jobs = [Job(setups[place], index, seed) for index, (place, seed) in enumerate(order)]
    with contextlib.closing(play_all(jobs, outcome_of, processes=processes)) as results:
        for index, outcome in results:
            yield *order[index], outcome


def outcome_of(episode: Episode) -> Outcome:
    """Plays an episode and keeps what counts."""
    for _turn in episode.play():
        pass
    return Outcome(episode.world.success_ns is not None, round(episode.world.elapsed_s, 3))


def _install(choice: Choice, run_dir: Path, how: Mapping[str, Any]) -> None:
    """Saves the chosen bundle as the run's own."""
    chosen = choice.best.bundle
    selection = {**how, "chosen_gradient_steps": choice.best.gradient_steps, "scores": choice.scores}
    replace(chosen, provenance={**chosen.provenance, "selection": selection}).save(run_dir)
