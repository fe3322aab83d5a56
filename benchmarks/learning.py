"""Runs the matrix of evaluations and writes what the README shows of it: table and plots.

  python -m benchmarks.learning                     all that is missing, then table and plots
  python -m benchmarks.learning --tasks lift        part of it
  python -m benchmarks.learning --only-write        table and plots from the results that are there

A finished cell is kept in benchmarks/results/ and is measured again only when its bundle or its command changed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.matrix import HERE, LATENCY, RESULTS, Cell, Kind, Matrix, condense, save
from benchmarks.plots import draw_all
from benchmarks.readme import write_results
from benchmarks.reported import reported
from ebt_policy_ros.cli.main import EXIT_INTERRUPTED
from ebt_policy_ros.cli.main import main as ebt_policy
from ebt_policy_ros.core.errors import BundleError
from ebt_policy_ros.training.episodes import find_bundle

EBT = Kind("ebt", "k2")
README = HERE.parent / "README.md"
IMAGES = HERE.parent / "docs" / "images"


@reported("learning")
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__.split("\n\n")[0])
    parser.add_argument("--matrix", type=Path, default=HERE / "matrix.yaml", help="default: benchmarks/matrix.yaml")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: benchmarks/results")
    parser.add_argument("--tasks", nargs="+", help="only these")
    parser.add_argument("--methods", nargs="+", help="only these")
    parser.add_argument("--variants", nargs="+", help="only these, such as k2 ddpm100")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these training seeds")
    parser.add_argument("--processes", type=int, help="episodes in parallel (default: one a core)")
    parser.add_argument("--latency", action="store_true", help="measure only how long a chunk takes")
    parser.add_argument("--only-write", action="store_true", help="measure nothing")
    parser.add_argument("--readme", type=Path, default=README, help="where the table goes, between its markers")
    parser.add_argument("--images", type=Path, default=IMAGES, help="where the plots go")
    options = parser.parse_args(arguments)
    matrix = Matrix.load(options.matrix)
    status = 0
    if not options.only_write:
        status = measure_latency(matrix, options.results) if options.latency else measure(matrix, options)
    drawn = draw_all(matrix, options.results, options.images)
    write_results(matrix, options.results, options.readme, drawn)
    return status


def measure(matrix: Matrix, options: argparse.Namespace) -> int:
    """Measures the cells that are asked for and missing; the exit status of the evaluation that was interrupted."""
    wanted = [cell for cell in matrix.cells() if _is_wanted(cell, options)]
    for place, cell in enumerate(wanted):
        name = f"[{place + 1}/{len(wanted)}] {cell.task}, {cell.kind.label}, training seed {cell.training_seed}"
        why_not = missing(matrix, cell)
        if why_not:
            sys.stderr.write(f"{name}: not run: {why_not}\n")
        elif is_done(matrix, cell, options.results):
            sys.stderr.write(f"{name}: kept\n")
        else:
            sys.stderr.write(f"{name}: ebt-policy {' '.join(matrix.arguments(cell))}\n")
            status = evaluate(matrix, cell, options.results, options.processes)
            if status == EXIT_INTERRUPTED:
                sys.stderr.write("interrupted: finished cells are kept, the same command goes on from here\n")
                return status
    return measure_latency(matrix, options.results)


def measure_latency(matrix: Matrix, results: Path) -> int:
    """Keeps what ``ebt-policy bench`` says of the first bundle there is; once, for it does not depend on weights."""
    path = results / LATENCY
    bundles = [
        matrix.bundle(cell) for cell in matrix.cells() if not missing(matrix, Cell(cell.task, EBT, cell.training_seed))
    ]
    if path.exists() or not bundles:
        return 0
    arguments = ["bench", "--model", bundles[0], "--repeats", "50"]
    sys.stderr.write(f"latency: ebt-policy {' '.join(arguments)}\n")
    return ebt_policy([*arguments, "--json", str(path)])


def _is_wanted(cell: Cell, options: argparse.Namespace) -> bool:
    return (
        (options.tasks is None or cell.task in options.tasks)
        and (options.methods is None or cell.kind.method in options.methods)
        and (options.variants is None or cell.kind.variant in options.variants)
        and (options.seeds is None or cell.training_seed in options.seeds)
    )


def missing(matrix: Matrix, cell: Cell) -> str:
    """Why the cell cannot be measured; empty when it can."""
    try:
        find_bundle(matrix.bundle(cell), cell.kind.method)
    except BundleError as error:
        return str(error)
    return ""


def is_done(matrix: Matrix, cell: Cell, results: Path) -> bool:
    """Whether the cell was measured by this command and with these weights."""
    path = cell.path(results)
    if not path.exists():
        return False
    kept = json.loads(path.read_text(encoding="utf-8"))
    command = " ".join(["ebt-policy", *matrix.arguments(cell)])
    bundle = find_bundle(matrix.bundle(cell), cell.kind.method)[1]
    return bool(kept["command"] == command and kept["policy_sha256"] == bundle.policy_sha256)


def evaluate(matrix: Matrix, cell: Cell, results: Path, processes: int | None) -> int:
    """Measures the cell and keeps its result; the exit status of ``ebt-policy eval``."""
    arguments = matrix.arguments(cell)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        extra = [] if processes is None else ["--processes", str(processes)]
        status = ebt_policy([*arguments, *extra, "--json", str(output)])
        if status == 0:
            save(cell.path(results), condense(json.loads(output.read_text(encoding="utf-8")), cell, arguments))
    return status


if __name__ == "__main__":
    raise SystemExit(main())
