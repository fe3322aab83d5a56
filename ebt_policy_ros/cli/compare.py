"""Compares two results of `ebt-policy eval` episode by episode, on the seeds that both played: the difference of their
success rates with its 95 % interval (Newcombe, for paired shares) and McNemar's exact test.

  ebt-policy compare ebt.json dp.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ebt_policy_ros.cli.arguments import output_file
from ebt_policy_ros.cli.results import write_json
from ebt_policy_ros.core.errors import SettingsError

SAME = ("task", "perturb", "retry", "time_limit")
"""Settings in which results that are compared should agree."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy compare``."""
    parser.add_argument("first", type=Path, metavar="A.json", help="result of `ebt-policy eval --json`")
    parser.add_argument("second", type=Path, metavar="B.json", help="another, with the same seeds")
    parser.add_argument("--json", type=output_file, metavar="F", help="where the comparison goes")


def run(options: argparse.Namespace) -> int:
    """Prints the comparison and writes the JSON; returns the exit status."""
    from ebt_policy_ros.training.statistics import pair

    first, second = read_result(options.first), read_result(options.second)
    differing = [name for name in SAME if first["settings"].get(name) != second["settings"].get(name)]
    if "task" in differing:
        raise SettingsError(
            f"{options.first} is of task '{first['settings'].get('task')}', {options.second} of "
            f"'{second['settings'].get('task')}'; compare results of one task"
        )
    paired = pair(successes_by_seed(first), successes_by_seed(second))
    low, high = paired.interval
    print(
        f"{_name(first)} {paired.both + paired.only_first} of {paired.count}, "
        f"{_name(second)} {paired.both + paired.only_second} of {paired.count} on the same seeds"
    )
    print(f"difference {100 * paired.difference:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}")
    print(
        f"{paired.only_first} episodes only the first, {paired.only_second} only the second; McNemar's exact test: "
        f"p = {paired.p_value:.3g}"
    )
    for name in differing:
        print(f"note: {name} was {first['settings'].get(name)} and {second['settings'].get(name)}")
    if options.json is not None:
        files = {"first": options.first, "second": options.second, "differing_settings": differing}
        write_json(options.json, {"command": "compare", **files, **paired.as_json()})
    return 0


def read_result(path: Path) -> dict[str, Any]:
    """A result file of ``ebt-policy eval``; SettingsError says what it lacks."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not JSON: {error}") from error
    if not isinstance(result, dict) or not isinstance(result.get("episodes"), list):
        raise SettingsError(f"{path}: expected a result of `ebt-policy eval --json` with 'episodes'")
    for place, episode in enumerate(result["episodes"]):
        if not isinstance(episode, dict) or not {"seed", "success"} <= set(episode):
            raise SettingsError(f"{path}: episode {place} has no 'seed' and 'success'")
    return {"settings": {}, **result}


def successes_by_seed(result: Mapping[str, Any]) -> dict[int, bool]:
    """Seed -> whether the episode succeeded."""
    return {int(episode["seed"]): bool(episode["success"]) for episode in result["episodes"]}


def _name(result: Mapping[str, Any]) -> str:
    settings = result["settings"]
    details = [str(settings[key]) for key in ("policy", "sampler") if settings.get(key)]
    if settings.get("steps"):
        details.append(f"{settings['steps']} steps")
    return f"{result.get('model', 'policy')} ({', '.join(details)})" if details else str(result.get("model", "policy"))
