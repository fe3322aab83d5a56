"""Success of a bundle in lockstep simulation, in one process: camera, minimise, retry, safety and controller are the
ones of the node, only the middleware is left out. Deterministic: the same command gives the same JSON but for times.
"""

from __future__ import annotations

import argparse

from ebt_policy_ros.cli.arguments import output_file, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy eval``."""
    parser.add_argument("--model", default="lift", help="bundle directory, or the name of one in models/")
    parser.add_argument("--task", default="lift", help="simulated task")
    parser.add_argument("--episodes", type=whole_number(1), default=50, help="episodes (default 50)")
    parser.add_argument("--seed", type=whole_number(0), default=1000, help="of the first episode; the next count up")
    parser.add_argument("--steps", type=whole_number(1), help="gradient steps a chunk (default: the bundle's)")
    parser.add_argument("--policy", choices=("ebt", "dp"), default="ebt", help="kind of policy")
    parser.add_argument("--sampler", choices=("ddpm100", "ddim16"), help="of a diffusion policy")
    parser.add_argument("--perturb", metavar="NAME", help="disturbance of every episode, such as teleport, or 'all'")
    parser.add_argument("--retry", choices=("on", "off"), default="on", help="whether retry may act (default on)")
    parser.add_argument("--runtime", choices=("torch", "onnxruntime"), default="torch", help="what runs the bundle")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", type=output_file, metavar="F", help="where the results go")
