"""A tiny data set on disk: a bright square that the joints move to, by one of two ways drawn per episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from policy.small import SIZE

from ebt_policy_ros.bags import Episode, write_episode

JOINTS = ("shoulder", "elbow", "finger_slide")
PERIOD_NS = 50_000_000


def episode(number: int, length: int = 12, sideways: float = 0.5, goal: float = 0.3) -> Episode:
    """The way to ``goal``, by the left or by the right."""
    side = (-1) ** number
    along = np.linspace(0, 1, length + 1)
    path = np.stack([goal * along, side * sideways * np.sin(np.pi * along), 0.02 * along], 1).astype(np.float32)
    image = np.full((length, SIZE, SIZE, 3), 60, dtype=np.uint8)
    for row in range(length):
        x = int((goal * (0.5 + along[row] / 2) + 1) / 2 * (SIZE - 4))
        image[row, 6:10, x : x + 4] = 255
        image[row, 0, 0] = 20 * row  # changes with every row, as a real camera's picture does
    return Episode(
        stamps_ns=np.arange(length, dtype=np.int64) * PERIOD_NS,
        joint_names=JOINTS,
        positions=path[:-1],
        actions=path[1:],
        images={"front": image},
        facts={"task": "lift", "seed": number, "mode": str(side), "success": True},
    )


def write(directory: Path, episodes: int = 6, length: int = 12, sideways: float = 0.5) -> Path:
    """A folder of bags."""
    rng = np.random.default_rng(0)
    for number in range(episodes):
        made = episode(number, length, sideways, rng.uniform(-0.8, 0.8))
        write_episode(directory / f"episode_{number:05d}", made, period_s=PERIOD_NS * 1e-9)
    return directory
