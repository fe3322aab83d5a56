"""What every torch runtime does before it makes a chunk: device, weights, encoding, starts."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ebt_policy_ros.core.errors import BundleError, ShapeError
from ebt_policy_ros.core.minimise import starting_noise
from ebt_policy_ros.core.types import Floats, Minimum, NormalisedObservation, as_floats
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.fast import FastCache, prepare
from ebt_policy_ros.policy.load import load_heads, load_network


class Observed(NamedTuple):
    """An observation as the networks see it."""

    cache: FastCache
    """Keys and values for the policy."""
    terms: Tensor
    """What the score heads say; empty without heads."""
    features: Tensor
    """(1, cameras, F) what the encoders make of the pictures."""
    critic: FastCache = ()
    """Keys and values for the critic; empty without one."""


class Stopwatch:
    """How long the two parts of a chunk take. On a GPU nothing waits between them: there ``descend`` holds both."""

    def __init__(self) -> None:
        self._began_s = self._encoded_s = time.perf_counter()

    def encoded(self) -> None:
        """The pictures are encoded."""
        self._encoded_s = time.perf_counter()

    def timed(self, minimum: Minimum) -> Minimum:
        """``minimum``, made by now, with its parts."""
        parts = {"encode": self._encoded_s - self._began_s, "descend": time.perf_counter() - self._encoded_s}
        return replace(minimum, parts_s=parts)


class TorchRuntime:
    """A bundle's observation side in eager torch.

    Every device begins with the same noise (``core.minimise.starting_noise``); on one machine (same device,
    same number of threads) the same seed gives the same chunk, bit for bit.
    """

    METHOD = ""
    """The ``Bundle.method`` that a runtime runs."""

    def __init__(self, bundle: Bundle, device: str = "auto", *, num_threads: int | None = None) -> None:
        """``device``: 'auto' (cuda where there is one), 'cpu', 'cuda', 'cuda:1'. ``num_threads``: CPU threads of torch
        in this process; None leaves them alone. Raises BundleError when the tensors do not fit the architecture."""
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        if bundle.method != self.METHOD:
            raise BundleError(
                f"bundle '{bundle.name}': method is '{bundle.method}', this runtime runs '{self.METHOD}'; "
                f"ebt_policy_ros.assemble chooses the one that fits"
            )
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.bundle = bundle
        self.network = load_network(bundle).to(self.device)
        self.heads = load_heads(bundle)
        if self.heads is not None:
            self.heads.to(self.device)
        self._seen: tuple[NormalisedObservation, Observed] | None = None

    def minimise(
        self,
        observation: NormalisedObservation,
        *,
        steps: int,
        starts: int,
        seed: int,
        warm_start: Floats | None = None,
        frozen_rows: int = 0,
    ) -> Minimum:
        """The chunk; see core.minimise and the runtime."""
        raise NotImplementedError

    def warm_up(self) -> None:
        """Two chunks from grey images: the first call of a process pays for kernels and memory, this one does."""
        a = self.network.architecture
        grey = {name: np.full((a.height, a.width, 3), 128, dtype=np.uint8) for name in a.cameras}
        for starts in (1, self.bundle.minimiser.more_starts):
            self.minimise(NormalisedObservation(grey, np.zeros(a.joints)), steps=2, starts=starts, seed=0)

    def observe(self, observation: NormalisedObservation) -> Observed:
        """What the networks make of an observation; encoded once, however often it is asked."""
        if self._seen is None or self._seen[0] is not observation:
            with torch.inference_mode():
                features, positions = self._encode(observation)
                self._seen = (observation, self._observed(features, positions))
        return self._seen[1]

    def _observed(self, features: Tensor, positions: Tensor) -> Observed:
        terms = self.heads(features, positions)[0] if self.heads is not None else features.new_zeros(0)
        return Observed(prepare(self.network.observe(features, positions)), terms, features)

    def seen_features(self) -> Floats | None:
        """(cameras, F) of the last observation's pictures; None before the first."""
        return None if self._seen is None else self._seen[1].features[0].cpu().double().numpy()

    def forget(self) -> None:
        """The next chunk encodes its observation anew, even if it is the last one's."""
        self._seen = None

    def _encode(self, observation: NormalisedObservation) -> tuple[Tensor, Tensor]:
        """Features (1, cameras, F) and positions (1, D) on the device."""
        a = self.network.architecture
        missing = [name for name in a.cameras if name not in observation.images]
        if missing:
            raise ShapeError(f"images: camera '{missing[0]}' is missing, got {', '.join(observation.images) or 'none'}")
        positions = as_floats("positions", observation.positions, (a.joints,))
        # Copied: a picture may be a read-only view of a message.
        images = [torch.from_numpy(np.array(observation.images[name], order="C")) for name in a.cameras]
        prepared = tuple(self.network.prepare(image.to(self.device)[None]) for image in images)
        return self.network.features(prepared), torch.from_numpy(positions.copy()).float()[None].to(self.device)

    def starts(self, starts: int, seed: int, warm_start: Floats | None = None, frozen_rows: int = 0) -> Tensor:
        """(K, H, D) standard normal, the first and the ``frozen_rows`` of all replaced by ``warm_start``."""
        a = self.network.architecture
        noise = torch.from_numpy(starting_noise(seed, starts, a.horizon, a.joints))
        if warm_start is not None:
            warm = torch.from_numpy(as_floats("warm_start", warm_start, (a.horizon, a.joints)).copy()).float()
            noise[0], noise[:, :frozen_rows] = warm, warm[:frozen_rows]
        return noise.to(self.device)


def generator_of(seed: int) -> torch.Generator:
    """A CPU generator for any integer from 0. torch reads the lowest 32 bits of a seed only: they are mixed first."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
