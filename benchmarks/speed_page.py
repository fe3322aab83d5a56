"""docs/speed.md, from what benchmarks.speed measured on every device."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.energy_table import write_between
from benchmarks.table import three_digits
from ebt_policy_ros.cli.bench_contestants import RUNTIMES
from ebt_policy_ros.messages.status import LATENCY_PARTS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "speed.md"
LABEL = "speed"
"""Of the markers between which the tables stand."""
LABELS = {
    "ebt1": "EBT, 1 step",
    "ebt2": "**EBT, 2 steps**",
    "ebt4": "EBT, 4 steps",
    "ebt8": "EBT, 8 steps",
    "ebt2_unscored": "EBT, 2 steps alone",
    "ebt2_judged": "EBT, 2 steps, judged by the critic",
    "ebt2_plain": "the same by modules and autograd",
    "ddpm100": "Diffusion, DDPM-100",
    "ddim16": "Diffusion, DDIM-16",
    "ddim10": "Diffusion, DDIM-10",
    "regression": "Regression",
}
PARTS = {
    "whole": "from the picture's publisher to the controller",
    "overhead": "the same without inference",
    "ways": "over the graph to the node and from it",
    "overhead in the node": "in the node without inference",
    **dict.fromkeys(LATENCY_PARTS, ""),
}
"""Rows of the graph's table -> what they are, where the page does not say it elsewhere."""
Table = Mapping[str, Any]


def write_page(results: Path) -> None:
    """Puts every device's tables between the page's markers."""
    devices = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("speed_*.json"))]
    write_between(PAGE, LABEL, "\n".join(line for device in devices for line in of_device(device)))


def of_device(told: Table) -> Iterator[str]:
    """A device's section."""
    where = "one thread, its CPU time" if told["device"] == "cpu" else "wall time"
    yield f"### {told['name']} ({told['device']}), torch {told['versions']['torch']}"
    yield ""
    yield (
        f"Medians [ms], {where}; bundle `{told['model']}`. A large float32 product reaches {told['gflops']:g} GFLOP/s "
        "here."
    )
    yield ""
    if "runtimes" in told:
        yield from runtimes(told["runtimes"])
    for part, words in (("sizes", "parameters of the trunk"), ("horizons", "rows of a chunk")):
        if part in told:
            yield from scaled(told[part], words, told["gflops"])
    if "start" in told:
        yield from starts(told["start"])
    if "graph" in told:
        yield from graph(told["graph"])


def runtimes(told: Table) -> Iterator[str]:
    """Methods by runtime and number of candidates; how many times longer than EBT's two steps."""
    told = {runtime: told[runtime] for runtime in RUNTIMES if runtime in told}
    columns = [(runtime, starts) for runtime, by_starts in told.items() for starts in sorted(by_starts, key=int)]
    yield (
        "**From the encoded observation to the chunk** (with the energy of the result, but for *2 steps alone*), by "
        "runtime and candidates in one batch:"
    )
    yield ""
    yield "| | " + " | ".join(f"{runtime}, {starts}" for runtime, starts in columns) + " |"
    yield "|---" * (1 + len(columns)) + "|"
    for name, label in LABELS.items():
        cells = [_cell(told[runtime][starts]["sampler"], name) for runtime, starts in columns]
        if any(cells):
            yield f"| {label} | " + " | ".join(cell or "-" for cell in cells) + " |"
    for own, words in (("ebt2_unscored", "EBT, 2 steps alone"), ("ebt2", "EBT, 2 steps")):
        for name in ("ddpm100", "ddim16"):
            ratios = [_ratio(told[runtime][starts]["sampler"], name, own) for runtime, starts in columns]
            yield f"| {LABELS[name]} / {words} | " + " | ".join(ratios) + " |"
    yield ""
    yield "**From pictures to the chunk**, everything that the node publishes of it included, one candidate:"
    yield ""
    yield "| | " + " | ".join(told) + " |"
    yield "|---" * (1 + len(told)) + "|"
    for name, label in LABELS.items():
        cells = [_cell(told[runtime]["1"]["camera"], name) for runtime in told]
        if any(cells):
            yield f"| {label} | " + " | ".join(cell or "-" for cell in cells) + " |"
    for name in ("ddpm100", "ddim16"):
        yield (
            f"| {LABELS[name]} / EBT, 2 steps | "
            + " | ".join(_ratio(told[r]["1"]["camera"], name) for r in told)
            + " |"
        )
    shares = []
    for runtime in told:
        whole, own = told[runtime]["1"]["camera"]["ebt2"]["p50"], told[runtime]["1"]["sampler"]
        alone = own.get("ebt2_judged", own["ebt2"])["p50"]
        shares.append(f"{100 * (1 - alone / whole):.0f} %")
    yield "| share of the encoders | " + " | ".join(shares) + " |"
    yield ""


