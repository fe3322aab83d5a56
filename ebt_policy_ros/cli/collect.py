"""Lets a scripted expert show a simulated task and keeps every episode as a rosbag2 bag (MCAP) with the node's own
topics. The same command goes on where an interrupted one stopped.

  ebt-policy collect --task lift --episodes 400 --seed 0 --out data/lift
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ebt_policy_ros.cli.arguments import whole_number
from ebt_policy_ros.cli.progress import Estimate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy collect``."""
    parser.add_argument("--task", required=True, help="name of the simulated task (such as lift)")
    parser.add_argument("--episodes", type=whole_number(1), default=400, help="demonstrations wanted (default 400)")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the collection (default 0)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bags")
    parser.add_argument(
        "--plain",
        action="store_true",
        help="nothing goes wrong on the way: no noise, no moved objects, no awkward starts",
    )
    parser.add_argument("--processes", type=whole_number(1), default=min(2, os.cpu_count() or 1), help="in parallel")


def run(options: argparse.Namespace) -> int:
    """Records what is missing; returns the exit status."""
    record(options.task, options.out, options.episodes, options.seed, options.processes, options.plain)
    return 0


def record(task: str, out_dir: Path, episodes: int, seed: int, processes: int, plain: bool = False) -> None:
    """Collects with progress on stderr; KeyboardInterrupt passes after saying what was kept."""
    from ebt_policy_ros.training.collect import collect, count_episodes

    estimate = Estimate("demonstrations")
    try:
        collected = collect(task, out_dir, episodes, seed, processes, estimate.show, plain)
    except KeyboardInterrupt:
        kept = count_episodes(out_dir)
        sys.stderr.write(f"\n{kept} demonstrations are kept in {out_dir}; the same command goes on from there\n")
        raise
    share = f", expert success {collected.num_recorded / collected.num_tries:.3f}" if collected.num_tries else ""
    sys.stderr.write(f"{collected.num_episodes} demonstrations in {out_dir}{share}\n")
