"""What every benchmark says of its errors."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from ebt_policy_ros.cli.main import EXIT_BAD_INPUT
from ebt_policy_ros.core.errors import EbtPolicyError

P = ParamSpec("P")


def reported(name: str) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """For the main function of ``benchmarks.<name>``: an EbtPolicyError becomes one sentence and an exit status."""

    def decorate(main: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(main)
        def run(*args: P.args, **kwargs: P.kwargs) -> int:
            try:
                return main(*args, **kwargs)
            except EbtPolicyError as error:
                sys.stderr.write(f"benchmarks.{name}: {error}\n")
                return EXIT_BAD_INPUT

        return run

    return decorate
