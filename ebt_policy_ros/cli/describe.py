"""Shows demonstrations before anybody trains on them: pictures, ranges, rates, gaps, lags, and warnings in plain words.

  ebt-policy describe data/lift                              a table on the terminal
  ebt-policy describe data/lift --out report.html            a page with pictures (or a picture: report.png)
  ebt-policy describe my_robot.yaml --json numbers.json      the numbers; the YAML says where joints and cameras are

SOURCE is a rosbag2 bag or a folder of bags, a LeRobot data set, a robomimic file, or a YAML file that describes one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ebt_policy_ros.cli.arguments import make_parent, output_file, whole_number
from ebt_policy_ros.core.errors import SettingsError

PAGES, PICTURES = (".html", ".htm"), (".png",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``ebt-policy describe``."""
    parser.add_argument("source", metavar="SOURCE", help="bags, LeRobot data set, robomimic file, or YAML file")
    parser.add_argument("--out", type=output_file, help="report.html (one self-contained page) or report.png")
    parser.add_argument("--json", type=output_file, help="the numbers as JSON")
    parser.add_argument("--limit", type=whole_number(1), help="only the first episodes")
    parser.add_argument("--period", type=float, metavar="S", help="resample to this period [s]")
    parser.add_argument("--image-size", type=whole_number(8), nargs=2, metavar=("H", "W"), help="of every camera")


def run(options: argparse.Namespace) -> int:
    """Reads, prints, writes what was asked for; returns the exit status."""
    if options.out is not None and options.out.suffix.lower() not in (*PAGES, *PICTURES):
        raise SettingsError(f"--out: expected a name that ends in .html or .png, got '{options.out}'")
    if options.period is not None and not 0.001 <= options.period <= 10:
        raise SettingsError(f"--period: expected 0.001 to 10 s, got {options.period}")
    from ebt_policy_ros.training.dataset import Demonstrations
    from ebt_policy_ros.training.summary import summarise

    size = None if options.image_size is None else (options.image_size[0], options.image_size[1])
    data = Demonstrations.load(options.source, limit=options.limit, period_s=options.period, image_size=size)
    summary = {"source": str(options.source), **summarise(data)}
    _print(summary)
    if options.json is not None:
        make_parent(options.json)
        options.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    if options.out is not None:
        _write(options.out, data, summary)
        sys.stderr.write(f"the report is in {options.out}\n")
    return 0


def _write(path: Path, data: Any, summary: Mapping[str, Any]) -> None:
    from ebt_policy_ros.cli import describe_charts, describe_page

    make_parent(path)
    drawings = describe_charts.drawings(data)
    if path.suffix.lower() in PICTURES:
        title = f"{summary['task']}: {summary['episodes']} episodes, {summary['duration_s'] / 60:.1f} min"
        path.write_bytes(describe_charts.all_as_png(drawings, title))
        return
    pictures = [(drawing[0], describe_charts.as_png(drawing)) for drawing in drawings]
    path.write_text(describe_page.page(summary["source"], summary, pictures), encoding="utf-8")


def _print(summary: Mapping[str, Any]) -> None:
    from ebt_policy_ros.cli.describe_page import camera_rows, joint_rows, stream_rows

    length, lag = summary["length_s"], summary["lag_s"]
    print(f"{summary['source']}: {summary['kind']}, task '{summary['task']}'")
    print(
        f"{summary['episodes']} episodes, {summary['rows']} rows of {1000 * summary['period_s']:.0f} ms, "
        f"{summary['duration_s'] / 60:.1f} min; {length['least']:.1f} to {length['most']:.1f} s an episode "
        f"(median {length['median']:.1f})"
    )
    if lag is not None:
        print(
            f"positions follow actions by {1000 * lag['median']:.0f} ms ({1000 * lag['least']:.0f} to "
            f"{1000 * lag['most']:.0f})"
        )
    for heads, rows in (joint_rows(summary), stream_rows(summary), camera_rows(summary)):
        print()
        _print_table(heads, rows)
    print()
    if not summary["warnings"]:
        print("nothing found that should be looked at before training")
    for warning in summary["warnings"]:
        print(f"WARNING: {warning}")


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns side by side: text to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    for row in (heads, *rows):
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
