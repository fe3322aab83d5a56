"""Model cards: models/<task>/README.md, made of what the bundles and benchmarks/results say, and of nothing else.

  python -m benchmarks.cards                    every bundle in models/
  python -m benchmarks.cards --models out       somewhere else

What was not measured with these weights is said to be so. Remarks below a card's line ``<!-- by hand -->`` are kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.card_commands import repeat
from benchmarks.card_words import about, limits, measured_in
from benchmarks.curve import load_runs, reached_s
from benchmarks.matrix import (
    HERE,
    RESULTS,
    TITLES,
    Cell,
    Kind,
    Matrix,
    load_all,
    load_latency,
    successes,
)
from benchmarks.reported import reported
from ebt_policy_ros.core.errors import BundleError
from ebt_policy_ros.policy.bundle import POLICY_FILE, POLICY_METHODS, Bundle
from ebt_policy_ros.training.episodes import task_of
from ebt_policy_ros.training.settings import TrainSettings
from ebt_policy_ros.training.statistics import pair, wilson

BY_HAND = "<!-- by hand -->"
NOT_MEASURED = "not measured"
FORESIGHT = "foresight_{task}.json"
"""Among the results: what ``python -m benchmarks.foresight --json`` wrote."""


@dataclass(frozen=True)
class Subject:
    """A bundle with its baselines and what was measured of them."""

    directory: Path
    bundle: Bundle
    baselines: Mapping[str, Bundle]
    """By method."""
    results: Mapping[Kind, Mapping[str, Any]]
    """With the weights of the bundle or of its baselines."""
    others: Mapping[int, Mapping[str, Any]]
    """Training seed -> result of the bundle's own method with the weights of another training."""
    task: str

    @property
    def notes(self) -> Mapping[str, Any]:
        """The bundle's provenance."""
        return self.bundle.provenance

    @property
    def bundles(self) -> dict[str, Bundle]:
        """The bundle and its baselines by method."""
        return {self.bundle.method: self.bundle, **self.baselines}

    @classmethod
    def load(cls, directory: Path, results: Path, matrix: Matrix) -> Subject:
        """Reads it all; BundleError when the bundle cannot be read."""
        bundle = Bundle.load(directory)
        baselines = {
            method: Bundle.load(directory / method)
            for method in POLICY_METHODS
            if method != bundle.method and (directory / method / POLICY_FILE).exists()
        }
        task, main = task_of(bundle), next(kind for kind in matrix.kinds() if kind.method == bundle.method)
        ours = {method: one.policy_sha256 for method, one in {bundle.method: bundle, **baselines}.items()}
        own_seed = int(bundle.provenance.get("training", {}).get("seed", 0))
        found: dict[Kind, Mapping[str, Any]] = {}
        others = {}
        for result in load_all(results, f"{task}/*.json"):
            if "variant" not in result:
                continue
            kind = Kind(result["method"], result["variant"])
            if result.get("policy_sha256", result["weights_sha256"]) == ours.get(kind.method):
                found[kind] = result
            elif kind == main and result["training_seed"] != own_seed:
                others[int(result["training_seed"])] = result
        return cls(directory, bundle, baselines, found, others, task)


def card(subject: Subject, results: Path, matrix: Matrix) -> str:
    """The card as Markdown."""
    main = next(kind for kind in matrix.kinds() if kind.method == subject.bundle.method)
    sections = {
        "Numbers": _numbers(subject, results, matrix, main),
        "Data": _data(subject),
        "Training and its cost": _training(subject),
        "Calibration": _calibration(subject, results),
        "Limits": limits(subject.bundle, subject.task, subject.results.get(main), bool(subject.others)),
        "How to repeat": repeat(subject.bundle, subject.baselines, subject.task, _evaluations(subject, matrix)),
    }
    parts = [about(subject.directory, subject.bundle, subject.task)]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items()]
    return "\n\n".join(parts) + "\n"


def _numbers(subject: Subject, results: Path, matrix: Matrix, main: Kind) -> str:
    head = ("method", "success (95 %)", "episodes", f"less {matrix.reference.label} [points] (95 %)")
    lines = [_line((*head, "network evaluations a chunk")), _line(["---"] * 5)]
    lacking = [kind for kind in matrix.kinds() if kind not in subject.results]
    lines += [_measured_row(subject, kind, matrix.reference) for kind in matrix.kinds() if kind not in lacking]
    if lacking:
        lines.append(_line(("; ".join(kind.label for kind in lacking), NOT_MEASURED, "", "", "")))
    own = subject.results.get(main)
    said = [
        "Closed loop in simulation, nothing disturbed, the same episodes for every row; success with Wilson's "
        "interval, differences paired episode by episode (Newcombe's interval)."
    ]
    said.append(f"Success of this bundle: {NOT_MEASURED}." if own is None else measured_in(own))
    if subject.others:
        rates = ", ".join(f"seed {seed} {_rate(result)}" for seed, result in sorted(subject.others.items()))
        said.append(f"Trained again: {rates}.")
    return "\n\n".join(["\n".join(lines), " ".join(said), *_times(subject, results)])


