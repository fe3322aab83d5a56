"""Trains a policy: on your recordings, or from nothing on a simulated task, whose demonstrations it records first.

  ebt-policy train --task lift --out out/lift
  ebt-policy train --data my_bags --out out/mine             (a bag, a folder of bags, LeRobot, robomimic, or a YAML)
  ebt-policy train --config train.yaml --out out/lift        (keys: the options below, and every TrainSettings field)

Camera encoders first, then the policy on their features; then, where the task can be simulated, the best of several
snapshots is chosen by rollouts, a critic and score heads are trained and the score is calibrated. The same command
goes on where an interrupted one stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebt_policy_ros.cli.arguments import whole_number
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.policy.bundle import POLICY_METHODS
from ebt_policy_ros.training.settings import STEPS

if TYPE_CHECKING:
    from ebt_policy_ros.policy.bundle import Bundle

DEMONSTRATIONS = 400
SELECT_EPISODES = 30
COMMAND_KEYS = ("demonstrations", "demonstration_seed", "processes", "calibrate", "select_episodes", "critic_steps")
"""Keys of a configuration file that are this command's, not TrainSettings'."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy train``; a given option wins over the configuration file."""
    parser.add_argument("--task", help="name of the task (such as lift); needed where there are no --data")
    parser.add_argument("--config", type=Path, help="YAML file of settings")
    parser.add_argument("--data", type=Path, help="demonstrations (default: data/<task>, recorded when missing)")
    parser.add_argument(
        "--method", choices=(*POLICY_METHODS, "encoder"), help="ebt (default), a baseline, or the encoders alone"
    )
    parser.add_argument("--encoder", type=Path, help="folder of trained encoders to use instead of training them")
    parser.add_argument("--encoder-steps", type=whole_number(0), help="of the encoders' training; 0: end to end")
    parser.add_argument("--out", type=Path, required=True, help="directory of the bundle, checkpoint and curve")
    parser.add_argument("--demonstrations", type=whole_number(1), help=f"to record (default {DEMONSTRATIONS})")
    parser.add_argument("--demonstration-seed", type=whole_number(0), help="of the recording (default 0)")
    parser.add_argument("--processes", type=whole_number(1), help="recording and calibrating in parallel (default 2)")
    parser.add_argument(
        "--calibrate", action=argparse.BooleanOptionalAction, default=None, help="complete the bundle (default: yes)"
    )
    parser.add_argument(
        "--select-episodes",
        type=whole_number(0),
        help=f"rollouts that choose among the snapshots of a simulated task (default {SELECT_EPISODES}; 0: the last)",
    )
    parser.add_argument("--steps", type=whole_number(1), help="gradient steps")
    parser.add_argument("--critic-steps", type=whole_number(0), help="of the critic's training (default 1000); 0: none")
    parser.add_argument("--minutes", type=float, help="training time instead of steps")
    parser.add_argument("--batch", type=whole_number(1), help="observations a gradient step")
    parser.add_argument("--limit", type=whole_number(1), help="use only the first episodes")
    parser.add_argument("--threads", type=whole_number(1), help="CPU threads")
    parser.add_argument("--device", help="auto, cpu or cuda")
    parser.add_argument("--seed", type=whole_number(0), help="of weights and batches")


def run(options: argparse.Namespace) -> int:
    """Records what is missing, trains, writes the bundle; returns the exit status."""
    given = {**_read_config(options.config), **{k: v for k, v in vars(options).items() if v is not None}}
    given.pop("config", None)
    if "task" not in given and "data" not in given:
        raise SettingsError("expected --task NAME, --data FOLDER, or --config FILE with one of the two; got neither")
    command = {key: given.pop(key) for key in COMMAND_KEYS if key in given}
    data = Path(given.setdefault("data", Path("data") / str(given.get("task"))))
    if "task" in given and (not data.exists() or (data / "collection.json").exists()):
        _record(str(given["task"]), data, command)
    bundle = _train({key: str(value) if isinstance(value, Path) else value for key, value in given.items()})
    if bundle is not None:
        out = Path(given["out"])
        _complete(bundle, out, data, Path(given.get("encoder", out / "encoder")), command)
    sys.stderr.write(f"the result is in {given['out']}\n")
    return 0


def _complete(bundle: Bundle, out: Path, data: Path, encoder: Path, command: Mapping[str, Any]) -> None:
    """Choose a snapshot, add what judges its chunks and calibrate, as far as the task can be simulated."""
    from ebt_policy_ros.sim.tasks import TASKS

    processes = int(command.get("processes", 2))
    is_simulated = bundle.name in TASKS
    episodes = int(command.get("select_episodes", SELECT_EPISODES))
    if is_simulated and episodes > 0:
        from ebt_policy_ros.training.select import select

        # DDIM with 16 steps ranks a diffusion policy's snapshots at a sixth of DDPM's cost.
        sampler = "ddim16" if bundle.method == "dp" else None
        select(out, bundle.name, episodes, sampler=sampler, processes=processes)
    if bundle.method != "ebt" or not command.get("calibrate", True):
        return
    critic_steps = int(command.get("critic_steps", STEPS["critic"]))
    if critic_steps > 0:
        from ebt_policy_ros.training.fit_critic import fit_critic

        fit_critic(out, data, work_dir=out / "critic", encoder=encoder, steps=critic_steps)
    if is_simulated:
        _calibrate(out, data, bundle.name, processes)
        return
    from ebt_policy_ros.training.fit_heads import fit_heads

    fit_heads(out, data, episodes=0)
    sys.stderr.write(
        f"'{bundle.name}' is not a simulated task: the uncertainty score is fitted to the demonstrations but not "
        "calibrated, so the node publishes it and never retries on it\n"
    )


def _read_config(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    import yaml

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"configuration file {path} cannot be read: {error}") from error
    if not isinstance(entries, dict):
        raise SettingsError(f"configuration file {path}: expected a mapping, got {type(entries).__name__}")
    return {str(key): value for key, value in entries.items()}


def _record(task: str, data: Path, command: Mapping[str, Any]) -> None:
    from ebt_policy_ros.cli import collect
    from ebt_policy_ros.training.collect import count_episodes, is_plain, wanted_episodes

    wanted = int(command.get("demonstrations", wanted_episodes(data) or DEMONSTRATIONS))
    found = count_episodes(data)
    if found >= wanted:
        return
    sys.stderr.write(f"{found} demonstrations in {data}: recording {wanted} of task '{task}'\n")
    seed, processes = int(command.get("demonstration_seed", 0)), int(command.get("processes", 2))
    collect.record(task, data, wanted, seed, processes, is_plain(data))


def _calibrate(model: Path, data: Path, task: str, processes: int) -> None:
    from ebt_policy_ros.cli import calibrate

    calibrate.fit_score_heads(model, data, processes)
    calibrate.measure(
        model,
        argparse.Namespace(
            task=task,
            episodes=calibrate.EPISODES,
            seed=calibrate.SEED,
            alpha=calibrate.ALPHA,
            processes=processes,
        ),
    )


def _train(settings: Mapping[str, Any]) -> Bundle | None:
    from ebt_policy_ros.training.settings import TrainSettings
    from ebt_policy_ros.training.train import train

    known = [field.name for field in dataclasses.fields(TrainSettings)]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise SettingsError(f"unknown setting '{unknown[0]}'; known are {', '.join([*COMMAND_KEYS, *known])}")
    return train(TrainSettings(**settings))
