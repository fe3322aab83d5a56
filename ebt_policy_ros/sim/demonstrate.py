"""Scripted experts show a task: one episode as arrays. ``ebt-policy collect`` turns them into bags.

In part of the episodes what is *executed* is the expert's target plus smooth noise, while the clean target is what is
recorded (Laskey et al., DART, CoRL 2017, arXiv 1703.09327): the expert then shows how to come back from where a
learned policy will stray to. Others begin as a failed attempt would end, or have the object moved under way. Plain
demonstrations have none of this: they are what somebody shows to whom everything goes well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.types import Floats, Pixels
from ebt_policy_ros.sim.arm import SimulatedArm

NOISY_SHARE, TELEPORT_SHARE, AWKWARD_SHARE = 0.55, 0.14, 0.16


@dataclass(frozen=True, slots=True, eq=False)
class Demonstration:
    """T control periods of one episode; row i belongs to ``stamps_ns[i]``."""

    stamps_ns: NDArray[np.int64]
    """(T,) since the episode began [ns]."""
    positions: Floats
    """(T, D) measured [rad, m]."""
    velocities: Floats
    """(T, D) measured [rad/s, m/s]."""
    actions: Floats
    """(T, D) the expert's own targets [rad, m], commanded at the row's stamp."""
    images: Mapping[str, Pixels]
    """Camera -> (T, height, width, 3) uint8 RGB."""
    fulfilled: NDArray[np.bool_]
    """(T,) whether the task had been fulfilled by then."""
    seed: int
    mode: str
    """Which of the expert's ways this was."""
    noise: float
    """Standard deviation of the executed targets' noise [rad]; 0 for a clean episode."""
    disturbance: str
    """none, teleport (the object moved under way) or awkward (began in a state that a failure leaves)."""
    success: bool


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


def record_episode(arm: SimulatedArm, seed: int, plain: bool = False) -> Demonstration:
    """One demonstration, whether it succeeds or not; depends on ``seed`` and ``plain`` alone."""
    rng = np.random.default_rng([seed, 2])
    sigma = float(rng.uniform(0.005, 0.019)) if rng.random() < NOISY_SHARE else 0.0
    disturbance = _draw_disturbance(arm, rng)
    if plain:
        sigma, disturbance = 0.0, "none"
    arm.reset(seed)
    if disturbance == "awkward":
        arm.task.start_awkwardly(arm, rng)
    expert = arm.task.make_expert(arm, rng)
    noise = SmoothNoise(len(arm.joint_names) - 1, sigma, rng)
    teleport_tick = int(rng.integers(8, 50)) if disturbance == "teleport" else -1
    start_ns = arm.time_ns
    rows: list[tuple[Any, ...]] = []
    images: dict[str, list[Pixels]] = {camera: [] for camera in arm.camera_names}
    fulfilled = False
    for tick in range(arm.task.max_ticks):
        if tick == teleport_tick:
            arm.teleport(float(rng.uniform(0.4, 1.0)))
        stamp_ns, positions, velocities = arm.time_ns - start_ns, arm.positions(), arm.velocities()
        for camera in arm.camera_names:
            images[camera].append(arm.render(camera))
        action = expert.act()
        rows.append((stamp_ns, positions, velocities, action, fulfilled))
        executed = action.copy()
        executed[:-1] += noise.advance() * arm.task.noise_scale(arm)
        arm.step(executed)
        fulfilled = fulfilled or arm.is_success
        if expert.is_done:
            break
    stamps, positions, velocities, actions, done = (list(column) for column in zip(*rows, strict=True))
    return Demonstration(
        stamps_ns=np.array(stamps, np.int64),
        positions=np.array(positions),
        velocities=np.array(velocities),
        # Single precision, as it is learned from: what is in the bag and what is trained on are the same numbers.
        actions=np.array(actions, np.float32).astype(np.float64),
        images={camera: np.array(frames, np.uint8) for camera, frames in images.items()},
        fulfilled=np.array(done, np.bool_),
        seed=seed,
        mode=expert.mode,
        noise=sigma,
        disturbance=disturbance,
        success=bool(expert.is_done and arm.is_success),
    )


def _draw_disturbance(arm: SimulatedArm, rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < TELEPORT_SHARE:
        return "teleport" if "teleport" in arm.task.perturbations else "none"
    return "awkward" if draw < TELEPORT_SHARE + AWKWARD_SHARE else "none"