def scaled(told: Table, words: str, gflops: float) -> Iterator[str]:
    """How cost grows; the floor is the matrix products alone at the speed of a large one."""
    yield f"**By {words}** (torch, one candidate, random weights):"
    yield ""
    yield (
        f"| {words} | EBT, 2 steps | its floor | EBT, 2 steps alone | DDPM-100 | DDIM-16 | DDPM-100 / 2 steps | "
        "DDPM-100 / 2 steps alone | DDIM-16 / 2 steps | DDIM-16 / 2 steps alone | pictures to chunk, EBT | "
        "weights [MB] | rounds |"
    )
    yield "|---" * 13 + "|"
    for label, row in sorted(told.items(), key=lambda entry: int(entry[0].rstrip("M"))):
        own = row["sampler"]
        floor_ms = 5 * 2 * row["mega_macs_per_pass"] * 1e6 / (gflops * 1e9) * 1e3
        others = (own[name]["p50"] for name in ("ebt2_unscored", "ddpm100", "ddim16"))
        times = [own["ebt2"]["p50"], floor_ms, *others]
        ratios = [_ratio(own, name, base) for name in ("ddpm100", "ddim16") for base in ("ebt2", "ebt2_unscored")]
        ends = [three_digits(row["camera"]["ebt2"]["p50"]), three_digits(row["memory_mb"]), str(own["ebt2"]["n"])]
        yield f"| {label} | " + " | ".join([*map(three_digits, times), *ratios, *ends]) + " |"
    yield ""


def starts(told: Table) -> Iterator[str]:
    """Cold start and memory."""
    has_device = any("device_memory_mb" in row for row in told.values())
    yield "**Cold start**: from a fresh interpreter to a warm model, and memory (`python -m benchmarks.cold_start`):"
    yield ""
    yield "| runtime | ready [s] | first chunk [ms] | later chunk [ms] | memory [MB] |" + (
        " GPU [MB] |" if has_device else ""
    )
    yield "|---" * (5 + has_device) + "|"
    for label, row in told.items():
        chunks = f"{three_digits(row['first_chunk_ms'])} | {three_digits(row['later_chunk_ms'])}"
        line = f"| {label} | {three_digits(row['ready_s'])} | {chunks} | {row['memory_mb']} |"
        yield line + (f" {row.get('device_memory_mb', '-')} |" if has_device else "")
    yield ""


def graph(told: Table) -> Iterator[str]:
    """What the graph and the node add."""
    shape, parts = told["settings"], told["parts_ms"]
    yield (
        f"**Over the ROS graph**: {shape['cameras']} cameras of {shape['width']} x {shape['height']} at "
        f"{shape['pictures_hz']:g} Hz, {told['cores']} cores for both sides, {told['commands']} commands, runtime "
        f"`{told['runtime']}` (`python -m benchmarks.overhead`). *Ahead* and *think* are inference, with *encode* and "
        "*descend* as parts of *think*; the rest is not:"
    )
    yield ""
    yield "| | median [ms] | 99 % [ms] |"
    yield "|---" * 3 + "|"
    for name, words in PARTS.items():
        if name in parts:
            label = f"{name}: {words}" if words else name
            yield f"| {label} | {three_digits(parts[name]['p50'])} | {three_digits(parts[name]['p99'])} |"
    yield ""


def _cell(times: Table, name: str) -> str:
    return three_digits(times[name]["p50"]) if name in times else ""


def _ratio(times: Table, name: str, own: str = "ebt2") -> str:
    return three_digits(times[name]["p50"] / times[own]["p50"]) if name in times else "-"
