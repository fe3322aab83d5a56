"""Who takes part in the bench: the energy in every runtime, diffusion and regression on the same trunk."""

from __future__ import annotations

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
Contestant = Callable[[int], Any]
"""Makes one chunk; the number is the round's, a seed."""


def make_runners(directory: Path, device: str, threads: int) -> tuple[dict[str, Any], set[str]]:
    """Runners by name (ebt, every sampler, regression), and which methods' weights are trained ones.

    BundleError unless the bundle has an energy; baselines of the same architecture are taken from beside it.
    """
    from ebt_policy_ros.policy.bundle import POLICY_FILE, Bundle
    from ebt_policy_ros.runtimes.torch_baselines import SAMPLERS, DiffusionSampler, RegressionRunner
    from ebt_policy_ros.runtimes.torch_runtime import TorchMinimiser

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
    runners: dict[str, Any] = {"ebt": TorchMinimiser(bundle, device, num_threads=threads)}
    for sampler in SAMPLERS:
        runners[sampler] = DiffusionSampler(baselines["dp"], device, sampler=sampler, num_threads=threads)
    runners["regression"] = RegressionRunner(baselines["regression"], device, num_threads=threads)
    return runners, trained | (set(SAMPLERS) if "dp" in trained else set())


def make_exported(directory: Path, ebt: Any, folder: Path, threads: int) -> Any:
    """The bundle in ONNX Runtime on the same device, exported into ``folder`` unless its own graphs fit; None where
    the packages for it are missing."""
    if any(importlib.util.find_spec(name) is None for name in ("onnxruntime", "onnxscript")):
        return None
    from ebt_policy_ros.policy.export import export
    from ebt_policy_ros.policy.graphs import is_exported
    from ebt_policy_ros.runtimes.onnx_runtime import OnnxMinimiser

    if not is_exported(directory):
        export(ebt.bundle, folder)
    source = directory if is_exported(directory) else folder
    try:
        return OnnxMinimiser(ebt.bundle, source, ebt.device.type, num_threads=threads)
    except SettingsError:  # torch has a GPU here, this ONNX Runtime has not
        return None


