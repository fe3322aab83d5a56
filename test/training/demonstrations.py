"""A tiny data set on disk: a bright square that the joints move to, by one of two ways drawn per episode."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from policy.small import SIZE

JOINTS = ("shoulder", "elbow", "finger_slide")


def write(directory: Path, episodes: int = 6, length: int = 12, sideways: float = 0.5) -> Path:
    rng = np.random.default_rng(0)
    records = []
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(episodes):
        goal, side = rng.uniform(-0.8, 0.8), (-1) ** number
        along = np.linspace(0, 1, length + 1)
        path = np.stack([goal * along, side * sideways * np.sin(np.pi * along), 0.02 * along], 1)
        image = np.full((length, SIZE, SIZE, 3), 60, dtype=np.uint8)
        x = int((goal + 1) / 2 * (SIZE - 4))
        image[:, 6:10, x : x + 4] = 255
        name = f"episode_{number:05d}.npz"
        np.savez(
            directory / name,
            stamp_ns=np.arange(length) * 50_000_000,
            positions=path[:-1].astype(np.float32),
            actions=path[1:].astype(np.float32),
            **{"image.front": image},
        )
        records.append({"file": name, "seed": number, "length": length, "mode": str(side), "success": True})
    index = {
        "task": "lift", "joint_names": JOINTS, "cameras": ["front"], "period_s": 0.05, "episodes": records,
    }  # fmt: skip
    (directory / "dataset.json").write_text(json.dumps(index))
    return directory
