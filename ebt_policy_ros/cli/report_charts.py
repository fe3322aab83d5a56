"""SVG drawings for the report, as text: an episode over time with the rungs of its ladder, and a histogram."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from ebt_policy_ros.cli.demo_record import RUNGS, EpisodeRecord

ENERGY, SURPRISE, UNCERTAINTY, THRESHOLD = "#0b6e99", "#6b3fa0", "#b4540a", "#b3261e"
INK, FAINT, GRID = "#1c2733", "#8a97a6", "#e3e8ee"
RUNG_COLOURS = dict(zip(RUNGS, ("#d9a400", "#dd7420", "#5577bb", "#c2452f", "#4f4652"), strict=True))
"""On the ladder; a pale tint of it lies behind the curves."""
VERDICT_COLOURS = {"good": "#1b7f4b", "warn": "#9a6700", "bad": THRESHOLD}

WIDTH, LEFT, RIGHT = 900, 108, 16
MARKS_Y = 12
ENERGY_TOP, ENERGY_HEIGHT = 44, 150
SURPRISE_TOP, SURPRISE_HEIGHT = 234, 70
UNCERTAINTY_TOP, UNCERTAINTY_HEIGHT = 344, 100
LADDER_TOP, RUNG_HEIGHT = 484, 17
LADDER_BOTTOM = LADDER_TOP + RUNG_HEIGHT * len(RUNGS)
HEIGHT = LADDER_BOTTOM + 38

SCORE_TITLE = "uncertainty score; above the threshold the arm climbs the ladder of doubt"
LADDER_TITLE = "rung of the ladder of doubt (none: running)"
SURPRISE_TITLE = "surprise: energy of the plan being executed above the new one's, as seen now"
LEAST_SURPRISE = 0.2
"""Upper end of the surprise panel in an uneventful episode, so that noise does not look like an event."""

Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class RungStretch:
    """A stay on one rung of the ladder of doubt."""

    rung: str
    begin_s: float
    end_s: float
    reason: str
    """Why it began."""

    @property
    def text(self) -> str:
        """The stretch in words."""
        return f"{self.rung}, {self.begin_s:.1f} to {self.end_s:.1f} s" + (f": {self.reason}" if self.reason else "")


def episode_chart(episode: EpisodeRecord, threshold: float | None) -> str:
    """Energy, surprise, uncertainty with its threshold, and the rungs of the ladder of doubt, on one time axis."""
    end_s = max([episode.duration_s, 0.1, *(cycle.time_s for cycle in episode.cycles)])
    x = _scale(0.0, end_s, LEFT, WIDTH - RIGHT)
    energies = [(c.time_s, c.energy) for c in episode.cycles if c.energy is not None and math.isfinite(c.energy)]
    scores = [(c.time_s, c.uncertainty) for c in episode.cycles if c.uncertainty is not None]
    surprises = [(c.time_s, c.surprise) for c in episode.cycles if c.surprise is not None]
    ticks = nice_ticks([value for _, value in energies])
    rise = nice_ticks([0.0, LEAST_SURPRISE, *(value for _, value in surprises)], 2)
    energy_y = _scale(ticks[0], ticks[-1], ENERGY_TOP + ENERGY_HEIGHT, ENERGY_TOP)
    rise_y = _scale(rise[0], rise[-1], SURPRISE_TOP + SURPRISE_HEIGHT, SURPRISE_TOP)
    score_y = _scale(0.0, 1.0, UNCERTAINTY_TOP + UNCERTAINTY_HEIGHT, UNCERTAINTY_TOP)
    stretches = rung_stretches(episode, end_s)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" data-left="{LEFT}" data-right="{WIDTH - RIGHT}" '
        f'data-end="{end_s:.3f}" aria-label="Energy, surprise and uncertainty of episode {episode.index + 1}">',
        *_rung_bands(stretches, x),
        *_axis(ticks, energy_y, "energy of the chunk", ENERGY_TOP, ENERGY_HEIGHT),
        *_axis(rise, rise_y, SURPRISE_TITLE, SURPRISE_TOP, SURPRISE_HEIGHT),
        *_axis([0.0, 0.5, 1.0], score_y, SCORE_TITLE, UNCERTAINTY_TOP, UNCERTAINTY_HEIGHT),
        *_ladder(stretches, x),
        *_time_axis(x, end_s),
    ]
    if threshold is not None:
        y = score_y(min(max(threshold, 0.0), 1.0))
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, THRESHOLD, 'stroke-dasharray="6 4"'))
        below = threshold > 0.85  # above the line it would leave the panel
        parts.append(_text(WIDTH - RIGHT, y + (14 if below else -5), f"threshold {threshold:.2f}", THRESHOLD, "end"))
    elif not scores:
        parts.append(_text(LEFT + 12, score_y(0.5) + 4, "none: the bundle is not calibrated", FAINT))
    breaks_s = [one.end_s for one in stretches if one.rung == "retreating"]
    parts.append(_path(energies, x, energy_y, ENERGY, breaks_s))
    parts.append(_path(surprises, x, rise_y, SURPRISE, breaks_s))
    parts.append(_path(scores, x, score_y, UNCERTAINTY, breaks_s))
    parts += _marks(episode, x, end_s)
    parts.append(
        f'<line class="cursor" x1="{LEFT}" y1="{ENERGY_TOP}" x2="{LEFT}" y2="{LADDER_BOTTOM}" '
        f'stroke="{INK}" stroke-width="1" opacity="0"/></svg>'
    )
    return "".join(parts)


def histogram(values: Sequence[float], unit: str, *, width: int = 560, height: int = 200) -> str:
    """Counts of ``values`` in up to 30 bins, with median and 99th percentile marked; a sentence when there are none."""
    if not values:
        return "<p>No samples.</p>"
    top, bottom, left, right = 26, height - 34, 44, width - 12
    p50, p99 = (float(np.percentile(values, q)) for q in (50, 99))
    limit = max(p99 * 1.15, 1e-3)
    shown = np.clip(np.asarray(values, dtype=np.float64), 0.0, limit)
    counts, edges = np.histogram(shown, bins=min(30, max(8, len(values) // 4)), range=(0.0, limit))
    x, y = _scale(0.0, limit, left, right), _scale(0.0, max(1.0, float(counts.max())), bottom, top)
    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="Histogram of latencies">']
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            parts.append(
                f'<rect x="{x(low) + 0.5:.1f}" y="{y(count):.1f}" width="{max(1.0, x(high) - x(low) - 1):.1f}" '
                f'height="{bottom - y(count):.1f}" fill="{ENERGY}" opacity="0.8"/>'
            )
    for tick in nice_ticks([0.0, limit]):
        if 0 <= tick <= limit:
            parts.append(_text(x(tick), bottom + 16, f"{tick:g}", FAINT, "middle"))
    parts.append(_text(right, height - 4, unit, FAINT, "end"))
    parts.append(_text(left - 6, y(float(counts.max())) + 4, str(int(counts.max())), FAINT, "end"))
    for value, name, anchor in ((p50, "median", "start"), (p99, "99 %", "end")):
        parts.append(_line(x(value), top - 8, x(value), bottom, THRESHOLD, 'stroke-dasharray="4 3"'))
        shift = 4 if anchor == "start" else -4
        parts.append(_text(x(value) + shift, top - 10, f"{name} {value:.0f} {unit}", THRESHOLD, anchor))
    parts.append(_line(left, bottom, right, bottom, FAINT))
    return "".join([*parts, "</svg>"])


def nice_ticks(values: Sequence[float], count: int = 4) -> list[float]:
    """About ``count`` + 1 round numbers that enclose ``values``; 0 and 1 when there are none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return [0.0, 1.0]
    low, high = min(finite), max(finite)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    span = high - low or 1.0
    return lambda value: start + (end - start) * (value - low) / span


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="1" {more}/>'


