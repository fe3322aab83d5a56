"""How robosuite's Panda is made and drawn here: its controller, coarse far links, an import without warnings."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from ebt_policy_ros.core.errors import UnsupportedError

_COARSE_LINKS = ("link0", "link1", "link2", "link3", "link4", "link5", "link6")
_HIDDEN = ("wall_", "fixed_mount0_", "_leg")


def common_arguments() -> dict[str, Any]:
    """Arguments every robosuite task is made with: joint position control at 20 Hz, no rendering of its own."""
    part = {
        "type": "JOINT_POSITION",
        "input_type": "absolute",
        "impedance_mode": "fixed",
        "input_max": 1,
        "input_min": -1,
        "output_max": 0.05,
        "output_min": -0.05,
        "kp": 200,
        "damping_ratio": 1,
        "kp_limits": [0, 300],
        "damping_ratio_limits": [0, 10],
        "qpos_limits": None,
        "interpolation": None,
        "ramp_ratio": 0.2,
        "gripper": {"type": "GRIP"},
    }
    return {
        "robots": "Panda",
        "controller_configs": {"type": "BASIC", "body_parts": {"right": part}},
        "use_camera_obs": False,
        "use_object_obs": False,
        "has_offscreen_renderer": False,
        "has_renderer": False,
        "control_freq": 20,
        "ignore_done": True,
        "hard_reset": False,
        "seed": 0,
    }


def draw_coarsely(model: Any) -> None:
    """Draws the far links by their convex hulls and hides walls and pedestal: 14 ms a frame become about 5.

    Only group 1 is drawn. Groups have no influence on contacts, so the physics stays robosuite's own.
    """
    for index in range(model.ngeom):
        name = model.geom(index).name
        if name.startswith(_HIDDEN) or "_leg" in name:
            model.geom_group[index] = 5
    bodies = {f"robot0_{link}" for link in _COARSE_LINKS}
    for index in range(model.ngeom):
        if model.body(model.geom_bodyid[index]).name not in bodies:
            continue
        is_hull = model.geom(index).name.endswith("_collision")
        model.geom_group[index] = 1 if is_hull else 5
        if is_hull:
            model.geom_rgba[index] = (0.86, 0.87, 0.88, 1.0)
            model.geom_matid[index] = -1


@contextlib.contextmanager
def quiet_robosuite() -> Iterator[None]:
    """Imports robosuite without its five warnings on missing private files and robots that nobody asked for."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                import robosuite  # noqa: F401  (the import itself is what has to be quiet)
            except ImportError as error:
                raise UnsupportedError(
                    f"the simulated arm needs robosuite and mujoco ({error}); install them with "
                    "pip install 'ebt-policy-ros[sim]'"
                ) from error
            yield
    finally:
        logging.disable(previous)
