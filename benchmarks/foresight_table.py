"""The tables of what scores foresee, for docs/uncertainty.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.energy_table import area_text


def table(result: Mapping[str, Any]) -> str:
    """Markdown: how the episodes went, what every score foresees, and what the shipped threshold brings."""
    lines = []
    for group, words in (("tuned", "Perturbations that the score was chosen on"), ("apart", "Kept apart")):
        kinds = result["episodes"].get(group, {})
        counts = ", ".join(f"{kind} {passed}/{all_}" for kind, (passed, all_) in kinds.items())
        lines.append(f"{words}, successes without retry: {counts or 'none'}.  ")
    lines += ["", *_areas(result), "", *_alarms(result)]
    return "\n".join(lines)


def _areas(result: Mapping[str, Any]) -> list[str]:
    groups = [group for group in ("apart", "tuned", "all") if group in result["episodes"]]
    head = ["score", *(f"{group}, {window}" for group in groups for window in ("3 s", "5 s"))]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, own in result["scores"].items():
        cells = [area_text(own[group]["fails"][window]) for group in groups for window in ("3s", "5s")]
        lines.append(f"| {'**' + name + '**' if name == 'score' else name} | " + " | ".join(cells) + " |")
    return lines


def _alarms(result: Mapping[str, Any]) -> list[str]:
    shipped = result["shipped"]
    lines = [
        f"At the shipped threshold (alpha {shipped['alpha']:g}):",
        "",
        "| alarm | kinds | within | failures alarmed | survivors alarmed | balanced accuracy | calm episodes alarmed |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, words in (
        ("alarm", "score above it"),
        ("lasting", f"for {shipped['lasting']['lasting_s']:g} s: the ladder acts"),
    ):
        false, count, low, high = shipped[label]["false_alarms"]
        calm = f"{false} of {count} ({100 * low:.0f} to {100 * high:.0f} %)"
        for group in ("apart", "tuned", "all"):
            for within in ("3s", "5s", "episode"):
                own = shipped[label].get(group, {}).get(within)
                if own:
                    cells = [
                        f"{own[key]:.2f}" for key in ("failures_alarmed", "survivors_alarmed", "balanced_accuracy")
                    ]
                    lines.append(f"| {words} | {group} | {within} | " + " | ".join(cells) + f" | {calm} |")
    return lines
