import torch
from policy import small

from ebt_policy_ros.policy.energy import calibrate_step_size, descend
from ebt_policy_ros.training.objective import Batch, Starts, draw_starts, reconstruction_losses, winning_starts


def two_ways(batch, generator):
    """The same observation, and chunks that go one of two ways."""
    side = (torch.rand(batch, generator=generator) < 0.5).float() * 2 - 1
    chunks = 0.6 * side[:, None, None].expand(batch, small.HORIZON, small.JOINTS)
    images = (torch.zeros(batch, 3, small.SIZE, small.SIZE),)
    return Batch(images, torch.zeros(batch, small.JOINTS), chunks)


def ends_after_training(choices, steps=150):
    generator = torch.Generator().manual_seed(0)
    net = small.network()
    batch = two_ways(64, generator)
    shape = tuple(batch.chunks.shape)
    with torch.no_grad():
        cache = net.observe(net.features(batch.images), batch.positions)
    calibrate_step_size(net, cache, torch.randn(shape, generator=generator))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        batch = two_ways(64, generator)
        starts = draw_starts(shape, choices, generator, torch.device("cpu"))
        losses = reconstruction_losses(net, batch, starts, steps=2, beta=0.05, joint_weights=torch.ones(small.JOINTS))
        optimiser.zero_grad()
        losses.mean().backward()
        optimiser.step()
    cache = net.observe(net.features(batch.images), batch.positions)
    ends = descend(net, cache, torch.randn(shape, generator=generator), 2).chunks[-1].mean((1, 2))
    return ends


def test_starts_that_are_chosen_learn_both_ways():
    ends = ends_after_training(choices=4)
    near = (ends.abs() - 0.6).abs() < 0.2
    assert near.float().mean() > 0.8
    assert 0.2 < (ends > 0).float().mean() < 0.8  # some go one way, some the other: two basins, not one


def test_the_winner_is_the_candidate_whose_first_step_ends_nearest():
    net = small.network()
    batch = two_ways(3, torch.Generator().manual_seed(1))
    cache = net.observe(net.features(batch.images), batch.positions)
    starts = draw_starts(tuple(batch.chunks.shape), 5, torch.Generator().manual_seed(2), torch.device("cpu"))
    chosen = winning_starts(net, cache, batch.chunks, starts._replace(explore=torch.tensor([False, False, True])))
    for row in range(2):
        repeated = type(cache)(*(tuple(t[row : row + 1].expand(5, -1, -1, -1) for t in side) for side in cache))
        ends = descend(net, repeated, starts.candidates[row], 1).chunks[1]
        best = (ends - batch.chunks[row]).abs().mean((1, 2)).argmin()
        assert torch.equal(chosen[row], starts.candidates[row, best])
    assert torch.equal(chosen[2], starts.candidates[2, 0])


def test_several_starts_per_observation_share_one_encoding():
    net = small.network()
    batch = two_ways(2, torch.Generator().manual_seed(0))
    noise = torch.randn(4, 1, small.HORIZON, small.JOINTS, generator=torch.Generator().manual_seed(3))
    weights = torch.ones(small.JOINTS)
    both = reconstruction_losses(
        net, batch, Starts(noise, torch.zeros(4, dtype=torch.bool)), steps=2, beta=0.05, joint_weights=weights
    )
    repeated = Batch(
        (batch.images[0].repeat_interleave(2, 0),),
        batch.positions.repeat_interleave(2, 0),
        batch.chunks.repeat_interleave(2, 0),
    )
    single = reconstruction_losses(
        net, repeated, Starts(noise, torch.zeros(4, dtype=torch.bool)), steps=2, beta=0.05, joint_weights=weights
    )
    torch.testing.assert_close(both, single)
