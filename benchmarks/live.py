"""Benchmarks whose nodes are live on the graph: their parameters, and a run that ends them whatever happens."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ebt_policy_ros.cli.demo_processes import termination_as_interrupt
from ebt_policy_ros.cli.isolation import isolate
from ebt_policy_ros.cli.main import EXIT_INTERRUPTED
from ebt_policy_ros.cli.results import write_json
from ebt_policy_ros.resources import find_resource

Result = dict[str, Any]


def with_parameters(config: str, changes: Mapping[str, Mapping[str, Any]], folder: Path) -> Path:
    """A parameter file in ``folder``: that of ``config`` with other values: node -> parameter, dotted -> value."""
    document = yaml.safe_load(find_resource(config).read_text(encoding="utf-8"))
    for node, values in changes.items():
        for name, value in values.items():
            *groups, last = name.split(".")
            entries = document[node]["ros__parameters"]
            for group in groups:
                entries = entries[group]
            entries[last] = value
    path = folder / Path(config).name
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def run_live(measure: Callable[[Path], Result], in_words: Callable[[Result], str], path: Path | None) -> int:
    """Measures with an empty folder at hand, prints the result and writes it to ``path``; returns the exit status."""
    from ebt_policy_ros.cli.nodes import provide_rclpy

    provide_rclpy()
    isolate(os.environ)
    try:
        with termination_as_interrupt(), tempfile.TemporaryDirectory() as folder:
            result = measure(Path(folder))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if path is not None:
        write_json(path, result)
    print(in_words(result))
    return 0
