"""The fast trunk is the trained one: same values, and a gradient that is autograd's."""

import pytest
import torch

from ebt_policy_ros.policy.diffusion import alphas_cumulative
from ebt_policy_ros.policy.energy import energy_and_gradient
from ebt_policy_ros.policy.fast import FastCritic, FastDiffusion, FastEnergy, FastRegression, prepare, repeat
from ebt_policy_ros.policy.load import make_network

from . import small


def scrambled(method, seed=0):
    """A network in float64 in which no norm scale, bias or factor keeps the value it starts with."""
    torch.manual_seed(seed)
    net = make_network(method, small.architecture()).double().requires_grad_(False)
    for name, parameter in net.named_parameters():
        if "encoders" not in name:
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def observed(net, batch):
    features = torch.randn(batch, 1, net.architecture.camera_features, dtype=torch.float64)
    return net.observe(features, torch.randn(batch, small.JOINTS, dtype=torch.float64))


@pytest.mark.parametrize("count", [1, 5])
def test_energy_and_written_out_gradient_are_autograds(count):
    net = scrambled("ebt")
    cache, chunks = observed(net, count), torch.randn(count, small.HORIZON, small.JOINTS, dtype=torch.float64)
    fast = FastEnergy(net)
    energies, gradients = energy_and_gradient(net, cache, chunks)
    fast_energies, fast_gradients = fast.energy_and_gradient(prepare(cache), chunks)
    torch.testing.assert_close(fast_gradients, gradients, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(fast_energies, energies.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fast.energy(prepare(cache), chunks), energies.detach(), rtol=1e-9, atol=1e-9)


def test_one_observation_serves_many_candidates():
    net = scrambled("ebt")
    cache, chunks = observed(net, 1), torch.randn(3, small.HORIZON, small.JOINTS, dtype=torch.float64)
    _, gradients = energy_and_gradient(net, cache.repeat(3), chunks)
    _, fast_gradients = FastEnergy(net).energy_and_gradient(repeat(prepare(cache), 3), chunks)
    torch.testing.assert_close(fast_gradients, gradients, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("count", [1, 4])
def test_the_predicted_noise_is_the_networks(count):
    net, steps = scrambled("dp"), torch.tensor([90, 50, 0])
    cache, chunks = observed(net, count), torch.randn(count, small.HORIZON, small.JOINTS, dtype=torch.float64)
    fast = FastDiffusion(net, steps)
    for index, step in enumerate(steps):
        wanted = net(cache, chunks, step.repeat(count))
        torch.testing.assert_close(fast.noise(prepare(cache), chunks, index), wanted, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(fast.noise(prepare(cache), chunks, 0), fast.noise(prepare(cache), chunks, 2))


def test_the_regressed_chunk_is_the_networks():
    net = scrambled("regression")
    cache = observed(net, 3)
    torch.testing.assert_close(FastRegression(net).chunk(prepare(cache)), net(cache), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [1, 3])
def test_the_expected_distances_are_the_critics(count):
    net = scrambled("critic")
    cache, chunks = observed(net, count), torch.randn(count, small.HORIZON, small.JOINTS, dtype=torch.float64)
    wanted = net.log_distances(cache, chunks).exp()
    torch.testing.assert_close(FastCritic(net).distances(prepare(cache), chunks), wanted, rtol=1e-6, atol=1e-9)
    assert wanted.std() > 0


def test_the_noise_schedule_is_the_one_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2")
    torch.testing.assert_close(alphas_cumulative(), scheduler.alphas_cumprod)
