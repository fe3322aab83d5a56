"""Fits the score heads of a trained bundle on familiar observations; the policy itself is untouched.

Means are fitted on part of the episodes and spreads on the others, where the means have not been fitted: a spread
measured on fitted data is too small, and every new observation would look odd.
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
from ebt_policy_ros.policy.energy import descend
from ebt_policy_ros.policy.heads import HEADS_PREFIX, ScoreHeads
from ebt_policy_ros.policy.network import EnergyNetwork
from ebt_policy_ros.runtimes.torch_runtime import load_network
from ebt_policy_ros.training import dataset
from ebt_policy_ros.training.dataset import Demonstrations
from ebt_policy_ros.training.rollout import Rollout, run_episodes, stacked_images

Report = Callable[[str], None]


class Familiar(NamedTuple):
    """Observations as the heads see them, and the energy that minimisation reaches there."""

    features: Tensor
    """(N, cameras, F)."""
    positions: Tensor
    """(N, D) normalised."""
    energies: Tensor
    """(N,)."""
    for_spread: Tensor
    """(N,) bool: kept for fitting the spreads."""


@torch.no_grad()
def encode(
    network: EnergyNetwork,
    images: Sequence[NDArray[np.uint8]],
    positions: NDArray[np.float32],
    steps: int,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Features, normalised positions and minimised energies of N observations (per camera (N, h, w, 3))."""
    a = network.architecture
    generator = torch.Generator().manual_seed(seed)
    features, energies = [], []
    for part in np.array_split(np.arange(len(positions)), max(1, len(positions) // 64)):
        feature = network.features(tuple(network.prepare(torch.from_numpy(camera[part])) for camera in images))
        cache = network.observe(feature, torch.from_numpy(positions[part]))
        start = torch.randn((len(part), a.horizon, a.joints), generator=generator)
        with torch.enable_grad():
            chunk = descend(network, cache, start, steps).chunks[-1]
        features.append(feature)
        energies.append(network.energy(cache, chunk))
    return torch.cat(features), torch.from_numpy(positions), torch.cat(energies)


def from_demonstrations(bundle: Bundle, network: EnergyNetwork, data: Demonstrations, rows: int, seed: int) -> Familiar:
    """Up to ``rows`` observations of all demonstrations; those of every fifth episode are for the spreads."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(data.positions), min(rows, len(data.positions)), replace=False))
    episode = np.searchsorted(data.ends, chosen, side="right")
    positions = dataset.normalise(data.positions[chosen], bundle.positions)
    images = [data.images[camera][chosen] for camera in data.cameras]
    encoded = encode(network, images, positions, bundle.minimiser.steps, seed)
    return Familiar(*encoded, torch.from_numpy(episode % 5 == 0))


def from_rollouts(bundle: Bundle, network: EnergyNetwork, rollouts: Sequence[Rollout], seed: int) -> Familiar:
    """Observations of the policy's own successful episodes; those of every second episode are for the spreads."""
    good = [rollout for rollout in rollouts if rollout.success]
    if not good:
        raise EbtPolicyError("no episode of the policy succeeded: there is nothing familiar to fit score heads on")
    raw = np.array([positions for rollout in good for positions in rollout.positions], dtype=np.float32)
    images = [stacked_images(good, camera.name) for camera in bundle.cameras]
    encoded = encode(network, images, dataset.normalise(raw, bundle.positions), bundle.minimiser.steps, seed)
    is_second = [index % 2 == 1 for index, rollout in enumerate(good) for _ in rollout.positions]
    return Familiar(*encoded, torch.tensor(is_second))


def joined(parts: Sequence[Familiar]) -> Familiar:
    """All observations together."""
    return Familiar(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def fit(familiar: Familiar, *, steps: int = 1500, seed: int = 0) -> ScoreHeads:
    """Heads fitted to familiar observations; seconds on one CPU core."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    heads = ScoreHeads(familiar.features[0].numel() + familiar.positions.shape[1])
    raw = torch.cat([familiar.features.flatten(1), familiar.positions], 1)
    heads.centre.copy_(raw.mean(0))
    heads.scale.copy_(raw.std(0).clamp_min(1e-3))
    heads.energy_centre.copy_(familiar.energies.mean())
    heads.energy_unit.copy_(familiar.energies.std().clamp_min(1e-6))
    inputs = heads.standardise(familiar.features, familiar.positions)
    energies = (familiar.energies - heads.energy_centre) / heads.energy_unit
    means = [*heads.expectation.parameters(), *heads.predictor.parameters()]
    spreads = [*heads.deviation.parameters(), *heads.familiar_error.parameters()]
    for mask, parameters in ((~familiar.for_spread, means), (familiar.for_spread, spreads)):
        rows = torch.nonzero(mask)[:, 0]
        optimiser = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-2)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
            chosen = rows[torch.randint(len(rows), (256,), generator=generator)]
            x, energy = inputs[chosen], energies[chosen]
            mean, log_deviation = heads.energy_statistics(x)
            surprise = heads.surprise(x)
            if parameters is means:
                loss = torch.nn.functional.smooth_l1_loss(mean, energy) + surprise.square().mean()
            else:
                # Laplace likelihoods: the spread is a mean absolute deviation, which a few odd rows do not inflate.
                loss = ((energy - mean.detach()).abs() / log_deviation.exp() + log_deviation).mean()
                log_error = heads.log_familiar_error(x)
                loss = loss + (surprise.detach() / log_error.exp() + log_error).mean()
            optimiser.zero_grad()
            loss.backward(inputs=parameters)
            optimiser.step()
    return heads.eval().requires_grad_(False)


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
    network = load_network(bundle)
    parts = [from_demonstrations(bundle, network, Demonstrations.load(data_dir), rows, seed)]
    say(f"{len(parts[0].energies)} observations of the demonstrations encoded")
    if episodes:
        rollouts = run_episodes(
            model_dir, range(seed, seed + episodes), task=bundle.name, keep_images=True, processes=processes
        )
        say(f"{sum(r.success for r in rollouts)} of {episodes} episodes succeeded")
        parts.append(from_rollouts(bundle, network, rollouts, seed))
    familiar = joined(parts)
    heads = fit(familiar)
    provenance = {**bundle.provenance, "heads": {"rows": len(familiar.energies), "episodes": episodes, "seed": seed}}
    saved = with_heads(replace(bundle, provenance=provenance), heads).save(model_dir)
    terms = heads(familiar.features, familiar.positions)
    residual = (familiar.energies - terms[:, 0]).abs() / terms[:, 1]
    say(
        f"energy {familiar.energies.mean():.3f} +- {familiar.energies.std():.3f}, "
        f"|E - F| / S mean {residual.mean():.2f}, unfamiliarity mean {terms[:, 2].mean():.2f}"
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
