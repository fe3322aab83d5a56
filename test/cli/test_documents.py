"""README and docs say what is there: commands, options, modules and links exist."""

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from ebt_policy_ros.cli.main import COMMANDS, Parser

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "QUALITY_DECLARATION.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "models").glob("*/README.md")),
]
LEFT_OUT = re.compile(r"\s#.*|\s{3,}.*|\s?\.\.\.")
"""Comments, the second column of a list, and what is left to the reader."""


def code(text: str) -> list[str]:
    """Commands in indented blocks and between backticks, one string each; continued lines are joined."""
    text = text.replace("\\\n", " ")
    found = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    found += re.findall(r"`([^`]+)`", "\n".join(line for line in text.splitlines() if not line.startswith("    ")))
    return [LEFT_OUT.sub("", " ".join(piece.split("\n"))) for piece in found]


def mistakes(line: str) -> list[str]:
    """What of a command does not exist."""
    try:
        words = shlex.split(line)
    except ValueError:
        return []
    if words[:2] == ["python", "-m"] and len(words) > 2 and words[2].startswith(("benchmarks", "ebt_policy_ros")):
        return [] if importlib.util.find_spec(words[2]) else [f"no module {words[2]}"]
    if words[:1] != ["ebt-policy"] or len(words) < 2 or words[1] == "COMMAND":
        return []
    if words[1] not in COMMANDS:
        return [f"no command {words[1]}"]
    parser = Parser(prog=words[1], allow_abbrev=False)
    importlib.import_module(f"ebt_policy_ros.cli.{COMMANDS[words[1]][0]}").add_arguments(parser)
    options = {option for action in parser._actions for option in action.option_strings}
    return [
        f"{words[1]} has no {word}" for word in words if word.startswith("--") and word.split("=")[0] not in options
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_options_exist(document):
    lines = code(document.read_text(encoding="utf-8"))
    assert [f"{line}: {wrong}" for line in lines for wrong in mistakes(line)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    here = [link for link in links if "://" not in link]
    assert [link for link in here if not (document.parent / link).exists()] == []


def test_mistakes_are_found():
    assert mistakes("ebt-policy evaluate --model x") == ["no command evaluate"]
    assert mistakes("ebt-policy compare a.json b.json --perturb all") == ["compare has no --perturb"]
    assert mistakes("python -m benchmarks.nothing") == ["no module benchmarks.nothing"]
    assert code("    ebt-policy eval --model x   # --nothing\n") == ["ebt-policy eval --model x"]
    assert all(command in (ROOT / "README.md").read_text() for command in (f"ebt-policy {name}" for name in COMMANDS))
