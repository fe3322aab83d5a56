"""Rules of a joint_trajectory_controller: what is refused and why, and what is commanded when."""

import numpy as np
import pytest

from ebt_policy_ros.core.types import MotionState
from ebt_policy_ros.messages.controller import RejectedTrajectory, TrajectoryController

SECOND = 1_000_000_000


def make_controller():
    return TrajectoryController(("a", "b"), np.array([0.5, -0.5]))


def trajectory(**changes):
    fields = {
        "start_ns": 10 * SECOND,
        "joint_names": ("a", "b"),
        "times_s": [0.0, 1.0],
        "positions": np.array([[0.0, 1.0], [1.0, 0.0]]),
        "velocities": np.zeros((2, 2)),
        "now_ns": 10 * SECOND,
    }
    return fields | changes


def test_holds_before_the_first_trajectory():
    assert make_controller().sample(123 * SECOND).tolist() == [0.5, -0.5]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"joint_names": ("a", "c")}, "'c' is not one of"),
        ({"joint_names": ("a", "a")}, "'a' is named twice"),
        ({"joint_names": ("a",), "positions": np.zeros((2, 1)), "velocities": None}, "'b' is missing"),
        ({"joint_names": ()}, "'a' is missing"),
        ({"times_s": [], "positions": np.zeros((0, 2)), "velocities": None}, "no points"),
        ({"times_s": [0.0, 0.0]}, "points 0 and 1 are not strictly increasing"),
        ({"times_s": [1.0, 0.5]}, "points 0 and 1 are not strictly increasing"),
        ({"velocities": np.array([[0.0, 0.0], [0.0, 1e-3]])}, "joint 'b' at the last point is 0.001"),
        ({"positions": np.zeros((3, 2))}, r"positions: expected \(2, 2\)"),
        ({"velocities": np.zeros((2, 1))}, r"velocities: expected \(2, 2\)"),
        ({"positions": np.array([[0.0, 1.0], [np.nan, 0.0]])}, "positions of point 1"),
        ({"now_ns": 11 * SECOND + 1}, "ended"),
    ],
)
def test_refuses_with_the_reason_and_goes_on(changes, reason):
    controller = make_controller()
    with pytest.raises(RejectedTrajectory, match=reason):
        controller.accept(**trajectory(**changes))
    assert controller.sample(10 * SECOND).tolist() == [0.5, -0.5]
    assert controller.num_accepted == 0


def test_a_trajectory_that_ends_right_now_is_accepted_and_held():
    controller = make_controller()
    controller.accept(**trajectory(now_ns=11 * SECOND))
    assert controller.sample(11 * SECOND).tolist() == [1.0, 0.0]


def test_a_velocity_below_float32_resolution_counts_as_rest():
    make_controller().accept(**trajectory(velocities=np.array([[0.0, 0.0], [0.0, 1e-8]])))


def test_joints_are_matched_by_name_in_any_order():
    controller = make_controller()
    controller.accept(**trajectory(joint_names=("b", "a")))
    assert controller.sample(10 * SECOND).tolist() == [1.0, 0.0]


