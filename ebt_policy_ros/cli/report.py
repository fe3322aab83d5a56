"""The HTML report of a demo run: one file that needs nothing else, no network and no script to be readable."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ebt_policy_ros.cli.arguments import make_parent
from ebt_policy_ros.cli.demo_record import DemoRecord, EpisodeRecord, FrameRecord
from ebt_policy_ros.cli.report_charts import STATE_COLOURS, episode_chart, histogram
from ebt_policy_ros.cli.report_page import PAGE, SCRIPT, STYLE

MAX_FILM_BYTES = 3_000_000
"""Of JPEG in the whole report: films are thinned evenly until they fit, so that the file stays under 5 MB."""
STRIP_FRAMES = 8
TABLE_HEAD = (
    *("episode", "seed", "outcome", "disturbed", "duration", "chunks", "retries"),
    *("energy", "surprise", "uncertainty", "passes/chunk", "violations"),
)


def write_report(path: Path, record: DemoRecord) -> None:
    """Writes the report of ``record`` to ``path``."""
    make_parent(path)
    path.write_text(report_html(record), encoding="utf-8")


def report_html(record: DemoRecord) -> str:
    """The whole report as one HTML document; pictures are data URIs."""
    result = record.as_json()
    films = {
        episode.index: film(episode, MAX_FILM_BYTES // max(1, len(record.episodes))) for episode in record.episodes
    }
    return PAGE.format(
        style=STYLE,
        script=SCRIPT,
        films=json.dumps(films).replace("<", "\\u003c"),
        title=escape(f"ebt_policy_ros demo: {_fraction(record)} {record.done_text}"),
        subtitle=escape(f"model {record.model} · seed {record.seed} · {result['created_at']}"),
        trouble="".join(f'<p class="trouble">{escape(sentence)}</p>' for sentence in record.trouble),
        tiles=_tiles(record, result),
        table=_table(record),
        legend=_legend(),
        episodes="".join(_episode_card(episode, record.threshold) for episode in record.episodes),
        histogram=histogram(record.latencies_ms(), "ms"),
        rules=_rules(result["trajectory_rules"]),
        environment=_pairs({**result["versions"], **record.settings}),
    )


def film(episode: EpisodeRecord, max_bytes: int) -> dict[str, Any]:
    """Frames of an episode for the player, by camera, thinned evenly to ``max_bytes`` of JPEG."""
    cameras = sorted({frame.camera for frame in episode.frames})
    total = sum(len(frame.jpeg) for frame in episode.frames)
    keep_every = max(1, math.ceil(total / max(1, max_bytes)))
    chosen = {camera: _of_camera(episode, camera)[::keep_every] for camera in cameras}
    return {
        camera: {
            "t": [round(frame.time_s, 2) for frame in frames],
            "jpeg": [base64.b64encode(frame.jpeg).decode("ascii") for frame in frames],
        }
        for camera, frames in chosen.items()
    }


def _of_camera(episode: EpisodeRecord, camera: str) -> list[FrameRecord]:
    return sorted((frame for frame in episode.frames if frame.camera == camera), key=lambda frame: frame.time_s)


def _fraction(record: DemoRecord) -> str:
    return f"{sum(episode.success for episode in record.episodes)} of {len(record.episodes)}"


def _tiles(record: DemoRecord, result: Mapping[str, Any]) -> str:
    latency = result["chunk_latency_ms"]
    calm = result["network_evaluations_per_calm_chunk"]
    evaluations = result["network_evaluations_per_chunk_mean"] if calm is None else calm
    rules = result["trajectory_rules"]
    tiles = [
        (_fraction(record), f"episodes: {record.done_text}", ""),
        (_number(evaluations, ".3g"), f"network passes per {'calm ' if calm is not None else ''}chunk", ""),
        (
            _number(latency["p50"], ".0f", " ms"),
            f"camera to chunk, median (99 %: {_number(latency['p99'], '.0f', ' ms')})",
            "",
        ),
        (str(sum(episode.retries for episode in record.episodes)), "retreats before another try", ""),
        (
            str(rules["violations"]),
            f"rule violations in {rules['checked']} trajectories",
            "bad" if rules["violations"] else "good",
        ),
    ]
    return "".join(
        f'<div class="tile {kind}"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name, kind in tiles
    )


def _table(record: DemoRecord) -> str:
    rows = ["<tr>" + "".join(f"<th>{name}</th>" for name in TABLE_HEAD) + "</tr>"]
    for episode in record.episodes:
        entry = episode.as_json()
        cells = [
            f'<a href="#episode-{episode.index}">{episode.index + 1}</a>',
            str(episode.seed),
            f'<span class="verdict {_kind(episode)}">{escape(episode.verdict)}</span>',
            "" if episode.perturbed_at_s is None else f"object moved at {episode.perturbed_at_s:.1f} s",
            f"{episode.duration_s:.1f} s",
            str(entry["chunks"]),
            str(episode.retries),
            f"{_number(entry['energy']['min'], '.3g')} … {_number(entry['energy']['max'], '.3g')}",
            f"max {_number(entry['surprise']['max'], '.2f')}",
            f"max {_number(entry['uncertainty']['max'], '.2f')}",
            _number(entry["network_evaluations_per_chunk_mean"], ".2f"),
            str(len(episode.violations)),
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "<table>" + "".join(rows) + "</table>"


def _kind(episode: EpisodeRecord) -> str:
    return "good" if episode.success else ("warn" if episode.gave_up else "bad")


def _legend() -> str:
    swatches = "".join(
        f'<span><i style="background:{colour}"></i>{escape(state)}</span>' for state, colour in STATE_COLOURS.items()
    )
    return f'<p class="legend">{swatches}</p>'


def _episode_card(episode: EpisodeRecord, threshold: float | None) -> str:
    disturbed = "" if episode.perturbed_at_s is None else " · object moved away while the arm reached for it"
    strips = "".join(_strip(episode, camera) for camera in sorted({frame.camera for frame in episode.frames}))
    reasons = _reasons(episode)
    return (
        f'<section class="card" id="episode-{episode.index}" data-episode="{episode.index}">'
        f"<h3>Episode {episode.index + 1} <small>seed {episode.seed}{disturbed}</small>"
        f'<span class="verdict {_kind(episode)}">{escape(episode.verdict)}</span></h3>'
        f'<div class="scene"><div>{episode_chart(episode, threshold)}</div><div class="player"></div></div>'
        f"{strips}{reasons}</section>"
    )


def _strip(episode: EpisodeRecord, camera: str) -> str:
    frames = _of_camera(episode, camera)
    if not frames:
        return ""
    count = min(STRIP_FRAMES, len(frames))
    chosen = [frames[round(i * (len(frames) - 1) / max(1, count - 1))] for i in range(count)]
    pictures = "".join(
        f'<figure><img alt="camera {escape(camera)} at {frame.time_s:.1f} s" '
        f'src="data:image/jpeg;base64,{base64.b64encode(frame.jpeg).decode("ascii")}">'
        f"<figcaption>{frame.time_s:.1f} s</figcaption></figure>"
        for frame in chosen
    )
    return f'<div class="strip"><b>{escape(camera)}</b>{pictures}</div>'


def _reasons(episode: EpisodeRecord) -> str:
    """What retry said, once for every change of state."""
    lines, before = [], "running"
    for cycle in episode.cycles:
        if cycle.state != before and (
            cycle.state not in ("running", "waiting") or before not in ("running", "waiting")
        ):
            reason = f": {escape(cycle.reason)}" if cycle.reason else ""
            lines.append(f"<li><time>{cycle.time_s:.1f} s</time> {escape(cycle.state)}{reason}</li>")
        before = cycle.state
    if not lines:
        return ""
    hidden = f"<li>and {len(lines) - 14} more</li>" if len(lines) > 14 else ""
    return f'<ul class="reasons">{"".join(lines[:14])}{hidden}</ul>'


def _rules(rules: Mapping[str, Any]) -> str:
    if not rules["violations"]:
        return (
            f"<p>All {rules['checked']} published trajectories kept the rules of a joint_trajectory_controller: "
            "every joint named, strictly increasing times, positions and velocities, zero velocity at the end, never "
            "already past, and continuing the running motion in position and velocity at the splice.</p>"
        )
    lines = "".join(f"<li>{escape(line)}</li>" for line in rules["details"])
    return (
        f'<p class="trouble">{rules["violations"]} violations in {rules["checked"]} trajectories:</p><ul>{lines}</ul>'
    )


def _pairs(pairs: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in pairs.items()) + "</dl>"


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "–" if value is None else f"{value:{form}}{unit}"


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """``rows`` (the first is the heading) as aligned columns for a terminal."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
