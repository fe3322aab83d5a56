"""Learning curves: success of every snapshot of training runs against the CPU seconds they took, and when each first
reaches 0.95.

  python -m benchmarks.curve out/learning/lift-1 out/learning/lift-1/dp --task lift --episodes 50

Snapshots that were measured before (same weights, same command) are kept. One JSON a run in
benchmarks/results/<task>/curve/, a picture in docs/images/.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.matrix import RESULTS, TITLES, load_all, save, with_sampler
from ebt_policy_ros.cli.progress import Estimate
from ebt_policy_ros.cli.results import versions
from ebt_policy_ros.core.errors import BundleError, EbtPolicyError
from ebt_policy_ros.training.episodes import Setup, task_of
from ebt_policy_ros.training.select import NO_RETRY, Candidate, candidates, play_outcomes

TARGET, RESAMPLES = 0.95, 2000


@dataclass(frozen=True)
class Run:
    """The snapshots of one training run and how they did, by CPU seconds."""

    task: str
    method: str
    sampler: str | None
    training_seed: int
    cpu_s: tuple[float, ...]
    """Spent until the snapshot, encoders apart."""
    encoder_cpu_s: float
    """Spent on the encoders, once for all methods."""
    outcomes: tuple[tuple[bool, ...], ...]
    """Of every snapshot, in the same order of seeds."""

    @property
    def label(self) -> str:
        """For the legend."""
        return with_sampler(self.method, self.sampler)

    def rates(self, chosen: NDArray[np.int64] | None = None) -> list[float]:
        """Success of every snapshot, on all episodes or on the ``chosen`` (N,)."""
        table = np.array(self.outcomes, dtype=np.float64)
        return [float(rate) for rate in (table if chosen is None else table[:, chosen]).mean(axis=1)]


def reached_s(cpu_s: Sequence[float], rates: Sequence[float], target: float = TARGET) -> float:
    """CPU seconds at which success first reaches ``target``, straight between snapshots, from none at 0 s; else inf."""
    before_s, before = 0.0, 0.0
    for now_s, rate in zip(cpu_s, rates, strict=True):
        if rate >= target:
            return before_s + (now_s - before_s) * (target - before) / (rate - before)
        before_s, before = now_s, rate
    return math.inf


def summary(runs: Sequence[Run], target: float = TARGET, *, seed: int = 0) -> dict[str, Any]:
    """When runs reach ``target`` [CPU s], by label: each run, the median, its 95 % interval, and ratios of medians.

    Intervals by resampling the episodes of every run (2000 times); null where a run does not get there.
    """
    rng = np.random.default_rng(seed)
    medians: dict[str, NDArray[np.float64]] = {}
    result: dict[str, Any] = {"target": target, "runs": {}, "ratios": {}}
    for label in sorted({run.label for run in runs}):
        same = [run for run in runs if run.label == label]
        each = [reached_s(run.cpu_s, run.rates(), target) for run in same]
        drawn = np.array([[_resampled_s(run, target, rng) for run in same] for _ in range(RESAMPLES)])
        medians[label] = np.array([float(np.median(each)), *np.median(drawn, axis=1)])
        result["runs"][label] = {
            "each_cpu_s": each,
            "cpu_s": medians[label][0],
            "interval": _interval(medians[label][1:]),
            "encoder_cpu_s": float(np.median([run.encoder_cpu_s for run in same])),
        }
    for first, second in [(a, b) for a in medians for b in medians if a.startswith(TITLES["ebt"]) and a != b]:
        if not np.isfinite([medians[first][0], medians[second][0]]).all():
            continue  # one does not get there: its time says so
        with np.errstate(invalid="ignore"):
            ratios = medians[first] / medians[second]
        result["ratios"][f"{first} / {second}"] = {"ratio": float(ratios[0]), "interval": _interval(ratios[1:])}
    return result


def _resampled_s(run: Run, target: float, rng: np.random.Generator) -> float:
    count = len(run.outcomes[0])
    return reached_s(run.cpu_s, run.rates(rng.integers(count, size=count)), target)


def _interval(values: NDArray[np.float64]) -> list[float]:
    """2.5 % and 97.5 % of the values in order, without interpolation (some may be infinite)."""
    ordered = np.sort(np.where(np.isnan(values), np.inf, values))
    return [float(ordered[int(share * (len(ordered) - 1))]) for share in (0.025, 0.975)]


def load_runs(results: Path = RESULTS) -> list[Run]:
    """All runs whose curve was measured."""
    return [_run(entry) for entry in load_all(results, "*/curve/*.json")]


def _run(entry: Mapping[str, Any]) -> Run:
    points = entry["points"]
    return Run(
        entry["task"],
        entry["method"],
        entry["sampler"],
        entry["training_seed"],
        tuple(point["cpu_s"] for point in points),
        entry["encoder_cpu_s"] or 0.0,
        tuple(tuple(letter == "1" for letter in point["outcomes"]) for point in points),
    )


def measure(run_dir: Path, options: argparse.Namespace) -> Path:
    """Plays every snapshot of a run that is not measured yet and writes its curve; returns the file."""
    found = candidates(run_dir)
    bundle = found[-1].bundle
    task = options.task or task_of(bundle)
    for one in found:
        if "training_cpu_s" not in one.bundle.provenance:
            raise BundleError(f"{one.directory}: expected 'training_cpu_s' in its provenance; train it again")
    training_seed = int(bundle.provenance.get("training", {}).get("seed", 0))
    sampler = options.sampler if bundle.method == "dp" else None
    name = "-".join([bundle.method, str(training_seed), *([sampler] if sampler else [])])
    path = options.results / task / "curve" / f"{name}.json"
    asked = {"task": task, "sampler": sampler, "episodes": options.episodes, "first_seed": options.seed}
    points = _points(found, asked, _kept(path, asked), options)
    chosen = ["--task", task, "--episodes", str(options.episodes), "--seed", str(options.seed)]
    command = ["python -m benchmarks.curve", str(run_dir), *chosen, *(["--sampler", sampler] if sampler else [])]
    save(
        path,
        {
            **asked,
            "command": " ".join(command),
            "method": bundle.method,
            "training_seed": training_seed,
            "encoder_cpu_s": bundle.provenance.get("encoder_cpu_s"),
            "points": points,
            "versions": versions(),
        },
    )
    return path


def _kept(path: Path, asked: Mapping[str, Any]) -> dict[str, str]:
    """Hash of weights -> outcomes that were measured before in the same way."""
    if not path.exists():
        return {}
    before = json.loads(path.read_text(encoding="utf-8"))
    if any(before[name] != value for name, value in asked.items()):
        return {}
    return {point["weights_sha256"]: point["outcomes"] for point in before["points"]}


def _points(
    found: Sequence[Candidate], asked: Mapping[str, Any], kept: Mapping[str, str], options: argparse.Namespace
) -> list[dict[str, Any]]:
    outcomes = dict(kept)
    fresh = [one for one in found if one.bundle.weights_sha256 not in outcomes]
    if fresh:
        setups = [Setup(str(one.directory), asked["task"], NO_RETRY, sampler=asked["sampler"]) for one in fresh]
        seeds = range(asked["first_seed"], asked["first_seed"] + asked["episodes"])
        estimate, played = Estimate("episodes of snapshots"), [dict[int, bool]() for _ in fresh]
        for place, seed, outcome in play_outcomes(setups, seeds, processes=options.processes):
            played[place][seed] = outcome.success
            estimate.show(sum(map(len, played)), len(fresh) * len(seeds))
        for one, by_seed in zip(fresh, played, strict=True):
            outcomes[one.bundle.weights_sha256] = "".join("1" if by_seed[seed] else "0" for seed in seeds)
    return [
        {
            "gradient_steps": one.gradient_steps,
            "cpu_s": one.bundle.provenance["training_cpu_s"],
            "weights_sha256": one.bundle.weights_sha256,
            "outcomes": outcomes[one.bundle.weights_sha256],
        }
        for one in found
    ]


def in_words(value: float, interval: Sequence[float], style: str) -> str:
    """A time or ratio with its interval; infinite ones are 'never'."""
    texts = [format(number, style) if math.isfinite(number) else "never" for number in (value, *interval)]
    return f"{texts[0]} (95 % interval {texts[1]} to {texts[2]})"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curve", description=__doc__.split("\n\n")[0])
    parser.add_argument("run_dirs", nargs="*", type=Path, metavar="RUN_DIR", help="none: draw what is measured")
    parser.add_argument("--task", help="default: the run's")
    parser.add_argument("--episodes", type=int, default=50, help="of every snapshot (default 50)")
    parser.add_argument("--seed", type=int, default=1000, help="of the first episode (default 1000)")
    parser.add_argument("--sampler", default="ddim16", help="of diffusion policies (default ddim16)")
    parser.add_argument("--processes", type=int, help="episodes in parallel (default: one a core)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: benchmarks/results")
    parser.add_argument("--images", type=Path, default=RESULTS.parents[1] / "docs" / "images")
    parser.add_argument("--json", type=Path, help="where the summary goes")
    options = parser.parse_args(arguments)
    from benchmarks.plots import draw_curves

    try:
        for run_dir in options.run_dirs:
            sys.stderr.write(f"{measure(run_dir, options)}\n")
        runs = load_runs(options.results)
        draw_curves(runs, options.images / "learning_curves.png")
    except EbtPolicyError as error:
        sys.stderr.write(f"benchmarks.curve: {error}\n")
        return 2
    found = {task: summary([run for run in runs if run.task == task]) for task in sorted({run.task for run in runs})}
    for task, times in found.items():
        for label, entry in times["runs"].items():
            print(f"{task}, {label}: {TARGET} after {in_words(entry['cpu_s'], entry['interval'], '.0f')} CPU s")
        for what, entry in times["ratios"].items():
            print(f"{task}, {what}: {in_words(entry['ratio'], entry['interval'], '.2f')}")
    if options.json is not None:
        save(options.json, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
