"""Who takes part in the bench: the energy, diffusion and regression on the same trunk, in the same runtime."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ebt_policy_ros.core.errors import BundleError, SettingsError
from ebt_policy_ros.core.minimise import starting_noise
from ebt_policy_ros.core.types import NormalisedObservation

STEPS = (1, 2, 4, 8)
"""Descent steps that are measured."""
RUNTIMES = ("torch", "torch_compile", "onnxruntime")
Contestant = Callable[[int], Any]
"""Makes one chunk; the number is the round's, a seed."""


def make_runners(
    directory: Path, device: str, threads: int, folder: Path, runtime: str = "torch"
) -> tuple[dict[str, Any], set[str]]:
    """Runners by name (ebt, every sampler, regression), and which methods' weights are trained ones.

    All of them in ``runtime``, but for regression, which ONNX Runtime is not asked for. With ``runtime`` torch also
    ``onnx``, the energy in ONNX Runtime, where that is installed. ``folder`` takes graphs that have to be exported.
    BundleError unless the bundle has an energy; baselines of the same architecture are taken from beside it.
    """
    from ebt_policy_ros.policy.bundle import POLICY_FILE, Bundle

    bundle = Bundle.load(directory)
    if bundle.method != "ebt":
        raise BundleError(f"{directory}: method is '{bundle.method}'; bench compares an energy ('ebt') with the others")
    trained, baselines = {"ebt"}, {}
    for method in ("dp", "regression"):
        beside = directory / method
        if (beside / POLICY_FILE).exists():
            found = Bundle.load(beside)
            if dict(found.architecture) == dict(bundle.architecture) and found.method == method:
                baselines[method] = found
                trained.add(method)
                continue
        baselines[method] = untrained(bundle, method)
    runners = runners_of(bundle, baselines, device, threads, runtime, folder)
    if runtime == "torch" and all(importlib.util.find_spec(name) for name in ("onnxruntime", "onnxscript")):
        with contextlib.suppress(SettingsError):  # torch may have a GPU here, and this ONNX Runtime none
            runners["onnx"] = exported(bundle, runners["ebt"].device, folder, threads)
    from ebt_policy_ros.runtimes.torch_baselines import SAMPLERS

    return runners, trained | (set(SAMPLERS) if "dp" in trained else set())


def runners_of(
    bundle: Any, baselines: Mapping[str, Any], device: str, threads: int, runtime: str, folder: Path
) -> dict[str, Any]:
    """The energy of a bundle and the methods of ``baselines`` ('dp', 'regression') in one runtime."""
    from ebt_policy_ros.runtimes.torch_baselines import SAMPLERS, DiffusionSampler, RegressionRunner
    from ebt_policy_ros.runtimes.torch_runtime import TorchMinimiser

    options = {"num_threads": threads, "compiled": runtime == "torch_compile"}
    runners: dict[str, Any] = {}
    if runtime == "onnxruntime":
        from ebt_policy_ros.cli.bench_onnx import ExportedSampler

        runners["ebt"] = exported(bundle, device, folder, threads)
        for sampler in SAMPLERS if "dp" in baselines else ():
            runners[sampler] = ExportedSampler(baselines["dp"], device, sampler, threads, folder)
        return runners
    runners["ebt"] = TorchMinimiser(bundle, device, **options)
    for sampler in SAMPLERS if "dp" in baselines else ():
        runners[sampler] = DiffusionSampler(baselines["dp"], device, sampler=sampler, **options)
    if "regression" in baselines:
        runners["regression"] = RegressionRunner(baselines["regression"], device, **options)
    return runners


def exported(bundle: Any, device: Any, folder: Path, threads: int) -> Any:
    """The bundle in ONNX Runtime on a device, exported into ``folder``."""
    from ebt_policy_ros.policy.export import export
    from ebt_policy_ros.runtimes.onnx_runtime import OnnxMinimiser

    place = folder / bundle.weights_sha256[:12]
    place.mkdir(exist_ok=True)
    if not any(place.iterdir()):
        export(bundle, place)
    return OnnxMinimiser(bundle, place, str(device), num_threads=threads)


