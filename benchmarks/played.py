"""Episodes of a policy kept with all that it saw and planned, so that other networks can judge them afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.cli.progress import Estimate
from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.sim.world import Disturbance
from ebt_policy_ros.training.episodes import Episode, Job, Setup, play_all

CALM = "calm"
CLOSED_M = 0.004
"""A finger at less than this holds nothing: every object of the tasks is thicker."""


@dataclass
class Played:
    """One episode, chunk by chunk (T of them)."""

    kind: str
    """'calm' or a kind of perturbation."""
    seed: int
    purpose: str = "test"
    """'heads' (fitted on), 'threshold' (calibrated on) or 'test'."""
    success: bool = False
    duration_s: float = 0.0
    disturbed_s: float | None = None
    """When it happened [s from the start]; None: it did not."""
    times_s: list[float] = field(default_factory=list)
    positions: list[NDArray[np.float64]] = field(default_factory=list)
    """(D,) measured [rad, m] at every chunk."""
    chunks: list[NDArray[np.float64]] = field(default_factory=list)
    """(H, D) planned, in the bundle's normalised units."""
    images: dict[str, list[NDArray[np.uint8]]] = field(default_factory=dict)
    """Camera -> pictures at every chunk."""

    @property
    def was_disturbed(self) -> bool:
        """Whether what was to happen has happened."""
        return self.disturbed_s is not None

    @property
    def emptied_s(self) -> float | None:
        """When the hand was first seen closed on nothing after the disturbance [s]; None: never, or undisturbed."""
        for time_s, positions in zip(self.times_s, self.positions, strict=True):
            if self.disturbed_s is not None and time_s > self.disturbed_s and positions[-1] < CLOSED_M:
                return time_s
        return None


def play(
    policy: Path, task: str, wanted: Sequence[Played], *, processes: int | None, time_limit_s: float | None = None
) -> list[Played]:
    """Plays the ``wanted`` episodes (kind, seed, purpose) with a bundle, retry off, and fills them in."""
    setup = Setup(str(policy), task, {"retry": {"enabled": False}}, time_limit_s=time_limit_s)
    jobs = [
        Job(setup, index, episode.seed, None if episode.kind == CALM else Disturbance(episode.kind))
        for index, episode in enumerate(wanted)
    ]
    played: dict[int, Played] = {}
    estimate = Estimate("episodes")
    for place, episode in play_all(jobs, record, processes=processes):
        episode.kind, episode.purpose = wanted[place].kind, wanted[place].purpose
        played[place] = episode
        estimate.show(len(played), len(jobs))
    return [played[place] for place in range(len(jobs))]


def record(episode: Episode) -> Played:
    """Plays one episode and keeps everything."""
    world, played = episode.world, Played(CALM, episode.job.seed)
    for turn in episode.play():
        if turn.cycle.minimum is not None:
            played.times_s.append(turn.elapsed_s)
            played.positions.append(turn.positions)
            played.chunks.append(turn.cycle.minimum.chunk)
            for camera, image in turn.images.items():
                played.images.setdefault(camera, []).append(image)
    if world.disturbed_ns is not None:
        played.disturbed_s = (world.disturbed_ns - world.began_ns) * 1e-9
    played.success, played.duration_s = world.success_ns is not None, world.elapsed_s
    return played


# ---- on disk, so that another table does not need other episodes ------------------------------------------------

ARRAYS = ("times_s", "positions", "chunks")


def save(path: Path, policy_sha256: str, episodes: Sequence[Played]) -> None:
    """Everything in one .npz without pickles; about 55 kB a chunk."""
    plain: list[dict[str, Any]] = []
    for episode in episodes:
        fields = asdict(episode)
        plain.append({k: v for k, v in fields.items() if k not in (*ARRAYS, "images")} | {"rows": len(episode.times_s)})
    arrays: dict[str, Any] = {
        name: np.array([row for episode in episodes for row in getattr(episode, name)]) for name in ARRAYS
    }
    for camera in episodes[0].images:
        arrays[f"image {camera}"] = np.stack([picture for episode in episodes for picture in episode.images[camera]])
    about = json.dumps({"policy_sha256": policy_sha256, "episodes": plain})
    np.savez(path, about=np.frombuffer(about.encode(), dtype=np.uint8), **arrays)


def load(path: Path, policy_sha256: str) -> list[Played]:
    """What ``save`` wrote; EbtPolicyError when another policy played it."""
    with np.load(path, allow_pickle=False) as file:
        about = json.loads(file["about"].tobytes().decode())
        if about["policy_sha256"] != policy_sha256:
            raise EbtPolicyError(
                f"{path}: played by the policy {about['policy_sha256'][:12]}, --policy is {policy_sha256[:12]}; "
                "name another file, or delete this one to play again"
            )
        arrays = {name: file[name] for name in file.files if name != "about"}
    episodes, begin = [], 0
    for fields in about["episodes"]:
        rows = slice(begin, begin + fields.pop("rows"))
        begin = rows.stop
        episode = Played(**fields)
        for name in ARRAYS:
            setattr(episode, name, list(arrays[name][rows]))
        episode.images = {
            name.removeprefix("image "): list(values[rows])
            for name, values in arrays.items()
            if name.startswith("image ")
        }
        episodes.append(episode)
    return episodes
