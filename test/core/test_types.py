"""Values check themselves once."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from ebt_policy_ros.core.errors import ShapeError
from ebt_policy_ros.core.types import SAFETY_KEY, ActionChunk, NormalisedObservation, Observation, SafeChunk


def test_the_control_flow_loads_numpy_and_the_standard_library_only() -> None:
    code = (
        "import sys, ebt_policy_ros.core.pipeline\n"
        "print([m for m in ('torch', 'rclpy', 'cv2', 'mujoco', 'onnxruntime', 'rosbags', 'cyclonedds', 'yaml') "
        "if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_an_observation_refuses_what_is_no_image() -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    good = Observation(1, {"front": image}, ("a",), np.zeros(1))
    assert good.images["front"] is image
    with pytest.raises(TypeError):
        good.images["wrist"] = image  # type: ignore[index]
    for bad in (np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3)), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(ShapeError, match="front"):
            Observation(1, {"front": bad}, ("a",), np.zeros(1))
    with pytest.raises(ShapeError, match="positions"):
        Observation(1, {}, ("a", "b"), np.zeros(1))


def test_chunks_and_normalised_positions_are_finite() -> None:
    with pytest.raises(ShapeError, match="nan"):
        ActionChunk(0, 1, ("a",), np.array([[np.nan]]))
    with pytest.raises(ShapeError, match="period"):
        ActionChunk(0, 0, ("a",), np.zeros((1, 1)))
    with pytest.raises(ShapeError, match="normalised"):
        NormalisedObservation({}, np.array([np.inf]))


def test_a_safe_chunk_has_linear_acceleration_between_its_points() -> None:
    # x = t^3 / 6 for a second, then braking to rest: both pieces are cubics.
    times, ends = np.array([0.0, 1.0, 3.0]), ([0.0, 1 / 6, 5 / 6], [0.0, 0.5, 0.0], [0.0, 1.0, 0.0])
    columns = [np.array(part)[:, None] for part in ends]
    chunk = SafeChunk(10**9, ("a",), times, *columns, SAFETY_KEY)
    assert chunk.end_ns == 4 * 10**9
    assert [float(part[0]) for part in chunk.sample(0)] == [0.0, 0.0, 0.0]
    assert [float(part[0]) for part in chunk.sample(10**10)] == [5 / 6, 0.0, 0.0]
    for since in (0.25, 0.5, 0.75):
        state = chunk.sample(10**9 + round(since * 1e9))
        np.testing.assert_allclose([part[0] for part in state], [since**3 / 6, since**2 / 2, since], atol=1e-12)
    assert [chunk.next_point(stamp)[0] for stamp in (0, 10**9, 10**9 + 1, 5 * 10**9)] == [
        10**9,
        10**9,
        2 * 10**9,
        5 * 10**9,
    ]
    assert [float(part[0]) for part in chunk.next_point(10**9 + 1)[1]] == [1 / 6, 0.5, 1.0]
    assert [float(part[0]) for part in chunk.next_point(5 * 10**9)[1]] == [5 / 6, 0.0, 0.0]
