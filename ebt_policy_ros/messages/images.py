"""sensor_msgs Image and CompressedImage -> (height, width, 3) uint8 RGB, and back.

Encodings are those of ``sensor_msgs/image_encodings.hpp``. ``rgb8`` and the plain views of 8-bit formats share the
message's memory (row padding becomes a stride); everything else is one conversion pass, by cv_bridge where a working
one is installed, else by OpenCV. What cv_bridge's versions differ in stays here: sizes are checked before anything
reads them, rows with padding, big-endian samples, the high byte of 16 bits, and compressed pictures.
"""

from __future__ import annotations

import array
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebt_policy_ros.core.errors import MessageError
from ebt_policy_ros.core.types import Pixels
from ebt_policy_ros.messages.bridge import find_bridge
from ebt_policy_ros.messages.compressed import decode_compressed
from ebt_policy_ros.messages.stamps import set_stamp_ns

MAX_PIXELS = 64 * 1024 * 1024
"""Larger pictures are refused: no camera in front of an arm has them, and a corrupt header easily claims them."""

_CHANNELS = {
    **dict.fromkeys(("rgb8", "bgr8"), (3, 1)),
    **dict.fromkeys(("rgba8", "bgra8"), (4, 1)),
    **dict.fromkeys(("mono8", "8UC1"), (1, 1)),
    **dict.fromkeys(("mono16", "16UC1"), (1, 2)),
    **dict.fromkeys(("rgb16", "bgr16"), (3, 2)),
    **dict.fromkeys(("rgba16", "bgra16"), (4, 2)),
    **dict.fromkeys(("bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"), (1, 1)),
    **dict.fromkeys(("bayer_rggb16", "bayer_bggr16", "bayer_gbrg16", "bayer_grbg16"), (1, 2)),
    **dict.fromkeys(("yuv422", "uyvy", "yuv422_yuy2", "yuyv"), (2, 1)),
}
"""Encoding -> (samples a pixel, bytes a sample)."""

ENCODINGS = tuple(_CHANNELS)
_BRIDGED = frozenset(
    name for name, (channels, size) in _CHANNELS.items() if size == 1 and name not in ("rgb8", "rgba8", "8UC1")
)
"""Eight bits a sample, and something to convert."""


def decode_image(message: Any) -> Pixels:
    """The picture of an Image or CompressedImage as (height, width, 3) uint8 RGB.

    Sixteen-bit formats keep their high byte. The result may be a read-only view of the message's own memory; whoever
    wants to write copies. Raises MessageError for an encoding that is not known, a step or size that does not fit the
    buffer, an empty or oversized picture, and for compressed data that is truncated or not a picture.
    """
    if hasattr(message, "format") and not hasattr(message, "encoding"):
        return decode_compressed(str(message.format), _buffer(message), MAX_PIXELS)
    try:
        encoding = str(message.encoding)
        height, width, step = (_size(name, getattr(message, name)) for name in ("height", "width", "step"))
        big_endian = bool(message.is_bigendian)
    except AttributeError as error:
        raise MessageError(f"expected a sensor_msgs Image or CompressedImage, got {type(message).__name__}") from error
    if encoding not in _CHANNELS:
        raise MessageError(f"image encoding '{encoding}' is not known; known are {', '.join(ENCODINGS)}")
    channels, sample_bytes = _CHANNELS[encoding]
    data = _buffer(message)
    _check_sizes(encoding, height, width, step, channels * sample_bytes, len(data))
    rows: NDArray[np.uint8] = np.lib.stride_tricks.as_strided(
        data, (height, width, channels, sample_bytes), (step, channels * sample_bytes, sample_bytes, 1), writeable=False
    )
    convert = find_bridge().convert if encoding in _BRIDGED and step == width * channels else None
    pixels = convert(message) if convert is not None else None
    if pixels is not None:
        return pixels
    high_byte = rows[..., 0 if big_endian or sample_bytes == 1 else 1]
    return _to_rgb(encoding.removesuffix("16").removesuffix("8"), high_byte)


def encode_image(pixels: Pixels, image_class: Callable[[], Any], stamp_ns: int, frame_id: str) -> Any:
    """An ``rgb8`` Image message of ``image_class`` from (height, width, 3) uint8 RGB."""
    message = image_class()
    set_stamp_ns(message.header.stamp, stamp_ns)
    message.header.frame_id = frame_id
    message.height, message.width = int(pixels.shape[0]), int(pixels.shape[1])
    message.encoding, message.is_bigendian, message.step = "rgb8", 0, 3 * int(pixels.shape[1])
    # rclpy checks a list element by element (30-100 times slower, rclpy #763); array.array goes straight through.
    message.data = array.array("B", np.ascontiguousarray(pixels).tobytes())
    return message


def _size(name: str, value: object) -> int:
    try:
        size = operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise MessageError(f"image {name}: expected an integer, got {value!r}") from error
    if size < 0:
        raise MessageError(f"image {name}: expected a positive number, got {size}")
    return size


def _buffer(message: Any) -> NDArray[np.uint8]:
    """The bytes of ``message.data`` without a copy where the message offers a buffer (bytes, array, ndarray)."""
    data = getattr(message, "data", None)
    try:
        if isinstance(data, list | tuple):
            data = bytes(data)
        view = memoryview(data)  # type: ignore[arg-type]
        return np.frombuffer(view.cast("B"), dtype=np.uint8) if view.nbytes else np.empty(0, np.uint8)
    except (TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"image data: expected bytes, got {type(data).__name__} ({error})") from error


def _check_sizes(encoding: str, height: int, width: int, step: int, pixel_bytes: int, num_bytes: int) -> None:
    if height == 0 or width == 0:
        raise MessageError(f"image is empty: {height} rows of {width} pixels")
    if height * width > MAX_PIXELS:
        raise MessageError(f"image of {height} x {width} pixels is larger than the allowed {MAX_PIXELS} pixels")
    if step < width * pixel_bytes:
        raise MessageError(
            f"image step: expected at least {width * pixel_bytes} bytes for {width} {encoding} pixels, got {step}"
        )
    if num_bytes != step * height:
        raise MessageError(f"image data: expected {height} rows of {step} bytes = {step * height}, got {num_bytes}")
    if encoding in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv") and width % 2:
        raise MessageError(f"image width: expected an even number for {encoding}, got {width}")
    if encoding.startswith("bayer") and (height < 4 or width < 4 or height % 2 or width % 2):
        raise MessageError(f"bayer image: expected even sizes of at least 4 x 4, got {height} x {width}")


def _to_rgb(family: str, samples: NDArray[np.uint8]) -> Pixels:
    """(height, width, channels) samples of an encoding without its bit count -> RGB."""
    if family in ("rgb", "rgba"):
        return samples[..., :3]
    if family in ("bgr", "bgra"):
        # A view with a negative stride would do for numpy, but torch cannot take it over.
        return np.ascontiguousarray(samples[..., 2::-1])
    if family in ("mono", "UC1", "8UC1", "16UC1"):
        return np.repeat(samples, 3, axis=2)
    import cv2

    codes = {  # OpenCV names a pattern by the second row's second and third pixel, ROS by the first row.
        "bayer_rggb": cv2.COLOR_BayerBG2RGB,
        "bayer_bggr": cv2.COLOR_BayerRG2RGB,
        "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
        "bayer_grbg": cv2.COLOR_BayerGB2RGB,
        "yuv422": cv2.COLOR_YUV2RGB_UYVY,
        "uyvy": cv2.COLOR_YUV2RGB_UYVY,
        "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
        "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    }
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(samples), codes[family]), dtype=np.uint8)
