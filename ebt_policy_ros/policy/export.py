"""A bundle as ONNX graphs: the encoder, one step of the descent with its gradient written out, the energy, the critic.

The gradient is the one of ``policy.fast``, plain matrix products, so nothing of autograd has to be exported; two
backward functions that ONNX has no operator for are spelled out below.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
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
from ebt_policy_ros.policy.fast import FastCritic, FastEnergy, prepare, repeat
from ebt_policy_ros.policy.graphs import METADATA_KEY, OPSET, PARITY_FILE, graph_path, info_of
from ebt_policy_ros.policy.heads import ScoreHeads
from ebt_policy_ros.policy.load import load_critic, load_heads, load_network
from ebt_policy_ros.policy.network import EnergyNetwork

TRACED_CANDIDATES = 3
"""K while tracing: any number that is not one, for which the trunk has a shorter way."""
PARITY_STEPS = 2


class Encoder(nn.Module):
    """Pictures and joints -> what descent, critic and score need of them."""

    def __init__(self, network: EnergyNetwork, critic: CriticNetwork | None, heads: ScoreHeads | None) -> None:
        super().__init__()
        self.network, self.critic, self.heads = network, critic, heads

    def forward(self, images: tuple[Tensor, ...], positions: Tensor) -> tuple[Tensor, ...]:
        features = self.network.features(tuple(image.permute(0, 3, 1, 2).float() / 127.5 - 1 for image in images))
        told = [torch.stack(prepare(self.network.observe(features, positions)))]
        if self.critic is not None:
            told.append(torch.stack(prepare(self.critic.observe(features, positions))))
        if self.heads is not None:
            told.append(self.heads(features, positions)[0])
        return tuple(told)


class Descent(nn.Module):
    """One step downhill, and the energy before it."""

    def __init__(self, energy: FastEnergy, step_size: float) -> None:
        super().__init__()
        self.energy, self.step_size = energy, step_size

    def forward(self, cache: Tensor, chunks: Tensor, moves: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        energies, gradients = self.energy.energy_and_gradient(repeat(cache.unbind(0), chunks.shape[0]), chunks)
        gradients = gradients * moves
        norms = gradients.square().sum((1, 2)).sqrt()
        return energies, norms, chunks - self.step_size * gradients


class Energy(nn.Module):
    """Energies alone."""

    def __init__(self, energy: FastEnergy) -> None:
        super().__init__()
        self.energy = energy

    def forward(self, cache: Tensor, chunks: Tensor) -> Tensor:
        return self.energy.energy(repeat(cache.unbind(0), chunks.shape[0]), chunks)


class Critic(nn.Module):
    """Expected squared distances."""

    def __init__(self, critic: FastCritic) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, cache: Tensor, chunks: Tensor) -> Tensor:
        return self.critic.distances(repeat(cache.unbind(0), chunks.shape[0]), chunks)


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
    images = tuple(torch.zeros((1, a.height, a.width, 3), dtype=torch.uint8) for _ in a.cameras)
    positions = torch.zeros((1, a.joints))
    encoder = Encoder(network, critic, heads).eval()
    with torch.no_grad():
        told = encoder(images, positions)
    cache, chunks = told[0], torch.from_numpy(starting_noise(0, TRACED_CANDIDATES, a.horizon, a.joints))
    open_k = {0: torch.export.Dim.DYNAMIC}
    energy = FastEnergy(network)
    gives = ["cache", *(["critic_cache"] if critic is not None else []), *(["terms"] if heads is not None else [])]
    found = {
        "encoder": Traced(
            encoder, (images, positions), [*(f"image_{name}" for name in a.cameras), "positions"], gives, None
        ),
        "descent": Traced(
            Descent(energy, float(network.step_size)),
            (cache, chunks, torch.ones((a.horizon, 1))),
            ["cache", "chunks", "moves"],
            ["energies", "norms", "next"],
            ({}, open_k, {}),
        ),
        "energy": Traced(Energy(energy), (cache, chunks), ["cache", "chunks"], ["energies"], ({}, open_k)),
    }
    if critic is not None:
        found["critic"] = Traced(
            Critic(FastCritic(critic)), (told[1], chunks), ["critic_cache", "chunks"], ["distances"], ({}, open_k)
        )
    return found


def _write(path: Path, traced: Traced, metadata: str) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of operators that are not used
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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    program.save(str(temporary), external_data=False)
    temporary.replace(path)


def _translations() -> dict[Any, Callable[..., Any]]:
    """torch operators that ONNX lacks, in its operators."""
    from onnxscript import opset20 as op

    def silu_backward(gradient: Any, x: Any) -> Any:
        bent = op.Sigmoid(x)
        return op.Mul(gradient, op.Mul(bent, op.Add(op.Mul(x, op.Sub(1.0, bent)), 1.0)))

    def softmax_backward(gradient: Any, weights: Any, dim: int, input_dtype: int) -> Any:
        along = op.Mul(gradient, weights)
        return op.Sub(along, op.Mul(weights, op.ReduceSum(along, [-1], keepdims=1)))

    def distances(points: Any, centres: Any, p: float, mode: int | None = None) -> Any:
        away = op.Sub(op.Unsqueeze(points, [-2]), op.Unsqueeze(centres, [0]))
        return op.Sqrt(op.ReduceSumSquare(away, [-1], keepdims=0))

    aten = torch.ops.aten
    return {
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
    from safetensors.numpy import save_file

    reference = Reference(bundle)
    starts = [starting_noise(seed, 1, bundle.chunk.horizon, len(bundle.joints)) for seed in range(len(observations))]
    told = [reference.descend(seen, start, PARITY_STEPS) for seen, start in zip(observations, starts, strict=True)]
    save_file(
        {
            "images": np.stack([np.stack([seen.images[c.name] for c in bundle.cameras]) for seen in observations]),
            "positions": np.stack([seen.positions for seen in observations]),
            "starts": np.concatenate(starts),
            "chunks": np.stack([chunk[0] for chunk, _ in told]),
            "energies": np.stack([energies[:, 0] for _, energies in told]),
        },
        path,
    )


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
