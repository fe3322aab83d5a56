"""The nodes of the demo as processes of their own: started from the launch file, watched, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ebt_policy_ros.core.errors import EbtPolicyError

STOP_S = 10.0
"""After which an interrupted launcher is asked harder to end."""


class ProcessDiedError(EbtPolicyError):
    """The launcher, and with it a node, ended during the demo; the message has the end of the log."""


class Launched:
    """``ebt-policy launch FILE`` in a process group of its own; its output goes to a log file."""

    def __init__(self, launch_file: Path, arguments: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._file = log.open("wb")
        command: Sequence[str] = [
            *(sys.executable, "-m", "ebt_policy_ros.cli.main", "launch", str(launch_file)),
            *(f"{key}:={value}" for key, value in arguments.items()),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._file, stderr=subprocess.STDOUT, start_new_session=True
        )

    def check(self) -> None:
        """Raises ProcessDiedError when the launcher has ended."""
        status = self._process.poll()
        if status is not None:
            raise ProcessDiedError(f"the nodes ended with status {status}; end of {self._log}: {self.tail()}")

    def tail(self, num_lines: int = 4) -> str:
        """The last lines of the log, joined."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-num_lines:] if line.strip()) or "(empty)"

    def close(self) -> int | None:
        """Interrupts the nodes, then insists; returns the launcher's exit status."""
        for number, patience_s in ((signal.SIGINT, STOP_S), (signal.SIGTERM, STOP_S), (signal.SIGKILL, 5.0)):
            if self._process.poll() is not None:
                break
            # The launcher passes the first two on to its nodes; the last one has to reach the whole group.
            if number == signal.SIGKILL:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)
            end = time.monotonic() + patience_s
            while self._process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
        self._file.close()
        return self._process.poll()
