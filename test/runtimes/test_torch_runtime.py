import numpy as np
import pytest
import torch
from policy import small

from ebt_policy_ros.core.errors import BundleError, SettingsError, ShapeError
from ebt_policy_ros.core.minimise import starting_noise
from ebt_policy_ros.core.types import Outcome
from ebt_policy_ros.policy.energy import descend
from ebt_policy_ros.policy.heads import ScoreHeads
from ebt_policy_ros.policy.load import make_network
from ebt_policy_ros.runtimes.torch_runtime import TorchMinimiser

from .whole_bundle import whole_bundle


@pytest.fixture
def net():
    net = small.network()
    net.log_step_size.data.fill_(-1.0)
    return net


@pytest.fixture(params=[False, True], ids=["eager", "recorded"])
def minimiser(net, request):
    """As it runs on a CPU, and through the buffers of recorded CUDA graphs."""
    return TorchMinimiser(small.bundle_of(net), "cpu", recorded=request.param)


def test_minimising_lowers_the_energy_and_says_so(minimiser):
    minimum = minimiser.minimise(small.observation(), steps=4, starts=3, seed=1)
    assert minimum.outcome is Outcome.DESCENDED
    assert minimum.chunk.shape == (small.HORIZON, small.JOINTS)
    assert minimum.trace.shape == (5,)
    assert minimum.candidate_energies.shape == (3,)
    assert minimum.energy == minimum.candidate_energies.min() == minimum.trace.min()
    assert minimum.network_evaluations == minimum.steps == 4
    assert minimum.spread > 0
    assert minimum.gradient_norm > 0
    assert minimiser.score(small.observation(), minimum.chunk) == pytest.approx(minimum.energy, abs=1e-5)


def test_steps_alone_come_to_the_chunks_of_a_whole_descent(minimiser):
    start = minimiser.starts(1, 3)
    minimum = minimiser.descend(minimiser.observe(small.observation()), start, 2)
    assert minimum.trace.argmin() == 2
    alone = minimiser.advance(minimiser.observe(small.observation()), minimiser.starts(1, 3), 2)
    np.testing.assert_array_equal(alone[0], minimum.chunk)


def test_the_same_seed_gives_the_same_chunk_and_another_one_does_not(minimiser, net):
    first = minimiser.minimise(small.observation(), steps=2, starts=2, seed=7)
    again = TorchMinimiser(small.bundle_of(net), "cpu").minimise(small.observation(), steps=2, starts=2, seed=7)
    np.testing.assert_array_equal(first.chunk, again.chunk)
    assert first.energy == again.energy
    other = minimiser.minimise(small.observation(), steps=2, starts=2, seed=8)
    assert not np.array_equal(first.chunk, other.chunk)


def test_rows_that_time_overtakes_stay_those_of_the_warm_start(minimiser):
    warm = np.full((small.HORIZON, small.JOINTS), 0.25)
    thought = {"steps": 2, "starts": 3, "seed": 0, "warm_start": warm}
    chunk = minimiser.minimise(small.observation(), **thought, frozen_rows=3).chunk
    np.testing.assert_array_equal(chunk[:3], warm[:3])
    assert (chunk[3:] != warm[3:]).any()
    free = minimiser.minimise(small.observation(), **thought).chunk
    assert (free[:3] != warm[:3]).any()


def test_a_warm_start_takes_the_place_of_the_first_start(minimiser):
    warm = np.full((small.HORIZON, small.JOINTS), 0.25)
    minimum = minimiser.minimise(small.observation(), steps=0, starts=1, seed=0, warm_start=warm)
    np.testing.assert_allclose(minimum.chunk, warm)
    assert minimum.outcome is Outcome.NO_DESCENT
    assert minimum.energy == pytest.approx(minimiser.score(small.observation(), warm), abs=1e-6)


def test_a_step_that_overshoots_never_makes_things_worse(net):
    net.log_step_size.data.fill_(9.0)
    minimum = TorchMinimiser(small.bundle_of(net), "cpu").minimise(small.observation(), steps=3, starts=4, seed=0)
    assert minimum.energy <= minimum.trace[0]
    assert minimum.energy == minimum.trace.min()


def test_a_descent_that_is_not_finite_is_an_outcome(net):
    net.head.weight.data.fill_(torch.nan)
    minimum = TorchMinimiser(small.bundle_of(net), "cpu").minimise(small.observation(), steps=2, starts=3, seed=0)
    assert minimum.outcome is Outcome.NON_FINITE
    assert np.isfinite(minimum.chunk).all()


