"""Joint states: matched by name in any order, and a reason for everything malformed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebt_policy_ros.core.errors import MessageError
from ebt_policy_ros.messages import read_joint_state

from .factories import joint_message

WANTED = ("a", "b", "c")


def test_order_is_ours_and_extra_joints_are_ignored() -> None:
    message = joint_message(["c", "x", "a", "b"], [3.0, math.nan, 1.0, 2.0], [30.0, math.nan, 10.0, 20.0])
    reading = read_joint_state(message, WANTED)
    assert (reading.stamp_ns, reading.names) == (1_000_000_002, WANTED)
    np.testing.assert_array_equal(reading.positions, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(reading.velocities, [10.0, 20.0, 30.0])


@pytest.mark.parametrize("velocities", [[], [math.nan] * 3, [0.0, math.inf, 0.0]])
def test_unusable_velocities_are_none(velocities: list) -> None:
    assert read_joint_state(joint_message(list(WANTED), [1.0, 2.0, 3.0], velocities), WANTED).velocities is None


@pytest.mark.parametrize(
    ("names", "positions", "velocities", "reason"),
    [
        (["a", "b"], [1.0, 2.0], [], "'c' is missing"),
        (["a", "b", "c", "a"], [1.0, 2.0, 3.0, 4.0], [], "'a' is named 2 times"),
        (["a", "b", "c"], [1.0, math.nan, 3.0], [], "position of 'b' is nan"),
        (["a", "b", "c"], [1.0, 2.0, math.inf], [], "position of 'c' is inf"),
        (["a", "b", "c"], [1.0, 2.0], [], "3 names but 2 positions"),
        (["a", "b", "c"], [1.0, 2.0, 3.0], [1.0], "3 names but 1 velocities"),
        ([], [], [], "no joint"),
        (None, [], [], "JointState"),
        (["a", "b", "c"], None, [], "position"),
        (["a", "b", "c"], ["x", "y", "z"], [], "position"),
        (["a", "b", "c"], [[1.0], [2.0], [3.0]], [], "position"),
    ],
)
def test_malformed_joint_states_give_a_reason(names, positions, velocities, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        read_joint_state(joint_message(names, positions, velocities), WANTED)


def test_a_bad_stamp_is_a_reason() -> None:
    message = joint_message(list(WANTED), [1.0, 2.0, 3.0])
    message.header.stamp.nanosec = 1_000_000_000
    with pytest.raises(MessageError, match="nanosec"):
        read_joint_state(message, WANTED)


@settings(deadline=None)  # no test times anything
@given(
    names=st.one_of(st.none(), st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=6)),
    positions=st.one_of(
        st.none(), st.lists(st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=2)), max_size=6)
    ),
    velocities=st.lists(st.floats(), max_size=6),
)
def test_any_joint_state_is_a_reading_or_a_reason(names, positions, velocities) -> None:
    try:
        reading = read_joint_state(joint_message(names, positions, velocities), WANTED)
    except MessageError:
        return
    assert reading.positions.shape == (3,)
    assert np.isfinite(reading.positions).all()
