"""The checker of published trajectories: silent about good ones, and every rule can fire."""

import dataclasses

import numpy as np
import pytest

from ebt_policy_ros.cli.trajectory_rules import TrajectoryRules
from ebt_policy_ros.messages import TrajectoryReading

JOINTS = ("shoulder", "elbow")
SECOND = 1_000_000_000


def sine(
    start_ns: int, *, begin_s: float = 0.0, duration_s: float = 1.0, end_at_rest: bool = True
) -> TrajectoryReading:
    """A piece of the motion 0.3 sin(t), its last point at rest."""
    times = np.linspace(0.0, duration_s, 11)
    phase = begin_s + times
    positions = np.stack([0.3 * np.sin(phase), -0.3 * np.sin(phase)], axis=1)
    velocities = np.stack([0.3 * np.cos(phase), -0.3 * np.cos(phase)], axis=1)
    if end_at_rest:
        velocities[-1] = 0.0
    return TrajectoryReading(start_ns, JOINTS, times, positions, velocities)


def broken_rules(rules: TrajectoryRules, trajectory: TrajectoryReading, now_ns: int) -> list[str]:
    return [violation.rule for violation in rules.check(trajectory, now_ns)]


@pytest.fixture
def rules() -> TrajectoryRules:
    return TrajectoryRules(JOINTS)


def test_a_continued_motion_breaks_nothing(rules):
    rules.measure(np.zeros(2))
    assert broken_rules(rules, sine(10 * SECOND), 10 * SECOND) == []
    assert broken_rules(rules, sine(10 * SECOND + SECOND // 2, begin_s=0.5), 10 * SECOND + SECOND // 2) == []


def test_joints_may_come_in_another_order(rules):
    first, second = sine(0), sine(SECOND // 2, begin_s=0.5)
    swapped = dataclasses.replace(
        second, joint_names=JOINTS[::-1], positions=second.positions[:, ::-1], velocities=second.velocities[:, ::-1]
    )
    assert broken_rules(rules, first, 0) == []
    assert broken_rules(rules, swapped, SECOND // 2) == []


def test_the_first_trajectory_begins_where_the_arm_is(rules):
    rules.measure(np.array([0.0, 0.2]))
    assert broken_rules(rules, sine(0), 0) == ["position jump"]


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("joints", {"joint_names": ("shoulder", "wrist")}),
        ("times", {"times_s": np.zeros(11)}),
        ("velocities", {"velocities": None}),
        ("shape", {"positions": np.full((11, 2), np.nan)}),
    ],
)
def test_what_a_controller_refuses(rules, rule, change):
    assert rule in broken_rules(rules, dataclasses.replace(sine(0), **change), 0)


def test_a_last_point_with_velocity_is_refused(rules):
    assert broken_rules(rules, sine(0, end_at_rest=False), 0) == ["end velocity"]


def test_a_trajectory_that_already_ended_is_refused(rules):
    assert broken_rules(rules, sine(SECOND), 2 * SECOND) == ["past"]
    at_once = sine(0)  # a stamp of zero means: from now on
    assert broken_rules(rules, at_once, 2 * SECOND) == []


def test_an_empty_trajectory_is_refused(rules):
    nothing = TrajectoryReading(0, JOINTS, np.zeros(0), np.zeros((0, 2)), np.zeros((0, 2)))
    assert broken_rules(rules, nothing, 0) == ["shape"]


def test_a_jump_in_position_or_velocity_is_seen(rules):
    rules.check(sine(0), 0)
    later = sine(SECOND // 2, begin_s=0.5)
    shifted = dataclasses.replace(later, positions=later.positions + 0.01)
    assert broken_rules(rules, shifted, SECOND // 2) == ["position jump"]
    faster = dataclasses.replace(later, velocities=np.vstack([later.velocities[:1] + 0.1, later.velocities[1:]]))
    rules.restart()
    rules.check(sine(0), 0)
    assert broken_rules(rules, faster, SECOND // 2) == ["velocity jump"]


def test_a_refused_trajectory_leaves_the_old_one_running(rules):
    rules.check(sine(0), 0)
    assert broken_rules(rules, dataclasses.replace(sine(0), velocities=None), 0) == ["velocities"]
    assert broken_rules(rules, sine(SECOND // 2, begin_s=0.5), SECOND // 2) == []


def test_after_a_restart_nothing_is_continued(rules):
    rules.check(sine(0), 0)
    rules.restart()
    assert broken_rules(rules, sine(5 * SECOND, begin_s=1.3), 5 * SECOND) == []


def test_a_jump_in_acceleration_is_seen_where_both_have_any(rules):
    def accelerated(motion: TrajectoryReading, by: float) -> TrajectoryReading:
        rows = -motion.positions + by
        rows[-1] = 0.0
        return dataclasses.replace(motion, accelerations=rows)

    first, later = sine(0), sine(SECOND // 2, begin_s=0.5)
    for second, broken in (
        (accelerated(later, 0.0), []),
        (accelerated(later, 0.3), ["acceleration jump"]),
        (later, []),
    ):
        rules.restart()
        assert broken_rules(rules, accelerated(first, 0.0), 0) == []
        assert broken_rules(rules, second, SECOND // 2) == broken
