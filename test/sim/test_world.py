"""The episode behind sim_node: resets, trajectories taken and refused, disturbances on time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ebt_policy_ros.core.errors import MessageError, SettingsError
from ebt_policy_ros.messages import TrajectoryReading
from ebt_policy_ros.sim.world import Disturbance, SimWorld, camera_matrix

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def simulator(needs_robosuite: None) -> Iterator[object]:
    from ebt_policy_ros.sim.arm import SimulatedArm

    arm = SimulatedArm("lift", image_size=32)
    yield arm
    arm.close()


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def world(simulator: object, log: list[str]) -> SimWorld:
    return SimWorld(simulator, "cube", 3, log.append)


def reading(world: SimWorld, *, after_ns: int = 0, offset: float = 0.1, end_velocity: float = 0.0) -> TrajectoryReading:
    here = world.arm.positions()
    target = here.copy()
    target[0] += offset
    velocities = np.zeros((2, len(here)))
    velocities[-1, 0] = end_velocity
    start_ns = world.arm.time_ns + after_ns
    return TrajectoryReading(
        start_ns, world.arm.joint_names, np.array([0.0, 0.5]), np.stack([here, target]), velocities
    )


def test_a_trajectory_moves_the_arm(world: SimWorld) -> None:
    before = world.arm.positions()
    world.follow(reading(world), world.arm.time_ns)
    for _ in range(20):
        world.step(world.arm.time_ns)
    assert world.arm.positions()[0] - before[0] == pytest.approx(0.1, abs=0.01)
    assert (world.num_accepted, world.num_rejected) == (1, 0)


def test_without_a_trajectory_it_stands_still(world: SimWorld) -> None:
    before = world.arm.positions()
    for _ in range(10):
        world.step(world.arm.time_ns)
    np.testing.assert_allclose(world.arm.positions(), before, atol=5e-3)


def test_refusals_are_counted_with_their_reason(world: SimWorld, log: list[str]) -> None:
    world.follow(reading(world, end_velocity=0.5), world.arm.time_ns)
    assert (world.num_accepted, world.num_rejected) == (0, 1)
    assert "panda_joint1" in world.last_rejection
    assert log[-1].endswith(world.last_rejection)


def test_what_was_planned_before_a_reset_is_refused(world: SimWorld) -> None:
    old = reading(world)
    world.step(world.arm.time_ns)
    world.reset(4)
    world.follow(old, world.arm.time_ns)
    assert "reset" in world.last_rejection
    assert world.values()["seed"] == "4"


def test_the_cube_moves_when_the_time_has_come(world: SimWorld) -> None:
    where = world.arm.object_pose("cube")[0]
    world.disturb(Disturbance.from_text("teleport@0.2"))
    for _ in range(3):
        world.step(world.arm.time_ns)
    np.testing.assert_allclose(world.arm.object_pose("cube")[0], where, atol=1e-3)
    for _ in range(2):
        world.step(world.arm.time_ns)
    assert np.linalg.norm(world.arm.object_pose("cube")[0] - where) > 0.07
    assert world.values()["perturbed"] == "teleport"
    assert float(world.values()["perturbed_s"]) == pytest.approx(0.2, abs=0.051)


def test_the_cube_stays_while_the_hand_is_far(world: SimWorld) -> None:
    distance = float(np.linalg.norm(world.arm.tool_pose()[0] - world.arm.object_pose("cube")[0]))
    world.disturb(Disturbance.from_text(f"teleport@reaching{distance - 0.05:.3f}"))
    world.step(world.arm.time_ns)
    assert world.disturbed_ns is None
    world.disturb(Disturbance.from_text(f"teleport@reaching{distance + 0.05:.3f}"))
    world.step(world.arm.time_ns)
    assert world.disturbed_ns is not None


def test_an_unknown_disturbance_is_named(world: SimWorld) -> None:
    with pytest.raises(SettingsError, match="earthquake"):
        world.disturb(Disturbance.from_text("earthquake"))


@pytest.mark.parametrize(
    "text", ["", "@3", "teleport:strong", "teleport@soon", "teleport@nan", "teleport:inf", "black~x", "black~nan"]
)
def test_a_disturbance_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(MessageError):
        Disturbance.from_text(text)


def test_camera_matrix_projects_the_tool_into_the_picture(world: SimWorld) -> None:
    fx, fy, cx, cy = camera_matrix(world.arm, "front", 96)
    assert fx == fy == pytest.approx(48.0 / np.tan(np.radians(22.5)))
    assert (cx, cy) == (47.5, 47.5)


def test_a_trajectory_runs_out_once(world: SimWorld) -> None:
    now_ns = world.arm.time_ns
    assert not world.runs_out_within(now_ns, 0.3)
    world.follow(reading(world), now_ns)
    assert not world.runs_out_within(now_ns, 0.3)
    assert world.runs_out_within(now_ns + 250_000_000, 0.3)
    assert not world.runs_out_within(now_ns + 300_000_000, 0.3)
