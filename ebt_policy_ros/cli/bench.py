"""How long a chunk takes: the energy's descent against diffusion and regression on the same trunk, in one process.

Everything is measured in turns, so that what else the machine does falls on all alike; before each measured call
comes one that is not, so that nobody pays for caches that another one filled. On one CPU thread the clock is that
thread's own CPU time: on a busy machine long calls are interrupted and short ones are not, and wall time would flatter
the short ones (measured: 46 instead of 25). "Sampler" is from the encoded
observation to the chunk and its energy; "camera to chunk" begins with the pictures and ends with all that the node
publishes of a chunk, the critic's judgement included. Ratios are of medians; above 1, the energy's two
steps are faster. Latency does not depend on the weights: without a trained diffusion policy random ones do.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ebt_policy_ros.cli.arguments import output_file, whole_number
from ebt_policy_ros.cli.progress import Estimate
from ebt_policy_ros.cli.results import versions, write_json
from ebt_policy_ros.core.errors import BundleError, SettingsError
from ebt_policy_ros.core.minimise import starting_noise
from ebt_policy_ros.core.types import NormalisedObservation

STEPS = (1, 2, 4, 8)
"""Descent steps that are measured."""
REFERENCE = "ebt2"
LABELS = {
    **{f"ebt{steps}": f"EBT, {steps} step{'s' * (steps > 1)}" for steps in STEPS},
    "ebt2_unscored": "EBT, 2 steps, result not scored",
    "ebt2_judged": "EBT, 2 steps, result judged by the critic",
    "ebt2_onnx": "the same, ONNX Runtime",
    "ebt2_plain": "the same, torch's modules and autograd",
    "ddpm100": "Diffusion Policy, DDPM-100",
    "ddim16": "Diffusion Policy, DDIM-16",
    "ddim10": "Diffusion Policy, DDIM-10",
    "ddpm100_passes": "DDPM-100, network passes alone",
    "ddim16_passes": "DDIM-16, network passes alone",
    "ddim10_passes": "DDIM-10, network passes alone",
    "regression": "Regression",
}

Contestant = Callable[[int], Any]
"""Makes one chunk; the number is the round's, a seed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy bench``."""
    parser.add_argument("--model", default="lift", help="bundle directory, or the name of one in models/")
    parser.add_argument("--repeats", type=whole_number(1), default=50, help="rounds of measurements (default 50)")
    parser.add_argument("--threads", type=whole_number(1), default=1, help="CPU threads of torch (default 1)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", type=output_file, metavar="F", help="where the results go")


def run(options: argparse.Namespace) -> int:
    """Measures, prints a table, writes the JSON; returns the exit status."""
    try:
        import torch
    except ImportError as error:
        raise SettingsError(f"bench needs torch ({error}); install torch into this environment") from error
    from ebt_policy_ros.resources import find_model

    directory = find_model(options.model)
    runners, trained = make_runners(directory, options.device, options.threads)
    with tempfile.TemporaryDirectory() as folder:
        exported = make_exported(directory, runners["ebt"], Path(folder), options.threads)
    runners |= {} if exported is None else {"onnx": exported}
    samplers, whole = contestants(runners)
    device, threads = runners["ebt"].device, torch.get_num_threads()
    is_own = device.type == "cpu" and threads == 1
    todo = {**samplers, **{f"camera {name}": one for name, one in whole.items()}}
    times, wall = measure(todo, options.repeats, time.thread_time if is_own else time.perf_counter)
    sampler_ms = {name: times[name] for name in samplers}
    whole_ms = {name: times[f"camera {name}"] for name in whole}
    result = {
        "command": "bench",
        "model": str(directory),
        "settings": {"repeats": options.repeats, "threads": threads, "device": str(device)},
        "clock": "CPU time of the thread" if is_own else "wall time",
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "versions": versions(),
        "weights": {method: "trained" if method in trained else "random" for method in runners if method != "onnx"},
        "note": "latency does not depend on the weights; methods share the trunk and its kernels",
        **summary(sampler_ms, whole_ms),
        "wall_ms": {
            "sampler": {name: quantiles(wall[name]) for name in samplers},
            "camera_to_chunk": {name: quantiles(wall[f"camera {name}"]) for name in whole},
        },
    }
    print(table(result))
    if options.json is not None:
        write_json(options.json, result)
    return 0


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


