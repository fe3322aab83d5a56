"""Fits the score heads of a trained bundle on familiar observations; the policy itself is untouched.

The mixture is fitted on part of the episodes, its unit on the others: a distance measured on fitted data is too small,
and every new observation would look odd.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.heads import HEADS_PREFIX, ScoreHeads
from ebt_policy_ros.policy.load import load_network
from ebt_policy_ros.training import dataset
from ebt_policy_ros.training.dataset import Demonstrations
from ebt_policy_ros.training.rollout import Rollout, run_episodes, stacked_images

Report = Callable[[str], None]

CENTRES, ROWS_A_CENTRE = 16, 50
"""Of the mixture of familiar observations: at most so many centres, and so many rows for each."""
SHRINKAGE = 0.01
"""Of its covariance towards a sphere."""
USUAL = 0.95
"""Quantile of familiar observations that is one unit of distance."""


class Familiar(NamedTuple):
    """Observations as the heads see them."""

    features: Tensor
    """(N, cameras, F)."""
    positions: Tensor
    """(N, D) normalised."""
    for_unit: Tensor
    """(N,) bool: kept for the unit of distance."""


class ObservationEncoder:
    """The encoders of a bundle, one batch after another."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.network = bundle, load_network(bundle)

    @torch.no_grad()
    def encode(self, images: Sequence[NDArray[np.uint8]], positions: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        """Features and positions (N, D) of N observations (per camera (N, h, w, 3))."""
        network, features = self.network, []
        for part in np.array_split(np.arange(len(positions)), max(1, len(positions) // 64)):
            features.append(
                network.features(tuple(network.prepare(torch.from_numpy(camera[part])) for camera in images))
            )
        return torch.cat(features), torch.from_numpy(positions)


def from_demonstrations(encoder: ObservationEncoder, data: Demonstrations, rows: int, seed: int) -> Familiar:
    """Up to ``rows`` observations of all demonstrations; those of every fifth episode are for the unit."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(data.positions), min(rows, len(data.positions)), replace=False))
    episode = np.searchsorted(data.ends, chosen, side="right")
    positions = dataset.normalise(data.positions[chosen], encoder.bundle.positions)
    images = [data.images[camera.name][chosen] for camera in encoder.bundle.cameras]
    encoded = encoder.encode(images, positions)
    return Familiar(*encoded, torch.from_numpy(episode % 5 == 0))


def from_rollouts(encoder: ObservationEncoder, rollouts: Sequence[Rollout]) -> Familiar:
    """Observations of the policy's own successful episodes; those of every second episode are for the unit."""
    good = [rollout for rollout in rollouts if rollout.success]
    if not good:
        raise EbtPolicyError("no episode of the policy succeeded: there is nothing familiar to fit score heads on")
    raw = np.array([positions for rollout in good for positions in rollout.positions], dtype=np.float32)
    images = [stacked_images(good, camera.name) for camera in encoder.bundle.cameras]
    encoded = encoder.encode(images, dataset.normalise(raw, encoder.bundle.positions))
    is_second = [index % 2 == 1 for index, rollout in enumerate(good) for _ in rollout.positions]
    return Familiar(*encoded, torch.tensor(is_second))


def joined(parts: Sequence[Familiar]) -> Familiar:
    """All observations together."""
    return Familiar(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def fit(familiar: Familiar, *, seed: int = 0) -> ScoreHeads:
    """Heads fitted to familiar observations; seconds on one CPU core."""
    raw = torch.cat([familiar.features.flatten(1), familiar.positions], 1)
    centre, scale = raw.mean(0), raw.std(0).clamp_min(1e-3)
    inputs, rest = (raw - centre) / scale, familiar.for_unit
    whitening, centres = mixture(inputs[~rest], inputs[~rest, -familiar.positions.shape[1] :], seed)
    heads = ScoreHeads(raw.shape[1], len(centres))
    for name, value in {"centre": centre, "scale": scale, "whitening": whitening, "centres": centres}.items():
        getattr(heads, name).copy_(value)
    heads.usual_distance.copy_(heads.distance(inputs[rest]).quantile(USUAL).clamp_min(1e-6))
    return heads.eval().requires_grad_(False)


def mixture(inputs: Tensor, positions: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """A mixture of Gaussians with one covariance: the matrix (I, I) that whitens standardised inputs (N, I), and the
    whitened centres (k, I) of groups of similar joint positions (N, D) (k-means)."""
    from scipy.cluster.vq import kmeans2

    count = max(1, min(CENTRES, len(inputs) // ROWS_A_CENTRE))
    _, groups = kmeans2(positions.double().numpy(), count, seed=seed, minit="++", missing="warn")
    members = [torch.from_numpy(groups == group) for group in np.unique(groups)]
    wide = inputs.double()
    centres = torch.stack([wide[rows].mean(0) for rows in members])
    within = torch.cat([wide[rows] - middle for rows, middle in zip(members, centres, strict=True)])
    covariance = within.T @ within / len(within)
    identity = torch.eye(len(covariance), dtype=torch.float64)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * covariance.diagonal().mean().clamp_min(1e-6) * identity
    whitening = torch.linalg.cholesky(torch.linalg.inv(covariance))
    return whitening.float(), (centres @ whitening).float()


def with_heads(bundle: Bundle, heads: ScoreHeads) -> Bundle:
    """The bundle with these heads; a calibration, which belonged to other weights, is dropped."""
    tensors = {name: tensor for name, tensor in bundle.tensors.items() if not name.startswith(HEADS_PREFIX)}
    tensors |= {f"{HEADS_PREFIX}{k}": v.contiguous().numpy() for k, v in heads.state_dict().items()}
    return replace(bundle, tensors=tensors, calibration=None).with_hash()


def fit_heads(
    model_dir: str | Path,
    data_dir: str | Path,
    *,
    episodes: int = 40,
    seed: int = 30_000,
    rows: int = 8_000,
    processes: int = 2,
    report: Report | None = None,
) -> Bundle:
    """Fit the heads of the bundle in ``model_dir`` on its demonstrations and ``episodes`` of its own episodes (seeds
    from ``seed`` on), and save it. Drops a calibration: run calibrate next."""
    say = report or (lambda text: sys.stderr.write(text + "\n") and None)
    bundle = Bundle.load(model_dir)
    encoder = ObservationEncoder(bundle)
    shown = Demonstrations.load(data_dir)
    shown.check_bundle(bundle)
    parts = [from_demonstrations(encoder, shown, rows, seed)]
    say(f"{len(parts[0].positions)} observations of the demonstrations encoded")
    if episodes:
        rollouts = run_episodes(
            model_dir, range(seed, seed + episodes), task=bundle.name, keep_images=True, processes=processes
        )
        say(f"{sum(r.success for r in rollouts)} of {episodes} episodes succeeded")
        parts.append(from_rollouts(encoder, rollouts))
    familiar = joined(parts)
    heads = fit(familiar)
    provenance = {**bundle.provenance, "heads": {"rows": len(familiar.positions), "episodes": episodes, "seed": seed}}
    saved = with_heads(replace(bundle, provenance=provenance), heads).save(model_dir)
    say(f"usual are distances up to {float(heads.usual_distance):.1f}")
    return saved


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ebt_policy_ros.training.fit_heads", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--seed", type=int, default=30_000)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        fit_heads(options.model, options.data, episodes=options.episodes, seed=options.seed)
    except EbtPolicyError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
