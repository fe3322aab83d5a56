"""What all scripted experts share: bounded joint motion, ways to come to an object, a path that is followed.

Experts are closed-loop teachers that see the state, so that policies that see images can learn from them. An expert is
(nearly) a function of the present state. That is deliberate: the learned policy sees one frame, so an action that
depended on a hidden timer would look random to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from ebt_policy_ros.core.types import Floats

TRAIL_S = 2.0 / np.sqrt(200.0)
"""Kd / Kp of the arm's impedance law [s]: a target ahead of the joints by ``TRAIL_S * v`` makes them move at v."""
MAX_ACCELERATION, MAX_JERK = 3.0, 25.0
"""[rad/s^2], [rad/s^3] of the commanded velocity; targets then stay below about 7 rad/s^2."""
MAX_VELOCITY = 0.55 * np.array([2.175] * 4 + [2.61] * 3)
"""(7,) [rad/s], of the Panda's own limits."""
GRIPPER_SPEED = 0.2
"""[m/s] of the commanded finger travel."""
PERIOD_S = 0.05


class Expert(ABC):
    """Teaches one episode. ``mode`` says which of the equally good ways it took."""

    mode: str

    @abstractmethod
    def act(self) -> Floats:
        """(D,) [rad, m] absolute joint targets for the next control period, from the arm's present state."""

    @property
    @abstractmethod
    def is_done(self) -> bool:
        """Whether the task is done and has been still for a while."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to come to the cube. Ways differ in the joints used, never in the grasp."""

    side: int
    """+1: an arc over the left (+y) side of the straight line, -1: over the right."""
    is_low: bool
    """Low: goes down first and comes in over the table; high: comes in first and goes down last."""
    width_m: float
    """How far the arc leaves the straight line [m]."""

    def __str__(self) -> str:
        return f"{'left' if self.side > 0 else 'right'}-{'low' if self.is_low else 'high'}"


class JointMotion:
    """Turns wanted joint velocities into targets with bounded velocity, acceleration and jerk.

    Targets are given relative to the joints as measured, so that whatever pushed the arm is corrected by what the
    expert wants *from there*; the only memory is the commanded velocity and acceleration (a few periods).
    """

    def __init__(self, num_joints: int) -> None:
        self._velocity = np.zeros(num_joints)
        self._acceleration = np.zeros(num_joints)

    def advance(self, joints: Floats, wanted: Floats) -> Floats:
        """(7,) [rad] targets for joints at ``joints`` (7,) [rad] that should move with ``wanted`` (7,) [rad/s]."""
        wanted = wanted / max(1.0, float(np.max(np.abs(wanted) / MAX_VELOCITY)))
        acceleration = np.clip((wanted - self._velocity) / 0.1, -MAX_ACCELERATION, MAX_ACCELERATION)
        step = MAX_JERK * PERIOD_S
        self._acceleration = np.clip(acceleration, self._acceleration - step, self._acceleration + step)
        self._velocity = self._velocity + self._acceleration * PERIOD_S
        targets: Floats = joints + TRAIL_S * self._velocity
        return targets


class ArcPath:
    """A path from the hand over an arc to above the cube and straight down onto it, followed by looking ahead."""

    SPEED = 0.30
    LOOK_AHEAD_M = 0.025

    def __init__(self, hand: Floats, cube: Floats, way: Way, *, above_m: float | None = None) -> None:
        """``above_m`` [m] is how far above the grasp the arc ends; by default what suits a 4 cm cube on a table."""
        self._cube = cube.copy()
        above = cube + np.array([0.0, 0.0, above_m or (0.072 if way.is_low else 0.09)])
        straight = above[:2] - hand[:2] + np.array([0.05, 0.0])
        across = way.side * np.array([-straight[1], straight[0]]) / np.linalg.norm(straight)
        # A hand already close to the cube has no room for the full arc.
        room = np.clip(np.linalg.norm(above - hand) / 0.12, 0.0, 1.0)
        u = np.linspace(0.0, 1.0, 60)[:, None]
        arc = hand + u * (above - hand)
        arc[:, :2] += way.width_m * room * np.sin(np.pi * u) ** 2 * across
        down = 1.0 - (1.0 - u) ** 2 if way.is_low else u**2
        arc[:, 2] = (hand[2] + down * (above[2] - hand[2]))[:, 0]
        descent = above + np.linspace(0.0, 1.0, 21)[1:, None] * (cube - above)
        self._points = self.kept(np.vstack([arc, descent]))
        lengths = np.linalg.norm(np.diff(self._points, axis=0), axis=1)
        self._along = np.concatenate([[0.0], np.cumsum(lengths)])
        self._corner = self._along[len(arc) - 1]
        self._done = 0.0

    def kept(self, points: Floats) -> Floats:
        """``points`` (n, 3) [m], moved where a task has to keep the hand from going; by default as they are."""
        return points

    def misses(self, cube: Floats) -> bool:
        """Whether the cube is no longer where this path ends."""
        return float(np.linalg.norm(cube[:2] - self._cube[:2])) > 0.015

    def velocity(self, hand: Floats, cube: Floats, turn: float) -> Floats:
        """(3,) [m/s] of the hand; ``turn`` [rad] is the yaw still missing, without which it does not descend."""
        points = self._points + (cube - self._cube) * (self._along / self._along[-1])[:, None]
        near = np.flatnonzero((self._along >= self._done) & (self._along <= self._done + 0.06))
        nearest = near[int(np.argmin(np.linalg.norm(points[near] - hand, axis=1)))]
        self._done = float(self._along[nearest])
        ahead = min(self._done + self.LOOK_AHEAD_M, self._along[-1])
        target = np.array([np.interp(ahead, self._along, points[:, axis]) for axis in range(3)])
        remaining = self._along[-1] - self._done + float(np.linalg.norm(points[nearest] - hand))
        speed = min(self.SPEED, 4.5 * remaining, np.sqrt(2 * 0.5 * remaining))
        to_corner = max(0.0, self._corner - self._done)
        beside = float(np.linalg.norm(hand[:2] - cube[:2]))
        speed = min(speed, 0.13 + 1.6 * to_corner) if to_corner > 0 else speed
        if to_corner < 0.02:
            # Down only once it is above the cube and turned with it.
            speed *= float(np.clip(1.5 - turn / 0.25, 0.05, 1.0))
            if hand[2] - cube[2] < 0.06 and beside > 0.01:
                sideways: Floats = np.array([*(4.5 * (cube[:2] - hand[:2])), 0.0])
                return sideways * min(1.0, 0.2 / (float(np.linalg.norm(sideways)) + 1e-9))
        way = target - hand
        distance = float(np.linalg.norm(way))
        velocity: Floats = way / max(distance, 1e-6) * min(speed, 4.5 * distance + speed * (ahead < self._along[-1]))
        if beside > 0.03:
            # A low arc must not dip so far that the fingers could push the cube.
            velocity[2] = max(velocity[2], 4.5 * (0.062 - (hand[2] - cube[2])))
        return velocity


def towards(here: Floats, goal: Floats, *, speed: float, gain: float = 4.5) -> Floats:
    """(3,) [m/s] proportional to what is missing, at most ``speed``."""
    velocity: Floats = gain * (goal - here)
    velocity *= min(1.0, speed / (float(np.linalg.norm(velocity)) + 1e-9))
    return velocity


def wrap(angle: float, period: float = 2 * np.pi) -> float:
    """``angle`` brought into [-period / 2, period / 2)."""
    return float((angle + period / 2) % period - period / 2)
