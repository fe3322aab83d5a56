"""Episodes of a policy, disturbed and calm, kept chunk by chunk as the networks saw them: what scores are compared on.

  python -m benchmarks.watch --model models/can --kinds calm,teleport,slip --episodes 40 --seed 50000 --out out/can.npz

Retry is off, so that an episode's outcome is the policy's own. Camera features are kept instead of pictures (2 kB a
chunk instead of 55), which is all that critics, heads and distances read.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.reported import reported
from ebt_policy_ros.cli.lockstep import disturbances
from ebt_policy_ros.cli.progress import Estimate
from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.training.episodes import Episode, Job, Setup, find_bundle, play_all, task_of

CALM = "calm"
ROWS = ("times_s", "positions", "features", "chunks", "energies", "surprises")


@dataclass
class Watched:
    """One episode, chunk by chunk (T of them)."""

    kind: str
    """'calm' or the perturbation."""
    seed: int
    success: bool = False
    duration_s: float = 0.0
    disturbed_s: float | None = None
    """When the perturbation set in [s from the start]; None: it did not."""
    times_s: list[float] = field(default_factory=list)
    positions: list[NDArray[np.float32]] = field(default_factory=list)
    """(D,) measured [rad, m]."""
    features: list[NDArray[np.float32]] = field(default_factory=list)
    """(cameras, F)."""
    chunks: list[NDArray[np.float32]] = field(default_factory=list)
    """(H, D) planned, in the bundle's normalised units."""
    energies: list[float] = field(default_factory=list)
    surprises: list[float] = field(default_factory=list)
    """Energy of what was left of the plan before less that of the new one; NaN where nothing was left."""
    blind_s: list[float] = field(default_factory=list)
    """When the node found that its input had gone, and held [s]."""


def watch(episode: Episode) -> Watched:
    """Plays one episode and keeps every chunk."""
    world, job, watched = episode.world, episode.job, Watched(CALM, episode.job.seed)
    runtime: Any = episode.assembly.minimiser
    for turn in episode.play():
        minimum, features = turn.cycle.minimum, runtime.seen_features()
        if minimum is None or features is None:
            if turn.cycle.uncertainty is not None:
                watched.blind_s.append(turn.elapsed_s)
            continue
        watched.times_s.append(turn.elapsed_s)
        watched.positions.append(turn.positions.astype(np.float32))
        watched.features.append(features.astype(np.float32))
        watched.chunks.append(minimum.chunk.astype(np.float32))
        watched.energies.append(minimum.energy)
        watched.surprises.append(np.nan if turn.cycle.surprise is None else turn.cycle.surprise)
    watched.kind = job.disturbance.label if job.disturbance is not None else CALM
    if world.disturbed_ns is not None:
        watched.disturbed_s = (world.disturbed_ns - world.began_ns) * 1e-9
    watched.success, watched.duration_s = world.success_ns is not None, world.elapsed_s
    return watched


def play(
    model: str,
    kinds: list[str],
    episodes: int,
    seed: int,
    *,
    task: str | None = None,
    processes: int | None = None,
    time_limit_s: float | None = None,
) -> tuple[str, list[Watched]]:
    """``episodes`` of every kind with the same seeds, retry off; with the hash of the policy that played."""
    directory, bundle = find_bundle(model)
    setup = Setup(str(directory), task or task_of(bundle), {"retry": {"enabled": False}}, time_limit_s=time_limit_s)
    jobs = []
    for kind in kinds:
        disturbance = None if kind == CALM else disturbances(kind)(0)
        jobs += [Job(setup, len(jobs) + i, seed + i, disturbance) for i in range(episodes)]
    found: dict[int, Watched] = {}
    estimate = Estimate("episodes")
    for place, watched in play_all(jobs, watch, processes=processes):
        found[place] = watched
        estimate.show(len(found), len(jobs))
    return bundle.policy_sha256, [found[place] for place in range(len(jobs)) if found[place].times_s]


def save(path: Path, policy_sha256: str, episodes: list[Watched]) -> None:
    """Everything in one .npz without pickles."""
    arrays = {name: np.array([row for one in episodes for row in getattr(one, name)], np.float32) for name in ROWS}
    plain = [{k: v for k, v in asdict(one).items() if k not in ROWS} | {"rows": len(one.times_s)} for one in episodes]
    about = json.dumps({"policy_sha256": policy_sha256, "episodes": plain})
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, about=np.frombuffer(about.encode(), dtype=np.uint8), **arrays)


def load(path: Path, policy_sha256: str | None = None) -> list[Watched]:
    """What ``save`` wrote; EbtPolicyError when another policy played it."""
    with np.load(path, allow_pickle=False) as file:
        about = json.loads(file["about"].tobytes().decode())
        if policy_sha256 is not None and about["policy_sha256"] != policy_sha256:
            raise EbtPolicyError(
                f"{path}: played by the policy {about['policy_sha256'][:12]}, the model is {policy_sha256[:12]}; "
                "name another file, or delete this one to play again"
            )
        arrays = {name: file[name] for name in ROWS}
    episodes, begin = [], 0
    for fields in about["episodes"]:
        rows = slice(begin, begin + fields.pop("rows"))
        begin = rows.stop
        episodes.append(Watched(**fields, **{name: list(arrays[name][rows]) for name in ROWS}))
    return episodes


@reported("watch")
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watch", description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--task", help="simulated task (default: the bundle's)")
    parser.add_argument("--kinds", default=CALM, help="comma separated: calm, and perturbations of ebt-policy eval")
    parser.add_argument("--episodes", type=int, default=40, help="of every kind")
    parser.add_argument("--seed", type=int, default=50_000)
    parser.add_argument("--processes", type=int, help="episodes in parallel (default: one a core)")
    parser.add_argument("--time-limit", type=float, help="longest episode [simulated s] (default: the task's)")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    sha256, episodes = play(
        options.model,
        options.kinds.split(","),
        options.episodes,
        options.seed,
        task=options.task,
        processes=options.processes,
        time_limit_s=options.time_limit,
    )
    save(options.out, sha256, episodes)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
