"""What a training run shows: a progress line with an estimate of what is left, and a curve."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path


class ProgressLine:
    """One line that is rewritten on a terminal, or a new line every twenty seconds elsewhere."""

    def __init__(self, report: Callable[[str], None] | None = None) -> None:
        self.loss = float("nan")
        """Running mean of the loss."""
        self._report = report
        self._terminal = report is None and sys.stderr.isatty()
        self._shown = 0.0
        self._recent: list[tuple[float, int]] = []

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._report:
            self._report(text)
        else:
            sys.stderr.write(f"{chr(13) + chr(27) + '[K' if self._terminal else ''}{text}\n")
            sys.stderr.flush()

    def update(self, step: int, done: float, loss: float, elapsed_s: float) -> None:
        """After every gradient step; shows itself now and then."""
        self.loss = loss if self.loss != self.loss else 0.98 * self.loss + 0.02 * loss
        now = time.monotonic()
        if now - self._shown < (0.5 if self._terminal else 20.0):
            return
        self._shown = now
        self._recent = [*self._recent[-20:], (now, step)]
        (then, before), rate = self._recent[0], 0.0
        if now > then:
            rate = (step - before) / (now - then)
        left = elapsed_s * (1 - done) / done if done > 0 else float("nan")
        bar = "#" * round(20 * min(1.0, done))
        text = f"[{bar:20}] step {step}  loss {self.loss:.4f}  {rate:.2f} steps/s  {_clock(left)} left"
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
        else:
            self.say(text)


def _clock(seconds: float) -> str:
    return "?" if seconds != seconds else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def draw_curve(history: Sequence[dict[str, float]], path: Path) -> None:
    """Loss and held-out error over gradient steps as a PNG; nothing is drawn where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    steps = [record["step"] for record in history]
    for key, label in (("loss", "training loss"), ("error", "held-out error"), ("error_executed", "executed rows")):
        axes.plot(steps, [record[key] for record in history], label=label)
    axes.set(xlabel="gradient steps", ylabel="normalised units", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100)
