"""A planned chunk -> visualization_msgs MarkerArray: the tool's path, coloured by how sure the policy is of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ebt_policy_ros.core.types import SafeChunk
from ebt_policy_ros.messages.kinematics import ToolChain
from ebt_policy_ros.messages.stamps import set_stamp_ns

_NUM_SAMPLES = 24


def energy_colour(uncertainty: float | None, threshold: float) -> tuple[float, float, float]:
    """RGB in 0..1 from green (sure) over yellow (at the retry threshold) to red; blue where there is no calibration."""
    if uncertainty is None or not math.isfinite(threshold):
        return 0.2, 0.5, 1.0
    threshold = min(max(threshold, 1e-6), 1.0)
    if uncertainty <= threshold:
        return max(0.0, uncertainty / threshold), 0.9, 0.1
    return 1.0, 0.9 * max(0.0, 1.0 - (uncertainty - threshold) / max(1.0 - threshold, 1e-6)), 0.1


def plan_markers(
    chunk: SafeChunk,
    chain: ToolChain,
    *,
    energy: float | None,
    uncertainty: float | None,
    threshold: float,
    array_class: Callable[[], Any],
    marker_class: Any,
    point_class: Callable[[], Any],
) -> Any:
    """A line along the tool's path of ``chunk`` and a text with its energy at the end, in the chain's base frame.

    The colour is the chunk's calibrated energy (``uncertainty`` against ``threshold``, see ``energy_colour``): raw
    energies of two observations cannot be compared, so they are written, not coloured.
    """
    length_ns = chunk.end_ns - chunk.start_ns
    stamps = [chunk.start_ns + length_ns * index // (_NUM_SAMPLES - 1) for index in range(_NUM_SAMPLES)]
    joints = np.stack([chunk.sample(stamp)[0] for stamp in stamps])
    path = chain.tool_positions(chunk.joint_names, joints)
    colour = energy_colour(uncertainty, threshold)
    points = []
    for x, y, z in path:
        point = point_class()
        point.x, point.y, point.z = float(x), float(y), float(z)
        points.append(point)

    line = _marker(marker_class, chunk.start_ns, chain.base_frame, "plan", colour)
    line.type, line.points, line.scale.x = marker_class.LINE_STRIP, points, 0.006
    text = _marker(marker_class, chunk.start_ns, chain.base_frame, "energy", colour)
    text.type, text.scale.z = marker_class.TEXT_VIEW_FACING, 0.03
    text.pose.position.x, text.pose.position.y = points[-1].x, points[-1].y
    text.pose.position.z = points[-1].z + 0.05
    told = [] if energy is None else [f"E {energy:.3f}"]
    told += [] if uncertainty is None else [f"u {uncertainty:.2f} / {threshold:.2f}"]
    text.text = "   ".join(told)
    markers = array_class()
    markers.markers = [line, text]
    return markers


def _marker(marker_class: Any, stamp_ns: int, frame: str, namespace: str, colour: tuple[float, float, float]) -> Any:
    marker = marker_class()
    set_stamp_ns(marker.header.stamp, stamp_ns)
    marker.header.frame_id, marker.ns, marker.id, marker.action = frame, namespace, 0, marker_class.ADD
    marker.pose.orientation.w = 1.0
    marker.color.r, marker.color.g, marker.color.b, marker.color.a = *colour, 1.0
    return marker
