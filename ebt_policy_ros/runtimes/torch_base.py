"""What every torch runtime does before it makes a chunk: device, weights, encoding, starts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ebt_policy_ros.core.errors import BundleError, SettingsError, ShapeError
from ebt_policy_ros.core.minimise import MayStep, starting_noise
from ebt_policy_ros.core.types import Floats, Minimum, NormalisedObservation, Pixels, as_floats
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.fast import FastTrunk
from ebt_policy_ros.policy.load import load_heads, load_network
from ebt_policy_ros.runtimes.pictures import EncodedPictures
from ebt_policy_ros.runtimes.torch_programs import Function, Programs

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Observed(NamedTuple):
    """An observation as the networks see it; all of it on the device."""

    cache: Tensor
    """Keys and values for the policy."""
    critic: Tensor
    """Keys and values for the critic; empty without one."""
    terms: Tensor
    """What the score heads say; empty without heads."""
    features: Tensor
    """(1, cameras, F) what the encoders make of the pictures."""


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
    """A bundle's observation side in torch: eager on the CPU, CUDA graphs on a GPU.

    Every device begins with the same noise (``core.minimise.starting_noise``); on one machine (same device,
    same number of threads) the same seed gives the same chunk, bit for bit.
    """

    METHOD = ""
    """The ``Bundle.method`` that a runtime runs."""

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        *,
        num_threads: int | None = None,
        precision: str = "float32",
        compiled: bool = False,
        recorded: bool | None = None,
    ) -> None:
        """``device``: 'auto' (cuda where there is one), 'cpu', 'cuda', 'cuda:1'. ``num_threads``: CPU threads of torch
        in this process; None leaves them alone. ``precision``: of convolutions and large products, one of
        ``PRECISIONS``. ``compiled``: by torch.compile. ``recorded``: as CUDA graphs; None: wherever there is CUDA.

        BundleError when the tensors do not fit the architecture; SettingsError for what this machine or torch lacks.
        """
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        if bundle.method != self.METHOD:
            raise BundleError(
                f"bundle '{bundle.name}': method is '{bundle.method}', this runtime runs '{self.METHOD}'; "
                f"ebt_policy_ros.assemble chooses the one that fits"
            )
        if precision not in PRECISIONS:
            raise SettingsError(f"precision '{precision}': expected one of {', '.join(PRECISIONS)}")
        self.device = _device(device)
        self.bundle, self.dtype = bundle, PRECISIONS[precision]
        self.network = load_network(bundle).to(self.device)
        self.heads = load_heads(bundle)
        if self.heads is not None:
            self.heads.to(self.device)
        self._programs = Programs(
            self.device, compiled=compiled, recorded=self.device.type == "cuda" if recorded is None else recorded
        )
        self.trunk = self._make_trunk()
        self._see = [self._camera(index) for index in range(len(bundle.cameras))]
        self._observe = self._observation()
        self._pictures: EncodedPictures[Tensor] = EncodedPictures()
        self._seen: tuple[NormalisedObservation, Observed] | None = None

    def _make_trunk(self) -> FastTrunk:
        """The method's fast trunk."""
        raise NotImplementedError

    def minimise(
        self,
        observation: NormalisedObservation,
        *,
        steps: int,
        starts: int,
        seed: int,
        warm_start: Floats | None = None,
        frozen_rows: int = 0,
        may_step: MayStep | None = None,
    ) -> Minimum:
        """The chunk; see core.minimise and the runtime."""
        raise NotImplementedError

    @torch.inference_mode()
    def observe(self, observation: NormalisedObservation) -> Observed:
        """What the networks make of an observation; encoded once, however often it is asked."""
        if self._seen is None or self._seen[0] is not observation:
            a = self.network.architecture
            missing = [name for name in a.cameras if name not in observation.images]
            if missing:
                had = ", ".join(observation.images) or "none"
                raise ShapeError(f"images: camera '{missing[0]}' is missing, got {had}")
            positions = as_floats("positions", observation.positions, (a.joints,)).astype(np.float32)
            features = [self._features(name, observation.images[name]) for name in a.cameras]
            self._seen = (observation, Observed(*self._observe(torch.from_numpy(positions)[None], *features)))
        return self._seen[1]

    @torch.inference_mode()
    def encode_ahead(self, images: Mapping[str, Pixels]) -> None:
        """Encodes pictures that an observation may soon be made of: camera name -> (height, width, 3) uint8."""
        for name in self.network.architecture.cameras:
            if name in images:
                self._features(name, images[name])

    def seen_features(self) -> Floats | None:
        """(cameras, F) of the last observation's pictures; None before the first."""
        return None if self._seen is None else self._seen[1].features[0].cpu().double().numpy()

    def forget(self) -> None:
        """The next chunk encodes its observation anew, even if it is the last one's."""
        self._seen = None
        self._pictures.clear()

    def starts(self, starts: int, seed: int, warm_start: Floats | None = None, frozen_rows: int = 0) -> Tensor:
        """(K, H, D) standard normal, the first and the ``frozen_rows`` of all replaced by ``warm_start``; on the host,
        from where the descent fetches it."""
        a = self.network.architecture
        noise = torch.from_numpy(starting_noise(seed, starts, a.horizon, a.joints))
        if warm_start is not None:
            warm = torch.from_numpy(as_floats("warm_start", warm_start, (a.horizon, a.joints)).copy()).float()
            noise[0], noise[:, :frozen_rows] = warm, warm[:frozen_rows]
        return noise

    def _features(self, camera: str, picture: Pixels) -> Tensor:
        """(1, F) of one picture, from memory where it can."""
        see = self._see[self.network.architecture.cameras.index(camera)]
        return self._pictures.of(camera, picture, lambda pixels: see(_as_tensor(pixels))[0])

    def _camera(self, index: int) -> Function:
        """From a camera's pixels (height, width, 3) uint8 on the host to its features (1, F)."""
        encode = self._programs.compiled(self.network.encoders[index].to(self.dtype))

        def see(pixels: Tensor) -> tuple[Tensor, ...]:
            prepared = self.network.prepare(pixels.to(self.device, non_blocking=True)[None])
            # float32 means so: cuDNN would take tensor cores' 10 bits of mantissa for it.
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
                return (encode(prepared.to(self.dtype)).float(),)

        return self._programs.recorded(see)

    def _observation(self) -> Function:
        """From joint positions on the host and features on the device to what ``Observed`` holds."""
        tell = self._programs.compiled(self._tell)

        def observe(positions: Tensor, *features: Tensor) -> tuple[Tensor, ...]:
            return tell(positions.to(self.device, non_blocking=True), *features)  # type: ignore[no-any-return]

        return self._programs.recorded(observe)

    def _tell(self, positions: Tensor, *features: Tensor) -> tuple[Tensor, ...]:
        """Joint positions (1, D) and (1, F) of every camera -> what ``Observed`` holds."""
        seen = torch.stack(features, 1)
        terms = self.heads(seen, positions)[0] if self.heads is not None else seen.new_zeros(0)
        return self.trunk.observe(seen, positions), seen.new_zeros(0), terms, seen


def _device(device: str) -> torch.device:
    """'auto' is the GPU where there is one. SettingsError for one that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise SettingsError(f"device '{device}': expected auto, cpu, cuda or cuda:<index>") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise SettingsError(f"device '{device}': torch sees {torch.cuda.device_count()} GPUs here; use auto or cpu")
    return found


def _as_tensor(pixels: Pixels) -> Tensor:
    """The picture itself where torch can read it, else a copy: it may be a read-only view of a message."""
    is_fit = pixels.flags.writeable and pixels.flags.c_contiguous
    return torch.from_numpy(pixels if is_fit else np.array(pixels, order="C"))


def generator_of(seed: int) -> torch.Generator:
    """A CPU generator for any integer from 0. torch reads the lowest 32 bits of a seed only: they are mixed first."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
