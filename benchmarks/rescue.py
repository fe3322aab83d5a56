"""Does retry rescue disturbed episodes? Every rung of the ladder switched off or on, on the same seeds.

  python -m benchmarks.rescue --task can --kinds nudge,pushed --variants off,on --episodes 60 --time-limit 24
  python -m benchmarks.rescue --task can --only-write --document docs/uncertainty.md

One ``ebt-policy eval`` for every kind and variant; a finished one is kept in benchmarks/results/<task>/rescue/ and
played again only when its bundle or its command changed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.energy_table import write_between
from benchmarks.matrix import RESULTS, load_all, save, successes
from benchmarks.reported import reported
from ebt_policy_ros.cli.main import main as ebt_policy
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.training.episodes import find_bundle
from ebt_policy_ros.training.statistics import pair, pooled

CALM = "calm"
OFF, ON = "off", "on"
BLIND = ("retry.patience_s=60", "retry.think_rounds=0")
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    OFF: ("without retry", ("--retry", "off")),
    ON: ("the ladder", ()),
    "dp": ("diffusion (DDPM-100), without retry", ("--policy", "dp", "--retry", "off")),
    "blind8": ("blind retreat every 8 s", ("--set", "retry.blind_retreat_s=8", *(f"--set={text}" for text in BLIND))),
    "blind12": (
        "blind retreat every 12 s",
        ("--set", "retry.blind_retreat_s=12", *(f"--set={text}" for text in BLIND)),
    ),
    "no-thought": ("without thinking more", ("--set", "retry.think_rounds=0")),
    "no-starts": ("without fresh starts", ("--set", "minimise.more_starts=1")),
    "no-hold": ("without holding", ("--set", "retry.hold_s=0")),
    "no-retreat": ("without retreat: it gives up", ("--set", "retry.max_retreats=0")),
    "no-longer": ("without longer chunks after a retreat", ("--set", "retry.longer_chunks=false")),
    "patient": ("twice the patience (3.2 s)", ("--set", "retry.patience_s=3.2")),
    "slow": ("half speed in doubt", ("--set", "retry.slow_speed=0.5")),
    "alert": ("plans every 0.1 s in doubt", ("--set", "schedule.alert_steps=2")),
    "long": ("whole chunks (0.8 s) in doubt", ("--set", "schedule.alert_steps=16")),
    "trust": ("only rows the critic trusts", ("--set", "schedule.trust=1")),
    "looks": ("looks every 0.2 s", ("--set", "schedule.look_steps=4")),
    "warm": ("warm start and a fresh one", ("--set", "minimise.warm_start=true", "--set", "minimise.starts=2")),
}
"""Name -> what the table calls it, and what it adds to the command."""


def arguments(options: argparse.Namespace, variant: str, kind: str) -> list[str]:
    """What follows ``ebt-policy`` in the command of a cell."""
    if variant not in VARIANTS:
        raise SettingsError(f"variant '{variant}': expected some of {', '.join(VARIANTS)}")
    command = ["eval", "--model", str(options.model or f"models/{options.task}"), "--task", options.task]
    command += ["--episodes", str(options.episodes), "--seed", str(options.seed)]
    command += [] if kind == CALM else ["--perturb", kind]
    command += [] if options.time_limit is None else ["--time-limit", f"{options.time_limit:g}"]
    return [*command, *VARIANTS[variant][1]]


def measure(options: argparse.Namespace, variant: str, kind: str, path: Path) -> int:
    """Plays a cell unless it is there already; the exit status."""
    given = arguments(options, variant, kind)
    method = "dp" if variant == "dp" else "ebt"
    weights = find_bundle(options.model or f"models/{options.task}", method)[1].weights_sha256
    command = " ".join(["ebt-policy", *given])
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if (kept["command"], kept["weights_sha256"]) == (command, weights):
            return 0
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        extra = [] if options.processes is None else ["--processes", str(options.processes)]
        status = ebt_policy([*given, *extra, "--json", str(output)])
        if status == 0:
            save(path, condensed(json.loads(output.read_text(encoding="utf-8")), variant, kind, command))
    return status


def condensed(result: Mapping[str, Any], variant: str, kind: str, command: str) -> dict[str, Any]:
    """A result of ``ebt-policy eval`` as it is kept."""
    episodes = result["episodes"]
    return {
        "command": command,
        "variant": variant,
        "kind": kind,
        "weights_sha256": result["weights_sha256"],
        "first_seed": episodes[0]["seed"],
        "outcomes": "".join("1" if one["success"] else "0" for one in episodes),
        "disturbed": "".join("1" if one["perturbed_at_s"] is not None else "0" for one in episodes),
        "durations_s": [round(one["duration_s"], 2) for one in episodes],
        "retries": [one["retries"] for one in episodes],
        "gave_up": sum(one["gave_up"] for one in episodes),
        "network_evaluations_per_chunk_mean": result["network_evaluations_per_chunk_mean"],
        "chunk_latency_ms": result["chunk_latency_ms"],
        "versions": result["versions"],
    }


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row a variant, pooled over the perturbed kinds it was played on, paired with 'off' and with 'on'."""
    by = {(cell["variant"], cell["kind"]): cell for cell in cells}
    kinds = [kind for kind in dict.fromkeys(cell["kind"] for cell in cells) if kind != CALM]
    head = [
        "variant",
        *kinds,
        "less without retry",
        "time to success [s]",
        "retreats",
        "given up",
        "passes/chunk",
        CALM,
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for variant, (words, _) in VARIANTS.items():
        own = [by[variant, kind] for kind in kinds if (variant, kind) in by]
        calm = by.get((variant, CALM))
        if not own and calm is None:
            continue
        cells_of = [_rate(by.get((variant, kind))) for kind in kinds]
        lines.append(
            "| "
            + " | ".join([words, *cells_of, _against(by, variant, kinds), *_course(by, own, kinds), _rate(calm)])
            + " |"
        )
    return "\n".join(lines)


def _rate(cell: Mapping[str, Any] | None) -> str:
    return "" if cell is None else f"{cell['outcomes'].count('1')}/{len(cell['outcomes'])}"


def _against(by: Mapping[tuple[str, str], Mapping[str, Any]], variant: str, kinds: Sequence[str]) -> str:
    """Points of success gained over no retry, on the same seeds and kinds, with the paired interval."""
    both = [(by[variant, kind], by[OFF, kind]) for kind in kinds if (variant, kind) in by and (OFF, kind) in by]
    if variant == OFF or not both:
        return ""
    found = pooled([pair(successes(one), successes(other)) for one, other in both])
    low, high = found.interval
    return f"{100 * found.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _course(
    by: Mapping[tuple[str, str], Mapping[str, Any]], own: Sequence[Mapping[str, Any]], kinds: Sequence[str]
) -> list[str]:
    """Mean time to success (and how much later than without retry) where both succeeded, retreats, given up, passes."""
    if not own:
        return ["", "", "", ""]
    both = [
        (mine, base)
        for cell in own
        for won, mine, base_won, base in zip(
            cell["outcomes"],
            cell["durations_s"],
            by.get((OFF, cell["kind"]), cell)["outcomes"],
            by.get((OFF, cell["kind"]), cell)["durations_s"],
            strict=False,
        )
        if won == base_won == "1"
    ]
    time_s = sum(mine for mine, _ in both) / max(1, len(both))
    later_s = time_s - sum(base for _, base in both) / max(1, len(both))
    passes = [cell["network_evaluations_per_chunk_mean"] for cell in own]
    return [
        f"{time_s:.1f}" + (f" ({later_s:+.1f})" if own[0]["variant"] != OFF else ""),
        str(sum(sum(cell["retries"]) for cell in own)),
        str(sum(cell["gave_up"] for cell in own)),
        f"{sum(passes) / len(passes):.2f}",
    ]


