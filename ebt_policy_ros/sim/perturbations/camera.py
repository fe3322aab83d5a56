"""What happens to one camera's pictures, from a moment of the episode to its end."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ebt_policy_ros.core.types import Floats, Pixels
from ebt_policy_ros.sim.perturbations.base import Picture, SenseFault

if TYPE_CHECKING:
    from ebt_policy_ros.sim.arm import SimulatedArm

BLUR_SHARE, SHIFT_SHARE, PATCH_SHARE = 1 / 32, 1 / 8, 1 / 3
"""Of the picture's height: the blur's standard deviation and the shift. Of its area: what a patch covers."""
PATCH_RGB = (46, 40, 36)
GAINS = (0.45, 1.0, 1.55)
"""Of the three colours, in an order drawn from the seed."""


class CameraFault(SenseFault):
    """One camera's pictures are not what it sees; which camera is drawn from the seed."""

    family: ClassVar[str] = "camera"
    is_recoverable: ClassVar[bool] = False

    def __init__(self, arm: SimulatedArm, severity: float, rng: np.random.Generator) -> None:
        super().__init__(arm, severity, rng)
        self.camera = str(rng.choice(arm.camera_names))

    def picture(self, camera: str, picture: Picture) -> Picture:
        """Spoilt where it is of the camera that lies."""
        return Picture(picture.stamp_ns, self.spoil(picture.pixels)) if camera == self.camera else picture

    @abstractmethod
    def spoil(self, pixels: Pixels) -> Pixels:
        """(height, width, 3) uint8 what comes of a good picture, which is left as it is."""


class Black(CameraFault):
    """No light."""

    name: ClassVar[str] = "black"
    is_held_out: ClassVar[bool] = False
    description: ClassVar[str] = "one camera's pictures are black"
    severity_text: ClassVar[str] = "no light at all; below 1 that share of the light is gone"

    def spoil(self, pixels: Pixels) -> Pixels:
        """Darker, or black."""
        return (pixels * max(0.0, 1.0 - self._severity)).astype(np.uint8)


class Frozen(CameraFault):
    """The same picture with new stamps."""

    name: ClassVar[str] = "frozen"
    is_held_out: ClassVar[bool] = False
    description: ClassVar[str] = "one camera repeats the picture of that moment, with new stamps"
    severity_text: ClassVar[str] = "always whole"

    def begin(self) -> bool:
        """Keeps the picture of now."""
        self._kept = self._arm.render(self.camera)
        return True

    def spoil(self, pixels: Pixels) -> Pixels:
        """The picture that was kept."""
        del pixels
        return self._kept


class Blurred(CameraFault):
    """Out of focus."""

    name: ClassVar[str] = "blurred"
    is_held_out: ClassVar[bool] = True
    description: ClassVar[str] = "one camera is out of focus"
    severity_text: ClassVar[str] = "a Gaussian of 1/32 of the picture's height (3 of 96 pixels), times severity"

    def spoil(self, pixels: Pixels) -> Pixels:
        """Blurred along both axes; beyond the edges the picture goes on as at them."""
        sigma = max(BLUR_SHARE * self._severity * len(pixels), 1e-3)
        reach = int(np.ceil(3 * sigma))
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        blurred: Floats = pixels.astype(np.float64)
        for axis in (0, 1):
            blurred = _smoothed(blurred, weights / weights.sum(), axis)
        return np.clip(np.rint(blurred), 0, 255).astype(np.uint8)


class Occluded(CameraFault):
    """Something before the lens."""

    name: ClassVar[str] = "occluded"
    is_held_out: ClassVar[bool] = True
    description: ClassVar[str] = "a dark patch covers a part of one camera's picture"
    severity_text: ClassVar[str] = "a third of the picture, times severity"

    def __init__(self, arm: SimulatedArm, severity: float, rng: np.random.Generator) -> None:
        super().__init__(arm, severity, rng)
        self._corner: Floats = rng.random(2)

    def spoil(self, pixels: Pixels) -> Pixels:
        """With a patch of the picture's own shape, wholly within it."""
        share = min(1.0, np.sqrt(PATCH_SHARE * self._severity))
        size = np.rint(share * np.array(pixels.shape[:2])).astype(int)
        top, left = np.rint(self._corner * (np.array(pixels.shape[:2]) - size)).astype(int)
        covered: Pixels = pixels.copy()
        covered[top : top + size[0], left : left + size[1]] = PATCH_RGB
        return covered


class Tinted(CameraFault):
    """White balance gone wrong."""

    name: ClassVar[str] = "tinted"
    is_held_out: ClassVar[bool] = False
    description: ClassVar[str] = "one camera's colours are off"
    severity_text: ClassVar[str] = "one colour 55 % brighter, another 55 % darker, times severity"

    def __init__(self, arm: SimulatedArm, severity: float, rng: np.random.Generator) -> None:
        super().__init__(arm, severity, rng)
        self._gains: Floats = np.maximum(1.0 + severity * (rng.permutation(GAINS) - 1.0), 0.0)

    def spoil(self, pixels: Pixels) -> Pixels:
        """Each colour times its gain."""
        return np.clip(pixels * self._gains, 0, 255).astype(np.uint8)


class Shifted(CameraFault):
    """A camera knocked out of place."""

    name: ClassVar[str] = "shifted"
    is_held_out: ClassVar[bool] = False
    description: ClassVar[str] = "one camera's pictures are shifted, up, down, left or right"
    severity_text: ClassVar[str] = "1/8 of the picture (12 of 96 pixels), times severity"

    def __init__(self, arm: SimulatedArm, severity: float, rng: np.random.Generator) -> None:
        super().__init__(arm, severity, rng)
        self._share, self._axis = SHIFT_SHARE * severity * float(rng.choice([-1, 1])), int(rng.integers(2))

    def spoil(self, pixels: Pixels) -> Pixels:
        """What has no picture repeats the edge."""
        length = pixels.shape[self._axis]
        places = np.clip(np.arange(length) + round(self._share * length), 0, length - 1)
        return np.take(pixels, places, axis=self._axis)


def _smoothed(values: Floats, weights: Floats, axis: int) -> Floats:
    """The weighted mean about every place along ``axis``; ``weights`` are of odd number and add up to 1."""
    reach, length = len(weights) // 2, values.shape[axis]
    smoothed = np.zeros_like(values)
    for offset, weight in zip(range(-reach, reach + 1), weights, strict=True):
        smoothed += weight * np.take(values, np.clip(np.arange(length) + offset, 0, length - 1), axis=axis)
    return smoothed
