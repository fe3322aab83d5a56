"""The trunk that every method shares, and the energy on top of it: E(observation, chunk), one scalar.

Axes: B observations, S starts per observation, T observation tokens, H horizon, D joints, d width.

The trunk is camera encoders, joint tokens and one transformer over observation tokens and action tokens. Action
tokens attend to every token in both directions of time; observation tokens attend to each other but not to the
actions. The observation side of every layer (its keys and values) is therefore a function of the observation alone:
it is computed once per chunk, shared by all starts and all descent steps, and stays out of the second-order part of
training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ebt_policy_ros.core.errors import BundleError


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network; stored in the bundle as ``architecture``."""

    cameras: tuple[str, ...]
    """Camera names; one encoder each."""
    height: int
    width: int
    """Image size the encoders were trained on [pixels]."""
    joints: int
    """D."""
    horizon: int
    """H."""
    model_width: int = 96
    """d, width of the trunk."""
    layers: int = 4
    heads: int = 4
    channels: tuple[int, int, int] = (32, 64, 64)
    """Channels of the encoder at 1/2, 1/4 and 1/8 of the image size; multiples of 8."""
    keypoints: int = 32
    """Spatial-softmax keypoints per camera and scale."""
    camera_tokens: int = 4
    """Observation tokens per camera."""
    joint_tokens: int = 2
    """Observation tokens made from the joint positions."""

    @property
    def camera_features(self) -> int:
        """F, features per camera."""
        return 4 * self.keypoints + self.channels[2]

    def as_mapping(self) -> dict[str, object]:
        """Plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Architecture:
        """Inverse of ``as_mapping``; BundleError on unknown or missing keys."""
        known = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        try:
            return cls(**known)  # type: ignore[arg-type]
        except TypeError as error:
            raise BundleError(f"architecture in policy.json does not fit this version: {error}") from error


class ObservationCache(NamedTuple):
    """The observation side of the trunk: one (B, heads, T, d/heads) pair of keys and values per layer."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    def detached(self) -> ObservationCache:
        """The same values without their graph."""
        return ObservationCache(tuple(k.detach() for k in self.keys), tuple(v.detach() for v in self.values))

    def repeat(self, starts: int) -> ObservationCache:
        """Each observation ``starts`` times in a row: (B * starts, ...)."""
        if starts == 1:
            return self
        return ObservationCache(
            tuple(k.repeat_interleave(starts, 0) for k in self.keys),
            tuple(v.repeat_interleave(starts, 0) for v in self.values),
        )


class CameraEncoder(nn.Module):
    """(B, 3, height, width) in [-1, 1] -> (B, F) features: keypoints at two scales and mean activations.

    A keypoint is the mean image coordinate under a softmax over one channel (spatial softmax): a strong prior for
    "where is it", which is what reaching needs, and far more data-efficient than a flattened map.
    """

    def __init__(self, channels: tuple[int, int, int], keypoints: int) -> None:
        super().__init__()
        first, second, third = channels
        self.down2 = nn.Conv2d(3, first, 5, stride=2, padding=2)
        self.down4 = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.norm4 = nn.GroupNorm(8, second)
        self.refine = nn.Conv2d(second, second, 3, padding=1)
        self.norm_fine = nn.GroupNorm(8, second)
        self.down8 = nn.Conv2d(second, third, 3, stride=2, padding=1)
        self.norm8 = nn.GroupNorm(8, third)
        self.context = nn.Conv2d(third, third, 3, padding=1)
        self.norm_coarse = nn.GroupNorm(8, third)
        self.fine_points = nn.Conv2d(second, keypoints, 1)
        self.coarse_points = nn.Conv2d(third, keypoints, 1)

    def forward(self, images: Tensor) -> Tensor:
        act = nn.functional.relu  # differentiated once only, so it need not be smooth
        x = act(self.down2(images))  # no norm here: the largest map, a fifth of the encoder's time, no gain seen
        x = act(self.norm4(self.down4(x)))
        fine = x + act(self.norm_fine(self.refine(x)))
        x = act(self.norm8(self.down8(fine)))
        coarse = x + act(self.norm_coarse(self.context(x)))
        points = [soft_argmax(self.fine_points(fine)), soft_argmax(self.coarse_points(coarse))]
        return torch.cat([*points, precise(coarse).mean((2, 3))], 1)


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 3, h, w) uint8 -> (B, 3, *size) whole grey levels, by an antialiased bilinear filter; the aspect ratio is not
    kept. On a CPU torch's kernel for bytes takes a seventh of the time of the one for floats, which is all that a GPU
    has; they differ by one grey level at most."""
    if images.shape[2:] == size:
        return images
    wanted = images if images.device.type == "cpu" else images.float()
    small = nn.functional.interpolate(wanted, size, mode="bilinear", align_corners=False, antialias=True)
    return small if small.dtype == torch.uint8 else small.round()


def soft_argmax(logits: Tensor) -> Tensor:
    """(B, P, h, w) logits -> (B, 2 P) mean coordinates in [-1, 1], x of every point first, then y."""
    _, _, height, width = logits.shape
    weights = precise(logits).flatten(2).softmax(2).unflatten(2, (height, width))
    x = torch.linspace(-1, 1, width, device=logits.device, dtype=weights.dtype)
    y = torch.linspace(-1, 1, height, device=logits.device, dtype=weights.dtype)
    return torch.cat([weights.sum(2) @ x, weights.sum(3) @ y], 1)


def precise(x: Tensor) -> Tensor:
    """At least float32: sums over a picture are taken so, whatever the convolutions compute in."""
    return x if x.dtype == torch.float64 else x.float()


NORM_EPSILON = 1e-5


class RootMeanSquareNorm(nn.Module):
    """x / rms(x) * scale, written out: its double backward is a handful of elementwise operations."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + NORM_EPSILON) * self.scale


