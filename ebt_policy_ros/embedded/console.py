"""Log lines as rcutils writes them, to stderr and to /rosout."""

from __future__ import annotations

import inspect
import os
import sys
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from .arguments import Arguments


class LoggingSeverity(IntEnum):
    """Severities by rcutils' numbers."""

    UNSET = 0
    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40
    FATAL = 50


_COLOURS = {LoggingSeverity.DEBUG: 32, LoggingSeverity.WARN: 33, LoggingSeverity.ERROR: 31, LoggingSeverity.FATAL: 31}
_FORMAT = "[{severity}] [{time}] [{name}]: {message}"
Sink = Callable[[int, LoggingSeverity, str, str, tuple[str, str, int]], None]


class _Console:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.levels: dict[str, LoggingSeverity] = {}
        self.default = LoggingSeverity.INFO
        self.stdout_enabled = True
        self.sinks: dict[str, Sink] = {}


_console = _Console()


def configure(arguments: Arguments) -> None:
    """Takes levels and switches from a command line."""
    _console.stdout_enabled = arguments.stdout_enabled
    for name, level in arguments.log_levels.items():
        set_level(name, LoggingSeverity["WARN" if level == "WARNING" else level])


def set_level(name: str, level: LoggingSeverity) -> None:
    """Level of a logger and its children; '' is the default of all."""
    with _console.lock:
        if not name:
            _console.default = level
        elif level == LoggingSeverity.UNSET:
            _console.levels.pop(name, None)
        else:
            _console.levels[name] = level


def effective_level(name: str) -> LoggingSeverity:
    """Level of the nearest ancestor that has one."""
    with _console.lock:
        while name:
            if name in _console.levels:
                return _console.levels[name]
            name = name.rpartition(".")[0]
        return _console.default


def add_sink(name: str, sink: Sink) -> None:
    """Also gives the lines of logger `name` and its children to `sink` (a node's /rosout publisher)."""
    with _console.lock:
        _console.sinks[name] = sink


def remove_sink(name: str) -> None:
    with _console.lock:
        _console.sinks.pop(name, None)


def _emit(severity: LoggingSeverity, name: str, message: str, caller: tuple[str, str, int]) -> None:
    stamp = time.time_ns()
    function, file, line = caller
    fields = {
        "severity": severity.name,
        "time": f"{stamp // 10**9}.{stamp % 10**9:09d}",
        "time_as_nanoseconds": str(stamp),
        "name": name,
        "message": message,
        "function_name": function,
        "file_name": file,
        "line_number": str(line),
    }
    text = os.environ.get("RCUTILS_CONSOLE_OUTPUT_FORMAT") or _FORMAT
    for key, value in fields.items():
        if key != "message":
            text = text.replace("{" + key + "}", value)
    text = text.replace("{message}", message)
    if _is_coloured() and severity in _COLOURS:
        text = f"\x1b[{_COLOURS[severity]}m{text}\x1b[0m"
    if _console.stdout_enabled:
        stream = sys.stdout if os.environ.get("RCUTILS_LOGGING_USE_STDOUT") == "1" else sys.stderr
        with _console.lock:
            stream.write(text + "\n")
            stream.flush()
    with _console.lock:
        sinks = [sink for owner, sink in _console.sinks.items() if name == owner or name.startswith(f"{owner}.")]
    for sink in sinks:
        sink(stamp, severity, name, message, caller)


def _is_coloured() -> bool:
    choice = os.environ.get("RCUTILS_COLORIZED_OUTPUT")
    return choice == "1" if choice in ("0", "1") else sys.stderr.isatty()


class _CallSite:
    """What the filters remember of one line of code."""

    def __init__(self, severity: LoggingSeverity, name: str, filters: frozenset[str]) -> None:
        self.severity, self.name, self.filters = severity, name, filters
        self.has_logged = False
        self.has_skipped = False
        self.last_ns: int | None = None


_FILTERS = ("once", "skip_first", "throttle_duration_sec", "throttle_time_source_type", "name")


