import pytest
import torch

from ebt_policy_ros.policy.energy import calibrate_step_size, descend, energy_and_gradient
from ebt_policy_ros.policy.network import soft_argmax

from . import small


def cache_and_start(net, batch=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand((batch, 3, small.SIZE, small.SIZE), generator=generator) * 2 - 1
    positions = torch.randn((batch, small.JOINTS), generator=generator)
    with torch.no_grad():
        cache = net.observe(net.features((images,)), positions)
    return cache, torch.randn((batch, small.HORIZON, small.JOINTS), generator=generator)


def test_small_steps_downhill_lower_every_energy():
    net = small.network().requires_grad_(False)
    cache, start = cache_and_start(net)
    net.log_step_size.fill_(-3.0)
    path = descend(net, cache, start, 5)
    energies = torch.cat([path.energies, net.energy(cache, path.chunks[-1])[None]])
    assert (energies.diff(dim=0) < 0).all()


def test_gradient_is_the_one_of_finite_differences():
    net = small.network().double().requires_grad_(False)
    cache, start = cache_and_start(net.float())
    net, start = net.double(), start.double()
    cache = type(cache)(tuple(k.double() for k in cache.keys), tuple(v.double() for v in cache.values))
    _, gradient = energy_and_gradient(net, cache, start)
    shift = torch.zeros_like(start)
    shift[:, 1, 2] = 1e-5
    numeric = (net.energy(cache, start + shift) - net.energy(cache, start - shift)) / 2e-5
    torch.testing.assert_close(gradient[:, 1, 2], numeric, rtol=1e-5, atol=1e-9)


def test_every_action_token_hears_every_other_and_the_observation():
    net = small.network().requires_grad_(False)
    cache, start = cache_and_start(net, batch=1)
    start.requires_grad_()
    (gradient,) = torch.autograd.grad(net.energy(cache, start).sum(), start, create_graph=True)
    (mixed,) = torch.autograd.grad(gradient[0, 0].sum(), start)
    assert (mixed[0, 1:].abs().sum(1) > 0).all()  # later rows change the first row's gradient: both directions of time
    other, _ = cache_and_start(net, batch=1, seed=1)
    assert not torch.allclose(net.energy(cache, start), net.energy(other, start))


def test_the_first_update_is_of_order_one_after_calibration():
    net = small.network()
    cache, start = cache_and_start(net)
    calibrate_step_size(net, cache, start)
    moved = descend(net, cache, start, 1).chunks[1] - start
    assert float(moved.square().mean().sqrt()) == pytest.approx(1.0, rel=1e-3)


def test_the_step_size_has_a_gradient_and_a_floor():
    net = small.network()
    cache, start = cache_and_start(net)
    descend(net, cache, start, 2, create_graph=True).chunks[-1].square().mean().backward()
    assert net.log_step_size.grad is not None
    assert abs(float(net.log_step_size.grad)) > 0
    net.log_step_size.data.fill_(-1e9)
    assert float(net.step_size.detach()) == pytest.approx(1e-4)


def test_repeating_an_observation_changes_no_energy():
    net = small.network().requires_grad_(False)
    cache, start = cache_and_start(net, batch=2)
    repeated = net.energy(cache.repeat(3), start.repeat_interleave(3, 0))
    torch.testing.assert_close(repeated, net.energy(cache, start).repeat_interleave(3))


def test_keypoints_find_a_bright_spot():
    logits = torch.zeros(1, 1, 9, 9)
    logits[0, 0, 2, 7] = 50.0
    torch.testing.assert_close(soft_argmax(logits), torch.tensor([[0.75, -0.5]]))  # x = 7 of 0..8, y = 2 of 0..8


def test_images_of_another_size_are_resized():
    net = small.network()
    grey = torch.full((1, 40, 30, 3), 255, dtype=torch.uint8)
    prepared = net.prepare(grey)
    assert prepared.shape == (1, 3, small.SIZE, small.SIZE)
    torch.testing.assert_close(prepared, torch.ones_like(prepared))


@pytest.mark.parametrize("detach", [True, False])
def test_noise_comes_between_the_steps_and_from_its_generator(detach):
    net = small.network()
    cache, start = cache_and_start(net)

    def path(noise, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return descend(net, cache, start, 2, create_graph=True, detach=detach, noise=noise, generator=generator)

    still, first, again, other = path(0.0), path(0.1), path(0.1), path(0.1, seed=1)
    assert torch.equal(first.chunks[1], still.chunks[1])  # none before the first step
    assert torch.equal(first.chunks[2], again.chunks[2])
    assert not torch.equal(first.chunks[2], other.chunks[2])
    away = float((first.chunks[2] - still.chunks[2]).detach().square().mean().sqrt())
    assert away == pytest.approx(0.1, rel=0.5)
    torch.autograd.grad(first.chunks[2].sum(), net.head.weight)  # training passes through it
