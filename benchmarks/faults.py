"""Things that go wrong between the arm and the policy, or in the hand: what no task of the simulator offers itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.types import Floats, Pixels
from ebt_policy_ros.sim.arm import OPEN_M

FAULTS = ("slip", "black", "frozen", "shifted", "tinted", "joint")
"""``slip``: the hand opens for half a second when it has held the object for 0.4 s. ``black``, ``frozen``, ``shifted``
(by 12 pixels), ``tinted``: one camera, from a moment of the episode to its end. ``joint``: one joint is measured 0.1
rad wrong from then on."""
HELD_TICKS, OPEN_TICKS = 8, 10
SHIFT_PIXELS, BIAS_RAD = 12, 0.1
BEGINS = (0.05, 0.35)
"""When cameras and joints begin to lie, as a share of the task's time limit."""


class FaultyArm:
    """A simulated arm with one fault; where, when and which way is drawn from ``seed``. Everything else is the arm's.

    It stands in for the arm in one episode: time counts from the ``reset`` that begins it.
    """

    def __init__(self, arm: Any, fault: str, seed: int) -> None:
        if fault not in FAULTS:
            raise SettingsError(f"fault '{fault}': expected one of {', '.join(FAULTS)}")
        self._arm, self._fault = arm, fault
        rng = np.random.default_rng([seed, 5])
        self._at_s = float(rng.uniform(*BEGINS)) * arm.task.time_limit_s
        self._camera = str(rng.choice(arm.camera_names))
        self._joint, self._bias = int(rng.integers(len(arm.joint_names) - 1)), BIAS_RAD * float(rng.choice([-1, 1]))
        self._shift = SHIFT_PIXELS * rng.choice([-1, 1]), int(rng.integers(2))
        self._gains = rng.permutation([0.45, 1.0, 1.55])
        self._began_ns, self._held, self._opens = arm.time_ns, 0, 0
        self._last: Pixels | None = None
        self.began_s: float | None = None
        """When the fault set in [s from the start], None while it has not."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._arm, name)

    def reset(self, seed: int) -> None:
        """The episode begins."""
        self._arm.reset(seed)
        self._began_ns = self._arm.time_ns

    def step(self, targets: Floats) -> None:
        """One control period; a slipping hand opens whatever its target."""
        if self._fault == "slip":
            self._held = self._held + 1 if self._arm.task.is_gripped(self._arm) else 0
            if self.began_s is None and self._held >= HELD_TICKS:
                self.began_s, self._opens = self._elapsed_s(), OPEN_TICKS
            if self._opens > 0:
                self._opens -= 1
                targets = np.append(targets[:-1], OPEN_M)
        self._arm.step(targets)

    def positions(self) -> Floats:
        """(D,) [rad, m] as measured, with the wrong joint."""
        positions: Floats = self._arm.positions()
        if self._fault == "joint" and self._is_on():
            positions = positions.copy()
            positions[self._joint] += self._bias
        return positions

    def render(self, camera: str, **size: int) -> Pixels:
        """The picture as it arrives."""
        picture: Pixels = self._arm.render(camera, **size)
        if camera != self._camera or self._fault in ("slip", "joint"):
            return picture
        if not self._is_on():
            self._last = picture
            return picture
        return self._spoilt(picture)

    def _spoilt(self, picture: Pixels) -> Pixels:
        if self._fault == "black":
            return np.zeros_like(picture)
        if self._fault == "frozen":
            return picture if self._last is None else self._last
        if self._fault == "tinted":
            return np.clip(picture * self._gains, 0, 255).astype(np.uint8)
        pixels, axis = self._shift
        places = np.clip(np.arange(picture.shape[axis]) + pixels, 0, picture.shape[axis] - 1)
        return np.take(picture, places, axis=axis)

    def _elapsed_s(self) -> float:
        return float(self._arm.time_ns - self._began_ns) * 1e-9

    def _is_on(self) -> bool:
        if self.began_s is None and self._elapsed_s() >= self._at_s:
            self.began_s = self._elapsed_s()
        return self.began_s is not None
