"""Records demonstrations of a task: ``python -m ebt_policy_ros.sim.demonstrate --task lift --episodes 400 --out DIR``.

One ``episode_00000.npz`` an episode (read it with ``allow_pickle=False``):

- ``stamp_ns`` (T,) int64, 50 ms apart; ``positions`` (T, D) float32 [rad, m] as measured at that stamp
- ``actions`` (T, D) float32 [rad, m]: the expert's target commanded at that stamp
- ``image.<camera>`` (T, height, width, 3) uint8 RGB at that stamp
- ``meta``: JSON text, this episode's entry in ``dataset.json``

In part of the episodes what is *executed* is the expert's target plus smooth noise, while the clean target is what is
recorded (Laskey et al., DART, CoRL 2017, arXiv 1703.09327): the expert then shows how to come back from where a
learned policy will stray to. Others begin as a failed attempt would end, or have the object moved under way.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ebt_policy_ros.core.errors import EbtPolicyError, SettingsError
from ebt_policy_ros.core.types import Floats
from ebt_policy_ros.sim.arm import ARM_JOINTS, FINGER_JOINT, SimulatedArm

MAX_TICKS = 200
MAX_TRIES = 8
"""Attempts (each from another seed) at one demonstration before the expert counts as unable."""
NOISY_SHARE, TELEPORT_SHARE, AWKWARD_SHARE = 0.55, 0.14, 0.16

Progress = Callable[[int, int, float], None]
"""Called with episodes done, episodes wanted, seconds passed."""


@dataclass(frozen=True, slots=True)
class EpisodeNote:
    """What ``dataset.json`` says about one episode."""

    file: str
    seed: int
    length: int
    mode: str
    noise: float
    """Standard deviation of the executed targets' noise [rad]; 0 for a clean episode."""
    disturbance: str
    """none, teleport (the object moved under way) or awkward (began in a state that a failure leaves)."""
    success: bool
    tries: int
    """Attempts until the expert succeeded; those that failed are not kept."""


class SmoothNoise:
    """Noise on joint targets that wanders with a correlation time of about 0.3 s, without jumps."""

    def __init__(self, num_joints: int, sigma_rad: float, rng: np.random.Generator) -> None:
        self._sigma = sigma_rad
        self._rng = rng
        self._inner = np.zeros(num_joints)
        self._outer = np.zeros(num_joints)

    def advance(self) -> Floats:
        """(7,) [rad] for the next control period; starts at zero, standard deviation ``sigma_rad`` later."""
        keep = np.exp(-0.05 / 0.15)
        self._inner = keep * self._inner + np.sqrt(1 - keep**2) * self._rng.standard_normal(len(self._inner))
        self._outer = keep * self._outer + (1 - keep) * self._inner
        # Two equal low passes in a row leave sqrt(1 + keep^2) / (1 + keep) of a unit standard deviation.
        noise: Floats = self._sigma * (1 + keep) / np.sqrt(1 + keep**2) * self._outer
        return noise


def collect(
    task: str, out_dir: Path, episodes: int, seed: int, processes: int = 2, progress: Progress | None = None
) -> dict[str, Any]:
    """Fills ``out_dir`` with ``episodes`` successful demonstrations and returns (and writes) ``dataset.json``.

    Episode i depends on ``seed`` and i alone, not on ``processes`` or on what is already there: existing files are
    kept and skipped, so an interrupted collection goes on where it stopped. Raises SettingsError when the directory
    holds another task or seed.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    settings = {"task": task, "seed": seed}
    _check_same(out_dir / "collection.json", settings)
    missing = [index for index in range(episodes) if not _episode_path(out_dir, index).exists()]
    done, began = episodes - len(missing), time.monotonic()
    if missing:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core a process; inherited by the spawned ones
        context = multiprocessing.get_context("spawn")
        with context.Pool(min(processes, len(missing)), _start_worker, (task, str(out_dir), seed)) as pool:
            for _ in pool.imap_unordered(_record_index, missing):
                done += 1
                if progress is not None:
                    progress(done, episodes, time.monotonic() - began)
    return _write_index(out_dir, task, seed, episodes)


def record_episode(arm: SimulatedArm, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One demonstration: its arrays by name and what there is to note (``success`` may be False)."""
    rng = np.random.default_rng([seed, 2])
    sigma = float(rng.uniform(0.005, 0.019)) if rng.random() < NOISY_SHARE else 0.0
    draw = rng.random()
    disturbance = "teleport" if draw < TELEPORT_SHARE else "none"
    disturbance = "awkward" if TELEPORT_SHARE <= draw < TELEPORT_SHARE + AWKWARD_SHARE else disturbance
    arm.reset(seed)
    if disturbance == "awkward":
        arm.task.start_awkwardly(arm, rng)
    expert = arm.task.make_expert(arm, rng)
    noise = SmoothNoise(len(arm.joint_names) - 1, sigma, rng)
    teleport_tick = int(rng.integers(8, 50)) if disturbance == "teleport" else -1
    start_ns = arm.time_ns
    frames: dict[str, list[Any]] = {name: [] for name in ("stamp_ns", "positions", "actions")}
    frames |= {f"image.{camera}": [] for camera in arm.camera_names}
    for tick in range(MAX_TICKS):
        if tick == teleport_tick:
            arm.perturb("teleport", severity=float(rng.uniform(0.4, 1.0)))
        frames["stamp_ns"].append(arm.time_ns - start_ns)
        frames["positions"].append(arm.positions())
        for camera in arm.camera_names:
            frames[f"image.{camera}"].append(arm.render(camera))
        action = expert.act()
        frames["actions"].append(action)
        executed = action.copy()
        executed[:-1] += noise.advance() * arm.task.noise_scale(arm)
        arm.step(executed)
        if expert.is_done:
            break
    arrays = {name: np.array(rows, dtype=_dtype(name)) for name, rows in frames.items()}
    note = {
        "seed": seed,
        "length": len(frames["stamp_ns"]),
        "mode": expert.mode,
        "noise": sigma,
        "disturbance": disturbance,
        "success": bool(expert.is_done and arm.is_success),
    }
    return arrays, note


