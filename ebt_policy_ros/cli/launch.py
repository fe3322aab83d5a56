"""Starts what a *.launch.xml file describes, the same file that `ros2 launch` reads, on machines without ROS 2.

  ebt-policy launch launch/demo.launch.xml model:=lift perturb:=teleport@reaching

A name without a directory is also looked up among the installed launch files.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from ebt_policy_ros.core.errors import SettingsError

WATCH_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy launch``."""
    parser.add_argument("file", metavar="FILE.launch.xml", help="launch file, or the name of an installed one")
    parser.add_argument("arguments", nargs="*", metavar="key:=value", help="arguments of the launch file")
    parser.add_argument("--together", action="store_true", help="end all when one ends, or who started this")


def run(options: argparse.Namespace) -> int:
    """Runs the file until all of its processes have ended; the status of the first that failed."""
    from ebt_policy_ros.embedded.launch import launch

    path, arguments = find_launch_file(options.file), read_arguments(options.arguments)
    return _launch_together(path, arguments) if options.together else launch(path, arguments)


def find_launch_file(name: str) -> Path:
    """The file itself, or the one of that name in launch/; FileNotFoundError says where it looked."""
    from ebt_policy_ros.resources import find_resource

    path = Path(name).expanduser()
    return path if path.is_file() or "/" in name else find_resource(f"launch/{name}")


def read_arguments(texts: Sequence[str]) -> dict[str, str]:
    """``key:=value`` texts as a mapping; SettingsError names one that is not like that."""
    arguments = {}
    for text in texts:
        key, separator, value = text.partition(":=")
        if not separator or not key:
            raise SettingsError(f"expected an argument like key:=value, got '{text}'")
        arguments[key] = value
    return arguments


def _launch_together(path: Path, arguments: Mapping[str, str]) -> int:
    """As ``launch``, but the end of one process, or of the one that started this, is the end of all."""
    from ebt_policy_ros.embedded.launch import LaunchedProcesses

    asked_to_end: list[int] = []
    parent = os.getppid()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        asked_to_end.append(number)

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        processes = LaunchedProcesses(path, arguments)
        started = len(processes.pids)
        while (status := processes.wait(WATCH_S)) is None:
            if asked_to_end or len(processes.pids) < started or os.getppid() != parent:
                processes.interrupt()
        return status
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