def _text(x: float, y: float, text: str, colour: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" {more}>{escape(text)}</text>'


def _path(points: Sequence[tuple[float, float]], x: Scale, y: Scale, colour: str, breaks_s: Sequence[float]) -> str:
    """A dot for every point; a line through them that is broken at ``breaks_s``, over which nothing was measured."""
    parts = []
    for _, group in itertools.groupby(points, key=lambda point: bisect.bisect_right(breaks_s, point[0])):
        places = [(x(time_s), y(value)) for time_s, value in group]
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"/>'
        )
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.1" fill="{colour}"/>' for px, py in places]
    return "".join(parts)


def _axis(ticks: Sequence[float], y: Scale, title: str, top: float, height: float) -> list[str]:
    parts = [_text(LEFT, top - 8, title, INK, more='font-weight="600"')]
    for tick in ticks:
        parts.append(_line(LEFT, y(tick), WIDTH - RIGHT, y(tick), GRID))
        parts.append(_text(LEFT - 8, y(tick) + 4, f"{tick:g}", FAINT, "end"))
    parts.append(_line(LEFT, top, LEFT, top + height, FAINT))
    return parts


def _time_axis(x: Scale, end_s: float) -> list[str]:
    bottom = LADDER_BOTTOM
    parts = [_line(LEFT, bottom, WIDTH - RIGHT, bottom, FAINT)]
    for tick in nice_ticks([0.0, end_s], 8):
        if 0 <= tick <= end_s:
            parts.append(_text(x(tick), bottom + 17, f"{tick:g}", FAINT, "middle"))
    parts.append(_text(WIDTH - RIGHT, bottom + 34, "simulated time [s]", FAINT, "end"))
    return parts