class RcutilsLogger:
    """A logger by name; children are named 'parent.child'."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._sites: dict[tuple[str, int, int], _CallSite] = {}

    def get_child(self, name: str) -> RcutilsLogger:
        if not name:
            raise ValueError("Child logger name must not be empty.")
        return RcutilsLogger(f"{self.name}.{name}" if self.name else name)

    def set_level(self, level: LoggingSeverity | int) -> None:
        set_level(self.name, LoggingSeverity(level))

    def get_effective_level(self) -> LoggingSeverity:
        return effective_level(self.name)

    def is_enabled_for(self, severity: LoggingSeverity | int) -> bool:
        return severity >= effective_level(self.name)

    def log(self, message: object, severity: LoggingSeverity | int, **kwargs: Any) -> bool:
        """Writes a line; filters: once, skip_first, throttle_duration_sec. True when it was written."""
        return self._log(message, LoggingSeverity(severity), kwargs, 2)

    def _log(self, message: object, severity: LoggingSeverity, filters: dict[str, Any], depth: int) -> bool:
        unknown = set(filters) - set(_FILTERS)
        if unknown:
            raise TypeError(f"Unknown parameter {', '.join(sorted(unknown))} passed to log()")
        if not self.is_enabled_for(severity):
            return False
        frame = inspect.currentframe()
        for _ in range(depth):
            frame = frame.f_back if frame is not None else None
        if frame is None:
            caller, last = ("", "", 0), 0
        else:
            caller, last = (frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno), frame.f_lasti
        site = self._site((caller[1], caller[2], last), severity, filters)
        if filters and not self._passes(filters, site):
            return False
        _emit(severity, str(filters.get("name") or self.name), str(message), caller)
        return True

    def _site(self, key: tuple[str, int, int], severity: LoggingSeverity, filters: dict[str, Any]) -> _CallSite:
        """What is remembered of a line of code; ValueError when it logs otherwise than before, as rclpy refuses it."""
        name = str(filters.get("name") or self.name)
        wanted = frozenset(filter_name for filter_name, value in filters.items() if filter_name != "name" and value)
        site = self._sites.setdefault(key, _CallSite(severity, name, wanted))
        if severity != site.severity:
            raise ValueError("Logger severity cannot be changed between calls.")
        if name != site.name:
            raise ValueError("Logger name cannot be changed between calls.")
        if wanted != site.filters:
            raise ValueError("Requested logging filters cannot be changed between calls.")
        return site

    def _passes(self, filters: dict[str, Any], site: _CallSite) -> bool:
        if filters.get("skip_first") and not site.has_skipped:
            site.has_skipped = True
            return False
        if filters.get("once") and site.has_logged:
            return False
        if (period_s := filters.get("throttle_duration_sec")) is not None:
            source = filters.get("throttle_time_source_type")
            now_ns = time.time_ns() if source is None else source.now().nanoseconds
            if site.last_ns is not None and site.last_ns <= now_ns < site.last_ns + int(period_s * 1e9):
                return False
            site.last_ns = now_ns
        site.has_logged = True
        return True

    def debug(self, message: object, **kwargs: Any) -> bool:
        return self._log(message, LoggingSeverity.DEBUG, kwargs, 2)

    def info(self, message: object, **kwargs: Any) -> bool:
        return self._log(message, LoggingSeverity.INFO, kwargs, 2)

    def warning(self, message: object, **kwargs: Any) -> bool:
        return self._log(message, LoggingSeverity.WARN, kwargs, 2)

    def warn(self, message: object, **kwargs: Any) -> bool:
        return self._log(message, LoggingSeverity.WARN, kwargs, 2)

    def error(self, message: object, **kwargs: Any) -> bool:
        return self._log(message, LoggingSeverity.ERROR, kwargs, 2)

    def fatal(self, message: object, **kwargs: Any) -> bool:
        return self._log(message, LoggingSeverity.FATAL, kwargs, 2)