def _dtype(name: str) -> type[np.generic]:
    if name == "stamp_ns":
        return np.int64
    return np.uint8 if name.startswith("image.") else np.float32


# --- inside the worker processes ------------------------------------------------------------------------------------
_worker: dict[str, Any] = {}


def _start_worker(task: str, out_dir: str, seed: int) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _worker.update(arm=SimulatedArm(task), out_dir=Path(out_dir), seed=seed)


def _record_index(index: int) -> int:
    for attempt in range(MAX_TRIES):
        seed = int(np.random.SeedSequence([_worker["seed"], index, attempt]).generate_state(1)[0])
        arrays, note = record_episode(_worker["arm"], seed)
        if note["success"]:
            path = _episode_path(_worker["out_dir"], index)
            entry = EpisodeNote(file=path.name, tries=attempt + 1, **note)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.savez(file, **arrays, meta=np.array(json.dumps(asdict(entry))))
            partial.replace(path)
            return index
    raise EbtPolicyError(
        f"episode {index}: the expert failed {MAX_TRIES} times in a row, which points to a fault in it"
    )


# --- the index ------------------------------------------------------------------------------------------------------
def _episode_path(out_dir: Path, index: int) -> Path:
    return out_dir / f"episode_{index:05d}.npz"


def _check_same(path: Path, settings: dict[str, Any]) -> None:
    if path.exists():
        previous = json.loads(path.read_text())
        if previous != settings:
            raise SettingsError(
                f"{path.parent} holds demonstrations of {previous}, not {settings}; choose another folder"
            )
    else:
        path.write_text(json.dumps(settings) + "\n")


def _write_index(out_dir: Path, task: str, seed: int, episodes: int) -> dict[str, Any]:
    notes = []
    for index in range(episodes):
        with np.load(_episode_path(out_dir, index), allow_pickle=False) as archive:
            notes.append(json.loads(str(archive["meta"])))
            cameras = [name.removeprefix("image.") for name in archive.files if name.startswith("image.")]
    dataset = {
        "task": task,
        "seed": seed,
        "joint_names": [*ARM_JOINTS, FINGER_JOINT],
        "cameras": cameras if notes else [],
        "period_s": SimulatedArm.control_period_ns / 1e9,
        "expert_success_rate": len(notes) / max(1, sum(note["tries"] for note in notes)),
        "episodes": notes,
    }
    partial = out_dir / "dataset.json.partial"
    partial.write_text(json.dumps(dataset, indent=1) + "\n")
    partial.replace(out_dir / "dataset.json")
    return dataset


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ebt_policy_ros.sim.demonstrate", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--task", default="lift")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(arguments)
    first: list[int] = []

    def show(done: int, wanted: int, seconds: float) -> None:
        if not first:
            first.append(done - 1)
        left = seconds / (done - first[0]) * (wanted - done)
        sys.stderr.write(f"\r{done}/{wanted} demonstrations, {seconds:.0f} s, about {left / 60:.1f} min left ")
        sys.stderr.flush()

    try:
        dataset = collect(options.task, options.out, options.episodes, options.seed, options.processes, show)
    except KeyboardInterrupt:
        kept = len(list(options.out.glob("episode_*.npz")))
        sys.stderr.write(f"\nstopped; {kept} demonstrations are kept in {options.out}, the same command goes on\n")
        return 130
    except EbtPolicyError as error:
        sys.stderr.write(f"\n{error}\n")
        return 2
    rate = dataset["expert_success_rate"]
    sys.stderr.write(f"\n{len(dataset['episodes'])} demonstrations in {options.out}, expert success {rate:.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
