"""Recorded functions: the same results, nobody's changed under his hands, and nothing that a CUDA graph cannot hold."""

import numpy as np
import pytest
import torch
from policy import small
from torch.utils._python_dispatch import TorchDispatchMode

from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.policy.fast import FastEnergy, repeat
from ebt_policy_ros.policy.network import EnergyNetwork
from ebt_policy_ros.runtimes import torch_programs
from ebt_policy_ros.runtimes.torch_programs import MOST_RECORDINGS, Programs, Recorded
from ebt_policy_ros.runtimes.torch_runtime import WHOLE_DESCENTS, TorchMinimiser

from . import taped
from .whole_bundle import whole_bundle

CPU = torch.device("cpu")
DEVICE = "meta"


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def test_a_recording_gives_what_the_function_does_and_leaves_results_alone():
    recorded = Recorded(lambda x, y: (x + y, x * y), CPU)
    first = recorded(torch.tensor([1.0]), torch.tensor([2.0]))
    second = recorded(torch.tensor([3.0]), torch.tensor([4.0]))
    assert [value.item() for value in (*first, *second)] == [3.0, 2.0, 7.0, 12.0]


def test_every_set_of_shapes_is_a_recording_of_its_own_and_the_oldest_goes():
    calls = []
    recorded = Recorded(lambda x: (calls.append(len(x)) or x * 2,), CPU)
    for size in range(1, MOST_RECORDINGS + 2):
        assert torch.equal(recorded(torch.ones(size))[0], torch.full((size,), 2.0))
    assert len(recorded._recordings) == MOST_RECORDINGS
    assert (torch.Size([1]), torch.float32, CPU) not in [key[0] for key in recorded._recordings]


@pytest.mark.parametrize("frozen_rows", [0, 2])
def test_any_number_of_steps_and_starts_comes_to_the_same(frozen_rows):
    """Whole descents, those step by step, and back again."""
    bundle = whole_bundle()
    eager, recorded = (TorchMinimiser(bundle, "cpu", recorded=one) for one in (False, True))
    warm = np.full((small.HORIZON, small.JOINTS), 0.25)
    for seed, (steps, starts) in enumerate([(2, 1), (8, 8), (5, 2), (2, 3), (3, 1), (8, 8), (2, 1)]):
        given = {"steps": steps, "starts": starts, "seed": seed, "warm_start": warm, "frozen_rows": frozen_rows}
        one, other = (runtime.minimise(small.observation(seed), **given) for runtime in (eager, recorded))
        np.testing.assert_array_equal(one.chunk, other.chunk)
        np.testing.assert_array_equal(one.trace, other.trace)
        np.testing.assert_array_equal(one.row_errors, other.row_errors)
        assert one.terms == other.terms
        assert recorded.score(small.observation(seed), one.chunk) == eager.score(small.observation(seed), one.chunk)
    assert len(recorded._descents) == WHOLE_DESCENTS


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_operations_without_their_python_come_to_the_same(precision, monkeypatch):
    """Captured once and replayed: pictures, joints, noise, warm starts and frozen rows of later chunks all count."""
    bundle = whole_bundle(cameras=("front", "wrist"))
    eager = TorchMinimiser(bundle, "cpu", precision=precision)
    graphs = taped.put_in_place(monkeypatch)
    recorded = TorchMinimiser(bundle, "cpu", recorded=True, precision=precision)
    rng = np.random.default_rng(0)
    efforts = [(2, 1), (8, 8), (2, 1), (5, 2), (8, 8), (5, 2), (2, 1)]
    for seed, (steps, starts) in enumerate(efforts):
        images = {name: rng.integers(0, 256, (20, 24, 3), np.uint8) for name in ("front", "wrist")}
        seen = small.NormalisedObservation(images, rng.uniform(-1.0, 1.0, small.JOINTS))
        given = {"steps": steps, "starts": starts, "seed": seed}
        if seed % 2:
            warm = rng.uniform(-1.0, 1.0, (small.HORIZON, small.JOINTS))
            given |= {"warm_start": warm, "frozen_rows": seed}
        one, other = (runtime.minimise(seen, **given) for runtime in (eager, recorded))
        np.testing.assert_array_equal(one.chunk, other.chunk)
        np.testing.assert_array_equal(one.trace, other.trace)
        np.testing.assert_array_equal(one.row_errors, other.row_errors)
        assert one.terms == other.terms
        assert recorded.score(seen, one.chunk) == eager.score(seen, one.chunk)
    # Two cameras, observation, two whole descents, one energy by itself; a step, an energy and a critic for five steps.
    assert len(graphs) == 9
    assert sum(graph.replays for graph in graphs) > 2 * len(efforts) + len(graphs)


