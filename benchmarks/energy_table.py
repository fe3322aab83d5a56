"""The table of what every score is worth, for docs/energies.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.verdicts import ALL
from ebt_policy_ros.core.errors import EbtPolicyError

HEAD = (
    *("judge", "score", "this fails (3 s)", "this fails (all episodes)", "something happened (1 s)"),
    *("false alarms", "failures alarmed within 3 s", "successes alarmed", "median lead [s]"),
)
AREAS = (("fails", "3s"), ("overall", ""), ("happened", "1s"))


def table(result: Mapping[str, Any]) -> str:
    """Markdown: how the episodes went, then a row for every score."""
    counts = "; ".join(
        f"{kind} {own['successes']}/{own['episodes']}"
        + (f" ({own['disturbed']} disturbed)" if own["disturbed"] not in (0, own["episodes"]) else "")
        for kind, own in result["episodes"].items()
    )
    lines = [f"Successes of the policy that played: {counts}.", "", _line(HEAD), _line(["---"] * len(HEAD))]
    lines += [_line(_row(result, name)) for name in result["overall"]]
    return "\n".join(lines)


def _row(result: Mapping[str, Any], name: str) -> list[str]:
    judge, _, score = name.partition(": ")
    cells = [judge, score.replace("|", "\\|")]
    for what, window in AREAS:
        cells.append(area_text(result[what][window][ALL][name] if window else result[what][name]))
    alarms = result["alarms"][name]
    if alarms is None:
        return [*cells, "-", "-", "-", "-"]
    cells += [
        "{} of {}".format(*alarms[key][:2]) for key in ("false_alarms", "failures_alarmed_3s", "successes_alarmed")
    ]
    lead = alarms["lead_s"]
    return [*cells, "-" if lead is None else f"{lead:+.1f} ({alarms['ahead']} of {alarms['lead_n']} before)"]


def area_text(area: list[float] | None) -> str:
    """'.81 (.74 to .88)'."""
    return "-" if area is None else "{} ({} to {})".format(*(f"{value:.2f}" for value in area[:3]))


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def write_between(path: Path, label: str, text: str) -> None:
    """Replaces what stands between the label's markers in a Markdown file."""
    begin, end = f"<!-- {label}: begin -->", f"<!-- {label}: end -->"
    document = path.read_text(encoding="utf-8") if path.exists() else ""
    if begin not in document or end not in document:
        raise EbtPolicyError(f"{path}: expected the markers {begin} and {end} for the table; add them")
    before, rest = document.split(begin, 1)
    after = rest.split(end, 1)[1]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
