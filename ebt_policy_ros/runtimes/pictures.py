"""Pictures of any size at the size the encoder was trained on, without torch: the same antialiased bilinear filter."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.types import Pixels


def resized(picture: Pixels, height: int, width: int) -> NDArray[np.float32]:
    """(h, w, 3) uint8 -> (height, width, 3) float32 in the picture's own range, as torch's antialiased bilinear
    interpolation has it: a triangle filter, one axis after the other."""
    rows = _weights(picture.shape[0], height) @ picture.reshape(picture.shape[0], -1).astype(np.float32)
    columns = rows.reshape(height, picture.shape[1], 3).transpose(0, 2, 1) @ _weights(picture.shape[1], width).T
    return np.ascontiguousarray(columns.transpose(0, 2, 1))


@functools.lru_cache(maxsize=16)
def _weights(size: int, wanted: int) -> NDArray[np.float32]:
    """(wanted, size) what each sample counts for each wanted one."""
    scale = size / wanted
    reach = max(scale, 1.0)
    centres = scale * (np.arange(wanted) + 0.5)
    away = np.abs(np.arange(size) + 0.5 - centres[:, None]) / reach
    weights = np.maximum(0.0, 1.0 - away)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
