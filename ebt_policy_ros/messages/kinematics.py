"""Where the tool is: forward kinematics of a serial arm from the ``kinematics:`` entry of a robot file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.types import Floats

_ROW_KEYS = frozenset({"joint", "a", "d", "alpha", "theta"})


@dataclass(frozen=True, slots=True)
class ToolChain:
    """A chain in modified Denavit-Hartenberg form (Craig): Rx(alpha) Tx(a) Rz(theta + joint) Tz(d) a row."""

    base_frame: str
    rows: tuple[tuple[str | None, float, float, float, float], ...]
    """(joint or None for a fixed row, a [m], d [m], alpha [rad], theta offset [rad]) from base to tool."""

    @classmethod
    def from_mapping(cls, entry: Mapping[str, Any]) -> ToolChain:
        """From ``{base_frame, modified_dh: [{joint, a, d, alpha, theta}, ...]}``; SettingsError names the bad row."""
        unknown = set(entry) - {"base_frame", "modified_dh"}
        if unknown:
            raise SettingsError(f"kinematics: unknown keys {sorted(unknown)}; known are base_frame, modified_dh")
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
            raise SettingsError("kinematics: modified_dh has no rows; leave the entry out to draw no tool path")
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
