"""A bundle as ONNX graphs: cameras, observation, one step of the descent with its gradient written out, energy, critic.

The gradient is the one of ``policy.fast``, plain matrix products, so nothing of autograd has to be exported; two
backward functions that ONNX has no operator for are spelled out below.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ebt_policy_ros.core.errors import BundleError, SettingsError
from ebt_policy_ros.core.minimise import starting_noise
from ebt_policy_ros.core.types import NormalisedObservation
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.critic import CriticNetwork
from ebt_policy_ros.policy.fast import FastCritic, FastDiffusion, FastEnergy, repeat
from ebt_policy_ros.policy.files import write_atomically
from ebt_policy_ros.policy.graphs import METADATA_KEY, OPSET, PARITY_FILE, camera_graph, graph_path, info_of
from ebt_policy_ros.policy.heads import ScoreHeads
from ebt_policy_ros.policy.load import load_critic, load_heads, load_network
from ebt_policy_ros.policy.network import EnergyNetwork

TRACED_CANDIDATES = 3
"""K while tracing: any number that is not one, for which the trunk has a shorter way."""
PARITY_STEPS = 2


class Camera(nn.Module):
    """A picture of any size -> its features."""

    def __init__(self, network: EnergyNetwork, place: int) -> None:
        super().__init__()
        a = network.architecture
        self.encoder, self.size = network.encoders[place], (a.height, a.width)

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.permute(0, 3, 1, 2).float()
        # Whatever its size: ONNX Runtime copies where there is nothing to resize.
        small = nn.functional.interpolate(pixels, self.size, mode="bilinear", align_corners=False, antialias=True)
        return self.encoder(small.round() / 127.5 - 1)  # type: ignore[no-any-return]


class Observation(nn.Module):
    """Joints and features -> what descent, critic and score need of them."""

    def __init__(self, energy: FastEnergy, critic: FastCritic | None, heads: ScoreHeads | None) -> None:
        super().__init__()
        self.energy, self.critic, self.heads = energy, critic, heads

    def forward(self, positions: Tensor, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen = torch.stack(features, 1)
        told = [self.energy.observe(seen, positions)]
        if self.critic is not None:
            told.append(self.critic.observe(seen, positions))
        if self.heads is not None:
            told.append(self.heads(seen, positions)[0])
        return tuple(told)


class Descent(nn.Module):
    """One step downhill, and the energy before it."""

    def __init__(self, energy: FastEnergy) -> None:
        super().__init__()
        self.energy = energy

    def forward(self, cache: Tensor, chunks: Tensor, moves: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.energy.step(repeat(cache, chunks.shape[0]), chunks, moves)


class Energy(nn.Module):
    """Energies alone."""

    def __init__(self, energy: FastEnergy) -> None:
        super().__init__()
        self.energy = energy

    def forward(self, cache: Tensor, chunks: Tensor) -> Tensor:
        return self.energy.energy(repeat(cache, chunks.shape[0]), chunks)


class Critic(nn.Module):
    """Expected squared distances."""

    def __init__(self, critic: FastCritic) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, cache: Tensor, chunks: Tensor) -> Tensor:
        return self.critic.distances(repeat(cache, chunks.shape[0]), chunks)


@dataclass(frozen=True)
class Traced:
    """A module, example inputs, and the names of what goes in and out."""

    module: nn.Module
    inputs: tuple[Any, ...]
    takes: list[str]
    gives: list[str]
    open_axes: tuple[Any, ...] | None
    """Which axes of the inputs stay open, as torch.export wants it; None: none."""


def export(bundle: Bundle, directory: str | Path, observations: Sequence[NormalisedObservation] = ()) -> list[Path]:
    """Writes the graphs and the parity file of an 'ebt' bundle into ``directory``; returns what was written.

    ``observations``: recorded ones for the parity file; without any it takes made-up pictures. SettingsError without
    the package onnx, BundleError for another method.
    """
    if bundle.method != "ebt":
        raise BundleError(f"bundle '{bundle.name}': only energies are exported ('ebt'), this is '{bundle.method}'")
    try:
        import onnx  # noqa: F401 - the exporter needs them, and says so less clearly
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            f"export needs onnx and onnxscript ({error}): pip install 'ebt-policy-ros[onnx]'"
        ) from error
    network, critic, heads = load_network(bundle), load_critic(bundle), load_heads(bundle)
    assert isinstance(network, EnergyNetwork)
    graphs = trace(network, critic, heads)
    terms = [] if heads is None else list(ScoreHeads.TERMS)
    Path(directory).mkdir(parents=True, exist_ok=True)
    written = []
    for name, traced in graphs.items():
        path = graph_path(directory, name)
        _write(path, traced, info_of(bundle, name, terms).as_text())
        written.append(path)
    parity = Path(directory) / PARITY_FILE
    _write_parity(parity, bundle, observations or made_up(bundle, 2))
    return [*written, parity]


def trace(network: EnergyNetwork, critic: CriticNetwork | None, heads: ScoreHeads | None) -> dict[str, Traced]:
    """Every graph of a bundle, ready to be written."""
    a = network.architecture
    energy, judge = FastEnergy(network), None if critic is None else FastCritic(critic)
    positions, features = torch.zeros((1, a.joints)), tuple(torch.zeros((1, a.camera_features)) for _ in a.cameras)
    observation = Observation(energy, judge, heads)
    with torch.no_grad():
        told = observation(positions, features)
    cache, chunks = told[0], torch.from_numpy(starting_noise(0, TRACED_CANDIDATES, a.horizon, a.joints))
    is_open = torch.export.Dim.DYNAMIC
    open_k, open_size = {0: is_open}, {1: is_open, 2: is_open}
    picture = torch.zeros((1, a.height + 3, a.width + 5, 3), dtype=torch.uint8)  # sizes that nothing else has
    gives = ["cache", *(["critic_cache"] if critic is not None else []), *(["terms"] if heads is not None else [])]
    found = {
        camera_graph(place): Traced(Camera(network, place), (picture,), ["image"], ["features"], (open_size,))
        for place in range(len(a.cameras))
    }
    takes = ["positions", *(f"features_{place}" for place in range(len(a.cameras)))]
    found["observation"] = Traced(observation, (positions, features), takes, gives, None)
    found["descent"] = Traced(
        Descent(energy),
        (cache, chunks, torch.ones((a.horizon, 1))),
        ["cache", "chunks", "moves"],
        ["energies", "norms", "next"],
        ({}, open_k, {}),
    )
    found["energy"] = Traced(Energy(energy), (cache, chunks), ["cache", "chunks"], ["energies"], ({}, open_k))
    if judge is not None:
        found["critic"] = Traced(
            Critic(judge), (told[1], chunks), ["critic_cache", "chunks"], ["distances"], ({}, open_k)
        )
    return found


class _Denoiser(nn.Module):
    """One network pass of a diffusion policy."""

    def __init__(self, noise: FastDiffusion) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, cache: Tensor, noisy: Tensor, condition: Tensor) -> Tensor:
        return self.noise.noise(repeat(cache, noisy.shape[0]), noisy, condition)


def write_denoiser(path: Path, noise: FastDiffusion) -> None:
    """Writes one pass of a diffusion policy as a graph: ``cache`` of one observation, ``noisy`` (K, H, D) and the
    ``condition`` of the step -> ``noise`` (K, H, D). For comparisons; bundles of its method are not exported."""
    heads, width = noise.heads, noise.width // noise.heads
    tokens = noise.tokens.cameras.shape[0] * (noise.tokens.cameras.shape[2] // noise.width)
    tokens += noise.tokens.joints.shape[1] // noise.width
    given = (
        torch.zeros(len(noise.layers), 2, 1, heads, tokens, width),
        torch.zeros(TRACED_CANDIDATES, noise.horizon, noise.token.shape[0]),
        noise.conditions[0],
    )
    open_k = ({}, {0: torch.export.Dim.DYNAMIC}, {})
    _write(path, Traced(_Denoiser(noise), given, ["cache", "noisy", "condition"], ["noise"], open_k), "")


def _write(path: Path, traced: Traced, metadata: str) -> None:
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            traced.module.eval(),
            traced.inputs,
            dynamo=True,
            input_names=traced.takes,
            output_names=traced.gives,
            dynamic_shapes=traced.open_axes,
            opset_version=OPSET,
            custom_translation_table=_translations(),
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props[METADATA_KEY] = metadata
    write_atomically(path, program.model_proto.SerializeToString())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of operators that are not used, such as those of an absent torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _translations() -> dict[Any, Callable[..., Any]]:
    """torch operators that ONNX lacks, in its operators."""
    from onnxscript import opset20 as op

    def silu_backward(gradient: Any, x: Any) -> Any:
        bent = op.Sigmoid(x)  # sigmoid and silu are those of the way forward, which ONNX Runtime finds out
        return op.Mul(gradient, op.Add(bent, op.Mul(op.Mul(x, bent), op.Sub(1.0, bent))))

    def softmax_backward(gradient: Any, weights: Any, dim: int, input_dtype: int) -> Any:
        along = op.Mul(gradient, weights)
        return op.Sub(along, op.Mul(weights, op.ReduceSum(along, [-1], keepdims=1)))

    def distances(points: Any, centres: Any, p: float, mode: int | None = None) -> Any:
        away = op.Sub(op.Unsqueeze(points, [-2]), op.Unsqueeze(centres, [0]))
        return op.Sqrt(op.ReduceSumSquare(away, [-1], keepdims=0))

    def resize(
        images: Any, output_size: Any, align_corners: bool, scales_h: float | None = None, scales_w: float | None = None
    ) -> Any:
        """Weights beyond the border count nowhere, as in torch; ONNX's default gives them to the last pixel."""
        sizes = op.Constant(value_ints=[1, 3, *output_size])
        given = {"mode": "linear", "antialias": 1, "exclude_outside": 1}
        return op.Resize(images, None, None, sizes, coordinate_transformation_mode="half_pixel", **given)

    def add_product(onto: Any, one: Any, other: Any, value: float = 1.0) -> Any:
        product = op.Mul(one, other)
        if value == -1.0:
            return op.Sub(onto, product)
        return op.Add(onto, product if value == 1.0 else op.Mul(product, value))

    aten = torch.ops.aten
    return {
        aten.addcmul.default: add_product,
        aten._upsample_bilinear2d_aa.default: resize,
        aten.silu_backward.default: silu_backward,
        aten._softmax_backward_data.default: softmax_backward,
        aten._cdist_forward.default: distances,
    }


