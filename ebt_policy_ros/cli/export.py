"""Writes a bundle as ONNX graphs beside its weights: encoder, a step of the descent with its gradient, energy, critic.

Every graph carries the joints, cameras, statistics and the hash of the weights it was made from. What the networks
compute in float64 on a few observations is written with them, and ONNX Runtime is compared with it here and whenever
the graphs are loaded.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ebt_policy_ros.cli.arguments import existing_directory, output_file, whole_number
from ebt_policy_ros.cli.results import versions, write_json
from ebt_policy_ros.core.types import NormalisedObservation
from ebt_policy_ros.policy.bundle import Bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy export``."""
    parser.add_argument("--model", default="lift", help="bundle directory, or the name of one in models/")
    parser.add_argument("--out", type=Path, help="folder for a copy of the bundle with its graphs (default: its own)")
    parser.add_argument(
        "--data", type=existing_directory, help="demonstrations: compare on pictures of them, not on made-up ones"
    )
    parser.add_argument("--observations", type=whole_number(1), default=2, help="how many are kept (default 2)")
    parser.add_argument("--json", type=output_file, metavar="F", help="where sizes and differences go")


def run(options: argparse.Namespace) -> int:
    """Exports, checks, says what was written; returns the exit status."""
    from ebt_policy_ros.policy.export import export, made_up
    from ebt_policy_ros.policy.graphs import OPSET
    from ebt_policy_ros.resources import find_model
    from ebt_policy_ros.runtimes.onnx_runtime import OnnxMinimiser

    model = find_model(options.model)
    bundle = Bundle.load(model)
    out = options.out or model
    if options.data is None:
        seen = made_up(bundle, options.observations)
    else:
        seen = recorded(bundle, options.data, options.observations)
    written = export(bundle, out, seen)
    if out.resolve() != model.resolve():
        bundle.save(out)
    actions, energies = OnnxMinimiser(bundle, out, "cpu", check=False).check_parity(out)
    for path in written:
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    print(
        f"opset {OPSET}; against float64 on {len(seen)} {'made-up' if options.data is None else 'recorded'} "
        f"observations: actions differ by {actions:.1e} at most, energies by {energies:.1e} of their size"
    )
    if options.json is not None:
        result = {
            "command": "export",
            "model": bundle.name,
            "weights_sha256": bundle.weights_sha256,
            "opset": OPSET,
            "files": {path.name: path.stat().st_size for path in written},
            "largest_action_difference": actions,
            "largest_relative_energy_difference": energies,
            "versions": versions(),
        }
        write_json(options.json, result)
    return 0


def recorded(bundle: Bundle, data: Path, count: int) -> list[NormalisedObservation]:
    """So many observations of demonstrations, spread over all of them; DatasetError for those of another robot."""
    import numpy as np

    from ebt_policy_ros.training.dataset import Demonstrations, normalise

    size = (bundle.cameras[0].height, bundle.cameras[0].width)
    shown = Demonstrations.load(data, image_size=size)
    shown.check_bundle(bundle)
    rows = np.linspace(0, len(shown.positions) - 1, count).astype(int)
    positions = normalise(shown.positions[rows], bundle.positions)
    return [
        NormalisedObservation({c.name: shown.images[c.name][row] for c in bundle.cameras}, positions[place])
        for place, row in enumerate(rows)
    ]
