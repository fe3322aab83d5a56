"""Safe chunks for tests, made the only way there is: by the safety stage's key, with plain numbers."""

from __future__ import annotations

import numpy as np

from ebt_policy_ros.core.types import SAFETY_KEY, SafeChunk

JOINTS = tuple(f"panda_joint{i}" for i in range(1, 8))


def safe_chunk(start_ns: int = 5_000_000_007, num_points: int = 4) -> SafeChunk:
    positions = np.linspace(0.0, 0.3, num_points)[:, None] + np.linspace(0.0, 0.1, 7)
    velocities = np.full((num_points, 7), 0.5)
    velocities[-1] = 0.0
    accelerations = np.linspace(0.2, 0.0, num_points)[:, None] * np.ones(7)
    return SafeChunk(start_ns, JOINTS, np.arange(num_points) * 0.05, positions, velocities, accelerations, SAFETY_KEY)