def measure(
    todo: Mapping[str, Contestant], repeats: int, clock: Callable[[], float]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Durations [ms] of ``repeats`` calls of each by ``clock`` [s] and by wall time.

    In turns, each after a call that does not count; nor does the first round.
    """
    names, estimate = list(todo), Estimate("rounds")
    times: dict[str, list[float]] = {name: [] for name in names}
    wall: dict[str, list[float]] = {name: [] for name in names}
    for round_number in range(-1, repeats):
        first = round_number % len(names)  # nobody always follows the same other one
        for name in names[first:] + names[:first]:
            todo[name](max(round_number, 0))
            wall_began, began = time.perf_counter(), clock()
            todo[name](max(round_number, 0))
            passed, wall_passed = clock() - began, time.perf_counter() - wall_began
            if round_number >= 0:
                times[name].append(passed * 1e3)
                wall[name].append(wall_passed * 1e3)
        if round_number >= 0:
            estimate.show(round_number + 1, repeats)
    return times, wall


def summary(sampler_ms: Mapping[str, Sequence[float]], whole_ms: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Medians, spread and ratios of measured durations [ms], rounds paired by index."""
    others = [name for name in whole_ms if name.startswith("dd")]

    def ratios(times: Mapping[str, Sequence[float]], reference: str, suffix: str = "") -> dict[str, float]:
        base = float(np.median(times[reference]))
        return {name: round(float(np.median(times[name + suffix])) / base, 2) for name in others}

    def spread(times: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        paired = {name: np.divide(times[name], times[REFERENCE]) for name in others}
        return {name: np.round(np.percentile(paired[name], [10, 90]), 2).tolist() for name in others}

    return {
        "ratios": ratios(sampler_ms, REFERENCE),
        "ratios_p10_p90": spread(sampler_ms),
        "ratios_network_passes": ratios(sampler_ms, REFERENCE, "_passes"),
        "ratios_unscored": ratios(sampler_ms, "ebt2_unscored"),
        "ratios_camera_to_chunk": ratios(whole_ms, REFERENCE),
        "ratios_camera_to_chunk_p10_p90": spread(whole_ms),
        "onnxruntime_faster_than": faster(sampler_ms, whole_ms),
        "sampler_ms": {name: quantiles(values) for name, values in sampler_ms.items()},
        "camera_to_chunk_ms": {name: quantiles(values) for name, values in whole_ms.items()},
    }


def faster(
    sampler_ms: Mapping[str, Sequence[float]], whole_ms: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, float]]:
    """How many times longer the same chunk takes in torch than in ONNX Runtime: by the fast kernels that are shipped,
    and by plain modules with autograd. Empty where ONNX Runtime was not measured."""
    if "ebt2_onnx" not in whole_ms:
        return {}

    def ratio(times: Mapping[str, Sequence[float]], name: str) -> float:
        return round(float(np.median(times[name]) / np.median(times["ebt2_onnx"])), 2)

    judged = "ebt2_judged" if "ebt2_judged" in sampler_ms else "ebt2"
    return {
        "torch_fast_kernels": {"sampler": ratio(sampler_ms, judged), "camera_to_chunk": ratio(whole_ms, "ebt2")},
        "torch_modules_and_autograd": {
            "sampler": ratio(sampler_ms, "ebt2_plain"),
            "camera_to_chunk": ratio(whole_ms, "ebt2_plain"),
        },
    }


def quantiles(values: Sequence[float]) -> dict[str, float | int]:
    """Median, tenth and ninetieth percentile, least [ms], and how many."""
    p10, p50, p90 = np.percentile(values, [10, 50, 90])
    named = {"p50": p50, "p10": p10, "p90": p90, "min": min(values)}
    return {**{name: round(float(value), 4) for name, value in named.items()}, "n": len(values)}


def processor() -> str:
    """The CPU's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def table(result: Mapping[str, Any]) -> str:
    """The result for a person."""
    settings = result["settings"]
    lines = [
        f"{result['processor']}, {settings['device']}, {settings['threads']} CPU thread(s), torch "
        f"{result['versions']['torch']}; medians of {settings['repeats']} rounds [ms], {result['clock']}",
        f"{'':44}{'sampler':>10}{'p10-p90':>18}{'ratio':>8}{'camera to chunk':>18}{'ratio':>8}",
    ]
    sampler, whole = result["sampler_ms"], result["camera_to_chunk_ms"]
    for name, label in LABELS.items():
        if name not in sampler:
            continue
        own = sampler[name]
        reach = f"{own['p10']:.2f}-{own['p90']:.2f}"
        line = f"{label:44}{own['p50']:10.2f}{reach:>18}{own['p50'] / sampler[REFERENCE]['p50']:8.2f}"
        if name in whole:
            line += f"{whole[name]['p50']:18.2f}{whole[name]['p50'] / whole[REFERENCE]['p50']:8.2f}"
        lines.append(line)
    return "\n".join(lines)