def test_a_candidate_that_is_not_finite_loses_to_the_others(minimiser, monkeypatch):
    energy, with_gradient = minimiser.energy.energy, minimiser.energy.energy_and_gradient

    def cliff(cache, chunks):
        return torch.where(chunks.abs().amax((1, 2)) > 10, torch.nan, energy(cache, chunks))

    def cliff_and_gradient(cache, chunks):
        return cliff(cache, chunks), with_gradient(cache, chunks)[1]

    monkeypatch.setattr(minimiser.energy, "energy", cliff)
    monkeypatch.setattr(minimiser.energy, "energy_and_gradient", cliff_and_gradient)
    beyond = np.full((small.HORIZON, small.JOINTS), 11.0)
    minimum = minimiser.minimise(small.observation(), steps=2, starts=3, seed=0, warm_start=beyond)
    assert minimum.outcome is Outcome.DESCENDED
    assert np.isinf(minimum.candidate_energies[0])
    assert np.abs(minimum.chunk).max() < 10


def test_a_descent_that_stops_being_finite_ends_where_it_last_was(net, monkeypatch):
    minimiser = TorchMinimiser(small.bundle_of(net), "cpu")
    with_gradient, asked = minimiser.energy.energy_and_gradient, []

    def breaks(cache, chunks):
        energy, gradient = with_gradient(cache, chunks)
        asked.append(chunks)
        return energy, gradient if len(asked) < 3 else gradient * torch.inf

    monkeypatch.setattr(minimiser.energy, "energy_and_gradient", breaks)
    minimum = minimiser.minimise(small.observation(), steps=4, starts=1, seed=0)
    assert minimum.outcome is Outcome.NON_FINITE
    np.testing.assert_array_equal(minimum.chunk, asked[1][0].double().numpy())  # the last whose gradient was finite
    assert minimum.trace[1] == minimum.trace[4] == minimum.energy


def test_heads_come_out_as_terms(net):
    heads = ScoreHeads(net.architecture.camera_features + small.JOINTS, centres=3)
    tensors = {f"network.{k}": v.detach().numpy() for k, v in net.state_dict().items()}
    tensors |= {f"heads.{k}": v.detach().numpy() for k, v in heads.state_dict().items()}
    minimum = TorchMinimiser(small.bundle_of(net, tensors=tensors), "cpu").minimise(
        small.observation(), steps=2, starts=1, seed=0
    )
    assert tuple(minimum.terms) == ScoreHeads.TERMS
    assert minimum.terms["unfamiliarity"] > 0


@pytest.mark.parametrize("recorded", [False, True])
def test_a_descent_that_may_not_go_on_is_the_shorter_one(recorded):
    """Recorded, it is asked where a descent is made of recorded steps, and not where it is one recording."""
    minimiser, asked = TorchMinimiser(whole_bundle(), "cpu", recorded=recorded), []
    for steps in (2, 8):
        minimiser.minimise(small.observation(), steps=steps, starts=3, seed=0)
    given = {"starts": 3, "seed": 0, "may_step": lambda taken: asked.append(taken) or taken < 4}
    stopped = minimiser.minimise(small.observation(), steps=7, **given)
    shorter = minimiser.minimise(small.observation(), steps=4, starts=3, seed=0)
    assert asked == [1, 2, 3, 4]
    assert (stopped.steps, stopped.network_evaluations, len(stopped.trace)) == (4, 4, 5)
    for field in ("chunk", "trace", "candidate_energies", "row_errors"):
        np.testing.assert_array_equal(getattr(stopped, field), getattr(shorter, field))
    assert stopped.terms == shorter.terms
    assert minimiser.minimise(small.observation(), steps=8, **given).steps == (8 if recorded else 4)


@pytest.mark.parametrize("starts", [1, 3])
def test_the_critic_judges_the_chosen_chunk_and_leaves_it_alone(net, starts):
    critic = make_network("critic", small.architecture()).requires_grad_(False)
    critic.head.weight.mul_(30)  # so that chunks differ
    without = small.bundle_of(net)
    tensors = {f"critic.{k}": v.numpy() for k, v in critic.without_encoders().state_dict().items()}
    judged, plain = (
        TorchMinimiser(bundle, "cpu").minimise(small.observation(), steps=2, starts=starts, seed=1)
        for bundle in (small.bundle_of(net, tensors={**without.tensors, **tensors}), without)
    )
    np.testing.assert_array_equal(judged.chunk, plain.chunk)
    assert plain.terms == {}
    features = net.features((net.prepare(torch.from_numpy(small.observation().images["front"].copy())[None]),))
    positions = torch.from_numpy(small.observation().positions.copy()).float()[None]
    chunk = torch.from_numpy(judged.chunk).float()[None]
    distances = critic.log_distances(critic.observe(features, positions), chunk).exp()
    wanted = float(distances[0].detach().mean().sqrt())
    assert judged.terms == {"expected_error": pytest.approx(wanted, rel=1e-4)}
    np.testing.assert_allclose(judged.row_errors, distances[0].detach().sqrt(), rtol=1e-4)
    assert plain.row_errors is None