def _measured_row(subject: Subject, kind: Kind, reference: Kind) -> str:
    result, counterpart = subject.results[kind], subject.results.get(reference)
    outcomes = result["outcomes"]
    low, high = wilson(outcomes.count("1"), len(outcomes))
    difference = NOT_MEASURED if kind != reference else "-"
    if counterpart is not None and kind != reference:
        paired = pair(successes(result), successes(counterpart))
        reach = [100 * bound for bound in paired.interval]
        difference = f"{100 * paired.difference:+.1f} ({reach[0]:+.1f} to {reach[1]:+.1f})"
    rate = f"**{outcomes.count('1') / len(outcomes):.3f}** ({low:.3f} to {high:.3f})"
    passes = f"{result['network_evaluations_per_chunk_mean']:.3g}"
    return _line((kind.label, rate, str(len(outcomes)), difference, passes))


def _rate(result: Mapping[str, Any]) -> str:
    return f"{result['outcomes'].count('1')} of {len(result['outcomes'])}"


def _times(subject: Subject, results: Path) -> list[str]:
    """What a chunk takes, and how soon training got there; empty where neither was measured."""
    said, latency = [], load_latency(results)
    if latency is not None and subject.bundle.method == "ebt":
        own, theirs = (f"ebt{subject.bundle.minimiser.steps}", "ddpm100")
        sampler, whole = latency["sampler_ms"], latency["camera_to_chunk_ms"]
        if own in sampler:
            said.append(
                f"Sampler (encoded observation to chunk) {sampler[own]['p50']:.2f} ms, DDPM-100 "
                f"{sampler[theirs]['p50']:.1f} ms; camera to chunk {whole[own]['p50']:.1f} and "
                f"{whole[theirs]['p50']:.1f} ms (medians, {latency['processor']}, {latency['clock']}; "
                f"`ebt-policy bench`, measured on `{latency['model']}`: weights do not matter)."
            )
    runs = [run for run in load_runs(results) if run.task == subject.task]
    if runs:
        reached = [(run, reached_s(run.cpu_s, run.rates())) for run in runs]
        each = [
            f"{run.label} (seed {run.training_seed}) " + ("never" if at == float("inf") else f"{at:.0f}")
            for run, at in reached
        ]
        said.append(f"CPU seconds of training until a success of 0.95, encoders apart: {', '.join(each)}.")
    return said


def _data(subject: Subject) -> str:
    data = subject.notes.get("data", {})
    if not data:
        return "Not recorded in this bundle."
    total = int(data["episodes"]) + int(data.get("held_out_episodes", 0))
    text = (
        f"{total} demonstrations ({data.get('kind', 'format not recorded')}): {data['episodes']} for training "
        f"({data['rows']} rows, {subject.bundle.chunk.period_s * 1000:g} ms apart), {data.get('held_out_episodes', 0)} "
        "held out. Actions are absolute joint targets."
    )
    fingerprint = data.get("sha256")
    return text + (f" Fingerprint (`ebt-policy describe --json`): `{fingerprint}`." if fingerprint else "")


def _training(subject: Subject) -> str:
    head = ("trained", "folder", "gradient steps", "batch", "learning rate", "CPU s", "chosen by rollouts")
    lines = [_line(head), _line(["---"] * len(head))]
    encoder = subject.notes.get("encoder")
    if encoder:
        lines.append(_line(_training_cells("camera encoders, once for all methods", "-", encoder)))
    for method, bundle in subject.bundles.items():
        folder = "." if bundle is subject.bundle else f"`{method}/`"
        lines.append(_line(_training_cells(TITLES[method], folder, bundle.provenance)))
    critic = subject.notes.get("critic")
    if critic:
        lines.append(_line(_training_cells("critic, which judges the energy's chunks", ".", critic)))
    notes = subject.notes
    where = f"On {notes.get('device', 'an unrecorded device')}, torch {notes.get('torch', 'of an unrecorded version')}."
    kind = (
        "Policies were trained on the features of frozen encoders (`docs/training.md`)."
        if encoder
        else "Encoders and policy were trained together, end to end."
    )
    curve = "\n\n![Loss and held-out error](curve.png)" if (subject.directory / "curve.png").exists() else ""
    return "\n".join(lines) + f"\n\n{where} {kind} {_error(notes)}{curve}"