def test_inputs_are_not_written_before_the_last_replay_has_read_them(monkeypatch):
    taped.put_in_place(monkeypatch)
    recorded = Recorded(lambda x: (x + 1,), CPU)
    recorded(torch.zeros(2))
    (recording,) = recorded._recordings.values()
    told, put = recording._done.told, torch_programs._put
    told.clear()
    monkeypatch.setattr(torch_programs, "_put", lambda *given: told.append("written") or put(*given))
    for number in range(3):
        assert recorded(torch.full((2,), float(number)))[0].tolist() == [number + 1.0] * 2
    assert told == ["waited for", "written", "recorded"] * 3


def test_a_number_that_python_took_from_an_input_would_show(monkeypatch):
    """The tape itself: a function that no graph can hold, and that a GPU refuses, gives the old answer."""
    taped.put_in_place(monkeypatch)
    recorded = Recorded(lambda x: (x * float(x.sum()),), CPU)
    assert recorded(torch.ones(2))[0].tolist() == [2.0, 2.0]
    assert recorded(torch.full((2,), 3.0))[0].tolist() == [6.0, 6.0]


def test_an_observation_stays_what_it_was_when_others_follow():
    runtime = TorchMinimiser(whole_bundle(), "cpu", recorded=True)
    first = runtime.observe(small.observation(0))
    before = [part.clone() for part in first]
    runtime.observe(small.observation(1))
    for was, now in zip(before, first, strict=True):
        assert torch.equal(was, now)


def test_pictures_are_encoded_ahead_and_once(monkeypatch):
    runtime = TorchMinimiser(whole_bundle(cameras=("front", "wrist")), "cpu")
    passes = []
    watched = [lambda pixels, i=i, see=see: passes.append(i) or see(pixels) for i, see in enumerate(runtime._see)]
    monkeypatch.setattr(runtime, "_see", watched)
    front, wrist, later = (np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8) for seed in range(3))
    runtime.encode_ahead({"front": front, "other": front})
    runtime.encode_ahead({"front": front})
    assert passes == [0]
    one = small.NormalisedObservation({"front": front, "wrist": wrist}, np.zeros(3))
    minimum = runtime.minimise(one, steps=1, starts=1, seed=0)
    assert passes == [0, 1]
    runtime.encode_ahead({"front": later})
    same = small.NormalisedObservation({"front": front, "wrist": wrist}, np.zeros(3))
    np.testing.assert_array_equal(runtime.minimise(same, steps=1, starts=1, seed=0).chunk, minimum.chunk)
    assert passes == [0, 1, 0]
    runtime.forget()
    np.testing.assert_array_equal(runtime.minimise(same, steps=1, starts=1, seed=0).chunk, minimum.chunk)
    assert passes == [0, 1, 0, 0, 1]