class Block(nn.Module):
    """Pre-norm transformer block with attention written out (fused kernels have no double backward)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = RootMeanSquareNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mix_norm = RootMeanSquareNorm(width)
        self.expand = nn.Linear(width, 3 * width)
        self.contract = nn.Linear(3 * width, width)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, d) -> (B, heads, T, d / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def keys_values(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.key_value(normed).chunk(2, -1)
        return self.split(keys), self.split(values)

    def forward(
        self, x: Tensor, context: tuple[Tensor, Tensor] | None = None, scales: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x: (B, T, d) attends to itself and to ``context``. Returns the new x and the keys and values of the old.

        ``scales``: factors (B, 1, d) on what the attention and the mixing read, from a method's own condition.
        """
        normed = self.attention_norm(x)
        if scales is not None:
            normed = normed * scales[0]
        keys, values = self.keys_values(normed)
        all_keys = keys if context is None else torch.cat([context[0], keys], 2)
        all_values = values if context is None else torch.cat([context[1], values], 2)
        query = self.split(self.query(normed))
        weights = (query @ all_keys.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1)
        x = x + self.out((weights @ all_values).transpose(1, 2).flatten(2))
        normed = self.mix_norm(x) if scales is None else self.mix_norm(x) * scales[1]
        x = x + self.contract(nn.functional.silu(self.expand(normed)))
        return x, keys, values


class Trunk(nn.Module):
    """What all methods have in common: ``observe`` once per chunk, then ``act`` on any number of action tokens.

    A method adds what makes its action tokens and what reads the trunk's answer.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.encoders = nn.ModuleList([CameraEncoder(a.channels, a.keypoints) for _ in a.cameras])
        token_values = a.camera_tokens * a.model_width
        self.camera_tokens = nn.ModuleList([nn.Linear(a.camera_features, token_values) for _ in a.cameras])
        self.joint_tokens = nn.Linear(a.joints, a.joint_tokens * a.model_width)
        tokens = len(a.cameras) * a.camera_tokens + a.joint_tokens
        self.observation_place = nn.Parameter(0.02 * torch.randn(tokens, a.model_width))
        self.action_place = nn.Parameter(0.02 * torch.randn(a.horizon, a.model_width))
        self.blocks = nn.ModuleList([Block(a.model_width, a.heads) for _ in range(a.layers)])
        self.head_norm = RootMeanSquareNorm(a.model_width)

    def prepare(self, images: Tensor) -> Tensor:
        """(B, height, width, 3) uint8 RGB of any size -> (B, 3, height, width) in [-1, 1] at the trained size."""
        a = self.architecture
        return resized(images.permute(0, 3, 1, 2), (a.height, a.width)).float() / 127.5 - 1

    def features(self, images: tuple[Tensor, ...]) -> Tensor:
        """Per camera (B, 3, height, width) in [-1, 1] -> (B, cameras, F)."""
        return torch.stack([encode(x) for encode, x in zip(self.encoders, images, strict=True)], 1)

    def observe(self, features: Tensor, positions: Tensor) -> ObservationCache:
        """features (B, cameras, F) and normalised joint positions (B, D) -> keys and values for every layer."""
        width = self.architecture.model_width
        per_camera = zip(self.camera_tokens, features.unbind(1), strict=True)
        tokens = [make(f).unflatten(1, (-1, width)) for make, f in per_camera]
        tokens.append(self.joint_tokens(positions).unflatten(1, (-1, width)))
        x = torch.cat(tokens, 1) + self.observation_place
        keys, values = [], []
        for index, block in enumerate(self.blocks):
            if index + 1 < len(self.blocks):
                x, k, v = block(x)
            else:
                k, v = block.keys_values(block.attention_norm(x))
            keys.append(k)
            values.append(v)
        return ObservationCache(tuple(keys), tuple(values))

    def act(self, cache: ObservationCache, tokens: Tensor, scales: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Action tokens (B, H, d), their places not yet added -> (B, H, d) after all blocks and the last norm."""
        x = tokens + self.action_place
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x, _, _ = block(x, (keys, values), scales)
        return self.head_norm(x)


class EnergyNetwork(Trunk):
    """E(observation, chunk), method "ebt": one scalar per action token, summed."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.action_token = nn.Linear(architecture.joints, architecture.model_width)
        self.head = nn.Linear(architecture.model_width, 1, bias=False)
        self.log_step_size = nn.Parameter(torch.tensor(math.log(10.0)))

    @property
    def step_size(self) -> Tensor:
        """The learned descent step alpha, >= 1e-4."""
        return self.log_step_size.exp() + 1e-4

    def energy(self, cache: ObservationCache, chunks: Tensor) -> Tensor:
        """chunks (B, H, D) normalised -> (B,) energies: the sum of one scalar per action token."""
        return self.head(self.act(cache, self.action_token(chunks))).sum((1, 2))
