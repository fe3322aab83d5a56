"""What happens to the time pictures take."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ebt_policy_ros.sim.perturbations.base import Picture, SenseFault

if TYPE_CHECKING:
    from ebt_policy_ros.sim.arm import SimulatedArm

LATE_S = 0.2


class Late(SenseFault):
    """Pictures that come late and say so: nothing new for a while, then all of them with the same delay."""

    name: ClassVar[str] = "late"
    family: ClassVar[str] = "time"
    is_recoverable: ClassVar[bool] = True
    is_held_out: ClassVar[bool] = True
    description: ClassVar[str] = "all cameras' pictures arrive late, with the true stamps of when they were taken"
    severity_text: ClassVar[str] = "0.2 s, times severity"

    def __init__(self, arm: SimulatedArm, severity: float, rng: np.random.Generator) -> None:
        super().__init__(arm, severity, rng)
        self._delay_ns = round(LATE_S * severity * 1e9)
        self._pictures: deque[dict[str, Picture]] = deque()

    def begin(self) -> bool:
        """The last pictures on time are those of now."""
        self._take()
        return True

    def step(self) -> None:
        """Takes new pictures, and forgets those that are older than what has arrived."""
        self._take()
        while len(self._pictures) > 1 and self._has_arrived(self._pictures[1]):
            self._pictures.popleft()

    def picture(self, camera: str, picture: Picture) -> Picture:
        """The newest that has arrived."""
        del picture
        return self._pictures[0][camera]

    def _take(self) -> None:
        arm = self._arm
        self._pictures.append({camera: Picture(arm.time_ns, arm.render(camera)) for camera in arm.camera_names})

    def _has_arrived(self, pictures: dict[str, Picture]) -> bool:
        return all(picture.stamp_ns + self._delay_ns <= self._arm.time_ns for picture in pictures.values())
