"""Measures a bundle's uncertainty score, over windows of time, on closed-loop episodes that nothing was fitted on, and
stores the calibration (window, threshold, quantiles, hash of the weights it belongs to) in the bundle's policy.json.

With --data what judges the chunks is trained first: the critic (how far from the expert's a chunk is expected to be)
and the score heads (how familiar an observation is).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from ebt_policy_ros.cli.arguments import existing_directory, output_file, whole_number
from ebt_policy_ros.cli.progress import Estimate
from ebt_policy_ros.cli.results import versions, write_json
from ebt_policy_ros.core.errors import SettingsError

EPISODES, SEED, ALPHA = 100, 20_000, 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy calibrate``."""
    parser.add_argument("--model", default="lift", help="bundle directory, or the name of one in models/")
    parser.add_argument(
        "--data", type=existing_directory, help="demonstrations: train critic and score heads on them first"
    )
    parser.add_argument("--task", help="simulated task (default: the bundle's name)")
    parser.add_argument(
        "--episodes", type=whole_number(1), default=EPISODES, help=f"to measure on (default {EPISODES})"
    )
    parser.add_argument("--seed", type=whole_number(0), default=SEED, help=f"of the first episode (default {SEED})")
    parser.add_argument("--alpha", type=float, default=ALPHA, help=f"false alarms accepted (default {ALPHA})")
    parser.add_argument("--window", type=float, help="time over which the score is averaged [s] (default 2.8)")
    parser.add_argument("--processes", type=whole_number(1), default=2, help="episodes in parallel (default 2)")
    parser.add_argument("--json", type=output_file, metavar="F", help="where the result goes")


def run(options: argparse.Namespace) -> int:
    """Calibrates, prints the threshold, writes the JSON; returns the exit status."""
    from ebt_policy_ros.resources import find_model

    if not 0.0 < options.alpha < 1.0:
        raise SettingsError(f"--alpha: expected a share between 0 and 1, got {options.alpha}")
    model = find_model(options.model)
    if options.data is not None:
        train_critic(model, options.data)
        fit_score_heads(model, options.data, options.processes)
    result = measure(model, options)
    if options.json is not None:
        write_json(options.json, {**result, "command": "calibrate", "versions": versions()})
    measured = result["calibration"]
    print(
        f"threshold {measured['threshold']:.4g} of score '{measured['score']}', from {measured['n']} successful of "
        f"{result['episodes']} episodes: a new good episode raises a false alarm with probability {measured['alpha']:g}"
    )
    return 0


def train_critic(model: Path, data: Path) -> None:
    """Trains the bundle's critic on demonstrations."""
    from ebt_policy_ros.training.fit_critic import fit_critic

    with tempfile.TemporaryDirectory() as work_dir:
        fit_critic(model, data, work_dir=work_dir)


def fit_score_heads(model: Path, data: Path, processes: int) -> None:
    """Fits the bundle's score heads on demonstrations and on its own episodes."""
    from ebt_policy_ros.training.fit_heads import fit_heads

    sys.stderr.write("fitting the score heads on demonstrations and on the policy's own episodes\n")
    fit_heads(model, data, processes=processes)


def measure(model: Path, options: Any) -> dict[str, Any]:
    """Runs the episodes and stores the calibration; ``options`` has task, episodes, seed, alpha, processes."""
    from ebt_policy_ros.core.uncertainty import MAX_WINDOW_S
    from ebt_policy_ros.training.calibrate import WINDOW_S, calibrate

    window_s = getattr(options, "window", None)
    window_s = WINDOW_S if window_s is None else window_s
    if not 0.0 <= window_s <= MAX_WINDOW_S:
        raise SettingsError(f"--window: expected 0 to {MAX_WINDOW_S:g} seconds, got {window_s}")
    return calibrate(
        model,
        task=options.task,
        episodes=options.episodes,
        seed=options.seed,
        alpha=options.alpha,
        window_s=window_s,
        processes=options.processes,
        progress=Estimate("calibration episodes").show,
    )
