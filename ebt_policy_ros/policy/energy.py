"""The descent: a chunk moves downhill on the network's energy, differentiably for training, once for inference."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ebt_policy_ros.policy.network import EnergyNetwork, ObservationCache


class Descent(NamedTuple):
    """Chunks and energies along one descent."""

    chunks: tuple[Tensor, ...]
    """(B, H, D) at the start, then after every step; each carries its graph when trained through."""
    energies: Tensor
    """(steps, B) energies before every step; with their graph when trained through."""
    gradient_norms: Tensor
    """(steps, B) root mean square of dE/da at every step (detached)."""


def energy_and_gradient(
    network: EnergyNetwork, cache: ObservationCache, chunks: Tensor, *, create_graph: bool = False
) -> tuple[Tensor, Tensor]:
    """E (B,) and dE/da (B, H, D) at ``chunks``; differentiable again with ``create_graph``."""
    if not chunks.requires_grad:
        chunks = chunks.detach().requires_grad_()
    energies = network.energy(cache, chunks)
    (gradient,) = torch.autograd.grad(energies.sum(), chunks, create_graph=create_graph)
    return energies, gradient


def descend(
    network: EnergyNetwork,
    cache: ObservationCache,
    start: Tensor,
    steps: int,
    *,
    create_graph: bool = False,
    detach: bool = True,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
) -> Descent:
    """a <- a - alpha dE/da, ``steps`` times from ``start`` (B, H, D).

    ``create_graph``: keep the graph of every update so that a loss on the chunks trains the network (second order).
    ``detach``: cut the graph between steps, so that each step answers only for itself. ``noise``: standard deviation of
    what is added before every step but the first, drawn from ``generator`` (on the CPU).
    """
    chunks, energies, norms = [start], [], []
    chunk = start
    for step in range(steps):
        point = chunk.detach() if detach else chunk
        if noise > 0 and step > 0:
            point = point + noise * torch.randn(point.shape, generator=generator).to(point)
        point = point.requires_grad_()
        energy, gradient = energy_and_gradient(network, cache, point, create_graph=create_graph)
        chunk = point - network.step_size * gradient
        if not create_graph:
            chunk = chunk.detach()
        chunks.append(chunk)
        energies.append(energy if create_graph else energy.detach())
        norms.append(gradient.detach().square().mean((1, 2)).sqrt())
    return Descent(tuple(chunks), torch.stack(energies), torch.stack(norms))


@torch.no_grad()
def calibrate_step_size(network: EnergyNetwork, cache: ObservationCache, start: Tensor) -> float:
    """Set alpha so that the first update has root mean square one; returns it.

    Far from that the first thousand training steps are spent on alpha alone (0.5 and 50 where 5 fits: clearly worse).
    """
    with torch.enable_grad():
        _, gradient = energy_and_gradient(network, cache, start)
    alpha = 1.0 / float(gradient.square().mean().sqrt().clamp_min(1e-6))
    network.log_step_size.fill_(torch.tensor(alpha).log())
    return alpha
