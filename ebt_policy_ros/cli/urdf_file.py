"""URDF files that options name."""

from __future__ import annotations

from pathlib import Path

from ebt_policy_ros.core.errors import SettingsError


def read_urdf_file(path: Path) -> str:
    """The text of a URDF; SettingsError when it is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: expected a URDF, got something that is not text ({error})") from error
