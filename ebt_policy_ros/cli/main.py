"""``ebt-policy``: parses the command line, runs one subcommand, turns errors into one sentence and an exit status.

Exit status: 0 done, 1 ran but the result is bad (a process died), 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from ebt_policy_ros import __version__
from ebt_policy_ros.core.errors import EbtPolicyError

COMMANDS = {
    "demo": ("demo", "run the nodes and a simulated arm live, and report"),
    "eval": ("evaluate", "success of a bundle in lockstep simulation, deterministic"),
    "collect": ("collect", "demonstrations of a simulated task by a scripted expert, as bags"),
    "describe": ("describe", "show demonstrations before training: pictures, ranges, rates, warnings"),
    "train": ("train", "demonstrations and training, from nothing to a bundle"),
    "select": ("select", "the best checkpoint of a training run, by closed-loop episodes"),
    "compare": ("compare", "two results on the same seeds: difference with its interval, exact test"),
    "calibrate": ("calibrate", "measure a bundle's uncertainty score and store its threshold"),
    "export": ("export", "write a bundle as ONNX graphs, and check that they compute the same"),
    "bench": ("bench", "how long a chunk takes, against diffusion and regression on the same trunk"),
    "replay": ("replay", "a bag through the pipeline again: the same chunks? another bundle's?"),
    "check": ("check", "what does not fit between robot file, bundle, URDF and parameters, by name"),
    "launch": ("launch", "start a *.launch.xml file without ROS 2"),
}
"""Subcommand -> (module in this package, one line of help). A module is imported only when its command is used."""

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence on stderr and exit status 2."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: {message}; '{self.prog} --help' lists what is possible\n")
        raise SystemExit(EXIT_BAD_INPUT)


def top_parser() -> Parser:
    """The parser of ``ebt-policy`` itself: only the name of the subcommand; the rest is the subcommand's."""
    lines = "\n".join(f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items())
    parser = Parser(
        prog="ebt-policy",
        usage="ebt-policy COMMAND [OPTIONS]",
        description="Drives a robot arm by minimising the energy of action chunks.",
        epilog=f"commands:\n{lines}\n\n'ebt-policy COMMAND --help' shows a command's options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ebt-policy {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=list(COMMANDS), help="one of: " + ", ".join(COMMANDS))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line ``arguments`` (default: this process's) and returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = top_parser().parse_args(given[:1]).command
    module_name, description = COMMANDS[command]
    try:
        module = importlib.import_module(f"ebt_policy_ros.cli.{module_name}")
        parser = Parser(
            prog=f"ebt-policy {command}",
            description=module.__doc__ or description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(parser)
        return int(module.run(parser.parse_args(given[1:])))
    except EbtPolicyError as error:
        return _fail(command, str(error))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError, FileExistsError) as error:
        return _fail(command, _one_line(str(error)))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ebt_policy_ros"):
            raise
        return _fail(
            command,
            f"the Python package '{error.name}' is missing; install it (simulator: pip install 'ebt_policy_ros[sim]')",
        )
    except KeyboardInterrupt:
        sys.stderr.write(f"ebt-policy {command}: interrupted\n")
        return EXIT_INTERRUPTED


def _fail(command: str, sentence: str) -> int:
    sys.stderr.write(f"ebt-policy {command}: {_one_line(sentence)}\n")
    return EXIT_BAD_INPUT


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
