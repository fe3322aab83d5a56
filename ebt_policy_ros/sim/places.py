"""Where things can be put: random places that keep clear of others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ebt_policy_ros.core.types import Floats


def free_place(
    rng: np.random.Generator, low: Sequence[float], high: Sequence[float], apart: Sequence[tuple[Floats, float]]
) -> Floats | None:
    """(2,) [m] a random place between ``low`` and ``high`` (2,) that keeps every distance in ``apart``: pairs of a
    point, of which x and y count, and the least distance from it [m]. None when no place was found."""
    places = rng.uniform(low, high, size=(2000, 2))
    clear = np.ones(len(places), dtype=bool)
    for point, distance in apart:
        clear &= np.linalg.norm(places - point[:2], axis=1) >= distance
    place: Floats = places[int(np.argmax(clear))]
    return place if clear.any() else None
