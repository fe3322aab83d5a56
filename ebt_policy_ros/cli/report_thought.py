"""Thought against doubt: a table of the report that shows whether doubtful chunks are thought about for longer."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ebt_policy_ros.cli.report_charts import FAINT, RUNG_COLOURS
from ebt_policy_ros.cli.thought import ScoreRange

HEAD = ("score", "chunks", "gradient steps a chunk", "network passes", "what the arm did with them")


def thought_table(ranges: Sequence[ScoreRange]) -> str:
    """A row for every range of scores; a sentence when there are no scores."""
    if not any(one.chunks for one in ranges):
        return "<p>No chunk has a score: the bundle is not calibrated, or nothing was planned.</p>"
    most = max(one.steps_mean or 0.0 for one in ranges) or 1.0
    rows = ["<tr>" + "".join(f"<th>{name}</th>" for name in HEAD) + "</tr>"]
    for one in ranges:
        cells = [one.name, str(one.chunks), "", "", ""]
        if one.steps_mean is not None and one.network_evaluations_mean is not None:
            bar = f'<i class="bar" style="width:{120 * one.steps_mean / most:.0f}px"></i>'
            cells[2:] = [f"{bar}{one.steps_mean:.1f}", f"{one.network_evaluations_mean:.1f}", _shares(one)]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return '<table class="thought">' + "".join(rows) + "</table>"


def _shares(one: ScoreRange) -> str:
    """Rungs as a bar of shares, and in words, the most frequent first."""
    by_count = sorted(one.rungs.items(), key=lambda entry: -entry[1])
    parts = [(rung, 100.0 * count / one.chunks) for rung, count in by_count]
    bar = "".join(
        f'<i style="width:{percent:.1f}%;background:{RUNG_COLOURS.get(rung, FAINT)}"></i>' for rung, percent in parts
    )
    return f'<span class="shares">{bar}</span>' + escape(", ".join(f"{rung} {share:.0f} %" for rung, share in parts))