def made_up(bundle: Bundle, count: int) -> list[NormalisedObservation]:
    """Observations of smooth random pictures and joints in range, for want of recorded ones."""
    rng = np.random.default_rng(0)

    def picture(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        coarse = torch.from_numpy(rng.uniform(0.0, 255.0, (1, 3, 6, 6)))
        fine = nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
        return np.ascontiguousarray(fine[0].permute(1, 2, 0).clamp(0, 255).to(torch.uint8).numpy())

    return [
        NormalisedObservation(
            {camera.name: picture(camera.height, camera.width) for camera in bundle.cameras},
            rng.uniform(-1.0, 1.0, len(bundle.joints)),
        )
        for _ in range(count)
    ]


def _write_parity(path: Path, bundle: Bundle, observations: Sequence[NormalisedObservation]) -> None:
    """Pictures (n, cameras, height, width, 3), positions (n, D), starts, chunks (n, H, D) after two steps, and energies
    (n, 3), as the networks in float64 have them."""
    from safetensors.numpy import save

    reference = Reference(bundle)
    starts = [starting_noise(seed, 1, bundle.chunk.horizon, len(bundle.joints)) for seed in range(len(observations))]
    told = [reference.descend(seen, start, PARITY_STEPS) for seen, start in zip(observations, starts, strict=True)]
    tensors = {
        "images": np.stack([np.stack([seen.images[c.name] for c in bundle.cameras]) for seen in observations]),
        "positions": np.stack([seen.positions for seen in observations]),
        "starts": np.concatenate(starts),
        "chunks": np.stack([chunk[0] for chunk, _ in told]),
        "energies": np.stack([energies[:, 0] for _, energies in told]),
    }
    write_atomically(path, bytes(save(tensors)))


class Reference:
    """The plain networks and autograd in float64: what every runtime is compared with."""

    def __init__(self, bundle: Bundle) -> None:
        network = load_network(bundle)
        assert isinstance(network, EnergyNetwork)
        self.network = network.double()
        self._cameras = [camera.name for camera in bundle.cameras]

    def descend(
        self, observation: NormalisedObservation, start: np.ndarray[Any, Any], steps: int
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Chunks (K, H, D) after ``steps`` from ``start`` (K, H, D), and the energies (steps + 1, K) on the way."""
        pictures = [torch.from_numpy(np.array(observation.images[name])) for name in self._cameras]
        prepared = tuple(self.network.prepare(picture[None]).double() for picture in pictures)
        with torch.no_grad():
            features = self.network.features(prepared)
            cache = self.network.observe(features, torch.from_numpy(np.array(observation.positions))[None].double())
        cache = cache.repeat(len(start))
        chunks, energies = torch.from_numpy(np.array(start)).double(), []
        for step in range(steps + 1):
            chunks = chunks.detach().requires_grad_()
            energy = self.network.energy(cache, chunks)
            energies.append(energy.detach().numpy())
            if step < steps:
                (gradient,) = torch.autograd.grad(energy.sum(), chunks)
                chunks = chunks - self.network.step_size * gradient
        return chunks.detach().numpy(), np.stack(energies)
