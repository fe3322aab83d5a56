"""What networks say of observations that another policy met: many scores, all at the same pictures.

Axes: N chunks, S starts, H horizon, D joints, F features. Every score is higher where there should be more doubt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebt_policy_ros.core.cycle import continued
from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.policy.bundle import Bounds, Bundle
from ebt_policy_ros.policy.critic import CriticNetwork
from ebt_policy_ros.policy.fast import FastCritic, FastEnergy
from ebt_policy_ros.policy.heads import ScoreHeads
from ebt_policy_ros.policy.load import load_critic, load_heads, load_network
from ebt_policy_ros.training.dataset import normalise

STARTS = 8
BATCH = 64
NEIGHBOURS = 5

Values = NDArray[np.float64]
Scores = dict[str, Values]


class Variant:
    """A bundle that gives energies, ready for batches of observations."""

    def __init__(self, name: str, directory: str | Path) -> None:
        self.name, self.bundle = name, Bundle.load(directory)
        if self.bundle.method != "ebt":
            raise EbtPolicyError(f"variant {name}: {directory} is of method '{self.bundle.method}', expected 'ebt'")
        self.network = load_network(self.bundle)
        self.fast = FastEnergy(self.network)
        self.alpha = float(self.network.step_size)
        self.steps = self.bundle.minimiser.steps
        self.encoder = encoder_sha256(self.bundle)
        self.heads: ScoreHeads | None = load_heads(self.bundle)

    @property
    def anchor(self) -> float:
        """Weight of the loss that ties energies to distances; 0: reconstruction alone."""
        return float(self.training.get("anchor", 0.0))  # type: ignore[arg-type]

    @property
    def training(self) -> Mapping[str, object]:
        """The settings it was trained with, as far as its provenance says."""
        found = self.bundle.provenance.get("training", {})
        return found if isinstance(found, Mapping) else {}

    @property
    def unit(self) -> float:
        """An anchored energy times this is the mean squared distance to the expert's chunk, normalised units."""
        return 2 * self.alpha / (self.bundle.chunk.horizon * len(self.bundle.joints))

    @torch.inference_mode()
    def observe(self, features: Tensor, positions: Tensor) -> Tensor:
        """features (B, cameras, F) and normalised positions (B, D) -> keys and values."""
        return self.fast.observe(features, positions)

    @torch.inference_mode()
    def descend(self, cache: Tensor, chunks: Tensor, steps: int | None = None) -> Tensor:
        """(B, H, D) after ``steps`` (default: the bundle's) steps from ``chunks``, one cache row each."""
        for _ in range(self.steps if steps is None else steps):
            chunks = chunks - self.alpha * self.fast.energy_and_gradient(cache, chunks)[1]
        return chunks


class Judge:
    """A critic: how far from the expert's a chunk is expected to be, row by row."""

    def __init__(self, name: str, directory: str | Path) -> None:
        """``directory``: a bundle of method 'critic', or a policy's with its critic inside."""
        self.name, self.bundle = name, Bundle.load(directory)
        found = load_network(self.bundle) if self.bundle.method == "critic" else load_critic(self.bundle)
        if not isinstance(found, CriticNetwork):
            raise EbtPolicyError(f"critic {name}: {directory} has none; train one with --method critic")
        self.network, self.fast, self.encoder = found, FastCritic(found), encoder_sha256(self.bundle)

    @torch.inference_mode()
    def distances(self, features: Tensor, positions: Tensor, chunks: Tensor) -> Tensor:
        """features (N, cameras, F), normalised positions (N, D) and chunks (N, H, D) -> (N, H) expected mean squared
        distances, normalised units."""
        parts = []
        for rows in batches(len(features)):
            cache = self.fast.observe(features[rows], positions[rows])
            parts.append(self.fast.distances(cache, chunks[rows]))
        return torch.cat(parts)

    def scores(self, seen: Seen) -> Scores:
        """Expected errors (N,) of the plan made, of its executed rows and worst row, of what was left of the plan
        before, and by how much that is worse."""
        positions = torch.from_numpy(normalise(seen.positions, self.bundle.positions))
        plans, rests = (
            torch.from_numpy(normalise(chunks, self.bundle.actions)) for chunks in (seen.chunks, seen.rests)
        )
        plan, rest = (self.distances(seen.features, positions, chunks) for chunks in (plans, rests))
        found = {
            "critic": plan.mean(1).sqrt(),
            "critic, executed rows": plan[:, : self.bundle.chunk.execute_steps].mean(1).sqrt(),
            "critic, worst row": plan.max(1)[0].sqrt(),
            "critic, plan before": rest.mean(1).sqrt(),
            "critic, plan before / new": (rest.mean(1) / plan.mean(1)).sqrt(),
        }
        return {name: values.double().numpy() for name, values in found.items()}


