"""cv_bridge: used where it works, said once where it does not, and never a crash."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ebt_policy_ros.messages import decode_image
from ebt_policy_ros.messages.bridge import find_bridge
from ebt_policy_ros.messages.images import ENCODINGS

from .factories import checkerboard, image_message

WORKING = """
import numpy as np
class CvBridgeError(TypeError): pass
class CvBridge:
    asked = []
    def imgmsg_to_cv2(self, image, desired_encoding):
        assert desired_encoding == "rgb8"
        CvBridge.asked.append(image.encoding)
        if image.encoding != "bgr8":
            raise CvBridgeError(f"[{image.encoding}] is not a color format")
        pixels = np.frombuffer(bytes(image.data), np.uint8).reshape(image.height, image.width, 3)
        return pixels[..., ::-1].copy()
"""
BROKEN = {
    "import": ("raise ImportError('numpy.core.multiarray failed to import')", "numpy.core.multiarray failed to import"),
    "crash": ("import os; os.abort()", "status -6"),
    "attribute": (
        "class CvBridgeError(TypeError): pass\n"
        "class CvBridge:\n    def imgmsg_to_cv2(self, *_): raise AttributeError('_ARRAY_API not found')",
        "_ARRAY_API not found",
    ),
    "channels": (WORKING.replace("[..., ::-1]", ""), "mixes up the channels"),
}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts a package cv_bridge with this text first on the path."""

    def put(text: str) -> None:
        (tmp_path / "cv_bridge").mkdir()
        (tmp_path / "cv_bridge" / "__init__.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        sys.modules.pop("cv_bridge", None)
        find_bridge.cache_clear()

    yield put
    sys.modules.pop("cv_bridge", None)
    find_bridge.cache_clear()


@pytest.mark.parametrize("kind", BROKEN)
def test_one_that_does_not_work_is_said_and_done_without(install: Callable[[str], None], kind: str) -> None:
    text, words = BROKEN[kind]
    install(text)
    bridge = find_bridge()
    assert bridge.convert is None
    assert words in bridge.problem
    assert f"numpy {np.__version__}" in bridge.problem
    picture = checkerboard()
    decoded = decode_image(image_message("bgr8", *picture.shape[:2], picture[..., ::-1].tobytes()))
    np.testing.assert_array_equal(decoded, picture)


def test_one_that_works_converts_and_the_rest_stays_here(install: Callable[[str], None]) -> None:
    install(WORKING)
    assert find_bridge().problem == ""
    import cv_bridge

    picture = checkerboard()
    height, width = picture.shape[:2]
    padded = np.pad(picture[..., ::-1].reshape(height, -1), ((0, 0), (0, 5))).tobytes()
    grey = picture[..., 0]
    for message, expected in (
        (image_message("bgr8", height, width, picture[..., ::-1].tobytes()), picture),
        (image_message("bgr8", height, width, padded), picture),  # rows with padding: not every version heeds them
        (image_message("rgb8", height, width, picture.tobytes()), picture),  # nothing to convert
        (image_message("mono8", height, width, grey.tobytes()), np.repeat(grey[..., None], 3, axis=2)),
    ):
        np.testing.assert_array_equal(decode_image(message), expected)
    assert cv_bridge.CvBridge.asked == ["bgr8", "mono8"]  # the second it refuses, and is done without


def test_without_one_there_is_no_problem() -> None:
    find_bridge.cache_clear()
    pytest.importorskip("numpy")
    if find_bridge().convert is not None:
        pytest.skip("cv_bridge is installed")
    assert find_bridge().problem == "" or "cv_bridge is installed" in find_bridge().problem


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_installed_one_sees_what_opencv_sees(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find_bridge.cache_clear()
    if find_bridge().convert is None:
        pytest.skip("no cv_bridge that works is installed")
    from ebt_policy_ros.messages import images

    channels, size = images._CHANNELS[encoding]
    data = np.random.default_rng(3).integers(0, 255, 16 * 16 * channels * size, dtype=np.uint8).tobytes()
    bridged = decode_image(image_message(encoding, 16, 16, data))
    monkeypatch.setattr(images, "_BRIDGED", frozenset())
    np.testing.assert_allclose(bridged.astype(int), decode_image(image_message(encoding, 16, 16, data)), atol=1)
