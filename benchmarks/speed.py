"""How fast is a chunk? By method, runtime, candidates, size and horizon; with memory, cold start and the graph.

  python -m benchmarks.speed                    # everything on the CPU, then docs/speed.md
  python -m benchmarks.speed --device cuda      # the same on a GPU, beside it
  python -m benchmarks.speed --only sizes       # one part anew

Everything is measured in turns in one process, as `ebt-policy bench` does it: each call after some that do not count,
on one CPU thread by that thread's own time. Energy and diffusion share trunk, kernels and runtime. The parts are kept
in benchmarks/results/speed_<device>.json; a part (or runtime) that is there is not measured again unless it is named.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cold_start import EXIT_LACKING
from benchmarks.reported import reported
from benchmarks.speed_page import write_page
from ebt_policy_ros.cli.arguments import whole_number
from ebt_policy_ros.cli.bench import WARM_UPS, measure, processor, quantiles
from ebt_policy_ros.cli.bench_contestants import RUNTIMES, contestants, runners_of, untrained
from ebt_policy_ros.cli.results import versions, write_json
from ebt_policy_ros.core.errors import EbtPolicyError, SettingsError
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.resources import find_model

RESULTS = Path(__file__).parent / "results"
PARTS = ("runtimes", "sizes", "horizons", "start", "graph")
STARTS = (1, 8, 64)
SIZES = {"1M": (128, 6), "3M": (224, 6), "10M": (384, 7), "30M": (576, 9), "100M": (1024, 10)}
"""Parameters of the trunk -> (width, layers); heads of 32."""
HORIZONS = (8, 16, 32, 64)
MOST_REPEATS, LEAST_REPEATS = 50, 3
Table = dict[str, Any]


@reported("speed")
def main(given: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="lift")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seconds", type=whole_number(1), default=60, help="about how long one table row may take")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part, whatever is there")
    parser.add_argument("--runtime", choices=RUNTIMES, action="append", help="of the part runtimes (default: all)")
    options = parser.parse_args(given)
    run(options)
    return 0


def run(options: argparse.Namespace) -> None:
    """Measures what is missing, writes results and page."""
    import torch

    torch.set_num_threads(1)
    name = torch.cuda.get_device_name(options.device) if options.device != "cpu" else processor()
    slug = "cpu" if options.device == "cpu" else re.sub(r"\W+", "_", name.lower()).strip("_")
    path = RESULTS / f"speed_{slug}.json"
    result: Table = _read(path)
    result.update(device=options.device, name=name, model=options.model, versions=versions())
    lacks_runtime = set(RUNTIMES) - set(result.get("runtimes", {}))
    wanted = options.only or [part for part in PARTS if part not in result or (part == "runtimes" and lacks_runtime)]
    measures: Mapping[str, Callable[[argparse.Namespace, Table], Table]] = {
        "runtimes": by_runtime, "sizes": by_size, "horizons": by_horizon, "start": cold_starts, "graph": over_the_graph
    }  # fmt: skip
    if "gflops" not in result or {"sizes", "horizons"} & set(wanted):  # the floor beside those
        result["gflops"] = gemm_gflops(options.device)
    for part in wanted:
        sys.stderr.write(f"speed: {part}\n")
        result[part] = measures[part](options, result.get(part, {}))
        write_json(path, result)
    write_page(RESULTS)


def by_runtime(options: argparse.Namespace, before: Table) -> Table:
    """The shipped bundle: runtime -> number of candidates -> {"sampler", "camera"}: contestant -> quantiles [ms].

    A runtime that this machine lacks is said and left out until it is there; SettingsError when it was named, or when
    all are lacking."""
    bundle, found = Bundle.load(find_model(options.model)), dict(before)
    todo_runtimes = options.runtime or [name for name in RUNTIMES if options.only or name not in before]
    baselines = {method: untrained(bundle, method) for method in ("dp", "regression")}
    for runtime in todo_runtimes:
        try:
            with tempfile.TemporaryDirectory() as folder:
                runners = runners_of(bundle, baselines, options.device, 1, runtime, Path(folder))
        except SettingsError as error:
            if options.runtime or (runtime == todo_runtimes[-1] and not found):
                raise
            sys.stderr.write(f"speed: {runtime} is not measured: {error}\n")
            continue
        found[runtime] = {}
        for starts in STARTS:
            samplers, whole = contestants(runners, starts)
            todo = {name: one for name, one in samplers.items() if not name.endswith("_passes")}
            todo |= {f"camera {name}": one for name, one in whole.items()} if starts == 1 else {}
            sys.stderr.write(f"speed: {runtime}, {starts} candidates\n")
            found[runtime][str(starts)] = timed(todo, options)
    return found


def by_size(options: argparse.Namespace, _before: Table) -> Table:
    """Trunks of other sizes, torch, one candidate: label -> what it is and how long energy and diffusion take."""
    return {
        label: of_architecture(options, model_width=width, layers=layers, heads=width // 32)
        for label, (width, layers) in SIZES.items()
    }


def by_horizon(options: argparse.Namespace, _before: Table) -> Table:
    """Chunks of other lengths, the shipped bundle's trunk, torch, one candidate."""
    return {str(horizon): of_architecture(options, horizon=horizon) for horizon in HORIZONS}


