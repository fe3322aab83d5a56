"""Energies where the right answer is known: their size against the distance to the demonstrated chunk, and whether
descents from different starts end at different demonstrated ways.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.rescore import Judge, Variant, batches, encode, repeated, starts_at
from ebt_policy_ros.training.dataset import Demonstrations, normalise, split_episodes

BINS = 8
MODE_STEPS = (1, 2, 4, 8, 16)
MODE_STARTS = 16
COMPONENTS = 20


@dataclass(frozen=True, eq=False)
class Shown:
    """Some rows of a data set, their pictures already encoded."""

    features: Tensor
    """(N, cameras, F)."""
    positions: NDArray[np.float32]
    """(N, D) [rad, m]."""
    chunks: NDArray[np.float32]
    """(N, H, D) demonstrated [rad, m]."""
    episodes: NDArray[np.int64]
    """(N,) number of the episode."""
    is_start: NDArray[np.bool_]
    """(N,) first row of its episode."""
    modes: tuple[str, ...]
    """(E,) way of every episode."""

    def of_held_out(self, variant: Variant) -> NDArray[np.bool_]:
        """(N,) rows of episodes on which this variant was not trained; all where its bundle does not say."""
        share, seed = variant.training.get("held_out", 0.0), variant.training.get("seed", 0)
        _, held_out = split_episodes(len(self.modes), float(share), int(seed))  # type: ignore[arg-type]
        return np.isin(self.episodes, held_out or np.arange(len(self.modes)))


def save(path: Path, encoder: str, shown: Shown) -> None:
    """Keeps encoded rows, so that a data set of gigabytes need not be read again."""
    arrays = {name: np.asarray(value) for name, value in vars(shown).items()}
    np.savez(path, encoder=np.array(encoder), **arrays)


def load(path: Path, encoder: str) -> Shown | None:
    """What ``save`` kept; None where there is no file, or one of other encoders."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as file:
        if str(file["encoder"]) != encoder:
            return None
        values = {field.name: file[field.name] for field in fields(Shown)}
    values |= {"features": torch.from_numpy(values["features"]), "modes": tuple(values["modes"].tolist())}
    return Shown(**values)


def sample(data: Demonstrations, variant: Variant, rows: int, seed: int) -> Shown:
    """The first row of every episode and up to ``rows`` others, encoded by the variant's cameras."""
    rng = np.random.default_rng([seed, 6])
    begins = np.concatenate([[0], data.ends[:-1]])
    chosen = rng.choice(len(data.positions), min(rows, len(data.positions)), replace=False)
    chosen = np.unique(np.concatenate([begins, chosen]))
    cameras = [camera.name for camera in variant.bundle.cameras]
    return Shown(
        encode(variant, [data.images[camera][chosen] for camera in cameras]),
        data.positions[chosen],
        data.chunks(chosen, variant.bundle.chunk.horizon),
        np.searchsorted(data.ends, chosen, side="right"),
        np.isin(chosen, begins),
        tuple(str(record.get("mode", "")) for record in data.records),
    )


@torch.inference_mode()
def energy_against_distance(variant: Variant, shown: Shown, critic: Judge | None = None) -> dict[str, Any]:
    """Predicted and real mean squared distance to the demonstrated chunk, on held-out episodes of the variant.

    Predicted by the variant's energy times its unit, or by a ``critic`` of its chunks. For reconstruction alone E has
    no zero: its constant is chosen here so that the means over all points agree. Kinds of points: descents' results,
    random starts, the demonstrated chunk with noise of .03, .1 and .3, another's chunk.
    """
    chosen = np.flatnonzero(shown.of_held_out(variant))
    positions = torch.from_numpy(normalise(shown.positions[chosen], variant.bundle.positions))
    targets = torch.from_numpy(normalise(shown.chunks[chosen], variant.bundle.actions))
    features = shown.features[torch.from_numpy(chosen)]
    predicted: dict[str, list[Tensor]] = {}
    real: dict[str, list[Tensor]] = {}
    ranked = []
    for batch, rows in enumerate(batches(len(chosen))):
        cache, target = variant.observe(features[rows], positions[rows]), targets[rows]
        noise = starts_at(variant, batch, len(target), 2)

        def predict(chunks: Tensor, rows: slice = rows, cache: Tensor = cache) -> Tensor:
            if critic is None:
                return variant.unit * variant.fast.energy(cache, chunks)
            return critic.distances(features[rows], positions[rows], chunks).mean(1)

        points = {
            "result": variant.descend(cache, noise[:, 0]),
            "start": noise[:, 0],
            **{f"noise {size}": target + size * noise[:, 1] for size in (0.03, 0.1, 0.3)},
            "another": target.roll(1, 0),
        }
        ranked.append(predict(target) < predict(points["noise 0.1"]))
        for name, chunk in points.items():
            predicted.setdefault(name, []).append(predict(chunk))
            real.setdefault(name, []).append((chunk - target).square().mean((1, 2)))
    guess = {name: torch.cat(parts).double().numpy() for name, parts in predicted.items()}
    truth = {name: torch.cat(parts).double().numpy() for name, parts in real.items()}
    if critic is None and variant.anchor == 0:
        offset = np.concatenate(list(truth.values())).mean() - np.concatenate(list(guess.values())).mean()
        guess = {name: values + offset for name, values in guess.items()}
    return {
        "rows": len(chosen),
        "has_zero": critic is not None or variant.anchor > 0,
        "expert_below_noise_0.1": float(torch.cat(ranked).double().mean()),
        "kinds": {name: _agreement(guess[name], truth[name]) for name in guess},
        "all": _agreement(np.concatenate(list(guess.values())), np.concatenate(list(truth.values()))),
        "bins": _bins(guess["result"], truth["result"]),
        "scatter": {name: [float(guess[name].mean()), float(truth[name].mean())] for name in guess},
    }


