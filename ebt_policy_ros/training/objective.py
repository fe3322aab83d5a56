"""The loss: reconstruct the expert's chunk by descending the energy, second order through the unrolled steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ebt_policy_ros.policy.energy import Descent, energy_and_gradient
from ebt_policy_ros.policy.network import EnergyNetwork, ObservationCache


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


def reconstruction_loss(path: Descent, targets: Tensor, *, beta: float, joint_weights: Tensor) -> Tensor:
    """Mean smooth-L1 between the result of every descent step and the expert's chunks (B, H, D), with its graph."""
    errors = [
        torch.nn.functional.smooth_l1_loss(chunk, targets, beta=beta, reduction="none") for chunk in path.chunks[1:]
    ]
    return torch.stack([(error * joint_weights).mean() for error in errors]).mean()


def anchor_loss(
    network: EnergyNetwork, cache: ObservationCache, path: Descent, targets: Tensor, generator: torch.Generator
) -> Tensor:
    """Gives the energy a scale and a zero.

    E(o, a) is regressed on |a - expert's chunk|^2 / (2 alpha), the energy whose descent step with alpha lands on the
    expert's chunk: the two losses agree on dE/da. Reconstruction alone fixes only that gradient, so that any f(o) could
    be added and energies of two observations could not be compared.

    Regressed at the points of the descent and, one a chunk, at results, near the expert's chunk (at a random distance)
    and at another observation's chunk. Each kind is weighed by its mean distance in the batch. Near the expert's chunk
    the chunk itself says which answer was meant, so in small examples each of two equally good answers gets a valley
    (96 % of the results in one after four steps, none without); with images and four ways it did not, and it costs the
    policy success. What it gives is an energy that means a distance: a critic beside the policy (docs/energies.md).
    """
    count = targets[0].numel()
    unit = 2 * network.step_size.detach() / count
    kinds = torch.randint(3, (len(targets), 1, 1), generator=generator).to(targets.device)
    sigma = 10 ** (-2 * torch.rand((len(targets), 1, 1), generator=generator))
    noise = (sigma * torch.randn(targets.shape, generator=generator)).to(targets)
    other = torch.where(kinds == 0, targets + noise, targets.roll(1, 0))
    other = torch.where(kinds == 2, path.chunks[-1].detach(), other)
    energies = [*path.energies, network.energy(cache, other)]
    losses = []
    for energy, chunk in zip(energies, [*path.chunks[:-1], other], strict=True):
        distance = (chunk.detach() - targets).square().mean((1, 2))
        level = distance.mean()
        if chunk is other:
            level = torch.stack([distance[kinds[:, 0, 0] == kind].mean() for kind in range(3)])[kinds[:, 0, 0]]
        losses.append(torch.nn.functional.smooth_l1_loss(unit * energy / level, distance / level))
    return torch.stack(losses).mean()
