"""The loss: reconstruct the expert's chunk by descending the energy, second order through the unrolled steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ebt_policy_ros.policy.energy import descend, energy_and_gradient
from ebt_policy_ros.policy.network import EnergyNetwork, ObservationCache


class Batch(NamedTuple):
    """Normalised training examples on the device."""

    images: tuple[Tensor, ...]
    """Per camera (B, 3, h, w) in [-1, 1]."""
    positions: Tensor
    """(B, D)."""
    chunks: Tensor
    """(B, H, D) the expert's."""


class Starts(NamedTuple):
    """Noise to descend from."""

    candidates: Tensor
    """(B * S, C, H, D): S descents per observation, each with C candidates to choose its start from."""
    explore: Tensor
    """(B * S,) bool: these take their first candidate unseen, so that no region of starts stays untrained."""


def winning_starts(network: EnergyNetwork, cache: ObservationCache, targets: Tensor, starts: Starts) -> Tensor:
    """(B, H, D): of every target's candidate starts, the one whose first descent step ends nearest to it.

    Starts drawn independently of the targets would make the average of all good answers the best reply to every
    start. Letting each answer choose the start that already leads closest to it breaks that tie: different starts
    come to own different answers (measured on two equally good ways, 600 steps: 32 % of the results leave the middle
    with four candidates, none with one).
    """
    batch, choices = starts.candidates.shape[:2]
    if choices == 1:
        return starts.candidates[:, 0]
    flat = starts.candidates.flatten(0, 1)
    _, gradient = energy_and_gradient(network, cache.detached().repeat(choices), flat)
    with torch.no_grad():
        ends = (flat - network.step_size * gradient).unflatten(0, (batch, choices))
        best = (ends - targets[:, None]).abs().mean((2, 3)).argmin(1)
        best = torch.where(starts.explore, torch.zeros_like(best), best)
        return starts.candidates[torch.arange(batch, device=flat.device), best]


def draw_starts(shape: tuple[int, int, int], choices: int, generator: torch.Generator, device: torch.device) -> Starts:
    """``choices`` standard normal candidates for each of B chunks of shape (B, H, D); a tenth does not choose."""
    candidates = torch.randn((shape[0], choices, *shape[1:]), generator=generator)
    explore = torch.rand(shape[0], generator=generator) < 0.1
    return Starts(candidates.to(device), explore.to(device))


def reconstruction_losses(
    network: EnergyNetwork,
    batch: Batch,
    starts: Starts,
    *,
    steps: int,
    beta: float,
    joint_weights: Tensor,
    detach: bool = True,
    autocast: torch.dtype | None = None,
) -> Tensor:
    """(steps,) mean smooth-L1 between the result of every descent step and the expert's chunk, with its graph.

    Observations are encoded once; each of the S starts of an observation is a descent of its own.
    """
    device = batch.positions.device.type
    with torch.autocast(device, autocast or torch.bfloat16, enabled=autocast is not None):
        features = network.features(batch.images)
    repeats = len(starts.candidates) // len(batch.chunks)
    cache = network.observe(features.float(), batch.positions).repeat(repeats)
    target = batch.chunks.repeat_interleave(repeats, 0)
    start = winning_starts(network, cache, target, starts)
    path = descend(network, cache, start, steps, create_graph=True, detach=detach)
    errors = [
        torch.nn.functional.smooth_l1_loss(chunk, target, beta=beta, reduction="none") for chunk in path.chunks[1:]
    ]
    return torch.stack([(error * joint_weights).mean() for error in errors])
