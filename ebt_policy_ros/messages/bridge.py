"""cv_bridge, where one is installed that works.

A cv_bridge that was built against another numpy fails on import, raises on the first picture, or ends the process. So
it is tried in a process of its own first.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ebt_policy_ros.core.types import Pixels
from ebt_policy_ros.messages.trial import trouble

Convert = Callable[[Any], Pixels | None]
"""An Image message -> (height, width, 3) uint8 RGB; None when it has no conversion for that encoding."""

_TRIAL = """
import sys
from types import SimpleNamespace
from cv_bridge import CvBridge
image = SimpleNamespace(height=2, width=2, step=6, encoding="bgr8", is_bigendian=0, data=bytes(range(12)))
pixels = CvBridge().imgmsg_to_cv2(image, "rgb8")
sys.exit(0 if pixels.shape == (2, 2, 3) and pixels[1, 1].tolist() == [11, 10, 9] else "it mixes up the channels")
"""


@dataclass(frozen=True, slots=True)
class Bridge:
    """What there is of cv_bridge."""

    convert: Convert | None
    """None: none is installed, or it does not work."""
    problem: str = ""
    """Why an installed one does not work, and what to do."""


@functools.cache
def find_bridge() -> Bridge:
    """The installed cv_bridge, tried once a process (half a second, only where one is installed)."""
    if importlib.util.find_spec("cv_bridge") is None:
        return Bridge(None)
    problem = trouble(_TRIAL)
    if problem:
        return Bridge(
            None,
            f"cv_bridge is installed, but does not work with numpy {np.__version__} ({problem}): OpenCV decodes the "
            "pictures instead. Install the numpy that it was built for (numpy<2 for ROS 2 up to Jazzy), or leave it so",
        )
    from cv_bridge import CvBridge, CvBridgeError

    bridge = CvBridge()

    def convert(message: Any) -> Pixels | None:
        try:
            pixels = np.asarray(bridge.imgmsg_to_cv2(message, "rgb8"))
        except CvBridgeError:
            return None
        return pixels if pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8 else None

    return Bridge(convert)
