"""The trunk that the methods share: same size, same observation side, different heads."""

import pytest
import torch

from ebt_policy_ros.core.errors import BundleError
from ebt_policy_ros.policy.load import NETWORKS, load_network, make_network
from ebt_policy_ros.policy.network import Architecture

from . import small

FULL = Architecture(cameras=("front", "wrist"), height=96, width=96, joints=8, horizon=16)


def test_policies_have_the_same_number_of_parameters_within_a_few_percent():
    policies = [name for name in NETWORKS if name != "critic"]
    counts = {name: sum(p.numel() for p in make_network(name, FULL).parameters()) for name in policies}
    assert max(counts.values()) < 1.05 * counts["ebt"], counts
    assert min(counts.values()) > 0.98 * counts["ebt"], counts


def test_every_parameter_of_every_method_is_used():
    for name in NETWORKS:
        net = make_network(name, small.architecture())
        cache = net.observe(net.features((torch.randn(2, 3, small.SIZE, small.SIZE),)), torch.randn(2, small.JOINTS))
        chunks = torch.randn(2, small.HORIZON, small.JOINTS)
        if name == "ebt":
            chunks.requires_grad_()
            (gradient,) = torch.autograd.grad(net.energy(cache, chunks).sum(), chunks, create_graph=True)
            loss = (chunks - net.step_size * gradient).square().mean()
        elif name == "critic":
            loss = net.log_distances(cache, chunks).square().mean()
        else:
            loss = (net(cache, chunks, torch.tensor([3, 40])) if name == "dp" else net(cache)).square().mean()
        torch.autograd.grad(loss, list(net.parameters()))  # raises on an unused one


@pytest.mark.parametrize("method", ["dp", "regression"])
def test_a_bundle_of_every_method_loads(method):
    torch.manual_seed(0)
    trained = make_network(method, small.architecture())
    loaded = load_network(small.bundle_of(trained, method=method))
    assert type(loaded) is type(trained)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), trained.parameters(), strict=True))


def test_an_unknown_method_is_named():
    with pytest.raises(BundleError, match="'gan'"):
        load_network(small.bundle_of(small.network(), method="gan"))
