"""Decoding: golden values for every encoding, and a reason instead of a crash for everything malformed."""

from __future__ import annotations

import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebt_policy_ros.core.errors import MessageError
from ebt_policy_ros.messages import decode_image, encode_image
from ebt_policy_ros.messages.images import ENCODINGS, MAX_PIXELS

from .factories import checkerboard, image_message

PICTURE = checkerboard()
HEIGHT, WIDTH = PICTURE.shape[:2]
ALPHA = np.full((HEIGHT, WIDTH, 1), 7, np.uint8)


def sixteen(pixels: np.ndarray, order: str) -> bytes:
    """8-bit samples as 16-bit ones with a low byte that must be dropped."""
    return (pixels.astype(np.uint16) * 256 + 99).astype(f"{order}u2").tobytes()


COLOUR = {
    "rgb8": PICTURE.tobytes(),
    "bgr8": PICTURE[..., ::-1].tobytes(),
    "rgba8": np.concatenate([PICTURE, ALPHA], axis=2).tobytes(),
    "bgra8": np.concatenate([PICTURE[..., ::-1], ALPHA], axis=2).tobytes(),
    "rgb16": sixteen(PICTURE, "<"),
    "bgr16": sixteen(PICTURE[..., ::-1], "<"),
    "rgba16": sixteen(np.concatenate([PICTURE, ALPHA], axis=2), "<"),
    "bgra16": sixteen(np.concatenate([PICTURE[..., ::-1], ALPHA], axis=2), "<"),
}


@pytest.mark.parametrize("encoding", COLOUR)
def test_colour_encodings_give_the_same_rgb(encoding: str) -> None:
    decoded = decode_image(image_message(encoding, HEIGHT, WIDTH, COLOUR[encoding]))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, PICTURE)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1", "mono16", "16UC1"])
