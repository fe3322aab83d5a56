"""What an encoder made of the newest pictures: none is encoded twice, and one may be before it is needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from ebt_policy_ros.core.types import Pixels

Features = TypeVar("Features")
KEPT = 4
"""Pictures remembered of every camera: a plan may begin from one that newer ones have followed already."""


class EncodedPictures(Generic[Features]):
    """Camera -> what was made of its last few pictures. A picture is known by being the very same array."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[tuple[Pixels, Features]]] = {}

    def of(self, camera: str, picture: Pixels, encode: Callable[[Pixels], Features]) -> Features:
        """``encode(picture)``, from memory where it can."""
        kept = self._kept.setdefault(camera, deque(maxlen=KEPT))
        for known, features in kept:
            if known is picture:
                return features
        features = encode(picture)
        kept.append((picture, features))
        return features

    def clear(self) -> None:
        """Forgets all of them."""
        self._kept.clear()
