"""Cycles -> visualization_msgs MarkerArray: the tool's path, coloured by how sure the policy is of it; the state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ebt_policy_ros.core.cycle import Cycle, State
from ebt_policy_ros.core.types import SafeChunk
from ebt_policy_ros.messages.kinematics import ToolKinematics
from ebt_policy_ros.messages.stamps import set_stamp_ns

_NUM_SAMPLES = 24
RETREAT_COLOUR = (0.6, 0.3, 0.9)


def energy_colour(uncertainty: float | None, threshold: float) -> tuple[float, float, float]:
    """RGB in 0..1 from green (sure) over yellow (at the retry threshold) to red; blue where there is no calibration."""
    if uncertainty is None or not math.isfinite(threshold):
        return 0.2, 0.5, 1.0
    threshold = min(max(threshold, 1e-6), 1.0)
    if uncertainty <= threshold:
        return max(0.0, uncertainty / threshold), 0.9, 0.1
    return 1.0, 0.9 * max(0.0, 1.0 - (uncertainty - threshold) / max(1.0 - threshold, 1e-6)), 0.1


class PlanMarkers:
    """Makes the markers of cycle after cycle; a text stays where the last path ended."""

    def __init__(
        self,
        tool: ToolKinematics | None,
        array_class: Callable[[], Any],
        marker_class: Any,
        point_class: Callable[[], Any],
    ) -> None:
        """Without a ``tool`` there are no markers."""
        self._tool, self._classes = tool, (array_class, marker_class, point_class)
        self._end: tuple[str, tuple[float, float, float]] | None = None
        """Where the text is: frame and position."""

    def use(self, tool: ToolKinematics) -> None:
        """Draws paths with ``tool`` from now on; another thread may be drawing one."""
        self._tool = tool

    def make(self, cycle: Cycle, stamp_ns: int) -> Any | None:
        """The tool's path of the command (namespace ``plan``, or ``retreat`` when the arm goes back), and at its end a
        text with state, attempt, energy and score, in the tool's base frame. None before the first path.

        The path's colour is the chunk's calibrated energy (``uncertainty`` against ``threshold``, ``energy_colour``):
        raw energies of two observations cannot be compared, so they are written, not coloured. Retreats are violet.
        """
        array_class, marker_class, point_class = self._classes
        markers = array_class()
        markers.markers = []
        is_retreat = cycle.state is State.RETREATING
        colour = RETREAT_COLOUR if is_retreat else energy_colour(cycle.uncertainty, cycle.threshold)
        tool = self._tool
        if cycle.command is not None and tool is not None:
            path = _path(tool, cycle.command)
            self._end = tool.base_frame, path[-1]
            points = []
            for x, y, z in path:
                point = point_class()
                point.x, point.y, point.z = x, y, z
                points.append(point)
            shown, hidden = ("retreat", "plan") if is_retreat else ("plan", "retreat")
            line = _marker(marker_class, stamp_ns, tool.base_frame, shown, colour)
            line.type, line.points, line.scale.x = marker_class.LINE_STRIP, points, 0.006
            gone = _marker(marker_class, stamp_ns, tool.base_frame, hidden, colour)
            gone.action = marker_class.DELETE
            markers.markers += [line, gone]
        if self._end is None:
            return None
        frame, (x, y, z) = self._end
        text = _marker(marker_class, stamp_ns, frame, "state", colour)
        text.type, text.scale.z = marker_class.TEXT_VIEW_FACING, 0.03
        text.pose.position.x, text.pose.position.y, text.pose.position.z = x, y, z + 0.06
        text.text = state_text(cycle)
        markers.markers.append(text)
        return markers


def state_text(cycle: Cycle) -> str:
    """State and attempt, and below them energy and score, as far as there are any."""
    first = cycle.state.value + (f"   attempt {cycle.attempt}" if cycle.attempt else "")
    told = [] if cycle.energy is None else [f"E {cycle.energy:.3f}"]
    if cycle.uncertainty is not None:
        told.append(f"u {cycle.uncertainty:.2f} / {cycle.threshold:.2f}")
    return first + ("\n" + "   ".join(told) if told else "")


def _path(tool: ToolKinematics, chunk: SafeChunk) -> list[tuple[float, float, float]]:
    length_ns = chunk.end_ns - chunk.start_ns
    stamps = [chunk.start_ns + length_ns * index // (_NUM_SAMPLES - 1) for index in range(_NUM_SAMPLES)]
    joints = np.stack([chunk.sample(stamp).positions for stamp in stamps])
    return [(float(x), float(y), float(z)) for x, y, z in tool.tool_positions(chunk.joint_names, joints)]


def _marker(marker_class: Any, stamp_ns: int, frame: str, namespace: str, colour: tuple[float, float, float]) -> Any:
    marker = marker_class()
    set_stamp_ns(marker.header.stamp, stamp_ns)
    marker.header.frame_id, marker.ns, marker.id, marker.action = frame, namespace, 0, marker_class.ADD
    marker.pose.orientation.w = 1.0
    marker.color.r, marker.color.g, marker.color.b, marker.color.a = *colour, 1.0
    return marker
