"""Demonstrations of a simulated task as bags: several processes, resumable, dependent on the seed alone.

``DIR/episode_00000/`` ... are rosbag2 bags of one episode each; ``DIR/collection.json`` says which task and seed they
are of, how many are wanted and whether they are plain, so that nothing is mixed up. The bags are complete without it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ebt_policy_ros.bags.episode import Episode
from ebt_policy_ros.bags.write import write_episode
from ebt_policy_ros.core.errors import EbtPolicyError, SettingsError
from ebt_policy_ros.sim.demonstrate import Demonstration, record_episode

MAX_TRIES = 8
"""Attempts (each from another seed) at one demonstration before the expert counts as unable."""
FIRST_STAMP_NS = 1_000_000_000
"""Of every bag: stamp 0 means "at once" to a controller and "never" to much else."""

Progress = Callable[[int, int], None]
"""Called with episodes done and episodes wanted."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection did."""

    num_episodes: int
    """In the folder now."""
    num_recorded: int
    """By this call."""
    num_tries: int
    """Of this call; more than recorded where the expert failed."""


def collect(
    task: str,
    out_dir: Path,
    episodes: int,
    seed: int,
    processes: int = 2,
    progress: Progress | None = None,
    plain: bool = False,
) -> Collected:
    """Fills ``out_dir`` with ``episodes`` successful demonstrations, one bag each.

    Episode i depends on ``seed`` and i alone, not on ``processes`` or on what is already there: finished bags are
    kept and skipped, so an interrupted collection goes on where it stopped. Raises SettingsError when the folder holds
    another task or seed, or other ones than ``plain`` says; EbtPolicyError when the expert keeps failing.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    _note(out_dir / "collection.json", task, seed, episodes, plain)
    missing = [index for index in range(episodes) if not episode_path(out_dir, index).exists()]
    done, tries = episodes - len(missing), 0
    if missing:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core a process; inherited by the spawned ones
        context = multiprocessing.get_context("spawn")
        with context.Pool(min(processes, len(missing)), _start_worker, (task, str(out_dir), seed, plain)) as pool:
            for num_tries in pool.imap_unordered(_record_index, missing):
                done, tries = done + 1, tries + num_tries
                if progress is not None:
                    progress(done, episodes)
    shutil.rmtree(out_dir / ".partial", ignore_errors=True)
    return Collected(done, len(missing), tries)


def episode_path(out_dir: Path, index: int) -> Path:
    """The bag of episode ``index``."""
    return Path(out_dir) / f"episode_{index:05d}"


def count_episodes(out_dir: Path) -> int:
    """Finished bags in a folder; 0 when there is no such folder."""
    return len(list(Path(out_dir).glob("episode_*/metadata.yaml")))


def write_demonstration(
    path: Path, task: str, period_s: float, shown: Demonstration, *, names: Any, tries: int
) -> None:
    """One demonstration as a bag; ``names`` are the joints'."""
    facts = {
        "task": task,
        "seed": shown.seed,
        "mode": shown.mode,
        "noise": shown.noise,
        "disturbance": shown.disturbance,
        "success": shown.success,
        "tries": tries,
    }
    episode = Episode(
        stamps_ns=shown.stamps_ns + FIRST_STAMP_NS,
        joint_names=tuple(names),
        positions=shown.positions,
        velocities=shown.velocities,
        actions=shown.actions,
        images=shown.images,
        success=shown.fulfilled,
        facts=facts,
    )
    write_episode(path, episode, period_s=period_s)


def wanted_episodes(out_dir: Path) -> int:
    """How many episodes the collection in ``out_dir`` was begun for; 0 where none was begun."""
    path = Path(out_dir) / "collection.json"
    return int(_read_note(path)["episodes"]) if path.exists() else 0


def is_plain(out_dir: Path) -> bool:
    """Whether the collection in ``out_dir`` was begun for plain demonstrations."""
    path = Path(out_dir) / "collection.json"
    return path.exists() and bool(_read_note(path)["plain"])


def _note(path: Path, task: str, seed: int, episodes: int, plain: bool) -> None:
    """Writes collection.json, or checks that it is about the same demonstrations."""
    if path.exists():
        previous = _read_note(path)
        held, wanted = (
            f"{'plain ' if is_plain else ''}demonstrations of task '{name}', seed {number}"
            for name, number, is_plain in (
                (previous["task"], previous["seed"], previous["plain"]),
                (task, seed, plain),
            )
        )
        if held != wanted:
            raise SettingsError(f"{path.parent} holds {held}, not {wanted}; choose another folder")
        episodes = max(episodes, int(previous["episodes"]))
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"task": task, "seed": seed, "episodes": episodes, "plain": plain}) + "\n")
    partial.replace(path)


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(path.read_text())
        return {
            "task": str(note["task"]),
            "seed": int(note["seed"]),
            "episodes": int(note["episodes"]),
            "plain": bool(note.get("plain", False)),  # collections from before there were plain ones do not say
        }
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{path} does not say task, seed and episodes ({error!r}); choose another folder"
        ) from error


# --- inside the worker processes ------------------------------------------------------------------------------------
_worker: dict[str, Any] = {}


def _start_worker(task: str, out_dir: str, seed: int, plain: bool) -> None:
    from ebt_policy_ros.sim.arm import SimulatedArm

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _worker.update(arm=SimulatedArm(task), task=task, out_dir=Path(out_dir), seed=seed, plain=plain)


def _record_index(index: int) -> int:
    """Records episode ``index``; returns the number of tries."""
    arm = _worker["arm"]
    for attempt in range(MAX_TRIES):
        seed = int(np.random.SeedSequence([_worker["seed"], index, attempt]).generate_state(1)[0])
        shown = record_episode(arm, seed, _worker["plain"])
        if shown.success:
            path = episode_path(_worker["out_dir"], index)
            period_s = arm.control_period_ns / 1e9
            write_demonstration(path, _worker["task"], period_s, shown, names=arm.joint_names, tries=attempt + 1)
            return attempt + 1
    raise EbtPolicyError(
        f"episode {index}: the expert failed {MAX_TRIES} times in a row, which points to a fault in it"
    )
