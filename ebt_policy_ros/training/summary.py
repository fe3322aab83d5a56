"""Demonstrations in numbers: what ``ebt-policy describe`` prints, draws and writes as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ebt_policy_ros.training.dataset import Demonstrations


def summarise(data: Demonstrations) -> dict[str, Any]:
    """Plain numbers and text: size, joints [their units], cameras, streams, lags, warnings, one entry an episode."""
    lengths_s = np.diff([0, *data.ends]) * data.period_s
    lags = [q.lag_s for q in data.quality if q.lag_s is not None]
    return {
        "kind": data.kind,
        "task": data.task,
        "episodes": data.num_episodes,
        "rows": len(data.positions),
        "duration_s": round(float(lengths_s.sum()), 3),
        "period_s": data.period_s,
        "length_s": _spread(lengths_s),
        "lag_s": _spread(np.array(lags)) if lags else None,
        "cameras": {camera: _camera(data, camera) for camera in data.cameras},
        "streams": _streams(data),
        "joints": [_joint(data, column) for column in range(len(data.joint_names))],
        "warnings": data.warnings(),
        "fingerprint": data.fingerprint(),
        "per_episode": [dataclasses.asdict(quality) for quality in data.quality],
    }


def _spread(values: Any) -> dict[str, float]:
    return {
        "least": round(float(np.min(values)), 4),
        "median": round(float(np.median(values)), 4),
        "most": round(float(np.max(values)), 4),
    }


def _camera(data: Demonstrations, camera: str) -> dict[str, Any]:
    images = data.images[camera]
    every = images[:: max(1, len(images) // 500), ::3, ::3].astype(float)
    return {
        "height": images.shape[1],
        "width": images.shape[2],
        "brightness": round(float(every.mean()), 1),
        "contrast": round(float(np.mean([q.contrast[camera] for q in data.quality])), 1),
        "duplicated": round(float(np.mean([q.duplicated[camera] for q in data.quality])), 4),
        "saturated": round(float(np.mean([q.saturated[camera] for q in data.quality])), 4),
    }


def _streams(data: Demonstrations) -> dict[str, Any]:
    """As recorded, before resampling: rate of the median episode, the worst gap and the oldest sample of all."""
    return {
        stream: {
            "rate_hz": round(float(np.median([q.rate_hz[stream] for q in data.quality])), 3),
            "slowest_hz": round(min(q.rate_hz[stream] for q in data.quality), 3),
            "largest_gap_s": round(max(q.largest_gap_s[stream] for q in data.quality), 4),
            "skew_s": round(max(q.skew_s[stream] for q in data.quality), 4),
        }
        for stream in data.quality[0].rate_hz
    }


def _joint(data: Demonstrations, column: int) -> dict[str, Any]:
    positions, actions = data.positions[:, column], data.actions[:, column]
    speeds = np.abs(np.diff(positions)) / data.period_s
    speeds = np.delete(speeds, data.ends[:-1] - 1)  # from one episode to the next is no motion
    return {
        "name": data.joint_names[column],
        "unit": data.units[column],
        "position": [round(float(positions.min()), 5), round(float(positions.max()), 5)],
        "action": [round(float(actions.min()), 5), round(float(actions.max()), 5)],
        "speed_p99": round(float(np.percentile(speeds, 99)), 4),
        "speed_most": round(float(speeds.max()), 4),
        "distance": round(float(np.abs(actions - positions).mean()), 5),
    }
