"""Progress for a person at a terminal and for a log: a line rewritten in place, or a plain line now and then."""

from __future__ import annotations

import sys
import time
from typing import TextIO

LOG_PERIOD_S = 5.0
"""Between plain lines when the output is not a terminal."""
TERMINAL_PERIOD_S = 0.1


class LiveLine:
    """One line about what is going on now; never in the way of other output."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._shown_at = -float("inf")
        self._is_open = False

    def update(self, text: str) -> None:
        """Shows ``text`` when the last showing is long enough ago."""
        now = time.monotonic()
        if now - self._shown_at < (TERMINAL_PERIOD_S if self._terminal else LOG_PERIOD_S):
            return
        self._shown_at = now
        self._write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        self._is_open = self._terminal

    def say(self, text: str) -> None:
        """A line that stays."""
        self._write(f"\r\x1b[K{text}\n" if self._terminal else f"{text}\n")
        self._is_open = False

    def close(self) -> None:
        """Ends the rewritten line."""
        if self._is_open:
            self._write("\n")
            self._is_open = False

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Estimate:
    """Progress of counted work: bar, count and the time left, judged by what was done since the start."""

    def __init__(self, what: str, line: LiveLine | None = None) -> None:
        self._what = what
        self._line = line or LiveLine()
        self._began = time.monotonic()
        self._first: int | None = None

    def show(self, done: int, wanted: int, note: str = "") -> None:
        """``done`` of ``wanted`` are finished."""
        if self._first is None:
            self._first = max(0, done - 1)
        passed = time.monotonic() - self._began
        fresh = done - self._first
        left = clock(passed / fresh * (wanted - done)) if fresh > 0 else "?"
        bar = "#" * round(20 * done / max(1, wanted))
        text = f"[{bar:20}] {done}/{wanted} {self._what}, {clock(passed)} passed, about {left} left{note}"
        if done >= wanted:
            self._line.say(text)
        else:
            self._line.update(text)


def clock(seconds: float) -> str:
    """``seconds`` as minutes:seconds, or hours:minutes:seconds."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
