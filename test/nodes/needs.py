"""What some tests need."""

from __future__ import annotations

import importlib.util

import pytest


def needs_robosuite() -> None:
    """Skips without robosuite, which is not imported: mujoco would bind an OpenGL before the arm chooses one."""
    if importlib.util.find_spec("robosuite") is None:
        pytest.skip("robosuite is not installed: pip install 'ebt-policy-ros[sim]'")
