"""Compiled packages that may end the process, tried in a process of their own first."""

from __future__ import annotations

import os
import subprocess
import sys

_TRIAL_S = 60.0


def trouble(code: str) -> str:
    """What ``code`` says when another Python runs it with the same packages; empty when it ends well."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        tried = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TRIAL_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if tried.returncode == 0:
        return ""
    lines = [line for line in tried.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"it ended the process with status {tried.returncode}"