def test_the_critic_judges_what_is_chosen_where_the_lowest_energy_is_not(net, monkeypatch):
    """Not a candidate whose gradient is no number, however low its energy."""
    critic = make_network("critic", small.architecture()).requires_grad_(False)
    tensors = {f"critic.{k}": v.numpy() for k, v in critic.without_encoders().state_dict().items()}
    minimiser = TorchMinimiser(small.bundle_of(net, tensors={**small.bundle_of(net).tensors, **tensors}), "cpu")
    with_gradient, passes = minimiser.energy.energy_and_gradient, []

    def breaks(cache, chunks):
        energy, gradient = with_gradient(cache, chunks)
        passes.append(chunks)
        return energy - 1.0, gradient if len(passes) < 2 else gradient * torch.nan

    monkeypatch.setattr(minimiser.energy, "energy_and_gradient", breaks)
    minimum = minimiser.minimise(small.observation(), steps=2, starts=1, seed=0)
    np.testing.assert_array_equal(minimum.chunk, passes[0][0].double().numpy())
    with torch.no_grad():
        wanted = critic.log_distances(critic.observe(*small.encoded(net, small.observation())), passes[0]).exp()
    np.testing.assert_allclose(minimum.row_errors, wanted[0].sqrt(), rtol=1e-4)


def test_pictures_of_any_size_are_taken(minimiser):
    assert minimiser.minimise(small.observation(size=40), steps=1, starts=1, seed=0).outcome is not Outcome.NON_FINITE


def test_what_does_not_fit_is_named(minimiser, net):
    observation = small.observation()
    blind = type(observation)({"side": observation.images["front"]}, observation.positions)
    with pytest.raises(ShapeError, match="camera 'front' is missing"):
        minimiser.minimise(blind, steps=1, starts=1, seed=0)
    with pytest.raises(ShapeError, match="chunk"):
        minimiser.score(observation, np.zeros((1, small.JOINTS)))
    with pytest.raises(BundleError, match="method is 'dp'"):
        TorchMinimiser(small.bundle_of(net, method="dp"), "cpu")
    for device in ("gpu", "cuda:99", "cud:0"):
        with pytest.raises(SettingsError, match=f"device '{device}'"):
            TorchMinimiser(small.bundle_of(net), device)
    wider = small.bundle_of(net, architecture=small.architecture(model_width=32).as_mapping())
    with pytest.raises(BundleError, match="do not fit the architecture"):
        TorchMinimiser(wider, "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_gpu_agrees_with_the_cpu(minimiser, net):
    on_gpu = TorchMinimiser(small.bundle_of(net), "auto").minimise(small.observation(), steps=2, starts=2, seed=0)
    on_cpu = minimiser.minimise(small.observation(), steps=2, starts=2, seed=0)
    np.testing.assert_allclose(on_gpu.chunk, on_cpu.chunk, atol=1e-3)


def test_an_observation_is_encoded_once_however_often_it_is_asked(minimiser, monkeypatch):
    passes = []
    (see,) = minimiser._see
    monkeypatch.setattr(minimiser, "_see", [lambda pixels: passes.append(1) or see(pixels)])
    observation, other = small.observation(), small.observation()
    minimum = minimiser.minimise(observation, steps=1, starts=1, seed=0)
    minimiser.minimise(observation, steps=2, starts=2, seed=0)
    assert minimiser.score(observation, minimum.chunk) == pytest.approx(minimum.energy, abs=1e-5)
    assert len(passes) == 1
    minimiser.score(other, minimum.chunk)
    assert len(passes) == 2


@pytest.mark.filterwarnings("error")
def test_pictures_may_be_read_only_views_of_a_message(minimiser):
    observation = small.observation()
    for image in observation.images.values():
        image.setflags(write=False)
    assert np.isfinite(minimiser.minimise(observation, steps=1, starts=1, seed=0).energy)


def test_the_descent_is_the_one_of_training(minimiser):
    """The shipped fast kernels and the differentiable network come to the same chunk."""
    observation = small.observation()
    minimum = minimiser.minimise(observation, steps=2, starts=1, seed=3)
    start = torch.from_numpy(starting_noise(3, 1, small.HORIZON, small.JOINTS))
    with torch.no_grad():
        cache = minimiser.network.observe(*small.encoded(minimiser.network, observation))
    path = descend(minimiser.network, cache, start, 2)
    np.testing.assert_allclose(minimum.chunk, path.chunks[-1][0].numpy(), atol=1e-5)
    np.testing.assert_allclose(minimum.trace[:2], path.energies[:, 0].numpy(), rtol=1e-5)
    assert minimum.gradient_norm == pytest.approx(float(path.gradient_norms[-1, 0]), rel=1e-4)