def rung_stretches(episode: EpisodeRecord, end_s: float) -> list[RungStretch]:
    """The stays on the rungs of the ladder, each up to the next cycle elsewhere, the last one up to ``end_s``."""
    groups = [list(group) for _, group in itertools.groupby(episode.cycles, key=lambda cycle: cycle.rung)]
    ends_s = [*(group[0].time_s for group in groups[1:]), end_s]
    return [
        RungStretch(group[0].rung, group[0].time_s, next_s, group[0].reason)
        for group, next_s in zip(groups, ends_s, strict=False)
        if group[0].rung in RUNGS
    ]


def _rung_bands(stretches: Sequence[RungStretch], x: Scale) -> list[str]:
    """A pale band behind the curves for every stretch."""
    height = UNCERTAINTY_TOP + UNCERTAINTY_HEIGHT - ENERGY_TOP
    return [
        f'<rect x="{x(one.begin_s):.1f}" y="{ENERGY_TOP}" width="{max(2.0, x(one.end_s) - x(one.begin_s)):.1f}" '
        f'height="{height}" fill="{RUNG_COLOURS[one.rung]}" opacity="0.16"><title>{escape(one.text)}</title></rect>'
        for one in stretches
    ]


def _ladder(stretches: Sequence[RungStretch], x: Scale) -> list[str]:
    """A row for every rung, the most drastic one on top; a bar where the arm stood on it, with its seconds."""
    parts = [_text(LEFT, LADDER_TOP - 8, LADDER_TITLE, INK, more='font-weight="600"')]
    used = {one.rung for one in stretches}
    tops = {rung: LADDER_BOTTOM - RUNG_HEIGHT * (place + 1) for place, rung in enumerate(RUNGS)}
    for rung, top in tops.items():
        parts.append(_line(LEFT, top, WIDTH - RIGHT, top, GRID))
        parts.append(_text(LEFT - 8, top + 13, rung, INK if rung in used else FAINT, "end"))
    for one in stretches:
        left, top = x(one.begin_s), tops[one.rung]
        width = max(3.0, x(one.end_s) - left)
        left = min(left, WIDTH - RIGHT - width)  # giving up ends an episode: its bar has no time of its own
        parts.append(
            f'<rect x="{left:.1f}" y="{top + 2}" width="{width:.1f}" height="{RUNG_HEIGHT - 3}" rx="2" '
            f'fill="{RUNG_COLOURS[one.rung]}"><title>{escape(one.text)}</title></rect>'
        )
        if width > 32:
            seconds = f"{one.end_s - one.begin_s:.1f} s"
            parts.append(_text(left + width / 2, top + 13, seconds, "#fff", "middle", 'class="on-bar"'))
    return [*parts, _line(LEFT, LADDER_TOP, LEFT, LADDER_BOTTOM, FAINT)]


def _marks(episode: EpisodeRecord, x: Scale, end_s: float) -> list[str]:
    """When a disturbance set in, and how the episode ended."""
    parts = []
    if episode.perturbed_at_s is not None:
        at = x(episode.perturbed_at_s)
        anchor, shift = ("end", -6) if episode.perturbed_at_s > 0.7 * end_s else ("start", 6)
        parts.append(_line(at, MARKS_Y - 10, at, LADDER_BOTTOM, INK, 'stroke-dasharray="2 3"'))
        name = f"{episode.perturbation or 'disturbance'} sets in"
        parts.append(_text(at + shift, MARKS_Y, name, INK, anchor, 'font-weight="600"'))
    if not episode.interrupted:
        at, colour = x(episode.duration_s), VERDICT_COLOURS[episode.verdict_kind]
        parts.append(_line(at, ENERGY_TOP - 18, at, LADDER_BOTTOM, colour))
        ending = episode.done_text if episode.success else episode.verdict
        parts.append(_text(at - 6, ENERGY_TOP - 8, ending, colour, "end", 'font-weight="600"'))
    return parts
