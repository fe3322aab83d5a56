"""Closed-loop episodes in lockstep with the node's own pipeline, kept with every minimum: what calibration needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.types import Floats, Minimum, Pixels
from ebt_policy_ros.training.episodes import Episode, Job, Setup, find_bundle, play_all, task_of


@dataclass
class Rollout:
    """One episode: what was seen and what came of it at every chunk."""

    seed: int
    success: bool = False
    duration_s: float = 0.0
    times_s: list[float] = field(default_factory=list)
    minima: list[Minimum] = field(default_factory=list)
    positions: list[Floats] = field(default_factory=list)
    """(D,) measured [rad, m] at every chunk."""
    images: dict[str, list[Pixels]] = field(default_factory=dict)
    """Camera -> pictures at every chunk; empty unless asked for."""


def run_episodes(
    model_dir: str | Path,
    seeds: Sequence[int],
    *,
    task: str | None = None,
    keep_images: bool = False,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    sampler: str | None = None,
    time_limit_s: float | None = None,
) -> list[Rollout]:
    """Undisturbed episodes of a bundle in the order of ``seeds``, the same for any number of ``processes`` (None: all
    cores).

    ``task`` and ``time_limit_s`` default to the bundle's task and its limit. Retry is off unless ``overrides`` say
    otherwise. ``progress`` is told episodes done and wanted.
    """
    settings = {"retry": {"enabled": False}, **(overrides or {})}
    directory, bundle = find_bundle(model_dir)
    setup = Setup(str(directory), task or task_of(bundle), settings, sampler=sampler, time_limit_s=time_limit_s)
    jobs = [Job(setup, index, seed) for index, seed in enumerate(seeds)]
    rollouts: dict[int, Rollout] = {}
    for place, rollout in play_all(jobs, partial(keep, with_images=keep_images), processes=processes):
        rollouts[place] = rollout
        if progress is not None:
            progress(len(rollouts), len(jobs))
    return [rollouts[place] for place in range(len(jobs))]


def keep(episode: Episode, *, with_images: bool = False) -> Rollout:
    """Plays an episode to success, give-up or the time limit, and keeps every minimum."""
    world, rollout = episode.world, Rollout(episode.job.seed)
    for turn in episode.play():
        if turn.cycle.minimum is not None:
            rollout.times_s.append(turn.elapsed_s)
            rollout.minima.append(turn.cycle.minimum)
            rollout.positions.append(turn.positions)
            for camera, image in turn.images.items() if with_images else ():
                rollout.images.setdefault(camera, []).append(image)
    rollout.success = world.success_ns is not None
    rollout.duration_s = world.elapsed_s
    return rollout


def stacked_images(rollouts: Sequence[Rollout], camera: str) -> NDArray[np.uint8]:
    """(N, height, width, 3) pictures of a camera from all episodes, one after the other."""
    return np.stack([image for rollout in rollouts for image in rollout.images[camera]])
