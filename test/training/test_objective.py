import torch
from policy import small

from ebt_policy_ros.policy.energy import calibrate_step_size, descend
from ebt_policy_ros.training.objective import anchor_loss, draw_starts, reconstruction_loss, winning_starts


def two_ways(batch, generator):
    """The same observation, and chunks that go one of two ways."""
    side = (torch.rand(batch, generator=generator) < 0.5).float() * 2 - 1
    chunks = 0.6 * side[:, None, None].expand(batch, small.HORIZON, small.JOINTS)
    return chunks


def one_observation(net, batch):
    """The cache of ``batch`` equal observations, with its graph."""
    images = (torch.zeros(batch, 3, small.SIZE, small.SIZE),)
    return net.observe(net.features(images), torch.zeros(batch, small.JOINTS))


def ends_after_training(choices, steps=150):
    generator = torch.Generator().manual_seed(0)
    net = small.network()
    shape = tuple(two_ways(64, generator).shape)
    with torch.no_grad():
        cache = one_observation(net, 64)
    calibrate_step_size(net, cache, torch.randn(shape, generator=generator))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        chunks = two_ways(64, generator)
        starts = draw_starts(shape, choices, generator, torch.device("cpu"))
        cache = one_observation(net, 64)
        path = descend(net, cache, winning_starts(net, cache, chunks, starts), 2, create_graph=True)
        loss = reconstruction_loss(path, chunks, beta=0.05, joint_weights=torch.ones(small.JOINTS))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    ends = descend(net, one_observation(net, 64), torch.randn(shape, generator=generator), 2).chunks[-1].mean((1, 2))
    return ends


def test_starts_that_are_chosen_learn_both_ways():
    ends = ends_after_training(choices=4)
    near = (ends.abs() - 0.6).abs() < 0.2
    assert near.float().mean() > 0.8
    assert 0.2 < (ends > 0).float().mean() < 0.8  # some go one way, some the other: two basins, not one


def test_the_winner_is_the_candidate_whose_first_step_ends_nearest():
    net = small.network()
    chunks = two_ways(3, torch.Generator().manual_seed(1))
    cache = one_observation(net, 3)
    starts = draw_starts(tuple(chunks.shape), 5, torch.Generator().manual_seed(2), torch.device("cpu"))
    chosen = winning_starts(net, cache, chunks, starts._replace(explore=torch.tensor([False, False, True])))
    for row in range(2):
        repeated = type(cache)(*(tuple(t[row : row + 1].expand(5, -1, -1, -1) for t in side) for side in cache))
        ends = descend(net, repeated, starts.candidates[row], 1).chunks[1]
        best = (ends - chunks[row]).abs().mean((1, 2)).argmin()
        assert torch.equal(chosen[row], starts.candidates[row, best])
    assert torch.equal(chosen[2], starts.candidates[2, 0])


def test_an_anchored_energy_has_a_valley_at_every_way_and_a_scale():
    generator = torch.Generator().manual_seed(0)
    net = small.network()
    shape = tuple(two_ways(64, generator).shape)
    calibrate_step_size(net, one_observation(net, 64), torch.randn(shape, generator=generator))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(400):
        chunks = two_ways(64, generator)
        cache = one_observation(net, 64)
        path = descend(net, cache, torch.randn(shape, generator=generator), 2, create_graph=True)
        loss = reconstruction_loss(path, chunks, beta=0.05, joint_weights=torch.ones(small.JOINTS))
        loss = loss + anchor_loss(net, cache, path, chunks, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    cache = one_observation(net, 64)
    ends = descend(net, cache, torch.randn(shape, generator=generator), 8).chunks[-1].mean((1, 2))
    assert ((ends.abs() - 0.6).abs() < 0.2).float().mean() > 0.8
    assert 0.1 < (ends > 0).float().mean() < 0.9
    unit = 2 * net.step_size.detach() / chunks[0].numel()
    left, between, right, far = (
        float(unit * net.energy(cache, torch.full(shape, at)).mean().detach()) for at in (-0.6, 0.0, 0.6, 1.6)
    )
    assert max(left, right) < 0.7 * between < 0.7 * far
    assert 0 < min(left, right) < 0.3  # in squared distance: 0.36 is the variance of the two ways
