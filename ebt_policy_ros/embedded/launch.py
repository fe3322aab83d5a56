"""Starts what a `*.launch.xml` describes, without ROS 2: prefixed output, clean Ctrl-C, an exit status."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import IO, Any

from .launch_file import ProcessDescription, evaluate

SIGTERM_AFTER_S = 5.0
"""An interrupted process that is still there gets SIGTERM after this time, as with ros2 launch."""
SIGKILL_AFTER_S = 5.0
"""And SIGKILL after this much longer."""
_write_lock = threading.Lock()


def _say(text: str, stream: Any = None) -> None:
    with _write_lock:
        stream = sys.stdout if stream is None else stream
        stream.write(text + "\n")
        stream.flush()


class _Running:
    """One process with the threads that read its output."""

    def __init__(self, description: ProcessDescription, ended: queue.SimpleQueue[Any]) -> None:
        self.description = description
        self.process = subprocess.Popen(
            description.command,
            env={"PYTHONUNBUFFERED": "1", **description.environment},
            cwd=description.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        _say(f"[INFO] [{description.label}]: process started with pid [{self.process.pid}]")
        shows_stdout = description.output in ("screen", "both", "tty", "own_log")
        readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, shows_stdout, sys.stdout), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, True, sys.stderr), daemon=True),
        ]
        for reader in readers:
            reader.start()
        threading.Thread(target=self._wait, args=(readers, ended), daemon=True).start()

    def _read(self, pipe: IO[bytes], is_shown: bool, stream: Any) -> None:
        with pipe:
            for line in pipe:
                if is_shown:
                    _say(f"[{self.description.label}] {line.decode(errors='replace').rstrip()}", stream)

    def _wait(self, readers: list[threading.Thread], ended: queue.SimpleQueue[Any]) -> None:
        status = self.process.wait()
        for reader in readers:
            reader.join(timeout=1.0)  # a grandchild may keep the pipe open
        ended.put((self, status))


class LaunchedProcesses:
    """The processes of a launch file, started on construction.

    `poll` tells whether they still run, `wait` blocks until all have ended, `terminate` ends them. The exit status is
    that of the first process that failed by itself, 0 when there is none. Also a context manager.
    """

    def __init__(self, path: Path | str, arguments: Mapping[str, str] | None = None) -> None:
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._running: list[_Running] = []
        self._status = 0
        self._is_stopping = False
        self._escalation: list[tuple[float, int]] = []
        for description in evaluate(Path(path), arguments or {}, os.environ):
            self._start(description)

    def _start(self, description: ProcessDescription) -> None:
        try:
            self._running.append(_Running(description, self._ended))
        except OSError as error:
            _say(f"[ERROR] [{description.label}]: cannot start {description.command[0]}: {error}", sys.stderr)
            self._status = self._status or 127

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by label ('policy_node-1') of what runs."""
        return {running.description.label: running.process.pid for running in self._running}

    def poll(self) -> int | None:
        """None while a process runs, else the exit status."""
        while not self._ended.empty():
            self._note(self._ended.get())
        return None if self._running else self._status

    def wait(self, timeout_s: float | None = None) -> int | None:
        """The exit status once all processes have ended; None after `timeout_s` seconds."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while self._running:
            now = time.monotonic()
            while self._escalation and self._escalation[0][0] <= now:
                self._signal(self._escalation.pop(0)[1])
            limits = [self._escalation[0][0] - now] if self._escalation else []
            if until is not None:
                if now >= until:
                    return None
                limits.append(until - now)
            try:
                self._note(self._ended.get(timeout=max(0.0, min(limits)) if limits else None))
            except queue.Empty:
                continue
        return self._status

    def interrupt(self, *, delay_s: float = 0.0) -> None:
        """Begins to stop: SIGINT after `delay_s`, later SIGTERM and SIGKILL for what is still there. Does not block."""
        if self._is_stopping:
            return
        self._is_stopping = True
        first = time.monotonic() + delay_s
        second = first + SIGTERM_AFTER_S
        self._escalation = [
            (first, signal.SIGINT),
            (second, signal.SIGTERM),
            (second + SIGKILL_AFTER_S, signal.SIGKILL),
        ]
        self._ended.put(None)

    def terminate(self) -> int:
        """Interrupts everything and waits until it has ended; the exit status."""
        self.interrupt()
        status = self.wait()
        assert status is not None
        return status

    def _signal(self, number: int) -> None:
        for running in self._running:
            if running.process.poll() is None:
                if number != signal.SIGINT:
                    name = signal.Signals(number).name
                    _say(f"[ERROR] [{running.description.label}]: did not end, sending {name}", sys.stderr)
                running.process.send_signal(number)

    def _note(self, ended: tuple[_Running, int] | None) -> None:
        if ended is None:
            return
        running, status = ended
        self._running.remove(running)
        label, pid = running.description.label, running.process.pid
        if status == 0 or (self._is_stopping and status in (-signal.SIGINT, 130)):
            _say(f"[INFO] [{label}]: process has finished cleanly [pid {pid}]")
        else:
            _say(f"[ERROR] [{label}]: process has died [pid {pid}, exit code {status}]", sys.stderr)
            self._status = self._status or (status if status > 0 else 128 - status)
        if running.description.respawn and not self._is_stopping:
            self._wait_before_respawn(running.description)

    def _wait_before_respawn(self, description: ProcessDescription) -> None:
        time.sleep(description.respawn_delay_s)
        self._status = 0
        self._start(description)

    def __enter__(self) -> LaunchedProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()


def _is_foreground() -> bool:
    """Whether a Ctrl-C of the terminal reaches our children without our help."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


def launch(path: Path | str, arguments: Mapping[str, str] | None = None) -> int:
    """Runs a launch file until all its processes have ended, or SIGINT or SIGTERM ends them; the exit status.

    Raises SettingsError and UnsupportedError, which name file and line, before anything is started.
    """
    launched: list[LaunchedProcesses] = []
    early: list[int] = []

    def on_signal(number: int, _: FrameType | None) -> None:
        early.append(number)
        for processes in launched:
            is_told_already = number == signal.SIGINT and _is_foreground()
            processes.interrupt(delay_s=1.0 if is_told_already else 0.0)

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        launched.append(LaunchedProcesses(path, arguments))
        if early:
            launched[0].interrupt()
        status = launched[0].wait()
        assert status is not None
        return status
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
