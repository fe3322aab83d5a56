"""What do disturbed episodes die of, and could they have been saved? Every failure of ``benchmarks.rescue`` without
retry is played again to its end, twice. Once the scripted expert, which knows where everything is, goes on from there:
is there a way out at all? Once the hand opens, the arm goes to where the episode began, and the policy has as long
again: what does a retreat all the way bring?

  python -m benchmarks.autopsy --task square --kinds nudge,slip,teleport --document docs/uncertainty.md

Kept in benchmarks/results/<task>/autopsy.json. An object counts as fallen when it is tilted by more than 25 degrees,
and as elsewhere when it lies more than 2 cm from where any of 200 episodes begins, or turned by more than 20 degrees
from all of those.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.energy_table import write_between
from benchmarks.matrix import RESULTS
from ebt_policy_ros.cli.lockstep import disturbances
from ebt_policy_ros.cli.progress import Estimate
from ebt_policy_ros.cli.results import write_json
from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.sim.arm import OPEN_M, SimulatedArm
from ebt_policy_ros.sim.lockstep import go_on
from ebt_policy_ros.training.episodes import Episode, Job, Setup, play_all

TILTED = np.cos(np.deg2rad(25))
STARTS = 200
NEAR_M, NEAR_RAD = 0.02, np.deg2rad(20)
HOMING_TICKS, SETTLING_TICKS = 60, 10
FATES = ("fallen", "elsewhere", "like a start")


def examine(episode: Episode) -> dict[str, Any] | None:
    """Plays one episode and lets expert and policy go on where it failed; None when it succeeds this time."""
    arm, seed = episode.world.arm, episode.job.seed
    home = play_to_end(episode)
    if episode.world.success_ns is not None:
        return None
    place, turn = arm.object_pose(arm.task.target)
    found = {
        "seed": seed,
        "place_m": [round(float(value), 3) for value in place],
        "upright": round(float(turn[2, 2]), 3),
        "yaw_rad": round(yaw_of(turn), 3),
        "expert_succeeds": expert_goes_on(arm, seed),
    }
    play_to_end(episode)
    return {**found, "policy_succeeds": policy_goes_on(episode, home)}


def play_to_end(episode: Episode) -> Floats:
    """The joints (D,) [rad, m] at which the episode began."""
    home = None
    for turn in episode.play():
        home = turn.positions.copy() if home is None else home
    assert home is not None
    return home


def expert_goes_on(arm: SimulatedArm, seed: int) -> bool:
    """Whether the scripted expert fulfils the task from here."""
    expert = arm.task.make_expert(arm, np.random.default_rng(seed))
    for _ in range(2 * arm.task.max_ticks):
        arm.step(expert.act())
        if arm.is_success or expert.is_done:
            break
    return arm.is_success


def policy_goes_on(episode: Episode, home: Floats) -> bool:
    """Whether the policy fulfils the task with an open hand from ``home``, given as long as the task allows."""
    world, arm = episode.world, episode.world.arm
    here, goal = arm.positions(), home.copy()
    here[-1] = goal[-1] = OPEN_M
    for share in np.append(np.linspace(0, 1, HOMING_TICKS), np.ones(SETTLING_TICKS)):
        arm.step(here + share * (goal - here))
    world.stand()
    until_s = world.elapsed_s + arm.task.time_limit_s
    for _ in go_on(world, episode.assembly.pipeline, episode.job.seed, until_s=until_s):
        pass
    return world.success_ns is not None


def yaw_of(turn: Any) -> float:
    """Of a rotation (3, 3) about the vertical [rad]."""
    return float(np.arctan2(turn[1, 0], turn[0, 0]))


def starts(task: str) -> Floats:
    """(N, 3) x, y [m] and yaw [rad] of a task's object when an episode begins."""
    arm, poses = SimulatedArm(task), []
    for seed in range(STARTS):
        arm.reset(seed)
        place, turn = arm.object_pose(arm.task.target)
        poses.append((*place[:2], yaw_of(turn)))
    arm.close()
    return np.array(poses)


def fate(found: Mapping[str, Any], begun: Floats) -> str:
    """One of ``FATES``, given how episodes begin (``starts``)."""
    if found["upright"] < TILTED:
        return "fallen"
    near = np.hypot(*(begun[:, :2] - found["place_m"][:2]).T) <= NEAR_M
    turned = np.abs((begun[:, 2] - found["yaw_rad"] + np.pi) % (2 * np.pi) - np.pi)
    return "like a start" if near.any() and turned.min() <= NEAR_RAD else "elsewhere"


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All failures of all kinds; the result as it is kept."""
    folder = options.results / options.task / "rescue"
    cells = {kind: json.loads((folder / f"off-{kind}.json").read_text("utf-8")) for kind in options.kinds.split(",")}
    setup = Setup(
        f"models/{options.task}", options.task, {"retry": {"enabled": False}}, time_limit_s=options.time_limit
    )
    jobs = []
    for kind, cell in cells.items():
        failed = [cell["first_seed"] + place for place, won in enumerate(cell["outcomes"]) if won == "0"]
        jobs += [Job(setup, len(jobs) + i, seed, disturbances(kind)(0)) for i, seed in enumerate(failed)]
    found: dict[int, dict[str, Any] | None] = {}
    estimate = Estimate("failures")
    for place, one in play_all(jobs, examine, processes=options.processes):
        found[place] = one
        estimate.show(len(found), len(jobs))
    begun = starts(options.task)
    kinds: dict[str, list[dict[str, Any]]] = {kind: [] for kind in cells}
    for place, job in enumerate(jobs):
        one = found[place]
        if one is not None and job.disturbance is not None:
            kinds[job.disturbance.label].append({**one, "fate": fate(one, begun)})
    weights = {cell["weights_sha256"] for cell in cells.values()}
    return {
        "task": options.task,
        "weights_sha256": sorted(weights),
        "episodes": {kind: len(cell["outcomes"]) for kind, cell in cells.items()},
        "failures": kinds,
    }


def table(result: Mapping[str, Any]) -> str:
    """Markdown: a row a kind, how its failures ended and how many of them the expert saves."""
    lines = [
        "| kind | episodes | failures | " + " | ".join(FATES) + " | saved by the expert | saved from the start pose |",
        "|---" * (5 + len(FATES)) + "|",
    ]
    for kind, failures in result["failures"].items():
        counts = [sum(one["fate"] == name for one in failures) for name in FATES]
        saved = [sum(one[f"{who}_succeeds"] for one in failures) for who in ("expert", "policy")]
        cells = [kind, result["episodes"][kind], len(failures), *counts, *saved]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def main(given: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autopsy", description=__doc__.split("\n\n")[0])
    parser.add_argument("--task", required=True)
    parser.add_argument("--kinds", default="nudge", help="comma separated: kinds that benchmarks.rescue has played")
    parser.add_argument("--time-limit", type=float, help="longest episode [simulated s], as it was played")
    parser.add_argument("--processes", type=int, help="episodes in parallel (default: one a core)")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only-write", action="store_true", help="play nothing")
    parser.add_argument("--document", type=Path, help="Markdown file for the table, between its markers")
    options = parser.parse_args(given)
    path = options.results / options.task / "autopsy.json"
    try:
        if not options.only_write:
            write_json(path, measure(options))
        text = table(json.loads(path.read_text(encoding="utf-8")))
        if options.document is not None:
            write_between(options.document, f"autopsy {options.task}", text)
        else:
            print(text)
    except (EbtPolicyError, OSError) as error:
        sys.stderr.write(f"benchmarks.autopsy: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
