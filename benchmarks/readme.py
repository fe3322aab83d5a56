"""The part of the README between its markers: table, times, plots, and how to measure them again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.curve import TARGET, Run, in_words, load_runs, summary
from benchmarks.matrix import Matrix, load_latency
from benchmarks.table import measured, table, three_digits
from ebt_policy_ros.core.errors import EbtPolicyError

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
CAPTIONS = {
    "success.png": "Success of every method on every task, with 95 % intervals; small dots are training seeds",
    "latency.png": "How long a chunk takes: the sampler alone, and from camera to chunk",
    "learning_curves.png": "Success against CPU seconds of training",
}


def write_results(matrix: Matrix, results: Path, readme: Path, pictures: Sequence[Path]) -> None:
    """Puts what was measured between the markers of ``readme``; EbtPolicyError when they are not there."""
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise EbtPolicyError(f"{readme}: expected the lines {BEGIN} and {END}, between which the results go")
    latency, runs = load_latency(results), load_runs(results)
    parts = [table(matrix, measured(results), latency)]
    if latency is not None:
        parts.append(_latency(latency))
    parts += [_times(task, [run for run in runs if run.task == task]) for task in dict.fromkeys(r.task for r in runs)]
    parts += [_picture(path, readme) for path in pictures if path.name in CAPTIONS]
    readme.write_text(f"{before}{BEGIN}\n{chr(10).join(_spaced(parts))}\n{END}{after}", encoding="utf-8")


def _latency(latency: Mapping[str, Any]) -> str:
    def pair(kind: str) -> str:
        return " and ".join(three_digits(latency[kind][name]) for name in ("ddpm100", "ddim16"))

    machine = f"{latency['processor']}, {latency['settings']['device']}, one process"
    return (
        f"Against EBT's two steps the samplers of DDPM-100 and DDIM-16 take {pair('ratios')} times as long; without "
        f"the energy of the result, which they do not have, {pair('ratios_unscored')}; from camera to chunk, encoders "
        f"and all, {pair('ratios_camera_to_chunk')} ({machine}; "
        f"`ebt-policy bench --model {latency['model']} --json out.json`)."
    )


def _times(task: str, runs: Sequence[Run]) -> str:
    found = summary(runs)
    lines = [
        f"- {label}: {in_words(entry['cpu_s'], entry['interval'], '.0f')}; "
        f"{entry['encoder_cpu_s']:.0f} before that for the encoders, which all methods share"
        for label, entry in found["runs"].items()
    ]
    lines += [
        f"- {what}: {in_words(entry['ratio'], entry['interval'], '.2f')}" for what, entry in found["ratios"].items()
    ]
    head = f"CPU seconds of training until a success of {TARGET} on {task}"
    how = f"{len(runs[0].outcomes[0])} episodes a snapshot, `python -m benchmarks.curve RUN_DIR ...`"
    return "\n".join([f"{head} ({how}):", "", *lines])


def _picture(path: Path, readme: Path) -> str:
    place = Path(os.path.relpath(path.resolve(), readme.resolve().parent)).as_posix()
    return f"![{CAPTIONS[path.name]}]({place})"


def _spaced(parts: Sequence[str]) -> Iterator[str]:
    for part in parts:
        yield part
        yield ""
