"""Results on disk: JSON with sorted keys, versions of everything that matters, percentiles."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ebt_policy_ros import __version__
from ebt_policy_ros.cli.arguments import make_parent

PACKAGES = ("numpy", "torch", "mujoco", "robosuite", "cyclonedds", "rosbags", "opencv-python-headless")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes ``content`` with sorted keys, complete or not at all; NaN and infinities become null."""
    make_parent(path)
    text = json.dumps(_plain(content), sort_keys=True, indent=2, allow_nan=False) + "\n"
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def versions() -> dict[str, str]:
    """Versions of this package, Python and the packages that decide a result; 'absent' where not installed."""
    found = {"ebt_policy_ros": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def latency_summary(latencies_ms: Sequence[float]) -> dict[str, float | int | None]:
    """Median, 99th percentile [ms] and count; None where there is no sample."""
    values = np.array([value for value in latencies_ms if math.isfinite(value)], dtype=np.float64)
    if values.size == 0:
        return {"p50": None, "p99": None, "n": 0}
    return {
        "p50": round(float(np.percentile(values, 50)), 3),
        "p99": round(float(np.percentile(values, 99)), 3),
        "n": int(values.size),
    }


def energy_summary(energies: Sequence[float]) -> dict[str, float | None]:
    """First, lowest, mean, highest and last energy of an episode; None where there is none."""
    finite = [value for value in energies if math.isfinite(value)]
    if not finite:
        return {"first": None, "min": None, "mean": None, "max": None, "last": None}
    return {
        "first": finite[0],
        "min": min(finite),
        "mean": sum(finite) / len(finite),
        "max": max(finite),
        "last": finite[-1],
    }


def _plain(value: Any) -> Any:
    """``value`` with numpy scalars and arrays, tuples, sets and paths as what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value