def _agreement(guess: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    return {"predicted": float(guess.mean()), "real": float(truth.mean()), "rank_correlation": spearman(guess, truth)}


def _bins(guess: NDArray[np.float64], truth: NDArray[np.float64]) -> list[list[float]]:
    """(mean predicted, mean real) of equal parts of the points, by rising prediction."""
    parts = np.array_split(np.argsort(guess), min(BINS, len(guess)))
    return [[float(guess[part].mean()), float(truth[part].mean())] for part in parts]


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Rank correlation; NaN for fewer than three points."""
    if len(first) < 3:
        return float("nan")
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


@torch.inference_mode()
def mode_separation(variant: Variant, shown: Shown, limit: int = 60) -> dict[str, Any]:
    """At first rows of held-out episodes: how far the ends of 16 starts lie apart after K steps (root mean square
    around their mean, normalised units), and how far the nearest and the mean of them are from the demonstration."""
    chosen = np.flatnonzero(shown.of_held_out(variant) & shown.is_start)[:limit]
    positions = torch.from_numpy(normalise(shown.positions[chosen], variant.bundle.positions))
    targets = torch.from_numpy(normalise(shown.chunks[chosen], variant.bundle.actions))[:, None]
    cache = variant.observe(shown.features[torch.from_numpy(chosen)], positions)
    many = repeated(cache, MODE_STARTS)
    chunks = starts_at(variant, 0, len(chosen), MODE_STARTS).flatten(0, 1)
    found: dict[str, Any] = {
        "observations": len(chosen),
        "steps": list(MODE_STEPS),
        "spread": [],
        "mean": [],
        "best": [],
    }
    done = 0
    for steps in MODE_STEPS:
        chunks = variant.descend(many, chunks, steps - done)
        done = steps
        ends = chunks.unflatten(0, (len(chosen), MODE_STARTS))
        middle = ends.mean(1, keepdim=True)
        found["spread"].append(float((ends - middle).square().mean((1, 2, 3)).sqrt().mean()))
        found["mean"].append(float((middle - targets).square().mean((2, 3)).sqrt().mean()))
        found["best"].append(float((ends - targets).square().mean((2, 3)).sqrt().min(1)[0].mean()))
    return found


def spread_of_ways(variant: Variant, shown: Shown) -> dict[str, Any]:
    """How far the demonstrated ways lie apart at an episode's first row (root mean square, normalised units).

    What the first picture explains is taken out by a linear fit to its 20 principal components; the ways' means of
    what is left differ by what the expert chose.
    """
    rows = np.flatnonzero(shown.is_start)
    chunks = normalise(shown.chunks[rows], variant.bundle.actions).reshape(len(rows), -1)
    inputs = np.concatenate([shown.features[torch.from_numpy(rows)].flatten(1).numpy(), shown.positions[rows]], 1)
    inputs = (inputs - inputs.mean(0)) / inputs.std(0).clip(1e-3)
    count = min(COMPONENTS, len(rows) // 4)
    components = np.linalg.svd(inputs, full_matrices=False)[2][:count]
    explained = np.concatenate([inputs @ components.T, np.ones((len(rows), 1))], 1)
    left = chunks - explained @ np.linalg.lstsq(explained, chunks, rcond=None)[0]
    modes = np.array([shown.modes[episode] for episode in shown.episodes[rows]])
    names, counts = np.unique(modes, return_counts=True)
    means = np.stack([left[modes == name].mean(0) for name in names])
    between = float(np.sqrt((counts[:, None] * means**2).sum(0).mean() / counts.sum()))
    return {
        "ways": {str(name): int(count) for name, count in zip(names, counts, strict=True)},
        "between": between,
        "unexplained": float(np.sqrt((left**2).mean())),
    }
