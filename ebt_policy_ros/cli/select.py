"""Makes the best checkpoint of a training run its bundle, judged by closed-loop episodes on seeds of their own: all
snapshots play a few, the better half goes on, the last two play all. Ties go to the one that is done sooner.

  ebt-policy select out/lift --episodes 100
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ebt_policy_ros.cli.arguments import existing_directory, output_file, whole_number
from ebt_policy_ros.cli.progress import Estimate
from ebt_policy_ros.cli.results import versions, write_json

EPISODES, SEED = 100, 6000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy select``."""
    parser.add_argument("run_dir", type=existing_directory, metavar="RUN_DIR", help="what `ebt-policy train` wrote")
    parser.add_argument("--task", help="simulated task (default: the bundle's)")
    parser.add_argument(
        "--episodes", type=whole_number(1), default=EPISODES, help=f"of the last round (default {EPISODES})"
    )
    parser.add_argument("--seed", type=whole_number(0), default=SEED, help=f"of the first episode (default {SEED})")
    parser.add_argument("--sampler", help="of a diffusion policy: ddpm100, ddim16 or ddim10")
    parser.add_argument("--processes", type=whole_number(1), help="episodes in parallel (default: one a core)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", type=output_file, metavar="F", help="where the scores go")


def run(options: argparse.Namespace) -> int:
    """Plays the rounds, prints every candidate's score, installs the best; returns the exit status."""
    from ebt_policy_ros.training.select import select

    choice = select(
        options.run_dir,
        options.task,
        options.episodes,
        options.seed,
        sampler=options.sampler,
        processes=options.processes,
        device=options.device,
        progress=Estimate("episodes of checkpoints").show,
    )
    for score in choice.scores:
        chosen = "  <- chosen" if score["gradient_steps"] == choice.best.gradient_steps else ""
        low, high = score["interval"]
        print(
            f"step {score['gradient_steps']:6}: {score['successes']:3} of {score['episodes']:3} "
            f"({100 * low:.0f} to {100 * high:.0f} %), {score['mean_duration_s']:.2f} s{chosen}"
        )
    if options.json is not None:
        content = {"command": "select", "run_dir": str(Path(options.run_dir)), "scores": choice.scores}
        content.update(chosen_gradient_steps=choice.best.gradient_steps, versions=versions())
        write_json(options.json, content)
    return 0