def _training_cells(what: str, folder: str, notes: Mapping[str, Any]) -> Sequence[str]:
    training = notes.get("training", {})
    rate = training.get("learning_rate")
    if rate is None and "method" in training:
        rate = TrainSettings(data="", out="", method=training["method"]).base_rate
    cost = notes.get("training_cpu_s")
    clock_s = notes.get("training_s")
    spent = (
        f"{cost:.0f}" if cost is not None else "not recorded" + (f" ({clock_s:.0f} s by the clock)" if clock_s else "")
    )
    selection = notes.get("selection")
    chosen = "-" if training.get("method") in ("encoder", "critic") else "no: the last state"
    if selection:
        scores = ", ".join(f"{s['gradient_steps']}: {s['successes']} of {s['episodes']}" for s in selection["scores"])
        chosen = f"step {selection['chosen_gradient_steps']} ({scores})"
    steps, batch = notes.get("gradient_steps", "not recorded"), training.get("batch", "not recorded")
    return what, folder, str(steps), str(batch), "not recorded" if rate is None else f"{rate:g}", spent, chosen


def _error(notes: Mapping[str, Any]) -> str:
    validation = notes.get("validation")
    if not validation:
        return ""
    return (
        f"Mean error on held-out episodes {validation['error']:.4f}, of executed rows "
        f"{validation['error_executed']:.4f} [-1 to 1 over each joint's range]; it does not rank checkpoints."
    )


def _calibration(subject: Subject, results: Path) -> str:
    calibration = subject.bundle.calibration
    if subject.bundle.method != "ebt":
        return "A policy without an energy has no score."
    if calibration is None:
        return "Not calibrated: the node publishes energies but never retries on them (`ebt-policy calibrate`)."
    said = [
        f"Score `{calibration['score']}`, split conformal: alpha {calibration['alpha']:g}, n {calibration['n']}, "
        f"threshold {calibration['threshold']:.4g}."
    ]
    basis, heads = subject.notes.get("calibration"), subject.notes.get("heads")
    if basis:
        last = basis["first_seed"] + basis["episodes"] - 1
        said.append(
            f"Measured on {basis['episodes']} calm episodes of its own (seeds {basis['first_seed']} to {last}), of "
            f"which {basis['successes']} succeeded."
        )
    if heads:
        said.append(
            f"Score heads: {heads['rows']} observations, {heads['episodes']} episodes from seed {heads['seed']} on."
        )
    return " ".join([*said, _alarms(subject, results)])


def _alarms(subject: Subject, results: Path) -> str:
    """False alarms on fresh episodes, where they were measured at this threshold."""
    path = results / FORESIGHT.format(task=subject.task)
    shipped = json.loads(path.read_text(encoding="utf-8"))["shipped"] if path.exists() else {}
    if not shipped or shipped["threshold"] != (subject.bundle.calibration or {}).get("threshold"):
        return f"False alarms on fresh episodes: {NOT_MEASURED}."
    (false, count, *_), (lasting, *_) = (shipped[label]["false_alarms"] for label in ("alarm", "lasting"))
    return (
        f"Fresh calm episodes, retry off: {false} of {count} exceed the threshold, {lasting} for so long that the "
        "ladder would act (`docs/uncertainty.md`)."
    )


def _evaluations(subject: Subject, matrix: Matrix) -> list[str]:
    """The commands that measure what stands for each method."""
    firsts = [Kind(method, variants[0]) for method, variants in matrix.variants.items()]
    commands = []
    for kind in [kind for kind in firsts if kind.method in subject.bundles]:
        if kind in subject.results:
            commands.append(str(subject.results[kind]["command"]))
        elif subject.task in matrix.tasks:
            commands.append("ebt-policy " + " ".join(matrix.arguments(Cell(subject.task, kind, min(matrix.bundles)))))
    return commands


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write_cards(models: Path, results: Path, matrix: Matrix) -> list[Path]:
    """Writes the card of every bundle below ``models``; returns the files. BundleError when there is none."""
    directories = sorted(path.parent for path in models.glob(f"*/{POLICY_FILE}"))
    if not directories:
        raise BundleError(f"{models}: expected bundles, that is */{POLICY_FILE}; found none")
    written = []
    for directory in directories:
        path = directory / "README.md"
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        remarks = f"\n{BY_HAND}{before.partition(BY_HAND)[2]}" if BY_HAND in before else ""
        path.write_text(card(Subject.load(directory, results, matrix), results, matrix) + remarks, encoding="utf-8")
        written.append(path)
    return written


@reported("cards")
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cards", description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", type=Path, default=HERE.parent / "models", help="default: models")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: benchmarks/results")
    parser.add_argument("--matrix", type=Path, default=HERE / "matrix.yaml", help="default: benchmarks/matrix.yaml")
    options = parser.parse_args(arguments)
    for path in write_cards(options.models, options.results, Matrix.load(options.matrix)):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
