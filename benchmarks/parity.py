"""Do all runtimes compute the same? Against the plain networks with autograd in float64, on recorded observations.

python -m benchmarks.parity --model models/lift --data data/lift
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ebt_policy_ros.cli.arguments import existing_directory, output_file, whole_number
from ebt_policy_ros.cli.export import recorded
from ebt_policy_ros.cli.results import versions, write_json
from ebt_policy_ros.core.errors import EbtPolicyError
from ebt_policy_ros.core.minimise import starting_noise
from ebt_policy_ros.core.types import NormalisedObservation
from ebt_policy_ros.policy.bundle import Bundle
from ebt_policy_ros.policy.export import Reference, export
from ebt_policy_ros.resources import find_model
from ebt_policy_ros.runtimes.onnx_runtime import OnnxMinimiser
from ebt_policy_ros.runtimes.torch_runtime import TorchMinimiser


def differences(runtime: Any, reference: Reference, seen: list[NormalisedObservation], steps: int) -> dict[str, float]:
    """Largest and mean difference of chunks [normalised units], largest of energies (relative)."""
    bundle = runtime.bundle
    actions, energies = [], []
    for number, observation in enumerate(seen):
        start = starting_noise(number, 1, bundle.chunk.horizon, len(bundle.joints))
        chunks, trace = reference.descend(observation, start, steps)
        minimum = runtime.minimise(observation, steps=steps, starts=1, seed=number)
        if trace[:, 0].argmin() == steps:  # else the runtime rightly kept an earlier chunk
            actions.append(np.abs(minimum.chunk - chunks[0]).max())
        energies.append(np.abs(minimum.trace - trace[:, 0]).max() / np.abs(trace[:, 0]).max())
    return {
        "observations": len(seen),
        "largest_action_difference": float(max(actions)),
        "median_action_difference": float(np.median(actions)),
        "largest_relative_energy_difference": float(max(energies)),
    }


def main(given: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="models/lift")
    parser.add_argument("--data", type=existing_directory, required=True, help="demonstrations")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--observations", type=whole_number(1), default=100)
    parser.add_argument("--json", type=output_file)
    options = parser.parse_args(given)
    try:
        directory = find_model(options.model)
        bundle = Bundle.load(directory)
        seen, reference = recorded(bundle, options.data, options.observations), Reference(bundle)
        with tempfile.TemporaryDirectory() as folder:
            export(bundle, folder, seen[:2])
            device = options.device
            runtimes: dict[str, Callable[[], Any]] = {
                "torch": lambda: TorchMinimiser(bundle, device, recorded=False),
                "torch, recorded": lambda: TorchMinimiser(bundle, device, recorded=True),
                "torch_compile": lambda: TorchMinimiser(bundle, device, compiled=True),
                "onnxruntime": lambda: OnnxMinimiser(bundle, folder, device),
                "onnxruntime, values left on the device": lambda: OnnxMinimiser(bundle, folder, device, bound=True),
                "torch, bfloat16": lambda: TorchMinimiser(bundle, device, precision="bfloat16"),
            }
            found = {}
            for name, make in runtimes.items():
                sys.stderr.write(f"parity: {name}\n")
                runtime = make()
                for steps in (bundle.minimiser.steps, bundle.minimiser.more_steps):
                    found[f"{name}, {steps} steps"] = differences(runtime, reference, seen, steps)
    except EbtPolicyError as error:
        sys.stderr.write(f"benchmarks.parity: {error}\n")
        return 2
    print("| runtime | actions: largest, median | energies: largest, relative |\n|---|---|---|")
    for name, told in found.items():
        print(
            f"| {name} | {told['largest_action_difference']:.1e}, {told['median_action_difference']:.1e} "
            f"| {told['largest_relative_energy_difference']:.1e} |"
        )
    if options.json is not None:
        result = {"model": str(Path(options.model)), "weights_sha256": bundle.weights_sha256, "runtimes": found}
        write_json(options.json, {**result, "versions": versions()})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
