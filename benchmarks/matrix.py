"""The declared matrix of evaluations and its cells on disk: what is to be measured, and what has been."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ebt_policy_ros.cli.results import write_json
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.policy.bundle import POLICY_METHODS

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
LATENCY = "latency.json"
TITLES = {"ebt": "EBT", "dp": "diffusion", "regression": "regression"}
KEYS = ("episodes", "seed", "retry", "tasks", "bundles", "variants", "reference")


def with_sampler(method: str, sampler: str | None) -> str:
    """A method's name for readers, such as 'diffusion, DDIM-16'."""
    if sampler is None:
        return TITLES[method]
    return f"{TITLES[method]}, {sampler[:4].upper()}-{sampler[4:]}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A method with what it is run with."""

    method: str
    variant: str
    """``k2``: two gradient steps; a sampler's name; ``once``."""

    @classmethod
    def from_text(cls, text: str) -> Kind:
        """``method variant``; SettingsError names what is wrong."""
        method, _, variant = text.partition(" ")
        if method not in POLICY_METHODS or not variant:
            raise SettingsError(f"'{text}': expected 'METHOD VARIANT' with one of {', '.join(POLICY_METHODS)}")
        return cls(method, variant)

    @property
    def options(self) -> list[str]:
        """The options of ``ebt-policy eval`` that ask for it."""
        if self.method == "ebt":
            return ["--policy", "ebt", "--steps", self.variant.removeprefix("k")]
        return ["--policy", self.method, *(["--sampler", self.variant] if self.method == "dp" else [])]

    @property
    def bench_name(self) -> str:
        """What ``ebt-policy bench`` calls it."""
        if self.method == "ebt":
            return f"ebt{self.variant.removeprefix('k')}"
        return self.variant if self.method == "dp" else self.method

    @property
    def label(self) -> str:
        """For tables and plots."""
        if self.method == "ebt":
            return f"EBT, {self.variant.removeprefix('k')} step{'' if self.variant == 'k1' else 's'}"
        return with_sampler(self.method, self.variant if self.method == "dp" else None)


@dataclass(frozen=True, slots=True)
class Cell:
    """One evaluation: a task, a method, a training seed."""

    task: str
    kind: Kind
    training_seed: int

    def path(self, results: Path) -> Path:
        """Where its result is kept."""
        return results / self.task / f"{self.kind.method}-{self.training_seed}-{self.kind.variant}.json"


@dataclass(frozen=True)
class Matrix:
    """What is to be measured."""

    episodes: int
    seed: int
    retry: str
    tasks: Mapping[str, float | None]
    bundles: Mapping[int, str]
    variants: Mapping[str, Sequence[str]]
    reference: Kind

    @classmethod
    def load(cls, path: Path) -> Matrix:
        """Reads a matrix; SettingsError names a key that is missing, unknown or does not fit."""
        try:
            entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not YAML: {error}") from error
        if not isinstance(entries, dict) or set(entries) != set(KEYS):
            found = ", ".join(map(str, entries)) if isinstance(entries, dict) else type(entries).__name__
            raise SettingsError(f"{path}: expected the keys {', '.join(KEYS)}, got {found}")
        unknown = sorted(set(entries["variants"]) - set(POLICY_METHODS))
        if unknown:
            raise SettingsError(f"{path}: variants of '{unknown[0]}'; methods are {', '.join(POLICY_METHODS)}")
        reference = Kind.from_text(str(entries.pop("reference")))
        bundles = {int(seed): str(pattern) for seed, pattern in entries.pop("bundles").items()}
        return cls(**entries, bundles=bundles, reference=reference)

    def kinds(self) -> list[Kind]:
        """All methods with their variants, in the order of the table."""
        return [Kind(method, variant) for method, variants in self.variants.items() for variant in variants]

    def cells(self) -> Iterator[Cell]:
        """All cells; what stands for its method first, and all training seeds of a thing before the next thing."""
        firsts = [Kind(method, variants[0]) for method, variants in self.variants.items()]
        others = [kind for kind in self.kinds() if kind not in firsts]
        for kinds in (firsts, others):
            for task in self.tasks:
                for seed in self.bundles:
                    for kind in kinds:
                        yield Cell(task, kind, seed)

    def bundle(self, cell: Cell) -> str:
        """The directory given to ``--model``."""
        return self.bundles[cell.training_seed].format(task=cell.task, method=cell.kind.method)

    def arguments(self, cell: Cell) -> list[str]:
        """What follows ``ebt-policy`` in the command that measures the cell."""
        from ebt_policy_ros.sim.tasks import make_task

        limit_s = self.tasks[cell.task]
        limit_s = make_task(cell.task).time_limit_s if limit_s is None else limit_s
        chosen = ["eval", "--model", self.bundle(cell), *cell.kind.options, "--task", cell.task]
        counted = ["--episodes", str(self.episodes), "--seed", str(self.seed)]
        return [*chosen, *counted, "--retry", self.retry, "--time-limit", f"{limit_s:g}"]


def condense(result: Mapping[str, Any], cell: Cell, arguments: Sequence[str]) -> dict[str, Any]:
    """A result of ``ebt-policy eval`` as it is kept: outcomes as one text of 0 and 1, and what the table shows."""
    episodes = result["episodes"]
    kept = (
        "weights_sha256",
        "policy_sha256",
        "training",
        "chunk_latency_ms",
        "network_evaluations_per_chunk_mean",
        "versions",
    )
    return {
        "command": " ".join(["ebt-policy", *arguments]),
        "task": cell.task,
        "method": cell.kind.method,
        "variant": cell.kind.variant,
        "training_seed": cell.training_seed,
        "first_seed": episodes[0]["seed"],
        "outcomes": "".join("1" if episode["success"] else "0" for episode in episodes),
        "mean_duration_s": round(sum(episode["duration_s"] for episode in episodes) / len(episodes), 3),
        **{name: result[name] for name in kept},
    }


def load_latency(results: Path) -> dict[str, Any] | None:
    """The result of ``ebt-policy bench`` among the results, or None."""
    path = results / LATENCY
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a result, complete or not at all."""
    write_json(path, content)


def load_all(results: Path, pattern: str) -> list[dict[str, Any]]:
    """Every result below ``results`` whose path fits, by path."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob(pattern))]


def successes(result: Mapping[str, Any]) -> dict[int, bool]:
    """Seed of the episode -> whether it succeeded."""
    return {result["first_seed"] + place: letter == "1" for place, letter in enumerate(result["outcomes"])}
