"""Runs a benchmark whose nodes are live on the graph: isolated from other graphs, taken down whatever happens."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ebt_policy_ros.cli.demo_processes import termination_as_interrupt
from ebt_policy_ros.cli.isolation import isolate
from ebt_policy_ros.cli.main import EXIT_BAD_INPUT, EXIT_INTERRUPTED
from ebt_policy_ros.cli.results import write_json
from ebt_policy_ros.core.errors import EbtPolicyError

Result = dict[str, Any]


def run_live(name: str, measure: Callable[[Path], Result], in_words: Callable[[Result], str], path: Path | None) -> int:
    """Measures with an empty folder at hand, prints the result and writes it to ``path``; returns the exit status."""
    from ebt_policy_ros.cli.nodes import provide_rclpy

    provide_rclpy()
    isolate(os.environ)
    try:
        with termination_as_interrupt(), tempfile.TemporaryDirectory() as folder:
            result = measure(Path(folder))
    except EbtPolicyError as error:
        sys.stderr.write(f"benchmarks.{name}: {error}\n")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if path is not None:
        write_json(path, result)
    print(in_words(result))
    return 0
