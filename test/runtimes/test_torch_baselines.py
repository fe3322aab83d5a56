"""Diffusion and regression behind the minimiser's protocol."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from policy import small

from ebt_policy_ros.core.errors import BundleError, SettingsError, UnsupportedError
from ebt_policy_ros.core.minimise import starting_noise
from ebt_policy_ros.core.types import Outcome
from ebt_policy_ros.policy.diffusion import alphas_cumulative, diffusion_loss
from ebt_policy_ros.policy.load import make_network
from ebt_policy_ros.policy.regression import regression_loss
from ebt_policy_ros.runtimes.torch_baselines import SAMPLERS, DiffusionSampler, RegressionRunner

from . import taped

PASSES = {"ddpm100": 100, "ddim16": 16, "ddim10": 10}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def bundle_of(method, net=None):
    torch.manual_seed(0)
    return small.bundle_of(net or make_network(method, small.architecture()), method=method)


@pytest.fixture
def diffusers():
    return pytest.importorskip("diffusers")


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.usefixtures("diffusers")
def test_a_sampler_gives_a_clipped_chunk_and_counts_its_passes(sampler):
    minimum = DiffusionSampler(bundle_of("dp"), "cpu", sampler=sampler).minimise(
        small.observation(), steps=2, starts=3, seed=0
    )
    assert minimum.chunk.shape == (small.HORIZON, small.JOINTS)
    assert np.abs(minimum.chunk).max() <= 1.0
    assert minimum.outcome is Outcome.DESCENDED
    assert minimum.network_evaluations == PASSES[sampler]
    assert (minimum.energy, minimum.steps, minimum.terms) == (0.0, 0, {})
    assert minimum.candidate_energies.shape == (3,)
    assert minimum.spread > 0


@pytest.mark.parametrize(("method", "runner"), [("dp", DiffusionSampler), ("regression", RegressionRunner)])
@pytest.mark.usefixtures("diffusers")
def test_operations_without_their_python_come_to_the_same(method, runner, monkeypatch):
    bundle = bundle_of(method)
    eager, graphs = runner(bundle, "cpu"), taped.put_in_place(monkeypatch)
    recorded = runner(bundle, "cpu", recorded=True)
    for seed, starts in enumerate([1, 3, 1, 3]):
        given = {"steps": 2, "starts": starts, "seed": seed}
        one, other = (each.minimise(small.observation(seed), **given) for each in (eager, recorded))
        np.testing.assert_array_equal(one.chunk, other.chunk)
    assert sum(graph.replays for graph in graphs) > len(graphs)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.usefixtures("diffusers")
def test_the_seed_alone_decides_the_sample(sampler):
    def chunk(seed):
        sampler_of_its_own = DiffusionSampler(bundle_of("dp"), "cpu", sampler=sampler)
        return sampler_of_its_own.minimise(small.observation(), steps=2, starts=1, seed=seed).chunk

    np.testing.assert_array_equal(chunk(3), chunk(3))
    assert not np.array_equal(chunk(3), chunk(4))


@pytest.mark.usefixtures("diffusers")
def test_the_fast_sampler_is_the_plain_loop_over_the_network(diffusers):
    runner = DiffusionSampler(bundle_of("dp"), "cpu", sampler="ddim10")
    sampled = runner.minimise(small.observation(), steps=2, starts=1, seed=5).chunk
    net, scheduler = runner.network, diffusers.DDIMScheduler(100, beta_schedule="squaredcos_cap_v2")
    scheduler.set_timesteps(10)
    chunk = torch.from_numpy(starting_noise(5, 1, small.HORIZON, small.JOINTS))
    with torch.no_grad():
        cache = net.observe(*small.encoded(runner.network, small.observation()))
        for step in scheduler.timesteps:
            chunk = scheduler.step(net(cache, chunk, step[None]), step, chunk).prev_sample
    np.testing.assert_allclose(sampled, chunk[0].numpy(), atol=1e-5)


def test_regression_is_one_pass_whatever_the_seed():
    runner = RegressionRunner(bundle_of("regression"), "cpu")
    first = runner.minimise(small.observation(), steps=2, starts=1, seed=0)
    again = runner.minimise(small.observation(), steps=8, starts=8, seed=1)
    np.testing.assert_array_equal(first.chunk, again.chunk)
    assert first.network_evaluations == 1
    assert runner.score(small.observation(), first.chunk) == 0.0


@pytest.mark.parametrize("method", ["dp", "regression"])
def test_a_chunk_that_is_not_finite_is_an_outcome(method):
    if method == "dp":
        pytest.importorskip("diffusers")
    net = make_network(method, small.architecture())
    net.head.weight.data.fill_(torch.nan)
    runner = (DiffusionSampler if method == "dp" else RegressionRunner)(bundle_of(method, net), "cpu")
    minimum = runner.minimise(small.observation(), steps=2, starts=1, seed=0)
    assert minimum.outcome is Outcome.NON_FINITE
    assert np.isfinite(minimum.chunk).all()


def test_what_does_not_fit_is_named(diffusers, monkeypatch):
    with pytest.raises(BundleError, match="method is 'ebt', this runtime runs 'dp'"):
        DiffusionSampler(bundle_of("ebt"), "cpu")
    with pytest.raises(SettingsError, match="'ddim3'.*ddim16"):
        DiffusionSampler(bundle_of("dp"), "cpu", sampler="ddim3")
    with pytest.raises(UnsupportedError, match="warm_start"):
        DiffusionSampler(bundle_of("dp"), "cpu").minimise(
            small.observation(), steps=2, starts=1, seed=0, warm_start=np.zeros((small.HORIZON, small.JOINTS))
        )
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(SettingsError, match="pip install"):
        DiffusionSampler(bundle_of("dp"), "cpu")


def train_on_two_answers(method, steps=250):
    """A bundle trained where every observation allows the chunks +0.5 and -0.5, and the losses on the way."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    net = make_network(method, small.architecture(model_width=32))
    features, positions = torch.zeros(64, 1, net.architecture.camera_features), torch.zeros(64, small.JOINTS)
    sides = torch.tensor([0.5, -0.5]).repeat(32)[:, None, None].expand(-1, small.HORIZON, small.JOINTS)
    trunk = [p for name, p in net.named_parameters() if "encoders" not in name]
    optimiser, losses = torch.optim.Adam(trunk, 3e-3), []
    for _ in range(steps):
        cache = net.observe(features, positions)
        if method == "dp":
            loss = diffusion_loss(net, cache, sides, alphas_cumulative(), generator, repeats=2)
        else:
            loss = regression_loss(net, cache, sides, beta=1.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return bundle_of(method, net), losses


def chunks_of(runner, count, monkeypatch):
    """(count, H, D) chunks of as many seeds at the observation of the training."""
    blank = torch.zeros(1, runner.network.architecture.camera_features)
    monkeypatch.setattr(runner, "_see", [lambda pixels: (blank,)])
    seen = replace(small.observation(), positions=np.zeros(small.JOINTS))
    return np.array([runner.minimise(seen, steps=1, starts=1, seed=seed).chunk for seed in range(count)])


@pytest.mark.usefixtures("diffusers")
def test_diffusion_learns_both_of_two_answers(monkeypatch):
    bundle, losses = train_on_two_answers("dp")
    assert np.mean(losses[-20:]) < 0.5 * losses[0]
    for sampler in ("ddim10", "ddpm100"):
        chunks = chunks_of(DiffusionSampler(bundle, "cpu", sampler=sampler), 20, monkeypatch)
        assert np.abs(np.abs(chunks) - 0.5).mean() < 0.1
        assert 3 <= (chunks.mean((1, 2)) > 0).sum() <= 17


def test_regression_learns_the_mean_of_two_answers(monkeypatch):
    bundle, losses = train_on_two_answers("regression")
    assert losses[-1] < losses[0]
    assert np.abs(chunks_of(RegressionRunner(bundle, "cpu"), 1, monkeypatch)).max() < 0.1
