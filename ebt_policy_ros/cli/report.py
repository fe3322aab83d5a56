"""The HTML report of a run, live or in lockstep: one file that needs nothing else, no network, no script to be read."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Collection, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ebt_policy_ros.cli.arguments import make_parent
from ebt_policy_ros.cli.demo_record import CALM_STATES, DemoRecord, EpisodeRecord, FrameRecord
from ebt_policy_ros.cli.report_charts import episode_chart, histogram
from ebt_policy_ros.cli.report_page import PAGE, SCRIPT, STYLE
from ebt_policy_ros.cli.report_thought import thought_table
from ebt_policy_ros.sim.perturbations import PERTURBATIONS

MAX_JPEG_BYTES = 3_000_000
"""In the whole report: films are thinned evenly until they and the strips fit, so that the file stays under 5 MB."""
MAX_CARDS = 20
"""Episodes shown one by one; all of them are in the table."""
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
    shown = worth_showing(record.episodes)
    strips = [frame for episode in shown for camera in _cameras(episode) for frame in _strip_frames(episode, camera)]
    film_bytes = max(0, MAX_JPEG_BYTES - sum(len(frame.jpeg) for frame in strips)) // max(1, len(shown))
    films = {episode.index: film(episode, film_bytes) for episode in shown}
    return PAGE.format(
        style=STYLE,
        script=SCRIPT,
        films=json.dumps(films).replace("<", "\\u003c"),
        title=escape(f"ebt_policy_ros {record.command}: {_fraction(record)} {record.done_text}"),
        subtitle=escape(f"model {record.model} · seed {record.seed} · {result['created_at']}"),
        trouble="".join(f'<p class="trouble">{escape(sentence)}</p>' for sentence in record.trouble),
        tiles=_tiles(record, result),
        table=_table(record, {episode.index for episode in shown}),
        shown=_shown(len(shown), len(record.episodes)),
        episodes="".join(_episode_card(episode, record.threshold) for episode in shown),
        thought=thought_table(record.thought_by_score()),
        latency=escape(record.latency_text),
        histogram=histogram(record.latencies_ms(), "ms") + _latency_parts(result["chunk_latency_parts_ms"]),
        rules=_rules(result["trajectory_rules"]),
        environment=_pairs({**result["versions"], **record.settings}),
    )


def worth_showing(episodes: Sequence[EpisodeRecord]) -> list[EpisodeRecord]:
    """All episodes, or of many the most telling: failures first, then retreats, then what else the ladder did.

    Who is left out stays out when more episodes come.
    """
    if len(episodes) <= MAX_CARDS:
        return list(episodes)
    order = sorted(episodes, key=lambda one: (one.success, one.retries == 0, one.interventions == 0, one.index))
    return order[:MAX_CARDS]


def drop_unseen_films(episodes: Sequence[EpisodeRecord]) -> None:
    """Forgets the frames of the episodes that the report will not show: those of a thousand would fill the memory."""
    shown = {episode.index for episode in worth_showing(episodes)}
    for episode in episodes:
        if episode.index not in shown:
            episode.frames.clear()


def film(episode: EpisodeRecord, max_bytes: int) -> dict[str, Any]:
    """Frames of an episode for the player, by camera, thinned evenly to ``max_bytes`` of JPEG."""
    total = sum(len(frame.jpeg) for frame in episode.frames)
    keep_every = max(1, math.ceil(total / max(1, max_bytes)))
    chosen = {camera: _of_camera(episode, camera)[::keep_every] for camera in _cameras(episode)}
    return {
        camera: {
            "t": [round(frame.time_s, 2) for frame in frames],
            "jpeg": [base64.b64encode(frame.jpeg).decode("ascii") for frame in frames],
        }
        for camera, frames in chosen.items()
    }


def _cameras(episode: EpisodeRecord) -> list[str]:
    return sorted({frame.camera for frame in episode.frames})


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
            f"{record.latency_text}, median (99 %: {_number(latency['p99'], '.0f', ' ms')})",
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


def _table(record: DemoRecord, shown: Collection[int]) -> str:
    """All episodes; those in ``shown`` lead to their cards."""
    rows = ["<tr>" + "".join(f"<th>{name}</th>" for name in TABLE_HEAD) + "</tr>"]
    for episode in record.episodes:
        entry, number = episode.as_json(), str(episode.index + 1)
        cells = [
            f'<a href="#episode-{episode.index}">{number}</a>' if episode.index in shown else number,
            str(episode.seed),
            f'<span class="verdict {episode.verdict_kind}">{escape(episode.verdict)}</span>',
            escape(_disturbance(episode)),
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


def _disturbance(episode: EpisodeRecord) -> str:
    """What disturbed the episode and when, or nothing."""
    kind = episode.perturbation or "disturbance"
    if episode.perturbed_at_s is not None:
        return f"{kind} at {episode.perturbed_at_s:.1f} s"
    return "" if episode.perturbation is None else f"{kind}, never set in"


def _shown(num_shown: int, num_episodes: int) -> str:
    if num_shown == num_episodes:
        return ""
    return (
        f"<p>Shown are {num_shown} of {num_episodes} episodes: failures first, then those with retreats, then those in "
        "which the ladder was climbed at all. The others are in the table only.</p>"
    )


def _episode_card(episode: EpisodeRecord, threshold: float | None) -> str:
    parts = [f"seed {episode.seed}", _disturbance(episode)]
    if episode.perturbation in PERTURBATIONS:
        parts.append(PERTURBATIONS[episode.perturbation].description)
    strips = "".join(_strip(episode, camera) for camera in _cameras(episode))
    reasons = _reasons(episode)
    return (
        f'<section class="card" id="episode-{episode.index}" data-episode="{episode.index}"{_rescue(episode)}>'
        f"<h3>Episode {episode.index + 1} <small>{escape(' · '.join(part for part in parts if part))}</small>"
        f'<span class="verdict {episode.verdict_kind}">{escape(episode.verdict)}</span></h3>'
        f'<div class="scene"><div>{episode_chart(episode, threshold)}</div><div class="player"></div></div>'
        f"{strips}{reasons}</section>"
    )


def _rescue(episode: EpisodeRecord) -> str:
    """The mark by which ``tools/report_picture.py`` finds an episode that a retreat rescued, with its time."""
    retreats = [cycle.time_s for cycle in episode.cycles if cycle.rung == "retreating"]
    if not (episode.success and episode.perturbed_at_s is not None and retreats):
        return ""
    return f' data-rescued="{retreats[0]:.2f}" data-retreats="{episode.retries}"'


def _strip_frames(episode: EpisodeRecord, camera: str) -> list[FrameRecord]:
    """First to last frame of a camera, as even in time as the frames allow."""
    frames = _of_camera(episode, camera)
    if not frames:
        return []
    begin_s, step_s = frames[0].time_s, (frames[-1].time_s - frames[0].time_s) / (STRIP_FRAMES - 1)
    wanted_s = [begin_s + place * step_s for place in range(STRIP_FRAMES)]
    places = [min(range(len(frames)), key=lambda k: abs(frames[k].time_s - time_s)) for time_s in wanted_s]
    return [frames[place] for place in dict.fromkeys(places)]


def _caption(episode: EpisodeRecord, time_s: float) -> str:
    """The time, and the rung of the ladder on which the arm stood then."""
    rung = next((cycle.rung for cycle in reversed(episode.cycles) if cycle.time_s <= time_s + 1e-3), "running")
    return f"{time_s:.1f} s" if rung in CALM_STATES else f"{time_s:.1f} s, {rung}"


def _strip(episode: EpisodeRecord, camera: str) -> str:
    pictures = "".join(
        f'<figure><img alt="camera {escape(camera)} at {frame.time_s:.1f} s" '
        f'src="data:image/jpeg;base64,{base64.b64encode(frame.jpeg).decode("ascii")}">'
        f"<figcaption>{escape(_caption(episode, frame.time_s))}</figcaption></figure>"
        for frame in _strip_frames(episode, camera)
    )
    return f'<div class="strip"><b>{escape(camera)}</b>{pictures}</div>'


def _reasons(episode: EpisodeRecord) -> str:
    """What retry said, once for every change of rung."""
    lines, before = [], "running"
    for cycle in episode.cycles:
        if cycle.rung != before and (cycle.rung not in CALM_STATES or before not in CALM_STATES):
            reason = f": {escape(cycle.reason)}" if cycle.reason else ""
            lines.append(f"<li><time>{cycle.time_s:.1f} s</time> {escape(cycle.rung)}{reason}</li>")
        before = cycle.rung
    if not lines:
        return ""
    hidden = f"<li>and {len(lines) - 14} more</li>" if len(lines) > 14 else ""
    return f'<ul class="reasons">{"".join(lines[:14])}{hidden}</ul>'


PARTS = {
    "decode": "decode the newest picture",
    "ahead": "encode pictures ahead",
    "wait": "wait for the model, and for the other cameras",
    "think": "think",
    "encode": "… encode the pictures",
    "descend": "… descend the energy, and judge the result",
    "act": "limits and splice",
    "send": "send the command",
}
"""Parts of the latency, in their order, in words."""


def _latency_parts(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the time goes, as far as it was measured."""
    rows = "".join(
        f"<tr><td>{words}</td><td>{_number(parts[name]['p50'], '.1f', ' ms')}</td>"
        f"<td>{_number(parts[name]['p99'], '.1f', ' ms')}</td></tr>"
        for name, words in PARTS.items()
        if name in parts
    )
    return f"<table><tr><th>of it</th><th>median</th><th>99 %</th></tr>{rows}</table>" if rows else ""


def _rules(rules: Mapping[str, Any]) -> str:
    if not rules["violations"]:
        return (
            f"<p>All {rules['checked']} published trajectories kept the rules of a joint_trajectory_controller: "
            "every joint named, strictly increasing times, positions, velocities and accelerations, rest at the end, "
            "never already past, and continuing the running motion in all three at the splice.</p>"
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