def untrained(bundle: Any, method: str) -> Any:
    """A bundle of another method on the same trunk, with random weights."""
    from ebt_policy_ros.policy.load import make_network
    from ebt_policy_ros.policy.network import Architecture

    network = make_network(method, Architecture.from_mapping(bundle.architecture))
    tensors = {f"network.{name}": tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    return replace(bundle, method=method, tensors=tensors, calibration=None, provenance={}).with_hash()


def contestants(runners: Mapping[str, Any]) -> tuple[dict[str, Contestant], dict[str, Contestant]]:
    """What makes a chunk from an encoded observation, and what does from pictures; each leaves it on the host."""
    from ebt_policy_ros.runtimes.torch_base import generator_of

    ebt, regression = runners["ebt"], runners["regression"]
    seen = pictures(ebt.bundle, 0)

    def descend(steps: int, *, is_judged: bool = False) -> Contestant:
        observed = ebt.observe(seen)
        if not is_judged:
            observed = observed._replace(critic=())
        return lambda seed: ebt.descend(observed, ebt.starts(1, seed), steps)

    def denoise(runner: Any) -> Contestant:
        cache = runner.observe(seen).cache

        def sample(seed: int) -> Any:
            return runner.sample(cache, runner.starts(1, seed), generator_of(seed))

        return sample

    samplers = {f"ebt{steps}": descend(steps) for steps in STEPS}
    samplers["ebt2_unscored"] = unscored(ebt, seen)
    if ebt.observe(seen).critic:
        samplers["ebt2_judged"] = descend(2, is_judged=True)
    whole = {f"ebt{steps}": from_pictures(ebt, steps) for steps in STEPS}
    samplers["ebt2_plain"], whole["ebt2_plain"] = plain(ebt, seen)
    if "onnx" in runners:
        onnx = runners["onnx"]
        samplers["ebt2_onnx"] = descend_exported(onnx, seen)
        whole["ebt2_onnx"] = from_pictures(onnx, 2)
    for name, runner in runners.items():
        if name.startswith("dd"):
            samplers[name], samplers[f"{name}_passes"] = denoise(runner), passes(runner, seen)
            whole[name] = from_pictures(runner, 1)
    regression_cache = regression.observe(seen).cache
    samplers["regression"] = lambda seed: regression.predict(regression_cache)
    whole["regression"] = from_pictures(regression, 1)
    return samplers, whole


def descend_exported(onnx: Any, seen: NormalisedObservation) -> Contestant:
    """Two steps in ONNX Runtime from an encoded observation, judged where there is a critic."""
    observed = onnx.observe(seen)
    horizon, joints = onnx.bundle.chunk.horizon, len(onnx.bundle.joints)
    return lambda seed: onnx.descend(observed, starting_noise(seed, 1, horizon, joints), 2)


def plain(ebt: Any, seen: NormalisedObservation) -> tuple[Contestant, Contestant]:
    """Two steps by the training's own modules and autograd, judged where there is a critic: from an encoded
    observation, and from pictures. What the fast kernels and the exported graphs save is measured against it."""
    import torch

    from ebt_policy_ros.policy.energy import descend
    from ebt_policy_ros.policy.load import load_critic

    network, critic = ebt.network, load_critic(ebt.bundle)
    critic = None if critic is None else critic.to(ebt.device)

    def judge(features: Any, positions: Any, cache: Any, seed: int) -> Any:
        start = ebt.starts(1, seed)
        with torch.enable_grad():
            chunk = descend(network, cache, start, 2).chunks[-1]
        with torch.no_grad():
            told = [network.energy(cache, chunk)]
            if critic is not None:
                told.append(critic.log_distances(critic.observe(features, positions), chunk).exp())
        return [part.cpu().numpy() for part in (chunk, *told)]

    with torch.no_grad():
        features, positions = ebt._encode(seen)
        cache = network.observe(features, positions)
    observations = [pictures(ebt.bundle, seed) for seed in range(8)]

    def whole(seed: int) -> Any:
        with torch.no_grad():
            own_features, own_positions = ebt._encode(observations[seed % len(observations)])
            own_cache = network.observe(own_features, own_positions)
        return judge(own_features, own_positions, own_cache, seed)

    return lambda seed: judge(features, positions, cache, seed), whole


def unscored(ebt: Any, seen: NormalisedObservation) -> Contestant:
    """Two descent steps alone: without the energy of the result, which tells whether it can be trusted."""
    import torch

    cache = ebt.observe(seen).cache

    @torch.inference_mode()
    def descend(seed: int) -> Any:
        chunk = ebt.starts(1, seed)
        for _ in range(2):
            _, gradient = ebt.energy.energy_and_gradient(cache, chunk)
            chunk = torch.add(chunk, gradient, alpha=-ebt.step_size)
        return chunk[0].cpu().double().numpy()

    return descend


def passes(runner: Any, seen: NormalisedObservation) -> Contestant:
    """The sampler's network passes alone: what is left when its scheduler costs nothing."""
    import torch

    cache = runner.observe(seen).cache

    @torch.inference_mode()
    def predict(seed: int) -> Any:
        chunk = runner.starts(1, seed)
        for index in range(len(runner.steps)):
            chunk = runner.noise.noise(cache, chunk, index)
        return chunk[0].cpu().double().numpy()

    return predict


def from_pictures(runner: Any, steps: int) -> Contestant:
    """The whole way: pictures to the device, encoder, observation, sampler."""
    observations = [pictures(runner.bundle, seed) for seed in range(8)]

    def think(seed: int) -> Any:
        seen = observations[seed % len(observations)]
        runner.forget()
        return runner.minimise(seen, steps=steps, starts=1, seed=seed)

    return think


def pictures(bundle: Any, seed: int) -> NormalisedObservation:
    """A random observation of the trained size."""
    rng = np.random.default_rng(seed)
    images = {
        camera.name: rng.integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8) for camera in bundle.cameras
    }
    return NormalisedObservation(images, rng.uniform(-1.0, 1.0, len(bundle.joints)))
