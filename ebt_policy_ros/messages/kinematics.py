"""Where the tool is, for the path that RViz draws: what a robot file says of it, and a chain that needs no URDF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ebt_policy_ros.core.checked import unknown_key
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.types import Floats

_KEYS = ("base_frame", "tool_frame", "modified_dh")
_ROW_KEYS = frozenset({"joint", "a", "d", "alpha", "theta"})


class ToolKinematics(Protocol):
    """Joint positions -> where the tool is."""

    @property
    def base_frame(self) -> str:
        """The frame that positions are given in."""

    def tool_positions(self, joint_names: Sequence[str], positions: Floats) -> Floats:
        """(N, D) joint positions [rad, m], columns as named -> (N, 3) tool positions in ``base_frame`` [m]."""


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """The ``kinematics:`` entry of a robot file; all of it may be left out where there is a URDF."""

    base_frame: str = ""
    """Link of the URDF that the path is given in; empty: its root (``UrdfTree.base_frame``)."""
    tool_frame: str = ""
    """Link of the URDF whose path is drawn; empty: the end of the arm (``UrdfTree.tool_frame``)."""
    chain: ToolChain | None = None
    """What is drawn while there is no URDF."""

    @classmethod
    def from_mapping(cls, entry: Mapping[str, Any]) -> ToolSettings:
        """From ``{base_frame, tool_frame, modified_dh}``; SettingsError names what is wrong."""
        if not isinstance(entry, Mapping):
            raise SettingsError(f"kinematics: expected a mapping with {', '.join(_KEYS)}, got {entry!r}")
        for key in entry:
            if key not in _KEYS:
                raise unknown_key("kinematics", key, _KEYS)
        frames = {key: entry.get(key, "") for key in ("base_frame", "tool_frame")}
        for key, frame in frames.items():
            if not isinstance(frame, str):
                raise SettingsError(f"kinematics: {key}: expected the name of a link, got {frame!r}")
        chain = {key: entry[key] for key in ("base_frame", "modified_dh") if key in entry}
        return cls(**frames, chain=ToolChain.from_mapping(chain) if "modified_dh" in chain else None)


@dataclass(frozen=True, slots=True)
class ToolChain:
    """A chain in modified Denavit-Hartenberg form (Craig): Rx(alpha) Tx(a) Rz(theta + joint) Tz(d) a row."""

    base_frame: str
    rows: tuple[tuple[str | None, float, float, float, float], ...]
    """(joint or None for a fixed row, a [m], d [m], alpha [rad], theta offset [rad]) from base to tool."""

    @classmethod
    def from_mapping(cls, entry: Mapping[str, Any]) -> ToolChain:
        """From ``{base_frame, modified_dh: [{joint, a, d, alpha, theta}, ...]}``; SettingsError names the bad row."""
        rows = []
        for index, row in enumerate(entry.get("modified_dh", ())):
            if not isinstance(row, Mapping) or set(row) - _ROW_KEYS:
                raise SettingsError(f"kinematics row {index}: expected the keys {sorted(_ROW_KEYS)}, got {row!r}")
            try:
                a, d, alpha, theta = (float(row.get(key, 0.0)) for key in ("a", "d", "alpha", "theta"))
            except (TypeError, ValueError) as error:
                raise SettingsError(f"kinematics row {index}: expected numbers, got {row!r}") from error
            joint = row.get("joint")
            rows.append((None if joint is None else str(joint), a, d, alpha, theta))
        if not rows:
            raise SettingsError(
                "kinematics: modified_dh has no rows; leave it out to draw paths from robot_description only"
            )
        return cls(str(entry.get("base_frame", "base_link")), tuple(rows))

    def missing_joints(self, joint_names: Sequence[str]) -> list[str]:
        """Joints of the chain that ``joint_names`` lacks."""
        return [joint for joint, *_ in self.rows if joint is not None and joint not in joint_names]

    def tool_positions(self, joint_names: Sequence[str], positions: Floats) -> Floats:
        """(N, D) joint positions [rad] -> (N, 3) tool positions in ``base_frame`` [m]."""
        positions = np.atleast_2d(positions)
        pose = np.broadcast_to(np.eye(4), (len(positions), 4, 4))
        for joint, a, d, alpha, theta in self.rows:
            turn = np.full(len(positions), theta)
            if joint is not None:
                turn = turn + positions[:, list(joint_names).index(joint)]
            pose = pose @ _transform(turn, a, d, alpha)
        return np.asarray(pose[:, :3, 3], dtype=np.float64)


def _transform(turn: Floats, a: float, d: float, alpha: float) -> Floats:
    """(N,) joint angles [rad] -> (N, 4, 4) transforms of one modified DH row."""
    cos_a, sin_a = np.cos(alpha), np.sin(alpha)
    transform = np.zeros((len(turn), 4, 4))
    transform[:, 0, 0], transform[:, 0, 1], transform[:, 0, 3] = np.cos(turn), -np.sin(turn), a
    transform[:, 1, 0], transform[:, 1, 1] = np.sin(turn) * cos_a, np.cos(turn) * cos_a
    transform[:, 1, 2], transform[:, 1, 3] = -sin_a, -d * sin_a
    transform[:, 2, 0], transform[:, 2, 1] = np.sin(turn) * sin_a, np.cos(turn) * sin_a
    transform[:, 2, 2], transform[:, 2, 3] = cos_a, d * cos_a
    transform[:, 3, 3] = 1.0
    return transform
