"""The fast trunk is the trained one: same values, and a gradient that is autograd's."""

import pytest
import torch

from ebt_policy_ros.policy.diffusion import alphas_cumulative
from ebt_policy_ros.policy.energy import energy_and_gradient
from ebt_policy_ros.policy.fast import FastCritic, FastDiffusion, FastEnergy, FastRegression, repeat
from ebt_policy_ros.policy.load import make_network

from . import small


def scrambled(method, seed=0, **sizes):
    """A network in float64 in which no norm scale, bias or factor keeps the value it starts with."""
    torch.manual_seed(seed)
    net = make_network(method, small.architecture(**sizes)).double().requires_grad_(False)
    for name, parameter in net.named_parameters():
        if "encoders" not in name:
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def seen(net, batch):
    features = torch.randn(batch, len(net.architecture.cameras), net.architecture.camera_features, dtype=torch.float64)
    return features, torch.randn(batch, small.JOINTS, dtype=torch.float64)


def observed(net, batch):
    return net.observe(*seen(net, batch))


def prepare(cache):
    """Keys and values as the fast trunk reads them."""
    return torch.stack([torch.stack(pair) for pair in zip(*cache, strict=True)])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("sizes", [{}, {"cameras": ("front", "wrist"), "camera_tokens": 2, "layers": 3}], ids=str)
def test_what_is_observed_is_the_networks(batch, sizes):
    net = scrambled("ebt", **sizes)
    features, positions = seen(net, batch)
    told = FastEnergy(net).observe(features, positions)
    torch.testing.assert_close(told, prepare(net.observe(features, positions)), rtol=1e-6, atol=1e-9)


def test_narrow_products_come_near_and_keep_wide_results():
    net = scrambled("ebt").float()
    features, positions = (part.float() for part in seen(net, 1))
    chunks = torch.randn(2, small.HORIZON, small.JOINTS)
    exact, narrow = FastEnergy(net), FastEnergy(net, torch.bfloat16)
    assert narrow.layers[0].expand.dtype is torch.bfloat16
    told = [fast.energy_and_gradient(repeat(fast.observe(features, positions), 2), chunks) for fast in (exact, narrow)]
    for wanted, got in zip(*told, strict=True):
        assert got.dtype is torch.float32
        assert 0 < (got - wanted).norm() / wanted.norm() < 0.03


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
        told = fast.noise(prepare(cache), chunks, fast.conditions[index])
        torch.testing.assert_close(told, wanted, rtol=1e-6, atol=1e-6)
    first, last = (fast.noise(prepare(cache), chunks, fast.conditions[index]) for index in (0, 2))
    assert not torch.allclose(first, last)


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
