"""Plain objects with the fields of ROS messages: the readers work by attribute, so no middleware is needed here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np


def image_message(encoding: str, height: int, width: int, data: Any, step: int | None = None, big: int = 0) -> Any:
    if step is None:
        step = len(data) // height if height else 0
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=2), frame_id="camera"),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=big,
        step=step,
        data=data,
    )


def joint_message(names: Any, positions: Any, velocities: Any = ()) -> Any:
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=2), frame_id=""),
        name=names,
        position=positions,
        velocity=velocities,
        effort=(),
    )


def checkerboard(height: int = 6, width: int = 8) -> np.ndarray:
    """A reproducible RGB picture with distinct channels."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 30 + 10, columns * 25 + 5, (rows + columns) * 15], axis=-1).astype(np.uint8)