@pytest.mark.parametrize("big", [0, 1])
def test_grey_encodings_repeat_the_sample(encoding: str, big: int) -> None:
    grey = PICTURE[..., 0]
    data = sixteen(grey, ">" if big else "<") if "16" in encoding else grey.tobytes()
    decoded = decode_image(image_message(encoding, HEIGHT, WIDTH, data, big=big))
    np.testing.assert_array_equal(decoded, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(
    ("pattern", "offsets"),
    [  # (row, column) parity of the red and of the blue sample
        ("rggb", ((0, 0), (1, 1))),
        ("bggr", ((1, 1), (0, 0))),
        ("gbrg", ((1, 0), (0, 1))),
        ("grbg", ((0, 1), (1, 0))),
    ],
)
def test_bayer_of_one_colour_is_that_colour(pattern: str, offsets: tuple, depth: int) -> None:
    mosaic = np.full((8, 8), 80, np.uint8)
    (red_row, red_column), (blue_row, blue_column) = offsets
    mosaic[red_row::2, red_column::2] = 200
    mosaic[blue_row::2, blue_column::2] = 30
    data = sixteen(mosaic, "<") if depth == 16 else mosaic.tobytes()
    decoded = decode_image(image_message(f"bayer_{pattern}{depth}", 8, 8, data))
    np.testing.assert_array_equal(decoded[2:6, 2:6], np.broadcast_to([200, 80, 30], (4, 4, 3)))


# U, Y0, V, Y1 of two pixels of pure red in BT.601 limited range: Y 81, U 90, V 240.
@pytest.mark.parametrize(
    ("encoding", "quad"),
    [
        ("yuv422", b"\x5a\x51\xf0\x51"),
        ("uyvy", b"\x5a\x51\xf0\x51"),
        ("yuv422_yuy2", b"\x51\x5a\x51\xf0"),
        ("yuyv", b"\x51\x5a\x51\xf0"),
    ],
)
def test_yuv_red_is_red(encoding: str, quad: bytes) -> None:
    decoded = decode_image(image_message(encoding, 2, 4, quad * 4))
    np.testing.assert_allclose(decoded, np.broadcast_to([254, 0, 0], (2, 4, 3)), atol=2)


def test_every_known_encoding_has_a_golden() -> None:
    tested = {*COLOUR, "mono8", "8UC1", "mono16", "16UC1", "yuv422", "uyvy", "yuv422_yuy2", "yuyv"}
    tested |= {f"bayer_{p}{d}" for p in ("rggb", "bggr", "gbrg", "grbg") for d in (8, 16)}
    assert tested == set(ENCODINGS)


def test_row_padding_is_skipped_and_rgb8_shares_memory() -> None:
    padded = np.full((HEIGHT, WIDTH * 3 + 5), 255, np.uint8)
    padded[:, : WIDTH * 3] = PICTURE.reshape(HEIGHT, -1)
    data = array.array("B", padded.tobytes())
    decoded = decode_image(image_message("rgb8", HEIGHT, WIDTH, data))
    np.testing.assert_array_equal(decoded, PICTURE)
    assert np.shares_memory(decoded, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(
    "as_type", [bytes, bytearray, list, lambda b: array.array("B", b), lambda b: np.frombuffer(b, np.uint8)]
)
def test_data_of_any_middleware_is_read(as_type: object) -> None:
    decoded = decode_image(image_message("rgb8", HEIGHT, WIDTH, as_type(PICTURE.tobytes()), step=WIDTH * 3))
    np.testing.assert_array_equal(decoded, PICTURE)


@pytest.mark.parametrize("format_name", ["png", "rgb8; png compressed bgr8"])
def test_png_is_lossless(format_name: str) -> None:
    data = cv2.imencode(".png", PICTURE[..., ::-1])[1].tobytes()
    decoded = decode_image(SimpleNamespace(format=format_name, data=data))
    np.testing.assert_array_equal(decoded, PICTURE)


def test_jpeg_keeps_colours_in_order() -> None:
    flat = np.broadcast_to(np.array([200, 90, 20], np.uint8), (16, 16, 3))
    data = cv2.imencode(".jpg", flat[..., ::-1])[1].tobytes()
    decoded = decode_image(SimpleNamespace(format="jpeg", data=data + b"\0\0"))
    np.testing.assert_allclose(decoded.astype(int), flat, atol=4)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (image_message("rgb8", 2, 4, bytes(24), step=0), "step"),
        (image_message("rgb8", 2, 4, bytes(22), step=11), "step"),
        (image_message("rgb8", 2, 4, bytes(23), step=12), "data"),
        (image_message("rgb8", 2, 4, bytes(25), step=12), "data"),
        (image_message("rgb8", 2, 4, b"", step=12), "data"),
        (image_message("rgb8", 0, 4, b"", step=12), "empty"),
        (image_message("rgb8", 2, 0, b"", step=0), "empty"),
        (image_message("rgb8", -2, 4, bytes(24), step=12), "height"),
        (image_message("rgb8", 2, 4, None, step=12), "data"),
        (image_message("rgb8", 2, None, bytes(24), step=12), "width"),
        (image_message("rgb8", 2**31, 2**31, bytes(24), step=12), "larger"),
        (image_message("rgb8", 1, MAX_PIXELS + 1, bytes(24), step=12), "larger"),
        (image_message("", 2, 4, bytes(24)), "encoding"),
        (image_message("32FC1", 2, 4, bytes(32)), "encoding"),
        (image_message("yuv422", 2, 3, bytes(12)), "even"),
        (image_message("bayer_rggb8", 3, 4, bytes(12)), "even"),
        (SimpleNamespace(format="jpeg", data=b""), "JPEG or PNG"),
        (SimpleNamespace(format="16UC1; compressedDepth png", data=bytes(12) + b"\x89PNG"), "compressedDepth"),
        (SimpleNamespace(), "Image"),
        (None, "Image"),
    ],
)
def test_malformed_images_give_a_reason(message: object, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        decode_image(message)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_truncated_pictures_give_a_reason(extension: str) -> None:
    data = cv2.imencode(extension, cv2.resize(PICTURE, (64, 64)))[1].tobytes()
    for length in range(0, len(data), max(1, len(data) // 40)):
        with pytest.raises(MessageError):
            decode_image(SimpleNamespace(format=extension, data=data[:length]))


def test_claimed_size_is_refused_before_decoding() -> None:
    data = bytearray(cv2.imencode(".png", PICTURE)[1].tobytes())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    with pytest.raises(MessageError, match="60000"):
        decode_image(SimpleNamespace(format="png", data=bytes(data)))


SIZES = st.one_of(st.integers(-2, 40), st.integers(), st.text(max_size=3), st.floats())


@settings(deadline=None)  # no test times anything
@given(
    encoding=st.one_of(st.sampled_from(ENCODINGS), st.text(max_size=12), st.none()),
    height=SIZES,
    width=SIZES,
    step=SIZES,
    big=st.integers(0, 1),
    data=st.one_of(
        st.binary(max_size=400), st.none(), st.lists(st.integers(-5, 300), max_size=20), st.text(max_size=5)
    ),
)
def test_any_image_is_a_picture_or_a_reason(encoding, height, width, step, big, data) -> None:
    try:
        decoded = decode_image(image_message(encoding, height, width, data, step=step, big=big))
    except MessageError:
        return
    assert decoded.shape == (height, width, 3)
    assert decoded.dtype == np.uint8


@settings(deadline=None)  # no test times anything
@given(
    encoding=st.sampled_from(ENCODINGS),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    padding=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_well_formed_images_of_any_size(encoding: str, height: int, width: int, padding: int, seed: int) -> None:
    step = width * 8 + padding
    data = np.random.default_rng(seed).integers(0, 256, step * height, dtype=np.uint8).tobytes()
    message = image_message(encoding, height, width, data, step=step)
    is_odd = height % 2 or width % 2 or min(height, width) < 4
    if (encoding.startswith("bayer") and is_odd) or (encoding.startswith(("yuv", "uyvy", "yuyv")) and width % 2):
        with pytest.raises(MessageError, match="even"):
            decode_image(message)
    else:
        assert decode_image(message).shape == (height, width, 3)


@settings(deadline=None)  # no test times anything
@given(
    prefix=st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"]),
    body=st.binary(max_size=300),
    end=st.sampled_from([b"", b"\xff\xd9", b"IEND"]),
)
def test_any_compressed_data_is_a_picture_or_a_reason(prefix: bytes, body: bytes, end: bytes) -> None:
    try:
        decoded = decode_image(SimpleNamespace(format="jpeg", data=prefix + body + end))
    except MessageError:
        return
    assert decoded.ndim == 3


def test_encode_then_decode_is_the_identity() -> None:
    def empty() -> SimpleNamespace:
        return SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=0), frame_id=""))

    message = encode_image(PICTURE[:, ::-1], empty, 3_000_000_005, "front")
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (3, 5, "front")
    np.testing.assert_array_equal(decode_image(message), PICTURE[:, ::-1])
