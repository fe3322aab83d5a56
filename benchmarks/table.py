"""The README's table of results, written between its markers from what has been measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.matrix import Cell, Kind, Matrix, load_all, successes
from ebt_policy_ros.training.statistics import Paired, pair, pooled, wilson

NOT_RUN = "not run"
HEAD = (
    *("task", "method", "success (95 %)", "episodes", "by training seed [%]", "less {reference} [points] (95 %)"),
    *("network evaluations a chunk", "sampler [ms]", "camera to chunk [ms]", "training [CPU s]"),
)

Results = Mapping[Cell, Mapping[str, Any]]


def measured(results: Path) -> dict[Cell, dict[str, Any]]:
    """All cells that have a result."""
    found = {}
    for result in load_all(results, "*/*.json"):
        if "variant" not in result:
            continue  # something else that was measured on the task
        kind = Kind(result["method"], result["variant"])
        found[Cell(result["task"], kind, result["training_seed"])] = result
    return found


def table(matrix: Matrix, results: Results, latency: Mapping[str, Any] | None = None) -> str:
    """Markdown: a row for every kind of the matrix that was measured on a task, and one that names those that were
    not. ``latency``: a result of ``ebt-policy bench``."""
    head = [text.format(reference=matrix.reference.label) for text in HEAD]
    lines = [_line(head), _line(["---"] * len(head))]
    for task in matrix.tasks:
        lacking = [kind for kind in matrix.kinds() if not of_kind(matrix, task, kind, results)]
        for kind in matrix.kinds():
            if kind not in lacking:
                lines.append(_line([task, kind.label, *_cells(matrix, task, kind, results, latency)]))
        if lacking:
            names = "; ".join(kind.label for kind in lacking)
            lines.append(_line([task, names, NOT_RUN, *[""] * (len(HEAD) - 3)]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def of_kind(matrix: Matrix, task: str, kind: Kind, results: Results) -> dict[int, Mapping[str, Any]]:
    """Training seed -> result, as far as measured."""
    cells = {seed: Cell(task, kind, seed) for seed in matrix.bundles}
    return {seed: results[cell] for seed, cell in cells.items() if cell in results}


def rate_of(runs: Mapping[int, Mapping[str, Any]]) -> tuple[int, int]:
    """(successes, episodes) of all training seeds together."""
    outcomes = "".join(run["outcomes"] for run in runs.values())
    return outcomes.count("1"), len(outcomes)


def against(runs: Mapping[int, Mapping[str, Any]], reference: Mapping[int, Mapping[str, Any]]) -> Paired | None:
    """All training seeds that both have, episode by episode; None when there is none."""
    pairs = [pair(successes(runs[seed]), successes(reference[seed])) for seed in runs if seed in reference]
    return pooled(pairs) if pairs else None


def _cells(matrix: Matrix, task: str, kind: Kind, results: Results, latency: Mapping[str, Any] | None) -> list[str]:
    runs = of_kind(matrix, task, kind, results)
    count, episodes = rate_of(runs)
    low, high = wilson(count, episodes)
    seeds = ", ".join(_share(runs[seed]) if seed in runs else NOT_RUN for seed in matrix.bundles)
    return [
        f"**{count / episodes:.3f}** ({low:.3f} to {high:.3f})",
        f"{episodes // len(runs)} x {len(runs)}",
        seeds,
        _difference(matrix, task, kind, runs, results),
        f"{_mean(run['network_evaluations_per_chunk_mean'] for run in runs.values()):.3g}",
        *_latencies(kind, latency),
        _training(runs),
    ]


def _share(run: Mapping[str, Any]) -> str:
    return f"{100 * run['outcomes'].count('1') / len(run['outcomes']):.0f}"


def _difference(matrix: Matrix, task: str, kind: Kind, runs: Mapping[int, Mapping[str, Any]], results: Results) -> str:
    if kind == matrix.reference:
        return "-"
    paired = against(runs, of_kind(matrix, task, matrix.reference, results))
    if paired is None:
        return f"{matrix.reference.label} {NOT_RUN}"
    low, high = paired.interval
    return f"{100 * paired.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def three_digits(value: float) -> str:
    """A positive number with three significant digits, or all of those before the point."""
    return f"{value:#.3g}" if value < 99.95 else f"{value:.0f}"


def _latencies(kind: Kind, latency: Mapping[str, Any] | None) -> list[str]:
    """Median of the sampler, and from camera to chunk, measured in one process for all."""
    if latency is None:
        return [NOT_RUN, NOT_RUN]
    columns = (latency["sampler_ms"], latency["camera_to_chunk_ms"])
    return [three_digits(column[kind.bench_name]["p50"]) for column in columns]


def _training(runs: Mapping[int, Mapping[str, Any]]) -> str:
    """Of the method itself, and of the encoders where they were trained before."""
    own = [run["training"].get("training_cpu_s") for run in runs.values()]
    encoder = [run["training"].get("encoder_cpu_s") for run in runs.values()]
    if any(value is None for value in own):
        return "not recorded"
    shared = f" + {statistics.median(encoder):.0f} encoders" if all(value for value in encoder) else ""
    return f"{statistics.median(own):.0f}{shared}"


def _mean(values: Any) -> float:
    numbers = [float(value) for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else float("nan")
