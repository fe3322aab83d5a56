"""JPEG and PNG data of a CompressedImage -> RGB, with the size read before anything is allocated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import MessageError
from ebt_policy_ros.core.types import Pixels

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers: C0..CF without Huffman tables (C4), the reserved C8 and arithmetic conditioning (CC)."""


def decode_compressed(format_name: str, data: NDArray[np.uint8], max_pixels: int) -> Pixels:
    """(height, width, 3) uint8 RGB of JPEG or PNG ``data``; ``format_name`` is the message's, for the error only.

    Raises MessageError for another format (compressedDepth has a header of its own), truncated or corrupt data and
    pictures of more than ``max_pixels``.
    """
    import cv2

    height, width = _picture_size(format_name, data.tobytes())
    if height == 0 or width == 0 or height * width > max_pixels:
        raise MessageError(f"compressed image: expected 1..{max_pixels} pixels, got {height} x {width}")
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise MessageError(f"compressed image '{format_name}' cannot be decoded: {error.err}") from error
    if bgr is None:
        raise MessageError(f"compressed image '{format_name}' of {len(data)} bytes is corrupt")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _picture_size(format_name: str, data: bytes) -> tuple[int, int]:
    if data.startswith(_PNG_SIGNATURE):
        if len(data) < 33 or data[12:16] != b"IHDR" or b"IEND" not in data[-64:]:
            raise MessageError(f"compressed image '{format_name}': PNG data is truncated after {len(data)} bytes")
        return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    if data.startswith(b"\xff\xd8"):
        # Some encoders pad the end with zeros; without the end marker OpenCV would fill the rest with grey.
        if not data[-4096:].rstrip(b"\x00").endswith(b"\xff\xd9"):
            raise MessageError(f"compressed image '{format_name}': JPEG data is truncated after {len(data)} bytes")
        return _jpeg_size(format_name, data)
    raise MessageError(
        f"compressed image '{format_name}': expected JPEG or PNG data, got {data[:8].hex() or 'nothing'}"
    )


def _jpeg_size(format_name: str, data: bytes) -> tuple[int, int]:
    position = 2
    while position + 9 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _JPEG_FRAMES:
            return (
                int.from_bytes(data[position + 5 : position + 7], "big"),
                int.from_bytes(data[position + 7 : position + 9], "big"),
            )
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            position += 2
            continue
        position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    raise MessageError(f"compressed image '{format_name}': JPEG data has no frame header")
