"""One episode as arrays: what a bag is written from and what it is read into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import ShapeError
from ebt_policy_ros.core.types import Floats, Pixels


@dataclass(frozen=True, eq=False)
class Episode:
    """T time steps, one chunk period apart; row i is what was seen and what was commanded at ``stamps_ns[i]``."""

    stamps_ns: NDArray[np.int64]
    """(T,) [ns, ROS time], increasing."""
    joint_names: tuple[str, ...]
    positions: Floats
    """(T, D) measured [rad or m]."""
    actions: Floats
    """(T, D) commanded targets [rad or m], in force at the row's stamp."""
    images: Mapping[str, Pixels]
    """Camera -> (T, height, width, 3) uint8 RGB."""
    velocities: Floats | None = None
    """(T, D) measured [rad/s or m/s]."""
    success: NDArray[np.bool_] | None = None
    """(T,) whether the task had been fulfilled by then; None: nobody said."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else is known: task, seed, mode, noise, ... (JSON values)."""

    def __post_init__(self) -> None:
        rows, joints = len(self.stamps_ns), len(self.joint_names)
        shapes = {"stamps_ns": (rows,), "positions": (rows, joints), "actions": (rows, joints)}
        shapes |= {name: (rows, joints) for name in ("velocities",) if self.velocities is not None}
        shapes |= {name: (rows,) for name in ("success",) if self.success is not None}
        for name, shape in shapes.items():
            if np.shape(getattr(self, name)) != shape:
                raise ShapeError(f"episode {name}: expected shape {shape}, got {np.shape(getattr(self, name))}")
        for camera, images in self.images.items():
            if images.ndim != 4 or images.shape[::3] != (rows, 3) or images.dtype != np.uint8:
                raise ShapeError(
                    f"episode images of '{camera}': expected ({rows}, height, width, 3) uint8, "
                    f"got {images.shape} {images.dtype}"
                )