def of_architecture(options: argparse.Namespace, **changes: int) -> Table:
    """Energy and diffusion, with random weights, on the shipped bundle's trunk with other sizes."""
    bundle = Bundle.load(find_model(options.model))
    architecture = {**bundle.architecture, **changes}
    horizon = int(architecture["horizon"])
    chunk = replace(bundle.chunk, horizon=horizon, execute_steps=min(bundle.chunk.execute_steps, horizon))
    other = untrained(replace(bundle, architecture=architecture, chunk=chunk), "ebt")
    with tempfile.TemporaryDirectory() as folder:
        runners = runners_of(other, {"dp": untrained(other, "dp")}, options.device, 1, "torch", Path(folder))
    samplers, whole = contestants(runners)
    todo = {name: samplers[name] for name in ("ebt2", "ebt2_unscored", "ddpm100", "ddim16")} | {
        "camera ebt2": whole["ebt2"]
    }
    sys.stderr.write(f"speed: {changes}\n")
    trunk = runners["ebt"].trunk
    return {
        "parameters": sum(parameter.numel() for parameter in runners["ebt"].network.blocks.parameters()),
        "mega_macs_per_pass": pass_macs(trunk, runners["ebt"].network.architecture) / 1e6,
        "memory_mb": used_mb(runners["ebt"]),
        **timed(todo, options),
    }


def pass_macs(trunk: Any, a: Any) -> float:
    """Multiplications of matrix products in one forward pass of the trunk over one chunk."""
    tokens = len(a.cameras) * a.camera_tokens + a.joint_tokens
    per_token = a.layers * (10 * a.model_width**2 + 2 * (tokens + a.horizon) * a.model_width)
    return float(a.horizon * (per_token + 2 * a.joints * a.model_width))


def used_mb(runner: Any) -> float:
    """Memory of the energy's weights [MB]: matrices of the fast trunk, as they lie on the device."""
    matrices = {id(value): value for layer in runner.trunk.layers for value in layer}
    return sum(value.numel() * value.element_size() for value in matrices.values()) / 1e6


def timed(todo: Mapping[str, Callable[[int], Any]], options: argparse.Namespace) -> Table:
    """Quantiles [ms] of every contestant, in turns, as often as the time allows."""
    import torch

    began_s = time.perf_counter()
    for one in todo.values():
        one(0)
    again_s = time.perf_counter()
    for one in todo.values():
        one(0)
    round_s = (WARM_UPS + 1) * (time.perf_counter() - again_s)
    left_s = options.seconds - (time.perf_counter() - began_s)
    repeats = int(np.clip(left_s / round_s, LEAST_REPEATS, MOST_REPEATS))
    is_own = options.device == "cpu" and torch.get_num_threads() == 1
    times, _ = measure(todo, repeats, time.thread_time if is_own else time.perf_counter)
    camera = {name.removeprefix("camera "): times[name] for name in times if name.startswith("camera ")}
    return {
        "sampler": {name: quantiles(values) for name, values in times.items() if not name.startswith("camera ")},
        "camera": {name: quantiles(values) for name, values in camera.items()},
    }


def gemm_gflops(device: str) -> float:
    """What a large product of float32 matrices reaches here, on one thread or on the device [10^9 operations/s]."""
    import torch

    size = 1024 if device == "cpu" else 8192
    one, other = (torch.randn(size, size, device=device) for _ in range(2))
    best = np.inf
    for _ in range(5):
        if device != "cpu":
            torch.cuda.synchronize()
        began_s = time.perf_counter()
        one @ other
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began_s)
    return round(2.0 * size**3 / best / 1e9, 1)


def cold_starts(options: argparse.Namespace, _before: Table) -> Table:
    """Runtime -> seconds from a fresh interpreter to a warm model, the first and a later chunk, and memory."""
    found: Table = {}
    with tempfile.TemporaryDirectory() as folder:
        Bundle.load(find_model(options.model)).save(folder)
        from ebt_policy_ros.policy.export import export

        export(Bundle.load(folder), folder)
        for runtime in RUNTIMES:
            for label in (runtime, f"{runtime}, again"):
                if label != runtime and runtime != "torch_compile":  # only compiled code is kept from start to start
                    continue
                sys.stderr.write(f"speed: cold start of {label}\n")
                command = [sys.executable, "-m", "benchmarks.cold_start", folder, runtime, options.device]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode == EXIT_LACKING:
                    sys.stderr.write(f"speed: {label} is not measured: {done.stderr.splitlines()[-1]}\n")
                    continue
                if done.returncode != 0:
                    raise EbtPolicyError(f"{' '.join(command[1:])} failed: {done.stderr[-400:]}")
                found[label] = json.loads(done.stdout.splitlines()[-1])
    return found


def over_the_graph(options: argparse.Namespace, _before: Table) -> Table:
    """What the ROS graph adds; see benchmarks.overhead."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "overhead.json"
        command = [sys.executable, "-m", "benchmarks.overhead", "--seconds", "60", "--device", options.device]
        subprocess.run([*command, "--model", options.model, "--json", str(path)], check=True)
        told: Table = json.loads(path.read_text(encoding="utf-8"))
    return told


def _read(path: Path) -> Table:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


if __name__ == "__main__":
    raise SystemExit(main())
