"""What distinguishes the methods in training: their network, their loss, how they answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.critic import CriticNetwork, critic_loss, questionable
from ebt_policy_ros.policy.diffusion import DiffusionNetwork, alphas_cumulative, diffusion_loss
from ebt_policy_ros.policy.energy import calibrate_step_size, descend
from ebt_policy_ros.policy.fast import FastEnergy
from ebt_policy_ros.policy.load import load_network
from ebt_policy_ros.policy.network import Architecture, EnergyNetwork
from ebt_policy_ros.policy.regression import RegressionNetwork, regression_loss
from ebt_policy_ros.training.examples import Batch
from ebt_policy_ros.training.objective import anchor_loss, draw_starts, reconstruction_loss, winning_starts
from ebt_policy_ros.training.representation import RepresentationNetwork
from ebt_policy_ros.training.settings import TrainSettings


class Method(ABC):
    """One way to learn a policy from examples. ``joint_weights`` (D,) weigh the joints in every loss."""

    def __init__(self, settings: TrainSettings, joint_weights: Tensor) -> None:
        self.settings, self.joint_weights = settings, joint_weights

    @abstractmethod
    def build(self, architecture: Architecture) -> nn.Module:
        """A network with fresh weights; it has ``encoders`` and ``features``."""

    def begin(self, network: Any, features: Tensor, batch: Batch, generator: torch.Generator) -> None:
        """Set what has to fit the data before the first gradient step; nothing by default."""
        return None

    @abstractmethod
    def loss(self, network: Any, features: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """The scalar loss, with its graph."""

    @abstractmethod
    def predict(self, network: Any, features: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """(B, H, D) chunks as the policy would command them [normalised units]."""

    def errors(self, network: Any, features: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """(B, H, any) what validation averages: how far the chunks are from the expert's [normalised units]."""
        return (self.predict(network, features, batch, generator) - batch.chunks).abs()


