"""Closed-loop episodes in lockstep with the node's own pipeline, kept with every minimum: what calibration needs."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.types import Floats, Minimum, Pixels

if TYPE_CHECKING:
    from ebt_policy_ros.core.pipeline import Pipeline
    from ebt_policy_ros.sim.arm import SimulatedArm

TIME_LIMIT_S = 12.0
ROBOT = "panda_sim"


@dataclass
class Rollout:
    """One episode: what was seen and what came of it at every chunk."""

    seed: int
    success: bool = False
    duration_s: float = 0.0
    disturbed_s: float | None = None
    """When the perturbation happened [s from the start]."""
    times_s: list[float] = field(default_factory=list)
    minima: list[Minimum] = field(default_factory=list)
    positions: list[Floats] = field(default_factory=list)
    """(D,) measured [rad, m] at every chunk."""
    images: dict[str, list[Pixels]] = field(default_factory=dict)
    """Camera -> pictures at every chunk; empty unless asked for."""


def run_episode(
    arm: SimulatedArm,
    pipeline: Pipeline,
    seed: int,
    *,
    keep_images: bool = False,
    perturb: str | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> Rollout:
    """One episode from ``seed`` to success, give-up or the time limit; thinking takes no simulated time.

    ``perturb``: happens once, when the tool comes within 10 cm of the cube.
    """
    from ebt_policy_ros.sim.lockstep import play
    from ebt_policy_ros.sim.world import Disturbance, SimWorld

    world = SimWorld(arm, arm.task.target, seed, lambda _text: None)
    disturbance = Disturbance(perturb, within_m=0.1) if perturb is not None else None
    rollout = Rollout(seed)
    for turn in play(world, pipeline, seed, disturbance=disturbance, time_limit_s=time_limit_s):
        if turn.cycle.minimum is not None:
            rollout.times_s.append(turn.elapsed_s)
            rollout.minima.append(turn.cycle.minimum)
            rollout.positions.append(turn.positions)
            for camera, image in turn.images.items() if keep_images else ():
                rollout.images.setdefault(camera, []).append(image)
    if world.disturbed_ns is not None:
        rollout.disturbed_s = (world.disturbed_ns - world.began_ns) * 1e-9
    rollout.success = world.success_ns is not None
    rollout.duration_s = world.elapsed_s
    return rollout


def run_episodes(
    model_dir: str | Path,
    seeds: Sequence[int],
    *,
    task: str = "lift",
    keep_images: bool = False,
    perturb: str | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    processes: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> list[Rollout]:
    """Episodes of a bundle in the order of ``seeds``; the same for any number of ``processes``. Retry is off unless
    ``overrides`` say otherwise; ``progress`` is told episodes done and wanted."""
    settings = {"retry": {"enabled": False}, **(overrides or {})}
    arguments = (str(model_dir), task, settings, keep_images, perturb)
    rollouts = []
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core a process; inherited by the spawned ones
    with multiprocessing.get_context("spawn").Pool(min(processes, len(seeds)), _start_worker, arguments) as pool:
        for rollout in pool.imap(_work, seeds):
            rollouts.append(rollout)
            if progress is not None:
                progress(len(rollouts), len(seeds))
    return rollouts


_worker: dict[str, Any] = {}


def _start_worker(
    model_dir: str, task: str, settings: Mapping[str, Mapping[str, Any]], keep_images: bool, perturb: str | None
) -> None:
    import signal

    import torch

    from ebt_policy_ros.assemble import assemble, load_robot
    from ebt_policy_ros.sim.arm import SimulatedArm

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    torch.set_num_threads(1)
    pipeline = assemble(model_dir, load_robot(ROBOT)[0], settings)
    _worker.update(arm=SimulatedArm(task), pipeline=pipeline, keep_images=keep_images, perturb=perturb)


def _work(seed: int) -> Rollout:
    return run_episode(
        _worker["arm"],
        _worker["pipeline"],
        seed,
        keep_images=_worker["keep_images"],
        perturb=_worker["perturb"],
    )


def stacked_images(rollouts: Sequence[Rollout], camera: str) -> NDArray[np.uint8]:
    """(N, height, width, 3) pictures of a camera from all episodes, one after the other."""
    return np.stack([image for rollout in rollouts for image in rollout.images[camera]])
