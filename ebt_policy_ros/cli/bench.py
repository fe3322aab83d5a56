"""How long a chunk takes: the energy's descent against diffusion and regression on the same trunk, in one process.

Everything is measured in turns, so that what else the machine does falls on all alike; before each measured call
come some that are not, and the order is drawn anew each round, so that nobody pays for caches that another one filled.
On one CPU thread the clock is that thread's own CPU time: on a busy machine long calls are interrupted and short ones
are not, and wall time would flatter the short ones (measured: 46 instead of 25). "Sampler" is from the encoded
observation to the chunk and its energy; "camera to chunk" begins with the pictures and ends with all that the node
publishes of a chunk, the critic's judgement included. Ratios are of medians; above 1, the energy's two
steps are faster. Latency does not depend on the weights: without a trained diffusion policy random ones do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ebt_policy_ros.cli.arguments import output_file, whole_number
from ebt_policy_ros.cli.bench_contestants import RUNTIMES, STEPS, Contestant, contestants, make_runners
from ebt_policy_ros.cli.progress import Estimate
from ebt_policy_ros.cli.results import versions, write_json
from ebt_policy_ros.core.errors import SettingsError

REFERENCE = "ebt2"
WARM_UPS = 3
"""Uncounted calls before a counted one. After somebody else's call the first takes twice as long, the second a quarter
longer (ONNX Runtime; torch a fifth and a twentieth)."""
LABELS = {
    **{f"ebt{steps}": f"EBT, {steps} step{'s' * (steps > 1)}" for steps in STEPS},
    "ebt2_unscored": "EBT, 2 steps alone, result not scored",
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy bench``."""
    parser.add_argument("--model", default="lift", help="bundle directory, or the name of one in models/")
    parser.add_argument("--repeats", type=whole_number(1), default=50, help="rounds of measurements (default 50)")
    parser.add_argument("--threads", type=whole_number(1), default=1, help="CPU threads of torch (default 1)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--runtime", choices=RUNTIMES, default="torch", help="of energy and diffusion (default torch)")
    parser.add_argument("--starts", type=whole_number(1), default=1, help="candidates in one batch (default 1)")
    parser.add_argument("--json", type=output_file, metavar="F", help="where the results go")


def run(options: argparse.Namespace) -> int:
    """Measures, prints a table, writes the JSON; returns the exit status."""
    try:
        import torch
    except ImportError as error:
        raise SettingsError(f"bench needs torch ({error}); install torch into this environment") from error
    from ebt_policy_ros.resources import find_model

    directory = find_model(options.model)
    with tempfile.TemporaryDirectory() as folder:
        runners, trained = make_runners(directory, options.device, options.threads, Path(folder), options.runtime)
    samplers, whole = contestants(runners, options.starts)
    device, threads = runners["ddpm100"].device, torch.get_num_threads()
    is_own = device.type == "cpu" and threads == 1
    todo = {**samplers, **{f"camera {name}": one for name, one in whole.items()}}
    times, wall = measure(todo, options.repeats, time.thread_time if is_own else time.perf_counter)
    sampler_ms = {name: times[name] for name in samplers}
    whole_ms = {name: times[f"camera {name}"] for name in whole}
    result = {
        "command": "bench",
        "model": str(directory),
        "settings": {
            "repeats": options.repeats,
            "threads": threads,
            "device": str(device),
            "runtime": options.runtime,
            "starts": options.starts,
        },
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


def measure(
    todo: Mapping[str, Contestant], repeats: int, clock: Callable[[], float]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Durations [ms] of ``repeats`` calls of each by ``clock`` [s] and by wall time.

    In turns whose order is drawn anew each round, each after ``WARM_UPS`` calls that do not count; nor does the first
    round.
    """
    names, estimate, rng = list(todo), Estimate("rounds"), np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in names}
    wall: dict[str, list[float]] = {name: [] for name in names}
    for round_number in range(-1, repeats):
        for name in rng.permutation(names):
            for _ in range(WARM_UPS):
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
        "ratios_unscored": ratios(sampler_ms, "ebt2_unscored") if "ebt2_unscored" in sampler_ms else {},
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
        f"{result['processor']}, {settings['device']}, {settings['threads']} CPU thread(s), {settings['runtime']}, "
        f"torch {result['versions']['torch']}; {settings['starts']} candidate(s); medians of {settings['repeats']} "
        f"rounds [ms], {result['clock']}",
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