class EnergyMinimisation(Method):
    """EBT: reconstruct the expert's chunk by descending the energy."""

    def build(self, architecture: Architecture) -> EnergyNetwork:
        return EnergyNetwork(architecture)

    def begin(self, network: EnergyNetwork, features: Tensor, batch: Batch, generator: torch.Generator) -> None:
        with torch.no_grad():
            cache = network.observe(features, batch.positions)
        start = torch.randn(batch.chunks.shape, generator=generator).to(features.device)
        calibrate_step_size(network, cache, start)

    def loss(self, network: EnergyNetwork, features: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        s = self.settings
        cache = network.observe(features, batch.positions).repeat(s.starts)
        targets = batch.chunks.repeat_interleave(s.starts, 0)
        starts = draw_starts(tuple(targets.shape), s.start_choices, generator, features.device)
        steps = s.descent_steps
        if s.random_descent_steps:
            steps = int(torch.randint(1, steps + 1, (1,), generator=generator))
        start = winning_starts(network, cache, targets, starts)
        path = descend(
            network, cache, start, steps, create_graph=True, detach=s.detach, noise=s.step_noise, generator=generator
        )
        loss = reconstruction_loss(path, targets, beta=s.loss_beta, joint_weights=self.joint_weights)
        if s.anchor > 0:
            loss = loss + s.anchor * anchor_loss(network, cache, path, targets, generator)
        return loss

    def predict(self, network: EnergyNetwork, features: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            cache = network.observe(features, batch.positions)
        start = torch.randn(batch.chunks.shape, generator=generator).to(features.device)
        return descend(network, cache, start, self.settings.descent_steps).chunks[-1]


class DiffusionPolicy(Method):
    """The baseline with a hundred steps: predict the noise in a noisy chunk (Chi et al., arXiv 2303.04137)."""

    def __init__(self, settings: TrainSettings, joint_weights: Tensor) -> None:
        super().__init__(settings, joint_weights)
        self.alphas = alphas_cumulative()

    def build(self, architecture: Architecture) -> DiffusionNetwork:
        return DiffusionNetwork(architecture)

    def loss(self, network: DiffusionNetwork, features: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        cache = network.observe(features, batch.positions)
        alphas = self.alphas.to(features.device)
        return diffusion_loss(
            network,
            cache,
            batch.chunks,
            alphas,
            generator,
            repeats=self.settings.starts,
            joint_weights=self.joint_weights,
        )

    @torch.no_grad()
    def predict(self, network: DiffusionNetwork, features: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler(num_train_timesteps=len(self.alphas), beta_schedule="squaredcos_cap_v2")
        scheduler.set_timesteps(10)
        cache = network.observe(features, batch.positions)
        chunk = torch.randn(batch.chunks.shape, generator=generator).to(features.device)
        for step in scheduler.timesteps:
            noise = network(cache, chunk, torch.full((len(chunk),), int(step), device=chunk.device))
            chunk = scheduler.step(noise, step, chunk).prev_sample
        return chunk


class Regression(Method):
    """The baseline without any search: the chunk in one pass."""

    def build(self, architecture: Architecture) -> RegressionNetwork:
        return RegressionNetwork(architecture)

    def loss(self, network: RegressionNetwork, features: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        cache = network.observe(features, batch.positions)
        return regression_loss(
            network, cache, batch.chunks, beta=self.settings.loss_beta, joint_weights=self.joint_weights
        )

    @torch.no_grad()
    def predict(self, network: RegressionNetwork, features: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        chunk: Tensor = network(network.observe(features, batch.positions))
        return chunk


class Representation(Method):
    """The encoders' own training: clone the chunk and foresee the keyframes with a small head."""

    def build(self, architecture: Architecture) -> RepresentationNetwork:
        return RepresentationNetwork(architecture)

    def loss(
        self, network: RepresentationNetwork, features: Tensor, batch: Batch, generator: torch.Generator
    ) -> Tensor:
        chunk, keyframes = network(features, batch.positions)
        beta = self.settings.loss_beta

        def error(ours: Tensor, wanted: Tensor) -> Tensor:
            each = nn.functional.smooth_l1_loss(ours, wanted, beta=beta, reduction="none")
            return (each * self.joint_weights).mean()

        return error(chunk, batch.chunks) + self.settings.keyframe_weight * error(keyframes, batch.keyframes)

    @torch.no_grad()
    def predict(
        self, network: RepresentationNetwork, features: Tensor, batch: Batch, generator: torch.Generator
    ) -> Tensor:
        chunk: Tensor = network(features, batch.positions)[0]
        return chunk


class Critic(Method):
    """How far from the expert's a policy's chunks are: regressed on their distance in the demonstrations."""

    def __init__(self, settings: TrainSettings, joint_weights: Tensor) -> None:
        super().__init__(settings, joint_weights)
        bundle = Bundle.load(str(settings.policy))
        if bundle.method != "ebt":
            raise SettingsError(f"policy: expected a bundle of method 'ebt', {settings.policy} is of '{bundle.method}'")
        self.steps = bundle.minimiser.steps
        self.policy = load_network(bundle).to(joint_weights.device)
        self.energy = FastEnergy(self.policy)

    def build(self, architecture: Architecture) -> CriticNetwork:
        return CriticNetwork(architecture)

    def loss(self, network: CriticNetwork, features: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        points = questionable(self.predict(network, features, batch, generator), generator)
        cache = network.observe(features, batch.positions)
        log_distances = network.log_distances(cache.repeat(len(points)), points.transpose(0, 1).flatten(0, 1))
        return critic_loss(
            log_distances, points.transpose(0, 1).flatten(0, 1), batch.chunks.repeat_interleave(len(points), 0)
        )

    @torch.no_grad()
    def predict(self, network: CriticNetwork, features: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """The policy's chunks, from random starts."""
        cache = self.energy.observe(features, batch.positions)
        chunks = torch.randn(batch.chunks.shape, generator=generator).to(features.device)
        for _ in range(self.steps):
            chunks = chunks - self.policy.step_size * self.energy.energy_and_gradient(cache, chunks)[1]
        return chunks

    @torch.no_grad()
    def errors(self, network: CriticNetwork, features: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """(B, H, 1) absolute difference between predicted and real log distance of the policy's chunks."""
        chunks = self.predict(network, features, batch, generator)
        predicted = network.log_distances(network.observe(features, batch.positions), chunks)
        real = ((chunks - batch.chunks).square().mean(2) + 1e-6).log()
        return (predicted - real).abs()[..., None]


METHODS: dict[str, type[Method]] = {
    "ebt": EnergyMinimisation,
    "dp": DiffusionPolicy,
    "regression": Regression,
    "encoder": Representation,
    "critic": Critic,
}


def make_method(settings: TrainSettings, joint_weights: Tensor) -> Method:
    """The method that ``settings`` name."""
    return METHODS[settings.method](settings, joint_weights)
