"""Plots of what scores are worth and of what energies mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.verdicts import ALL
from ebt_policy_ros.core.errors import UnsupportedError

COLOURS = ("#1b7837", "#762a83", "#d95f02", "#2166ac", "#777777", "#b2182b")


def draw(result: Mapping[str, Any], images: Path) -> list[Path]:
    """Both plots of a task; returns the files."""
    images.mkdir(parents=True, exist_ok=True)
    task = result["task"]
    return [
        draw_scores(result, images / f"energies_{task}.png"),
        draw_meaning(result, images / f"energies_{task}_meaning.png"),
    ]


def draw_scores(result: Mapping[str, Any], path: Path) -> Path:
    """A row a score: AUROC with its interval for 'this fails' within 3 s and for 'something happened' within 1 s."""
    names = list(result["overall"])
    figure, panels = _figure(2, (9.5, 1.2 + 0.21 * len(names)))
    judges = list(dict.fromkeys(name.partition(": ")[0] for name in names))
    for axes, what, window, title in (
        (panels[0], "fails", "3s", "this episode fails (worst within 3 s)"),
        (panels[1], "happened", "1s", "something happened (worst within 1 s)"),
    ):
        for row, name in enumerate(names):
            area = result[what][window][ALL][name]
            colour = COLOURS[judges.index(name.partition(": ")[0]) % len(COLOURS)]
            if area is not None:
                value, low, high = area[:3]
                reach = [[max(0.0, value - low)], [max(0.0, high - value)]]
                axes.errorbar(value, row, xerr=reach, fmt="o", color=colour, markersize=4, capsize=2, linewidth=1)
        axes.axvline(0.5, color="#444444", linewidth=0.8, linestyle=":")
        axes.set(title=title, xlabel="AUROC, 95 % interval", xlim=(0.0, 1.02), ylim=(len(names) - 0.5, -0.5))
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.grid(axis="x", alpha=0.3)
    panels[1].set_yticks(range(len(names)), [""] * len(names))
    return _save(figure, path)


def draw_meaning(result: Mapping[str, Any], path: Path) -> Path:
    """Left: predicted against real squared distance on held-out demonstrations, for the energies that have a zero (all
    where none has). Right: spread of ends by steps."""
    figure, (left, right) = _figure(2, (9.0, 3.8))
    anchored = [name for name, found in result["distance"].items() if found["has_zero"]]
    for place, (name, found) in enumerate(result["distance"].items()):
        if anchored and name not in anchored:
            continue
        colour = COLOURS[place % len(COLOURS)]
        guesses, truths = zip(*found["bins"], strict=True)
        left.plot(guesses, truths, "o-", color=colour, markersize=4, label=f"{name}: results, in bins")
        others = [point for kind, point in found["scatter"].items() if kind != "result"]
        left.plot(*zip(*others, strict=True), "s", color=colour, markersize=4, alpha=0.45)
    limits = (1e-4, 5.0)
    left.plot(limits, limits, ":", color="#444444", linewidth=0.8)
    left.set_xscale("symlog", linthresh=1e-4)
    left.set_yscale("log")
    left.set(xlabel="predicted squared distance", ylabel="real squared distance to the expert's chunk")
    left.set_title("does E mean distance? (squares: starts, noisy and foreign chunks)", fontsize=9)
    left.legend(fontsize=7)
    left.grid(alpha=0.3)
    modes = result["modes"]
    for place, name in enumerate(name for name in modes if name != "expert"):
        colour, own = COLOURS[place % len(COLOURS)], modes[name]
        right.plot(own["steps"], own["spread"], "o-", color=colour, markersize=4, label=f"{name}: spread of 16 ends")
        right.plot(own["steps"], own["best"], "x--", color=colour, markersize=4, alpha=0.6)
    right.axhline(modes["expert"]["between"], color="#444444", linewidth=1, linestyle=":", label="expert's ways apart")
    right.set_xscale("log", base=2)
    right.set_xticks(own["steps"], [str(step) for step in own["steps"]])
    right.set(xlabel="descent steps K", ylabel="root mean square, normalised units", ylim=(0, None))
    right.set_title("do starts find different ways? (crosses: the best end's error)", fontsize=9)
    right.legend(fontsize=7)
    right.grid(alpha=0.3)
    return _save(figure, path)


def _figure(columns: int, size: tuple[float, float]) -> tuple[Any, Sequence[Any]]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UnsupportedError(f"plots need matplotlib ({error}); install it: pip install matplotlib") from error
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=100, metadata={"Software": None})
    return path
