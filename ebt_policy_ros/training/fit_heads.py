"""Fits the score heads of a trained bundle on familiar observations; the policy itself is untouched.

Means are fitted on part of the episodes, and spreads and units on the others, where the means have not been fitted: a
spread measured on fitted data is too small, and every new observation would look odd.
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
from ebt_policy_ros.policy.critic import expected_error
from ebt_policy_ros.policy.energy import descend
from ebt_policy_ros.policy.heads import HEADS_PREFIX, ScoreHeads
from ebt_policy_ros.policy.load import load_critic, load_network
from ebt_policy_ros.training import dataset
from ebt_policy_ros.training.dataset import Demonstrations
from ebt_policy_ros.training.rollout import Rollout, run_episodes, stacked_images

Report = Callable[[str], None]

CENTRES, ROWS_A_CENTRE = 16, 50
"""Of the mixture of familiar observations: at most so many centres, and so many rows for each."""
SHRINKAGE = 0.01
"""Of its covariance towards a sphere."""
USUAL = 0.95
"""Quantile of familiar observations that is one unit of distance and of expected error."""


class Familiar(NamedTuple):
    """Observations as the heads see them, and the energy that minimisation reaches there."""

    features: Tensor
    """(N, cameras, F)."""
    positions: Tensor
    """(N, D) normalised."""
    energies: Tensor
    """(N,)."""
    errors: Tensor
    """(N,) expected by the critic there, root mean square over the executed rows; NaN without a critic."""
    for_spread: Tensor
    """(N,) bool: kept for fitting spreads and units."""


class ObservationEncoder:
    """The networks of a bundle that look at observations one batch after another."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.network, self.critic = bundle, load_network(bundle), load_critic(bundle)

    @torch.no_grad()
    def encode(
        self, images: Sequence[NDArray[np.uint8]], positions: NDArray[np.float32], seed: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features, normalised positions, minimised energies and expected errors of N observations (per camera
        (N, h, w, 3))."""
        network, a = self.network, self.network.architecture
        generator = torch.Generator().manual_seed(seed)
        features, energies, errors = [], [], []
        for part in np.array_split(np.arange(len(positions)), max(1, len(positions) // 64)):
            feature = network.features(tuple(network.prepare(torch.from_numpy(camera[part])) for camera in images))
            own = torch.from_numpy(positions[part])
            cache = network.observe(feature, own)
            start = torch.randn((len(part), a.horizon, a.joints), generator=generator)
            with torch.enable_grad():
                chunk = descend(network, cache, start, self.bundle.minimiser.steps).chunks[-1]
            features.append(feature)
            energies.append(network.energy(cache, chunk))
            errors.append(self._expected_errors(feature, own, chunk))
        return torch.cat(features), torch.from_numpy(positions), torch.cat(energies), torch.cat(errors)

    def _expected_errors(self, features: Tensor, positions: Tensor, chunks: Tensor) -> Tensor:
        if self.critic is None:
            return torch.full((len(chunks),), torch.nan)
        distances = self.critic.log_distances(self.critic.observe(features, positions), chunks).exp()
        return expected_error(distances, self.bundle.chunk.execute_steps)


def from_demonstrations(encoder: ObservationEncoder, data: Demonstrations, rows: int, seed: int) -> Familiar:
    """Up to ``rows`` observations of all demonstrations; those of every fifth episode are for the spreads."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(data.positions), min(rows, len(data.positions)), replace=False))
    episode = np.searchsorted(data.ends, chosen, side="right")
    positions = dataset.normalise(data.positions[chosen], encoder.bundle.positions)
    images = [data.images[camera.name][chosen] for camera in encoder.bundle.cameras]
    encoded = encoder.encode(images, positions, seed)
    return Familiar(*encoded, torch.from_numpy(episode % 5 == 0))


def from_rollouts(encoder: ObservationEncoder, rollouts: Sequence[Rollout], seed: int) -> Familiar:
    """Observations of the policy's own successful episodes; those of every second episode are for the spreads."""
    good = [rollout for rollout in rollouts if rollout.success]
    if not good:
        raise EbtPolicyError("no episode of the policy succeeded: there is nothing familiar to fit score heads on")
    raw = np.array([positions for rollout in good for positions in rollout.positions], dtype=np.float32)
    images = [stacked_images(good, camera.name) for camera in encoder.bundle.cameras]
    encoded = encoder.encode(images, dataset.normalise(raw, encoder.bundle.positions), seed)
    is_second = [index % 2 == 1 for index, rollout in enumerate(good) for _ in rollout.positions]
    return Familiar(*encoded, torch.tensor(is_second))


def joined(parts: Sequence[Familiar]) -> Familiar:
    """All observations together."""
    return Familiar(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def fit(familiar: Familiar, *, steps: int = 1500, seed: int = 0) -> ScoreHeads:
    """Heads fitted to familiar observations; seconds on one CPU core."""
    torch.manual_seed(seed)
    raw = torch.cat([familiar.features.flatten(1), familiar.positions], 1)
    centre, scale = raw.mean(0), raw.std(0).clamp_min(1e-3)
    inputs, rest = (raw - centre) / scale, familiar.for_spread
    whitening, centres = mixture(inputs[~rest], inputs[~rest, -familiar.positions.shape[1] :], seed)
    heads = ScoreHeads(raw.shape[1], len(centres))
    for name, value in {"centre": centre, "scale": scale, "whitening": whitening, "centres": centres}.items():
        getattr(heads, name).copy_(value)
    heads.energy_centre.copy_(familiar.energies.mean())
    heads.energy_unit.copy_(familiar.energies.std().clamp_min(1e-6))
    heads.usual_distance.copy_(heads.distance(inputs[rest]).quantile(USUAL).clamp_min(1e-6))
    if bool(torch.isfinite(familiar.errors).all()):
        heads.usual_error.copy_(familiar.errors[rest].quantile(USUAL).clamp_min(1e-6))
    _fit_energy_statistics(heads, inputs, familiar, steps, seed)
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


def _fit_energy_statistics(heads: ScoreHeads, inputs: Tensor, familiar: Familiar, steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    energies = (familiar.energies - heads.energy_centre) / heads.energy_unit
    means, spreads = [*heads.expectation.parameters()], [*heads.deviation.parameters()]
    for mask, parameters in ((~familiar.for_spread, means), (familiar.for_spread, spreads)):
        rows = torch.nonzero(mask)[:, 0]
        optimiser = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-2)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
            chosen = rows[torch.randint(len(rows), (256,), generator=generator)]
            mean, log_deviation = heads.energy_statistics(inputs[chosen])
            if parameters is means:
                loss = torch.nn.functional.smooth_l1_loss(mean, energies[chosen])
            else:
                # Laplace likelihood: the spread is a mean absolute deviation, which a few odd rows do not inflate.
                loss = ((energies[chosen] - mean.detach()).abs() / log_deviation.exp() + log_deviation).mean()
            optimiser.zero_grad()
            loss.backward(inputs=parameters)
            optimiser.step()


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
    parts = [from_demonstrations(encoder, Demonstrations.load(data_dir), rows, seed)]
    say(f"{len(parts[0].energies)} observations of the demonstrations encoded")
    if episodes:
        rollouts = run_episodes(
            model_dir, range(seed, seed + episodes), task=bundle.name, keep_images=True, processes=processes
        )
        say(f"{sum(r.success for r in rollouts)} of {episodes} episodes succeeded")
        parts.append(from_rollouts(encoder, rollouts, seed))
    familiar = joined(parts)
    heads = fit(familiar)
    provenance = {**bundle.provenance, "heads": {"rows": len(familiar.energies), "episodes": episodes, "seed": seed}}
    saved = with_heads(replace(bundle, provenance=provenance), heads).save(model_dir)
    say(
        f"energy {familiar.energies.mean():.3f} +- {familiar.energies.std():.3f}; usual are distances up to "
        f"{float(heads.usual_distance):.1f} and expected errors up to {float(heads.usual_error):.3f}"
    )
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