def untrained(bundle: Any, method: str) -> Any:
    """A bundle of another method on the same trunk, with random weights."""
    from ebt_policy_ros.policy.load import make_network
    from ebt_policy_ros.policy.network import Architecture

    network = make_network(method, Architecture.from_mapping(bundle.architecture))
    tensors = {f"network.{name}": tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    return replace(bundle, method=method, tensors=tensors, calibration=None, provenance={}).with_hash()


def contestants(runners: Mapping[str, Any], starts: int = 1) -> tuple[dict[str, Contestant], dict[str, Contestant]]:
    """What makes a chunk from an encoded observation, and what does from pictures, each of ``starts`` candidates in one
    batch; each leaves it on the host."""
    seen = pictures(runners["ebt"].bundle, 0)
    samplers: dict[str, Contestant] = {}
    whole: dict[str, Contestant] = {}
    for name, runner in runners.items():
        if name in ("ebt", "onnx"):
            own_samplers, own_whole = energies(runner, seen, starts, suffix="" if name == "ebt" else "_onnx")
            samplers, whole = samplers | own_samplers, whole | own_whole
        elif name == "regression":
            cache = runner.observe(seen).cache
            samplers[name] = lambda seed, runner=runner, cache=cache: runner.predict(cache)
            whole[name] = from_pictures(runner, 1, starts)
        else:
            samplers[name], samplers[f"{name}_passes"] = denoise(runner, seen, starts), passes(runner, seen, starts)
            whole[name] = from_pictures(runner, 1, starts)
    return samplers, whole


def energies(
    runner: Any, seen: NormalisedObservation, starts: int, suffix: str
) -> tuple[dict[str, Contestant], dict[str, Contestant]]:
    """Descents of every number of steps; with a suffix only those two steps that others are compared with."""
    observed = runner.observe(seen)
    alone, has_critic = without_critic(observed)

    def descend(steps: int, observed: Any) -> Contestant:
        return lambda seed: runner.descend(observed, noise(runner, starts, seed), steps)

    whole = {f"ebt{steps}{suffix}": from_pictures(runner, steps, starts) for steps in ((2,) if suffix else STEPS)}
    samplers: dict[str, Contestant] = {}
    if suffix:
        samplers[f"ebt2{suffix}"] = descend(2, observed)
        return samplers, whole
    samplers = {f"ebt{steps}": descend(steps, alone) for steps in STEPS}
    if has_critic:
        samplers["ebt2_judged"] = descend(2, observed)
    samplers["ebt2_unscored"] = lambda seed: runner.advance(observed, noise(runner, starts, seed), 2)
    if hasattr(runner, "energy"):
        samplers["ebt2_plain"], whole["ebt2_plain"] = plain(runner, seen, starts)
    return samplers, whole


def without_critic(observed: Any) -> tuple[Any, bool]:
    """An observation of which the critic is not asked, and whether it would be."""
    if "critic_cache" in observed._fields:
        return observed._replace(critic_cache=None), observed.critic_cache is not None
    return observed._replace(critic=observed.critic.new_zeros(0)), observed.critic.numel() > 0


def noise(runner: Any, starts: int, seed: int) -> Any:
    """Candidates to begin with, as the runner takes them."""
    if hasattr(runner, "starts"):
        return runner.starts(starts, seed)
    return starting_noise(seed, starts, runner.bundle.chunk.horizon, len(runner.bundle.joints))


def plain(ebt: Any, seen: NormalisedObservation, starts: int) -> tuple[Contestant, Contestant]:
    """Two steps by the training's own modules and autograd, judged where there is a critic: from an encoded
    observation, and from pictures. What the fast kernels and the exported graphs save is measured against it."""
    import torch

    from ebt_policy_ros.policy.energy import descend
    from ebt_policy_ros.policy.load import load_critic

    network, critic = ebt.network, load_critic(ebt.bundle)
    critic = None if critic is None else critic.to(ebt.device)

    def encode(observation: NormalisedObservation) -> tuple[Any, Any]:
        images = [torch.from_numpy(observation.images[name].copy()) for name in network.architecture.cameras]
        prepared = tuple(network.prepare(image.to(ebt.device)[None]) for image in images)
        positions = torch.from_numpy(observation.positions.copy()).float()[None].to(ebt.device)
        return network.features(prepared), positions

    def judge(features: Any, positions: Any, cache: Any, seed: int) -> Any:
        start = ebt.starts(starts, seed).to(ebt.device)
        cache = cache.repeat(starts)
        with torch.enable_grad():
            chunk = descend(network, cache, start, 2).chunks[-1]
        with torch.no_grad():
            told = [network.energy(cache, chunk)]
            if critic is not None:
                judged = critic.observe(features, positions).repeat(starts)
                told.append(critic.log_distances(judged, chunk).exp())
        return [part.cpu().numpy() for part in (chunk, *told)]

    with torch.no_grad():
        features, positions = encode(seen)
        cache = network.observe(features, positions)
    observations = [pictures(ebt.bundle, seed) for seed in range(8)]

    def whole(seed: int) -> Any:
        with torch.no_grad():
            own_features, own_positions = encode(observations[seed % len(observations)])
            own_cache = network.observe(own_features, own_positions)
        return judge(own_features, own_positions, own_cache, seed)

    return lambda seed: judge(features, positions, cache, seed), whole


def denoise(runner: Any, seen: NormalisedObservation, starts: int) -> Contestant:
    """A diffusion policy's chunks from an encoded observation."""
    from ebt_policy_ros.runtimes.torch_base import generator_of

    cache = runner.observe(seen).cache
    return lambda seed: runner.sample(cache, runner.starts(starts, seed), generator_of(seed))


def passes(runner: Any, seen: NormalisedObservation, starts: int) -> Contestant:
    """The sampler's network passes alone: what is left when its scheduler costs nothing."""
    import torch

    cache = runner.observe(seen).cache

    @torch.inference_mode()
    def predict(seed: int) -> Any:
        chunks = runner.starts(starts, seed).to(runner.device)
        for index in range(len(runner.steps)):
            chunks = runner.predict(cache, chunks, index)
        return chunks.cpu().double().numpy()

    return predict


def from_pictures(runner: Any, steps: int, starts: int) -> Contestant:
    """The whole way: pictures to the device, encoder, observation, sampler."""
    observations = [pictures(runner.bundle, seed) for seed in range(8)]

    def think(seed: int) -> Any:
        seen = observations[seed % len(observations)]
        runner.forget()
        return runner.minimise(seen, steps=steps, starts=starts, seed=seed)

    return think


def pictures(bundle: Any, seed: int) -> NormalisedObservation:
    """A random observation of the trained size."""
    rng = np.random.default_rng(seed)
    images = {
        camera.name: rng.integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8) for camera in bundle.cameras
    }
    return NormalisedObservation(images, rng.uniform(-1.0, 1.0, len(bundle.joints)))
