"""What the cameras saw of an episode, as the frames of its film."""

from __future__ import annotations

import cv2

from ebt_policy_ros.cli.demo_record import FrameRecord
from ebt_policy_ros.core.types import Pixels

FILM_PERIOD_S = 0.2
"""Between two frames of the film [simulated s]."""
JPEG_QUALITY = 82


def film_frame(time_s: float, camera: str, pixels: Pixels) -> FrameRecord:
    """``pixels`` (height, width, 3) uint8 RGB as a frame; ``time_s``: since the episode began [simulated s]."""
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return FrameRecord(time_s, camera, jpeg.tobytes())
