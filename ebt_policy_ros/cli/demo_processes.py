"""The nodes of the demo as processes of their own: started from the launch file, watched, ended."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from ebt_policy_ros.core.errors import EbtPolicyError

STOP_S = 10.0
"""After which an interrupted launcher is asked harder to end."""
_WENT_WRONG = re.compile(r"\[(FATAL|ERROR)\]|\w(Error|Exception): ")


class ProcessDiedError(EbtPolicyError):
    """The launcher, and with it a node, ended during the demo; the message has the end of the log."""


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C has been heard: a second one must not leave processes or half a report behind."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """SIGTERM ends what is inside as Ctrl-C does, so that the nodes, which have a session of their own, end too."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def launch_command(launch_file: Path, arguments: Mapping[str, str]) -> list[str]:
    """``ebt-policy launch FILE key:=value ...`` with this interpreter."""
    start = [sys.executable, "-m", "ebt_policy_ros.cli.main", "launch", "--together", str(launch_file)]
    return [*start, *(f"{key}:={value}" for key, value in arguments.items())]


class Launched:
    """A launcher in a process group of its own; what it and its nodes say goes to a log file."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        self._file = log.open("wb")
        self._process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=self._file, stderr=subprocess.STDOUT, start_new_session=True
        )

    def check(self) -> None:
        """Raises ProcessDiedError when the launcher has ended."""
        status = self._process.poll()
        if status is not None:
            raise ProcessDiedError(f"the nodes ended with status {status}; end of {self._log}: {self.tail()}")

    def tail(self, num_lines: int = 3, width: int = 240) -> str:
        """The last lines of the log, shortened and joined; of those that say what went wrong, if there are any."""
        lines = [line.strip() for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines()]
        lines = [line for line in lines if line]
        last = ([line for line in lines if _WENT_WRONG.search(line)] or lines)[-num_lines:]
        return " | ".join(line if len(line) <= width else line[:width] + " ..." for line in last) or "(empty)"

    def close(self, patience_s: float = STOP_S) -> int | None:
        """Interrupts the nodes, then insists; returns the launcher's exit status. No process of the group is left."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if self._process.poll() is not None:
                break
            self._process.send_signal(number)  # the launcher passes it on to its nodes
            end = time.monotonic() + patience_s
            while self._process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
        status = self._process.poll()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what outlived its launcher
        self._process.wait()
        self._file.close()
        return status
