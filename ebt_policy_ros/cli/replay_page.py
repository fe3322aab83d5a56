"""The page of a replay: what was repeated, energies and scores over time, how the bag's sources went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ebt_policy_ros.assemble import Assembly
from ebt_policy_ros.cli.arguments import make_parent
from ebt_policy_ros.cli.demo_record import EpisodeRecord
from ebt_policy_ros.cli.lockstep import cycle_record
from ebt_policy_ros.cli.replay_run import Replayed
from ebt_policy_ros.cli.report_charts import episode_chart
from ebt_policy_ros.cli.report_page import STYLE

STRETCH_S = 30.0
"""A chart shows at most this much."""
GAP_S = 3.0
"""A pause of planning that begins a new chart."""

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><main>
<header><h1>{title}</h1><p>{subtitle}</p></header>
<div class="tiles">{tiles}</div>
<h2>Energies and scores</h2>{charts}
<h2>What differs</h2><div class="plain">{differences}</div>
<h2>The bag's sources</h2><div class="plain">{sources}</div>
</main></body></html>
"""


def write_page(path: Path, result: Mapping[str, Any], rounds: Sequence[Replayed], assembly: Assembly) -> None:
    """Writes the page of ``result`` to ``path``."""
    make_parent(path)
    threshold = result["uncertainty"]["threshold"]
    charts = "".join(
        f'<div class="card"><h3>{begin_s:.1f} to {end_s:.1f} s</h3>{episode_chart(episode, threshold)}</div>'
        for begin_s, end_s, episode in stretches(rounds)
    )
    title = f"Replay of {Path(result['bag']).name}"
    text = PAGE.format(
        style=STYLE,
        title=escape(title),
        subtitle=escape(f"model {assembly.model_name} · timing {result['timing']} · {result['duration_s']:.1f} s"),
        tiles=_tiles(result),
        charts=charts or "<p>No chunk was planned.</p>",
        differences=_differences(result["recorded"]),
        sources=_sources(result["sources"]),
    )
    path.write_text(text, encoding="utf-8")


def stretches(rounds: Sequence[Replayed]) -> list[tuple[float, float, EpisodeRecord]]:
    """(begin, end [s since the first round], its cycles) of stretches without long pauses."""
    begin_ns, found = rounds[0].time_ns, list[tuple[float, float, EpisodeRecord]]()
    last_s = None
    for one in rounds:
        now_s = (one.time_ns - begin_ns) * 1e-9
        is_new = last_s is None or now_s - last_s > GAP_S or now_s < last_s or now_s - found[-1][0] > STRETCH_S
        if is_new:
            found.append((now_s, now_s, EpisodeRecord(len(found), 0, interrupted=True)))
        since_s, _, episode = found[-1]
        if one.cycle is not None:
            episode.cycles.append(cycle_record(one.cycle, now_s - since_s, one.think_ms))
        episode.duration_s = now_s - since_s
        found[-1] = (since_s, now_s, episode)
        last_s = now_s
    return found


def _tiles(result: Mapping[str, Any]) -> str:
    told = result["recorded"]
    tiles = [(str(result["chunks"]), f"chunks in {result['rounds']} rounds", "")]
    if told is not None:
        all_equal = told["trajectories_equal"] == told["trajectories"]
        tiles.append(
            (
                f"{told['trajectories_equal']}/{told['trajectories']}",
                "recorded trajectories repeated bit for bit",
                "good" if all_equal else "bad",
            )
        )
        kind = "good" if told["statuses_equal"] == told["statuses"] else "bad"
        tiles.append((f"{told['statuses_equal']}/{told['statuses']}", "statuses the same", kind))
    above = result["uncertainty"]["above"]
    tiles.append(("-" if above is None else str(above), "chunks above the threshold", ""))
    tiles.append((f"{result['think_ms']['p50'] or 0:.0f} ms", "median thought about a chunk", ""))
    return "".join(f'<div class="tile {kind}"><b>{escape(n)}</b><span>{escape(t)}</span></div>' for n, t, kind in tiles)


def _differences(told: Mapping[str, Any] | None) -> str:
    if told is None:
        return "<p>The replay planned at times of its own: there is nothing to compare with.</p>"
    if not told["first_differences"]:
        return "<p>Nothing.</p>"
    rows = "".join(
        f"<tr><td>{escape(str(one['chunk']))}</td><td>{escape(key)}</td><td>{escape(old)}</td><td>{escape(new)}</td>"
        f"<td>{escape(', '.join(one['lost']))}</td></tr>"
        for one in told["first_differences"]
        for key, (old, new) in one["differs"].items()
    )
    head = "<tr><th>chunk</th><th>what</th><th>recorded</th><th>replayed</th><th>missing in the bag</th></tr>"
    return f"<table>{head}{rows}</table>"


def _sources(sources: Mapping[str, Mapping[str, Any]]) -> str:
    keys = ("messages", "refused", "gaps", "longest_gap_s", "jumps_back", "out_of_order")
    head = "".join(f"<th>{key.replace('_s', ' [s]').replace('_', ' ')}</th>" for key in keys)
    rows = "".join(
        f"<tr><td>{escape(name)}</td>" + "".join(f"<td>{round(own[key], 3)}</td>" for key in keys) + "</tr>"
        for name, own in sources.items()
    )
    return f"<table><tr><th>source</th>{head}</tr>{rows}</table>"