def test_linear_without_velocities_and_cubic_with_them():
    linear, cubic = make_controller(), make_controller()
    linear.accept(**trajectory(velocities=None))
    cubic.accept(**trajectory())
    assert linear.sample(10 * SECOND + SECOND // 4)[0] == pytest.approx(0.25)
    assert cubic.sample(10 * SECOND + SECOND // 4)[0] == pytest.approx(3 / 16 - 2 / 64)
    assert cubic.running.sample(10 * SECOND + SECOND // 2).velocities[0] == pytest.approx(1.5)
    assert cubic.running.sample(12 * SECOND).velocities.tolist() == [0.0, 0.0]


def test_a_cubic_with_constant_acceleration_is_that_parabola():
    controller = make_controller()
    times = np.array([0.0, 0.3, 1.0])
    controller.accept(
        **trajectory(
            times_s=times,
            positions=np.stack([0.5 * (1 - times) ** 2, times * 0], axis=1),
            velocities=np.stack([-(1 - times), times * 0], axis=1),
        )
    )
    for time in np.linspace(0, 1, 17):
        assert controller.sample(10 * SECOND + int(time * SECOND))[0] == pytest.approx(0.5 * (1 - time) ** 2, abs=1e-9)


def test_a_quintic_with_linear_acceleration_is_that_cubic_and_so_is_the_cubic_through_it():
    times = np.array([0.0, 0.3, 1.0])
    rows = [np.stack([row, times * 0], axis=1) for row in ((1 - times) ** 3 / 6, -((1 - times) ** 2) / 2, 1 - times)]
    for given in (rows, rows[:2]):
        controller = make_controller()
        parts = dict(zip(("positions", "velocities", "accelerations"), given, strict=False))
        controller.accept(**trajectory(times_s=times, **parts))
        for time in np.linspace(0, 0.99, 17):
            state = controller.running.sample(10 * SECOND + round(time * SECOND))
            expected = ((1 - time) ** 3 / 6, -((1 - time) ** 2) / 2, 1 - time)
            assert [part[0] for part in state] == pytest.approx(expected, abs=1e-9)


def test_a_quintic_meets_position_velocity_and_acceleration_at_its_points():
    rng, controller = np.random.default_rng(4), make_controller()
    times, rows = np.arange(5) * 0.2, [rng.normal(size=(5, 2)) for _ in range(3)]
    rows[1][-1] = 0.0
    controller.accept(
        **trajectory(
            times_s=times, positions=rows[0], velocities=rows[1], accelerations=rows[2], joint_names=("a", "b")
        )
    )
    for index in range(4):
        state = controller.running.sample(10 * SECOND + index * SECOND // 5)
        for part, row in zip(state, rows, strict=True):
            assert part == pytest.approx(row[index])
        just_before_the_next = controller.running.sample(10 * SECOND + (index + 1) * SECOND // 5 - 1)
        assert just_before_the_next.accelerations == pytest.approx(rows[2][index + 1], abs=1e-4)


def test_start_time_zero_means_now():
    controller = make_controller()
    controller.accept(**trajectory(start_ns=0, velocities=None, now_ns=20 * SECOND))
    assert controller.sample(20 * SECOND + SECOND // 2)[0] == pytest.approx(0.5)


def test_runs_from_the_state_at_receipt_to_a_later_first_point():
    controller = make_controller()
    controller.accept(**trajectory(velocities=None, now_ns=9 * SECOND))
    assert controller.sample(9 * SECOND).tolist() == [0.5, -0.5]
    assert controller.sample(9 * SECOND + SECOND // 2) == pytest.approx([0.25, 0.25])
    assert controller.sample(10 * SECOND) == pytest.approx([0.0, 1.0])


def test_a_measured_state_replaces_the_running_command_as_the_beginning():
    controller = make_controller()
    measured = MotionState.at_rest(np.array([0.1, 0.1]))
    controller.accept(**trajectory(now_ns=9 * SECOND), measured=measured)
    assert controller.sample(9 * SECOND).tolist() == [0.1, 0.1]


def test_a_new_trajectory_replaces_the_running_one_at_once_and_keeps_its_velocity():
    controller = make_controller()
    controller.accept(**trajectory())
    now = 10 * SECOND + SECOND // 2
    position, velocity = controller.sample(now), controller.running.sample(now).velocities
    controller.accept(**trajectory(start_ns=11 * SECOND, now_ns=now))
    assert controller.sample(now) == pytest.approx(position)
    assert controller.running.sample(now).velocities == pytest.approx(velocity)
    assert controller.sample(11 * SECOND) == pytest.approx([0.0, 1.0])
    assert controller.num_accepted == 2


def test_hold_forgets_the_running_trajectory():
    controller = make_controller()
    controller.accept(**trajectory())
    controller.hold(np.array([0.2, 0.3]))
    assert controller.sample(10 * SECOND + 7).tolist() == [0.2, 0.3]
