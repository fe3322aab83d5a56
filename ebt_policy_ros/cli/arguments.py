"""Types of command line options: each refuses a bad value with a sentence that says what is allowed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ebt_policy_ros.core.errors import EbtPolicyError


def whole_number(least: int) -> Callable[[str], int]:
    """A parser of integers that are at least ``least``."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got '{text}'")
        return value

    return parse


def setting(text: str) -> tuple[str, str, Any]:
    """SECTION.FIELD=VALUE, such as retry.max_retreats=1; the value as YAML reads it."""
    import yaml

    name, separator, value = text.partition("=")
    section, dot, field = name.strip().partition(".")
    if not (separator and dot and section and field):
        raise argparse.ArgumentTypeError(f"expected SECTION.FIELD=VALUE, such as retry.max_retreats=1, got '{text}'")
    try:
        return section, field, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"'{text}': the value is not YAML: {error}") from error


def output_file(text: str) -> Path:
    """A path that can be written: not a directory; its parent is made when missing."""
    path = Path(text).expanduser()
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file to write, got the directory '{text}'")
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    if existing != path and not existing.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file to write, but '{existing}' in '{text}' is not a directory")
    if not os.access(existing, os.W_OK):
        raise argparse.ArgumentTypeError(f"expected a file to write, but '{existing}' may not be written")
    return path


def existing_directory(text: str) -> Path:
    """An existing directory."""
    path = Path(text).expanduser()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"expected an existing directory, got '{text}'")
    return path


def make_parent(path: Path) -> None:
    """Makes the directory that will hold ``path``; EbtPolicyError when that is impossible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EbtPolicyError(f"cannot make the directory of '{path}': {error}") from error


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """--runtime, --device and --precision: what runs the bundle, and where."""
    from ebt_policy_ros.assemble import PRECISIONS, RUNTIMES

    parser.add_argument("--runtime", default="auto", help=f"what runs the bundle: {', '.join(RUNTIMES)}")
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:INDEX; with --runtime onnxruntime also tensorrt"
    )
    words = f"of convolutions and large matrix products: {' or '.join(PRECISIONS)} (default {PRECISIONS[0]})"
    parser.add_argument("--precision", default=PRECISIONS[0], help=words)


def add_settings(parser: argparse.ArgumentParser, text: str = "") -> None:
    """The option ``--set``, which may be given several times; ``text`` is what else its help says."""
    parser.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="SECTION.FIELD=VALUE",
        help=f"a setting of the pipeline{text}, such as retry.max_retreats=1; may be given several times",
    )


def set_over(settings: list[tuple[str, str, Any]], overrides: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """``overrides`` (section -> field -> value) with what ``--set`` says on top."""
    for section, field, value in settings:
        overrides.setdefault(section, {})[field] = value
    return overrides