@dataclass(frozen=True, eq=False)
class Seen:
    """Observations and the plans made there, of any number of episodes one after the other."""

    features: Tensor
    """(N, cameras, F)."""
    positions: NDArray[np.float64]
    """(N, D) measured [rad, m]."""
    chunks: NDArray[np.float64]
    """(N, H, D) planned [rad, m]."""
    rests: NDArray[np.float64]
    """(N, H, D) the plan before, continued by the new one [rad, m]; NaN where there was none."""


def encoder_sha256(bundle: Bundle) -> str:
    """Of the camera encoders alone: bundles that share them share their features."""
    digest = hashlib.sha256()
    for name in sorted(bundle.tensors):
        if name.startswith("network.encoders."):
            digest.update(np.ascontiguousarray(bundle.tensors[name]).data)
    return digest.hexdigest()


@torch.inference_mode()
def encode(variant: Variant, images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Per camera (N, h, w, 3) -> (N, cameras, F)."""
    parts = []
    for rows in batches(len(images[0])):
        pictures = tuple(variant.network.prepare(torch.from_numpy(camera[rows])) for camera in images)
        parts.append(variant.network.features(pictures))
    return torch.cat(parts)


def batches(count: int) -> list[slice]:
    """Slices of up to ``BATCH`` rows."""
    return [slice(begin, min(begin + BATCH, count)) for begin in range(0, count, BATCH)]


def starts_at(variant: Variant, batch: int, count: int, starts: int) -> Tensor:
    """(count, starts, H, D) noise, the same for every variant."""
    chunk = variant.bundle.chunk
    generator = torch.Generator().manual_seed(1000 + batch)
    return torch.randn((count, starts, chunk.horizon, len(variant.bundle.joints)), generator=generator)


def repeated(cache: Tensor, starts: int) -> Tensor:
    """Every observation ``starts`` times in a row."""
    return cache.repeat_interleave(starts, 2) if starts > 1 else cache


@torch.inference_mode()
def scores(variant: Variant, seen: Seen) -> tuple[Scores, NDArray[np.float32]]:
    """Scores (N,) of one variant by name, and its own chunks (N, H, D) [rad, m] for comparison with others'."""
    positions = torch.from_numpy(normalise(seen.positions, variant.bundle.positions))
    plans = torch.from_numpy(normalise(seen.chunks, variant.bundle.actions))
    rests = torch.from_numpy(normalise(seen.rests, variant.bundle.actions))
    parts: dict[str, list[Tensor]] = {}
    chunks = []
    for batch, rows in enumerate(batches(len(seen.features))):
        features, own = seen.features[rows], positions[rows]
        cache = variant.observe(features, own)
        found, ends = _of_batch(variant, cache, batch, plans[rows], rests[rows])
        if variant.heads is not None:
            found["unfamiliarity"] = variant.heads(features, own)[:, 0]
        for name, values in found.items():
            parts.setdefault(name, []).append(values)
        chunks.append(ends)
    bounds = variant.bundle.actions
    return (
        {name: torch.cat(values).double().numpy() for name, values in parts.items()},
        unnormalise(torch.cat(chunks).numpy(), bounds),
    )


def _of_batch(
    variant: Variant, cache: Tensor, batch: int, plans: Tensor, rests: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Scores that need no heads, and the ends (B, H, D) of the first start."""
    count = len(plans)
    starts = starts_at(variant, batch, count, STARTS)
    many = repeated(cache, STARTS)
    ends = variant.descend(many, starts.flatten(0, 1)).unflatten(0, (count, STARTS))
    first = ends[:, 0]
    energy, gradient = variant.fast.energy_and_gradient(cache, first)
    planned = variant.fast.energy(cache, plans)
    middle = ends.mean(1, keepdim=True)
    found = {
        "energy": energy,
        "energy of the plan": planned,
        "small energy drop": energy - variant.fast.energy(cache, starts[:, 0]),
        "gradient norm": gradient.square().mean((1, 2)).sqrt(),
        "spread of starts": (ends - middle).square().mean((1, 2, 3)).sqrt(),
        "surprise": variant.fast.energy(cache, rests) - planned,
    }
    return found, first


def unnormalise(chunks: NDArray[np.float32], bounds: Bounds) -> NDArray[np.float32]:
    """About [-1, 1] -> [rad, m]."""
    low, high = np.array(bounds.low), np.array(bounds.high)
    return ((chunks + 1) / 2 * (high - low) + low).astype(np.float32)


def disagreement(members: Sequence[Variant], scored: Mapping[str, tuple[Scores, NDArray[np.float32]]]) -> Scores:
    """How much chunks from the same starts differ between policies trained twice."""
    bounds = members[0].bundle.actions
    chunks = np.stack([normalise(scored[member.name][1], bounds) for member in members]).astype(np.float64)
    return {"ensemble: chunks": np.sqrt(chunks.var(0).mean((1, 2)))}


def familiarity(known: NDArray[np.float32], seen: NDArray[np.float32]) -> Scores:
    """Distances of (N, F) inputs to those of demonstrations (M, F): Mahalanobis (shrunk) and to the nearest five."""
    centre, scale = known.mean(0), known.std(0).clip(1e-3)
    near, far = ((values - centre) / scale for values in (known, seen))
    covariance = np.cov(near.T)
    covariance = 0.95 * covariance + 0.05 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    mahalanobis = np.sqrt(np.einsum("nf,nf->n", far, np.linalg.solve(covariance, far.T).T))
    near_t, squares = torch.from_numpy(near), torch.from_numpy(far)
    nearest = [torch.cdist(squares[rows], near_t).topk(NEIGHBOURS, largest=False)[0] for rows in batches(len(far))]
    return {"Mahalanobis": mahalanobis.astype(np.float64), "nearest 5": torch.cat(nearest).mean(1).double().numpy()}


def plan_change(seen: Seen, bounds: Bounds, rows: NDArray[np.int64]) -> Values:
    """(N,) mean absolute difference between what was left of the plan before and the new one, normalised units.

    ``rows``: how many periods lay between the two plans.
    """
    difference = np.abs(normalise(seen.rests, bounds) - normalise(seen.chunks, bounds)).astype(np.float64).mean(2)
    left = np.clip(difference.shape[1] - rows, 1, None)
    return np.asarray(np.where(rows > 0, difference.sum(1) / left, np.nan))


def rests_of(times_s: Sequence[float], chunks: Sequence[Values], period_s: float) -> tuple[Values, NDArray[np.int64]]:
    """For every chunk of an episode what was left of the one before, continued (T, H, D), and how old that was [rows];
    NaN and 0 where nothing was left."""
    rests = np.full((len(chunks), *np.shape(chunks[0])), np.nan)
    rows = np.zeros(len(chunks), dtype=np.int64)
    for place in range(1, len(chunks)):
        age = round((times_s[place] - times_s[place - 1]) / period_s)
        rest = continued(np.asarray(chunks[place - 1]), np.asarray(chunks[place]), age)
        if rest is not None:
            rests[place], rows[place] = rest, age
    return rests, rows