@reported("rescue")
def main(given: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rescue", description=__doc__.split("\n\n")[0])
    parser.add_argument("--task", required=True)
    parser.add_argument("--model", help="bundle (default: models/<task>)")
    parser.add_argument("--name", help="of the results and of the table's markers (default: the task)")
    parser.add_argument("--kinds", default=CALM, help="comma separated: calm, and perturbations of ebt-policy eval")
    parser.add_argument("--variants", default=f"{OFF},{ON}", help=f"comma separated: {', '.join(VARIANTS)}")
    parser.add_argument("--episodes", type=int, default=60, help="of every kind")
    parser.add_argument("--seed", type=int, default=60_000)
    parser.add_argument("--time-limit", type=float, help="longest episode [simulated s]")
    parser.add_argument("--processes", type=int, help="episodes in parallel (default: one a core)")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only-write", action="store_true", help="play nothing")
    parser.add_argument("--document", type=Path, help="Markdown file for the table, between its markers")
    options = parser.parse_args(given)
    name = options.name or options.task
    folder = options.results / name / "rescue"
    for kind in () if options.only_write else options.kinds.split(","):
        for variant in options.variants.split(","):
            status = measure(options, variant, kind, folder / f"{variant}-{kind}.json")
            if status != 0:
                return status
    text = table(load_all(folder, "*.json"))
    if options.document is not None:
        write_between(options.document, f"rescue {name}", text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
