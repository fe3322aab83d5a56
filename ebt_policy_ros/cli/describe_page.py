"""The page of ``ebt-policy describe``: one HTML file with everything in it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ebt_policy_ros.cli.report_page import STYLE

EXTRA_STYLE = """
.tiles { grid-template-columns: repeat(6, 1fr); } .sheet { width: 100%; display: block; border-radius: 8px; }
.warnings { margin: 0; padding: 0 0 0 18px; } .warnings li { margin: 3px 0; }
.card.warn { border-left: 5px solid var(--warn); } .card.good { border-left: 5px solid var(--good); }
"""


def page(source: str, summary: Mapping[str, Any], pictures: Sequence[tuple[str, bytes]]) -> str:
    """The whole page; ``pictures`` are (title, PNG)."""
    figures = "".join(
        f'<h2>{escape(title)}</h2><div class="card"><img class="sheet" alt="{escape(title)}" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}"></div>'
        for title, png in pictures
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(summary['task'])}: demonstrations</title><style>{STYLE}{EXTRA_STYLE}</style></head>"
        f"<body><main>"
        f"<header><h1>{escape(summary['task'])}</h1><p>{escape(summary['kind'])} demonstrations in {escape(source)}</p>"
        f"</header>{_tiles(summary)}<h2>What to look at before training</h2>{_warnings(summary['warnings'])}"
        f"{figures}<h2>Joints</h2>{_table(*joint_rows(summary))}<h2>Streams, as recorded</h2>"
        f"{_table(*stream_rows(summary))}<h2>Cameras</h2>{_table(*camera_rows(summary))}"
        f"<h2>Episodes</h2>{_table(*episode_rows(summary))}</main></body></html>"
    )


def joint_rows(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table of joints."""
    heads = [
        "joint",
        "unit",
        "measured from",
        "to",
        "commanded from",
        "to",
        "speed p99",
        "highest",
        "|command - measured|",
    ]
    rows = [
        [joint["name"], joint["unit"], *(f"{v:.3f}" for v in (*joint["position"], *joint["action"])),
         f"{joint['speed_p99']:.2f}", f"{joint['speed_most']:.2f}", f"{joint['distance']:.4f}"]
        for joint in summary["joints"]
    ]  # fmt: skip
    return heads, rows


def stream_rows(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table of streams."""
    heads = ["stream", "rate [Hz]", "slowest episode [Hz]", "largest gap [ms]", "oldest sample of a row [ms]"]
    rows = [
        [name, f"{s['rate_hz']:.2f}", f"{s['slowest_hz']:.2f}", f"{1000 * s['largest_gap_s']:.0f}",
         f"{1000 * s['skew_s']:.0f}"]
        for name, s in summary["streams"].items()
    ]  # fmt: skip
    return heads, rows


def camera_rows(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table of cameras."""
    heads = ["camera", "height x width", "brightness", "contrast", "repeated pictures", "saturated"]
    rows = [
        [name, f"{c['height']} x {c['width']}", f"{c['brightness']:.0f}", f"{c['contrast']:.0f}",
         f"{c['duplicated']:.1%}", f"{c['saturated']:.1%}"]
        for name, c in summary["cameras"].items()
    ]  # fmt: skip
    return heads, rows


def episode_rows(summary: Mapping[str, Any], most: int = 400) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table of episodes, the first ``most``."""
    heads = ["episode", "file", "length [s]", "rows", "lag [ms]", "largest gap [ms]", "frozen", "repeated"]
    rows = []
    for number, episode in enumerate(summary["per_episode"][:most]):
        lag = "-" if episode["lag_s"] is None else f"{1000 * episode['lag_s']:.0f}"
        rows.append(
            [
                str(number),
                episode["name"] if len(episode["name"]) < 48 else "..." + episode["name"][-45:],
                f"{episode['length'] * summary['period_s']:.2f}",
                str(episode["length"]),
                lag,
                f"{1000 * max(episode['largest_gap_s'].values()):.0f}",
                f"{max(episode['frozen'].values(), default=0):.0%}",
                f"{max(episode['duplicated'].values(), default=0):.0%}",
            ]
        )
    return heads, rows


def _tiles(summary: Mapping[str, Any]) -> str:
    lag = summary["lag_s"]
    tiles = [
        (str(summary["episodes"]), "episodes"),
        (f"{summary['rows']:,}", "rows"),
        (f"{summary['duration_s'] / 60:.1f} min", "of demonstrations"),
        (f"{1000 * summary['period_s']:.0f} ms", "period"),
        (f"{len(summary['joints'])} + {len(summary['cameras'])}", "joints and cameras"),
        ("-" if lag is None else f"{1000 * lag['median']:.0f} ms", "from command to motion"),
    ]
    return (
        '<div class="tiles">'
        + "".join(f'<div class="tile"><b>{b}</b><span>{s}</span></div>' for b, s in tiles)
        + "</div>"
    )


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return (
            '<div class="card good">Nothing found: cameras move, joints move, streams have no gaps, actions lead.</div>'
        )
    return (
        f'<div class="card warn"><ul class="warnings">{"".join(f"<li>{escape(w)}</li>" for w in warnings)}</ul></div>'
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="plain"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
