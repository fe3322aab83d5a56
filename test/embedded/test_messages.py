"""Message classes: what rosidl's classes do, ours do."""

from __future__ import annotations

import array
import copy

import numpy as np
import pytest

from . import provide  # noqa: F401
from .filled import USED_TYPES, fill, message_class


def test_defaults_are_those_of_ros() -> None:
    from geometry_msgs.msg import Quaternion
    from sensor_msgs.msg import CameraInfo, Image, JointState

    assert Quaternion().w == 1.0
    assert Image().data == array.array("B")
    assert isinstance(JointState().position, array.array)
    assert JointState().name == []
    assert isinstance(CameraInfo().k, np.ndarray)
    assert CameraInfo().k.dtype == np.float64
    assert CameraInfo().k.shape == (9,)


def test_constants_have_the_types_of_ros() -> None:
    from diagnostic_msgs.msg import DiagnosticStatus
    from lifecycle_msgs.msg import State
    from rcl_interfaces.srv import ListParameters
    from visualization_msgs.msg import Marker

    assert DiagnosticStatus.OK == b"\x00"
    assert DiagnosticStatus().level == b"\x00"
    assert DiagnosticStatus(level=DiagnosticStatus.ERROR).level == b"\x02"
    assert State.PRIMARY_STATE_ACTIVE == 3
    assert Marker.LINE_STRIP == 4
    assert ListParameters.Request.DEPTH_RECURSIVE == 0


def test_bytes_become_an_array_without_a_loop_over_pixels() -> None:
    from sensor_msgs.msg import Image

    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    for given in (pixels.tobytes(), bytearray(pixels.tobytes()), memoryview(pixels.tobytes())):
        image = Image(data=given)
        assert isinstance(image.data, array.array)
        assert image.data.typecode == "B"
        assert np.frombuffer(image.data, np.uint8).tolist() == list(range(12))
    kept = array.array("B", pixels.tobytes())
    image.data = kept
    assert image.data is kept


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("std_msgs/msg/Float64", "data", 1),
        ("std_msgs/msg/Float64", "data", "1"),
        ("std_msgs/msg/Int64", "data", 1.0),
        ("std_msgs/msg/Int64", "data", np.int64(1)),
        ("std_msgs/msg/UInt8", "data", 256),
        ("std_msgs/msg/UInt8", "data", -1),
        ("std_msgs/msg/Bool", "data", 1),
        ("std_msgs/msg/String", "data", b"bytes"),
        ("sensor_msgs/msg/JointState", "position", [1, 2]),
        ("sensor_msgs/msg/JointState", "position", np.zeros(2)),
        ("sensor_msgs/msg/JointState", "position", array.array("f", [1.0])),
        ("sensor_msgs/msg/JointState", "name", "panda_joint1"),
        ("sensor_msgs/msg/JointState", "header", None),
        ("sensor_msgs/msg/CameraInfo", "k", [0.0] * 8),
        ("sensor_msgs/msg/CameraInfo", "k", np.zeros(9, np.float32)),
        ("diagnostic_msgs/msg/DiagnosticStatus", "level", 0),
        ("sensor_msgs/msg/Image", "data", np.zeros(3, np.uint8)),
    ],
)
def test_wrong_values_are_refused_as_in_ros(name: str, field: str, value: object) -> None:
    message = message_class(name)()
    with pytest.raises(AssertionError):
        setattr(message, field, value)


def test_what_ros_takes_is_taken() -> None:
    from sensor_msgs.msg import CameraInfo, JointState
    from std_msgs.msg import Float64

    assert Float64(data=np.float64(0.5)).data == 0.5
    assert JointState(position=(1.0, 2.0)).position == array.array("d", [1.0, 2.0])
    assert JointState(position=np.ones(2).tolist()).position.tolist() == [1.0, 1.0]
    assert CameraInfo(k=[1.0] * 9).k.tolist() == [1.0] * 9


def test_unknown_fields_are_refused() -> None:
    from std_msgs.msg import Float64

    with pytest.raises(AssertionError, match="value"):
        Float64(value=1.0)
    with pytest.raises(AttributeError):
        Float64().value = 1.0
    with pytest.raises(TypeError):
        Float64(1.0)


@pytest.mark.parametrize("name", USED_TYPES)
def test_cdr_keeps_every_field(name: str) -> None:
    from rclpy.serialization import deserialize_message, serialize_message

    message = fill(message_class(name))
    back = deserialize_message(serialize_message(message), message_class(name))
    assert back == message
    assert copy.deepcopy(back) == message
    assert repr(back) == repr(message)
    if message.get_fields_and_field_types():
        assert back != message_class(name)()


def test_cdr_is_what_ros_sends() -> None:
    from rclpy.serialization import serialize_message
    from std_msgs.msg import Header

    header = Header(frame_id="ab")
    header.stamp.sec, header.stamp.nanosec = 1, 2
    # little endian, plain CDR | sec | nanosec | length with the final zero | text | padding
    expected = b"\x00\x01\x00\x00" + b"\x01\x00\x00\x00" + b"\x02\x00\x00\x00" + b"\x03\x00\x00\x00" + b"ab\x00"
    assert serialize_message(header)[: len(expected)] == expected


def test_type_hashes_are_those_of_ros() -> None:
    pytest.importorskip("cyclonedds")
    from ebt_policy_ros.embedded.message_store import store

    # as `ros2 topic info -v` shows them in Jazzy
    assert store().hash_rihs01("std_msgs/msg/String") == (
        "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"
    )