class Watching(TorchDispatchMode):
    """Refuses what would stop a capture: looking at a value, and copies between host and device but the first ones."""

    def __init__(self):
        super().__init__()
        self.count, self.fetched = 0, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = str(function)
        assert "_local_scalar_dense" not in name, "a value is looked at"
        assert "nonzero" not in name, "a shape depends on values"
        result = function(*args, **kwargs)
        given = [one for one in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        devices = {one.device.type for one in given if one.dim() > 0}
        made = [one for one in torch.utils._pytree.tree_leaves(result) if isinstance(one, torch.Tensor)]
        if any(one.device.type == DEVICE for one in made) and devices == {"cpu"}:
            assert "_to_copy" in name, f"{name} reads from the host"
            assert kwargs.get("non_blocking"), "a copy from the host is waited for"
            self.fetched.append(tuple(made[0].shape))
        else:
            assert {one.device.type for one in made} <= {DEVICE}, f"{name} leaves the device"
            assert devices <= {DEVICE}, f"{name} mixes host and device"
        self.count += 1
        return result


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_a_gpu_nothing_is_waited_for_between_pictures_and_the_one_transfer(precision, monkeypatch):
    """Seen with tensors that have a shape but no values, on a device that is not the host, so without a GPU."""
    bundle = whole_bundle(cameras=("front", "wrist"))
    monkeypatch.setattr(EnergyNetwork, "step_size", torch.ones(()))  # looked at once, when the runtime is made
    with torch.no_grad():
        runtime = TorchMinimiser(bundle, DEVICE, precision=precision)
        a = runtime.network.architecture
        picture = torch.empty((48, 64, 3), dtype=torch.uint8)
        positions, start, moves = (
            torch.empty(1, a.joints),
            torch.empty(3, a.horizon, a.joints),
            torch.empty(a.horizon, 1),
        )
        with Watching() as seeing:
            features = [see(picture)[0] for see in runtime._see]
        with Watching() as telling:
            cache, critic, terms, _ = runtime._observe(positions, *features)
        with Watching() as descending:
            (flat,) = runtime._path(runtime._parts, 2, None, cache, critic, terms, start, moves)
    assert {one.device.type for one in (*features, cache, critic, terms, flat)} == {DEVICE}
    assert flat.dtype is torch.float32
    assert seeing.fetched == [(48, 64, 3)] * 2
    assert telling.fetched == [(1, a.joints)]
    assert descending.fetched == [(3, a.horizon, a.joints), (a.horizon, 1)]
    assert min(seeing.count, telling.count, descending.count) > 20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_graphs_on_a_gpu_come_to_what_is_computed_without_them(precision):
    bundle = whole_bundle(cameras=("front", "wrist"))
    given = {"precision": precision}
    eager, recorded = (TorchMinimiser(bundle, "cuda", recorded=one, **given) for one in (False, True))
    rng = np.random.default_rng(0)
    for seed, (steps, starts) in enumerate([(2, 1), (8, 8), (5, 2), (2, 1), (2, 1)]):
        images = {name: rng.integers(0, 256, (48, 64, 3), np.uint8) for name in ("front", "wrist")}
        seen = small.NormalisedObservation(images, rng.uniform(-1, 1, small.JOINTS))
        one, other = (runtime.minimise(seen, steps=steps, starts=starts, seed=seed) for runtime in (eager, recorded))
        np.testing.assert_allclose(one.chunk, other.chunk, atol=1e-5 if precision == "float32" else 0.1)


def test_what_cannot_compile_says_so(monkeypatch):
    monkeypatch.setattr(torch_programs.shutil, "which", lambda name: None)
    with pytest.raises(SettingsError, match=r"needs a C\+\+ compiler.*CXX"):
        Programs(CPU, compiled=True)
    with pytest.raises(SettingsError, match="precision 'float16': expected one of float32, bfloat16"):
        TorchMinimiser(whole_bundle(), "cpu", precision="float16")


@pytest.mark.skipif(torch_programs.shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_step_comes_to_the_same():
    """One function, since compiling takes seconds a function; that all of them are compiled is tested below."""
    energy = FastEnergy(small.network())
    compiled = Programs(CPU, compiled=True).compiled(energy.step)
    with torch.inference_mode():
        cache = energy.observe(torch.randn(1, 1, 24), torch.randn(1, small.JOINTS))
        given = repeat(cache, 1), torch.randn(1, small.HORIZON, small.JOINTS), torch.ones(small.HORIZON, 1)
        for one, other in zip(energy.step(*given), compiled(*given), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_every_part_of_a_chunk_is_compiled(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: compiled.append(function) or function)
    monkeypatch.setattr(torch_programs, "_check_compiler", lambda device: None)
    runtime = TorchMinimiser(whole_bundle(), "cpu", compiled=True)
    assert [getattr(one, "__name__", type(one).__name__) for one in compiled] == [
        "CameraEncoder", "_tell", "_step", "_energy", "_distances"
    ]  # fmt: skip
    plain = TorchMinimiser(whole_bundle(), "cpu")
    one, other = (one.minimise(small.observation(), steps=2, starts=2, seed=0) for one in (runtime, plain))
    np.testing.assert_array_equal(one.chunk, other.chunk)
