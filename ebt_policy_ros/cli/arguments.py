"""Types of command line options: each refuses a bad value with a sentence that says what is allowed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

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


def output_file(text: str) -> Path:
    """A path that can be written: not a directory; its parent is made when missing."""
    path = Path(text).expanduser()
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file to write, got the directory '{text}'")
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
