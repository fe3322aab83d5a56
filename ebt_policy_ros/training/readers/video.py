"""Frames of a video file by time, with PyAV (H.264, HEVC, AV1: whatever its FFmpeg decodes)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import DatasetError


def frames_at(path: Path, times_s: NDArray[np.float64], tolerance_s: float, what: str) -> Iterator[NDArray[np.uint8]]:
    """One (h, w, 3) uint8 RGB frame for each of the increasing ``times_s``: the nearest in the file.

    Decodes from the key frame before the first time to the last. DatasetError, which names ``what``, when the file
    cannot be decoded or has no frame within ``tolerance_s`` (cut short, or made at another rate).
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DatasetError(f"{path}: expected a video stream for {what}, found none")
            frames = _decoded(container, float(times_s[0]) if len(times_s) else 0.0)
            before = after = next(frames, None)
            for time_s in times_s:
                while after is not None and after[0] < time_s:
                    before, after = after, next(frames, None)
                choices = [frame for frame in (before, after) if frame is not None]
                nearest = min(choices, key=lambda frame: abs(frame[0] - time_s), default=None)
                if nearest is None or abs(nearest[0] - time_s) > tolerance_s:
                    found = "no frame at all" if nearest is None else f"the nearest at {nearest[0]:.3f} s"
                    raise DatasetError(
                        f"{path}: {what}: expected a frame at {time_s:.3f} s (within {tolerance_s:.3f} s), got {found}"
                        "; the video is cut short or of another rate: copy it again, or leave the episode out ('skip')"
                    )
                yield nearest[1].to_ndarray(format="rgb24")
    except (av.FFmpegError, OSError) as error:
        raise DatasetError(f"{path}: {what}: cannot be decoded as video: {error}; copy the file again") from error


def _decoded(container: av.container.InputContainer, begin_s: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """(time [s], frame) in order of time, from the key frame before ``begin_s`` on."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    if begin_s > 0 and stream.time_base:
        container.seek(max(0, int((begin_s - 0.01) / stream.time_base)), stream=stream, backward=True)
    for frame in container.decode(stream):
        if frame.pts is not None and stream.time_base is not None:
            yield float(frame.pts * stream.time_base), frame
