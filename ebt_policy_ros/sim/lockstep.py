"""Episodes in lockstep: simulator and policy take turns in one process, and thinking takes no simulated time.

Everything between camera and joint target is the node's own: pipeline, retry, safety, splice, controller. Only the
middleware is left out, and with it everything that depends on how fast the machine is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ebt_policy_ros.core.pipeline import Cycle, Pipeline, State
from ebt_policy_ros.core.types import Floats, Instant, Pixels
from ebt_policy_ros.sim.world import Disturbance, SimWorld


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """One round of the policy."""

    cycle: Cycle
    now_ns: int
    elapsed_s: float
    """Since the episode began [s, simulated]."""
    latency_ms: float
    """How long the policy thought [ms, wall time]."""
    positions: Floats
    """(D,) measured [rad or m] when it began to think."""
    images: Mapping[str, Pixels]
    """The newest it was shown by this time; empty when it did not ask."""


def play(
    world: SimWorld, pipeline: Pipeline, seed: int, *, disturbance: Disturbance | None = None, time_limit_s: float
) -> Iterator[Turn]:
    """One episode to success, give-up or the time limit, turn by turn; depends on seed and disturbance alone.

    Yields before the turn's command reaches the controller. Joints are read at every tick; pictures, which cost most
    of an episode's time, are drawn only where they can matter.
    """
    world.reset(seed)
    if disturbance is not None:
        world.disturb(disturbance)
    yield from go_on(world, pipeline, seed, until_s=time_limit_s)


def go_on(world: SimWorld, pipeline: Pipeline, seed: int, *, until_s: float) -> Iterator[Turn]:
    """A policy that knows nothing yet takes over an episode as it stands; ``until_s`` is on the episode's time."""
    pipeline.clear()
    pipeline.reset(seed)
    arm = world.arm
    shown: dict[str, Pixels] = {}
    while world.elapsed_s < until_s and world.success_ns is None:
        now = Instant(arm.time_ns, arm.time_ns)
        positions = world.positions()
        images: dict[str, Pixels] = {}
        pipeline.add_joints(now.ros_ns, now.steady_ns, arm.joint_names, positions, world.velocities())
        if pipeline.wants_images(now):
            for camera, picture in world.pictures().items():
                pipeline.add_image(camera, picture.stamp_ns, now.steady_ns, picture.pixels)
                shown[camera] = picture.pixels
            images = dict(shown)
        if pipeline.is_due(now):
            began_s = time.monotonic()
            cycle = pipeline.act(pipeline.think(now), now)
            latency_ms = (time.monotonic() - began_s) * 1e3
            yield Turn(cycle, now.ros_ns, world.elapsed_s, latency_ms, positions, images)
            if cycle.command is not None:
                world.follow(cycle.command, now.ros_ns)
            if cycle.state is State.GIVEN_UP:
                return
        world.step(now.ros_ns)
