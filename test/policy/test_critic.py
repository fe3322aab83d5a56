"""The critic learns what distance is to be expected, over decades and row by row."""

from dataclasses import replace

import pytest
import torch

from ebt_policy_ros.core.errors import BundleError
from ebt_policy_ros.policy.critic import CRITIC_LAYERS, CRITIC_PREFIX, critic_loss, questionable
from ebt_policy_ros.policy.load import load_critic, make_network

from . import small


def test_the_best_answer_is_the_mean_of_the_distances():
    targets = torch.zeros(4, 1, 1)
    chunks = torch.tensor([0.1, 0.2, 0.3, 0.6]).view(4, 1, 1)
    guess = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.Adam([guess], lr=0.05)
    for _ in range(600):
        optimiser.zero_grad()
        critic_loss(guess.expand(4, 1), chunks, targets).backward()
        optimiser.step()
    assert float(guess.detach().exp()) == pytest.approx(float(chunks.square().mean()), rel=1e-3)


def test_small_distances_count_as_much_as_large_ones():
    targets, chunks = torch.zeros(2, 1, 1), torch.tensor([0.01, 1.0]).view(2, 1, 1)
    guess = chunks[:, :, 0].square().log() + 0.5
    guess.requires_grad_()
    (gradient,) = torch.autograd.grad(critic_loss(guess, chunks, targets), guess)
    assert float(gradient[0]) == pytest.approx(float(gradient[1]), rel=0.02)


def test_chunks_to_judge_are_the_results_and_ones_near_and_far():
    results = torch.randn(64, 4, 3)
    points = questionable(results, torch.Generator().manual_seed(0))
    assert torch.equal(points[0], results)
    for made in points[1:]:
        away = (made - results).square().mean((1, 2)).sqrt()
        assert 0 < float(away.min()) < 0.05
        assert float(away.max()) > 0.3
    assert torch.equal(points, questionable(results, torch.Generator().manual_seed(0)))


def test_a_bundle_with_a_critic_gives_it_back_without_encoders():
    policy, critic = small.network(), make_network("critic", small.architecture())
    bundle = small.bundle_of(policy)
    assert load_critic(bundle) is None
    tensors = {f"{CRITIC_PREFIX}{k}": v.numpy() for k, v in critic.without_encoders().state_dict().items()}
    both = replace(bundle, tensors={**bundle.tensors, **tensors}).with_hash()
    assert both.policy_sha256 == bundle.policy_sha256
    assert both.weights_sha256 != bundle.weights_sha256
    loaded = load_critic(both)
    assert len(loaded.blocks) == CRITIC_LAYERS
    cache = critic.observe(torch.randn(1, 1, loaded.architecture.camera_features), torch.zeros(1, 3))
    chunk = torch.randn(1, 4, 3)
    assert torch.equal(loaded.log_distances(cache, chunk), critic.log_distances(cache, chunk))
    broken = {name: tensor for name, tensor in both.tensors.items() if name != f"{CRITIC_PREFIX}head.bias"}
    with pytest.raises(BundleError, match="weights do not fit"):
        load_critic(replace(both, tensors=broken))
