"""Drawings for ``ebt-policy describe``: contact sheets, joints over time, and how long and how late things are."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ebt_policy_ros.core.errors import SettingsError

if TYPE_CHECKING:
    from ebt_policy_ros.training.dataset import Demonstrations

MEASURED, COMMANDED, FAINT, INK = "#0b6e99", "#b4540a", "#8a97a6", "#1c2733"
SHEET_EPISODES, SHEET_FRAMES = 5, 7
MOST_LINES = 40
"""Episodes drawn over each other in a joint's panel."""
WIDTH = 11.0
"""Of every drawing [inch]."""

Drawing = tuple[str, float, Callable[[Any], None]]
"""Title, height [inch], and what draws it on a matplotlib (sub)figure."""


def drawings(data: Demonstrations) -> list[Drawing]:
    """Everything there is to see, in order."""
    shown = shown_episodes(data)
    sheets = [_sheet(data, camera, shown) for camera in data.cameras]
    rows = math.ceil(len(data.joint_names) / 4)
    joints = ("Joints over time", 1.9 * rows + 0.5, lambda figure: _draw_joints(figure, data))
    return [*sheets, joints, ("Lengths, lags and speeds", 2.9, lambda figure: _draw_counts(figure, data))]


def shown_episodes(data: Demonstrations) -> list[int]:
    """Some episodes from beginning to end, those with the worst pictures among them."""
    spread = np.linspace(0, data.num_episodes - 1, min(SHEET_EPISODES, data.num_episodes)).round().astype(int)
    shown = list(dict.fromkeys(spread.tolist()))
    worst = [max(*q.frozen.values(), *q.saturated.values(), *q.dark.values()) for q in data.quality]
    for number in sorted(range(data.num_episodes), key=lambda n: -worst[n])[:2]:
        if worst[number] > 0.5 and number not in shown:
            shown[min(range(len(shown)), key=lambda place: worst[shown[place]])] = number
    return sorted(shown)


def as_png(drawing: Drawing) -> bytes:
    """One drawing as a PNG file's content."""
    _, height, draw = drawing
    figure = _figure(height)
    draw(figure)
    return _png(figure)


def all_as_png(items: list[Drawing], title: str) -> bytes:
    """All drawings below each other as one PNG file's content."""
    heights = [height + 0.3 for _, height, _ in items]
    figure = _figure(sum(heights) + 0.4)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, weight="bold")
    parts = figure.subfigures(len(items), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (name, _, draw) in zip(parts, items, strict=True):
        part.suptitle(name, x=0.01, ha="left", fontsize=11, color=INK)
        draw(part)
    return _png(figure)


def _figure(height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SettingsError(
            "--out needs the Python package 'matplotlib'; install it with pip install 'ebt_policy_ros[data]'"
        ) from error
    return Figure(figsize=(WIDTH, height), dpi=110, layout="constrained", facecolor="white")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _sheet(data: Demonstrations, camera: str, shown: list[int]) -> Drawing:
    height, width = data.images[camera].shape[1:3]
    tall = len(shown) * (WIDTH / SHEET_FRAMES * 0.92 * height / width + 0.25) + 0.2
    return (
        f"Camera {camera}: beginning to end of some episodes",
        tall,
        lambda figure: _draw_sheet(figure, data, camera, shown),
    )


def _draw_sheet(figure: Any, data: Demonstrations, camera: str, shown: list[int]) -> None:
    axes = figure.subplots(len(shown), SHEET_FRAMES, squeeze=False)
    for row, episode in enumerate(shown):
        rows = data.rows([episode])
        picked = np.linspace(0, len(rows) - 1, SHEET_FRAMES).round().astype(int)
        for column, step in enumerate(picked):
            axis = axes[row, column]
            axis.imshow(data.images[camera][rows[step]], interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_color("#d5dbe2")  # so that a white picture is seen to be one
            if column == 0:
                axis.set_ylabel(f"episode {episode}", fontsize=9, color=INK)
            axis.set_title(f"{step * data.period_s:.2f} s", fontsize=8, color=FAINT, pad=2)


def _draw_joints(figure: Any, data: Demonstrations) -> None:
    count = len(data.joint_names)
    columns = min(4, count)
    axes = figure.subplots(math.ceil(count / columns), columns, squeeze=False).ravel()
    shown = np.linspace(0, data.num_episodes - 1, min(MOST_LINES, data.num_episodes)).round().astype(int)
    for place, axis in enumerate(axes):
        if place >= count:
            axis.set_visible(False)
            continue
        for episode in dict.fromkeys(shown.tolist()):
            rows = data.rows([episode])
            times = np.arange(len(rows)) * data.period_s
            axis.plot(times, data.actions[rows, place], color=COMMANDED, linewidth=0.6, alpha=0.35)
            axis.plot(times, data.positions[rows, place], color=MEASURED, linewidth=0.6, alpha=0.5)
        axis.set_title(f"{data.joint_names[place]} [{data.units[place]}]", fontsize=9, color=INK)
        _plain(axis)
        if place >= count - columns:
            axis.set_xlabel("time [s]", fontsize=8)
    axes[0].plot([], [], color=MEASURED, label="measured")
    axes[0].plot([], [], color=COMMANDED, label="commanded")
    axes[0].legend(fontsize=7, frameon=False, loc="best")


def _draw_counts(figure: Any, data: Demonstrations) -> None:
    axes = figure.subplots(1, 3)
    lengths_s = np.diff([0, *data.ends]) * data.period_s
    lags_ms = [1000 * q.lag_s for q in data.quality if q.lag_s is not None]
    axes[0].hist(lengths_s, bins=min(30, max(5, data.num_episodes // 3)), color=MEASURED)
    axes[0].set_title("length of the episodes [s]", fontsize=9, color=INK)
    axes[1].set_title("positions follow actions by [ms]", fontsize=9, color=INK)
    if lags_ms:
        step = data.period_s * 1000
        axes[1].hist(lags_ms, bins=np.arange(-0.5, max(lags_ms) / step + 1.5) * step, color=COMMANDED)
    fastest = np.array([q.largest_speed for q in data.quality])
    lying = {"orientation": "horizontal"} if _has_orientation() else {"vert": False}
    axes[2].boxplot(fastest, widths=0.6, flierprops={"markersize": 2}, **lying)
    axes[2].set_yticks(range(1, len(data.joint_names) + 1), data.joint_names, fontsize=7)
    axes[2].invert_yaxis()
    axes[2].set_title("highest speed in each episode [rad/s, m/s]", fontsize=9, color=INK)
    for axis in axes:
        _plain(axis)
    axes[0].set_ylabel("episodes", fontsize=8)


def _has_orientation() -> bool:
    """matplotlib 3.10 renamed ``vert`` and later versions warn of the old name."""
    import matplotlib

    return tuple(int(part) for part in matplotlib.__version__.split(".")[:2]) >= (3, 10)


def _plain(axis: Any) -> None:
    axis.tick_params(labelsize=7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
