"""Plots of the results: success with intervals, learning curves, what a chunk costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.curve import Run, load_runs
from benchmarks.matrix import Kind, Matrix, load_latency
from benchmarks.table import Results, measured, of_kind, rate_of, three_digits
from ebt_policy_ros.core.errors import UnsupportedError
from ebt_policy_ros.training.statistics import wilson

COLOURS = {"ebt": "#1b7837", "dp": "#762a83", "regression": "#777777"}
SHADES = (1.0, 0.62, 0.42, 0.28)
"""Opacity of a method's first, second, ... variant."""
TARGET = 0.95


def draw_all(matrix: Matrix, results: Path, images: Path) -> list[Path]:
    """Draws what there are results for; returns the files."""
    images.mkdir(parents=True, exist_ok=True)
    cells, runs = measured(results), load_runs(results)
    drawn = []
    if cells:
        drawn.append(draw_success(matrix, cells, images / "success.png"))
    latency = load_latency(results)
    if latency is not None:
        drawn.append(draw_latency(matrix, latency, images / "latency.png"))
    if runs:
        drawn.append(draw_curves(runs, images / "learning_curves.png"))
    return drawn


def draw_success(matrix: Matrix, results: Results, path: Path) -> Path:
    """A panel a task, a line a method: pooled rate with Wilson's interval, and a small dot for every training seed."""
    tasks, kinds = list(matrix.tasks), matrix.kinds()
    figure, panels = _figure(len(tasks), width=3.1, height=0.9 + 0.3 * len(kinds))
    for axes, task in zip(panels, tasks, strict=True):
        for row, kind in enumerate(kinds):
            _success_row(axes, row, kind, of_kind(matrix, task, kind, results), _shade(matrix, kind))
        axes.set(title=task, xlim=(_lowest(axes), 1.01), ylim=(len(kinds) - 0.5, -0.5), xlabel="success")
        axes.set_yticks(range(len(kinds)), [kind.label for kind in kinds])
        axes.grid(axis="x", alpha=0.3)
    return _save(figure, path)


def _success_row(axes: Any, row: int, kind: Kind, runs: Mapping[int, Mapping[str, Any]], shade: float) -> None:
    if not runs:
        axes.annotate("not run", (0.04, row), xycoords=("axes fraction", "data"), va="center", color="#999999")
        return
    count, episodes = rate_of(runs)
    rate, (low, high) = count / episodes, wilson(count, episodes)
    colour = COLOURS[kind.method]
    axes.errorbar(
        rate, row, xerr=[[rate - low], [high - rate]], fmt="o", color=colour, alpha=max(shade, 0.5), capsize=3
    )
    shares = [run["outcomes"].count("1") / len(run["outcomes"]) for run in runs.values()]
    axes.plot(shares, [row + 0.28] * len(shares), ".", color=colour, alpha=0.5, markersize=4)


def _lowest(axes: Any) -> float:
    """Left end of the axis: the data's, so that high rates can be told apart."""
    return float(max(-0.01, min(0.9, axes.dataLim.x0 - 0.03)))


def draw_latency(matrix: Matrix, latency: Mapping[str, Any], path: Path) -> Path:
    """What a chunk takes, a line a method: the sampler alone, and from camera to chunk; medians, 10 % to 90 %."""
    kinds = matrix.kinds()
    figure, panels = _figure(2, width=3.6, height=0.9 + 0.3 * len(kinds))
    columns = (("sampler [ms]", latency["sampler_ms"]), ("camera to chunk [ms]", latency["camera_to_chunk_ms"]))
    for axes, (title, times) in zip(panels, columns, strict=True):
        for row, kind in enumerate(kinds):
            known = times[kind.bench_name]
            middle, shade = known["p50"], max(0.5, _shade(matrix, kind))
            axes.plot([known["p10"], known["p90"]], [row, row], color=COLOURS[kind.method], alpha=shade)
            axes.plot(middle, row, "o", color=COLOURS[kind.method], alpha=shade)
            axes.annotate(
                three_digits(middle), (middle, row), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=8
            )
        axes.set(title=title, xscale="log", ylim=(len(kinds) - 0.5, -0.7))
        _whole_decades(axes)
        axes.set_yticks(range(len(kinds)), [kind.label for kind in kinds])
        axes.grid(axis="x", which="both", alpha=0.2)
        axes.set_axisbelow(True)
    return _save(figure, path)


def _whole_decades(axes: Any) -> None:
    """A logarithmic axis from a power of ten to a power of ten, with plain numbers."""
    drawn = [float(value) for line in axes.lines for value in line.get_xdata()]
    axes.set_xlim(10 ** math.floor(math.log10(min(drawn) * 0.9)), 10 ** math.ceil(math.log10(max(drawn) * 1.1)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")


def draw_curves(runs: Sequence[Run], path: Path) -> Path:
    """Success of the snapshots against the CPU seconds spent so far; a panel a task, a line a training run."""
    tasks = list(dict.fromkeys(run.task for run in runs))
    figure, panels = _figure(len(tasks), width=4.4, height=3.4)
    for axes, task in zip(panels, tasks, strict=True):
        labelled = set()
        for run in [run for run in runs if run.task == task]:
            colour, rates = COLOURS[run.method], run.rates()
            intervals = [wilson(sum(outcomes), len(outcomes)) for outcomes in run.outcomes]
            label = None if run.label in labelled else run.label
            labelled.add(run.label)
            is_short = run.sampler is not None and run.sampler.startswith("ddim")
            axes.plot(run.cpu_s, rates, "o--" if is_short else "o-", color=colour, markersize=3.5, label=label)
            axes.fill_between(run.cpu_s, *zip(*intervals, strict=True), color=colour, alpha=0.12, linewidth=0)
        axes.axhline(TARGET, color="#444444", linewidth=0.8, linestyle=":")
        axes.set(
            title=task, xlabel="training [CPU s], encoders apart", ylabel="success", ylim=(-0.02, 1.02), xlim=(0, None)
        )
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", fontsize=8)
    return _save(figure, path)


def _shade(matrix: Matrix, kind: Kind) -> float:
    return SHADES[min(len(SHADES) - 1, list(matrix.variants[kind.method]).index(kind.variant))]


def _figure(columns: int, *, width: float, height: float) -> tuple[Any, Sequence[Any]]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UnsupportedError(f"plots need matplotlib ({error}); install it: pip install matplotlib") from error
    figure = Figure(figsize=(max(4.5, width * columns), height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False, sharey=True)[0]


def _save(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return path
