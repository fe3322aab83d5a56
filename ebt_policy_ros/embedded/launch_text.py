"""Launch files as elements with line numbers, and the substitutions `$(var x)`, `$(env X)`, ... in their attributes."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from ebt_policy_ros.core.errors import SettingsError, UnsupportedError
from ebt_policy_ros.resources import PACKAGE, share_directories


@dataclass
class Element:
    """One tag of a launch file."""

    tag: str
    attributes: dict[str, str]
    file: Path
    line: int
    children: list[Element] = field(default_factory=list)

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def allow(self, *names: str) -> None:
        """UnsupportedError for an attribute that is not among `names`."""
        for name in self.attributes:
            if name not in names:
                raise UnsupportedError(
                    f"{self.where}: attribute '{name}' of <{self.tag}> is not supported without ROS 2"
                )

    def unsupported(self) -> UnsupportedError:
        return UnsupportedError(f"{self.where}: tag <{self.tag}> is not supported here without ROS 2")


def read_launch_file(path: Path) -> Element:
    """The <launch> element; SettingsError when the file is missing, not XML, or something else."""
    root: list[Element] = []
    stack: list[Element] = []
    parser = expat.ParserCreate()

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, attributes, path, parser.CurrentLineNumber)
        (stack[-1].children if stack else root).append(element)
        stack.append(element)

    def end(_: str) -> None:
        stack.pop()

    parser.StartElementHandler, parser.EndElementHandler = start, end
    try:
        parser.Parse(path.read_bytes(), True)
    except OSError as error:
        raise SettingsError(f"cannot read launch file {path}: {error.strerror}") from error
    except expat.ExpatError as error:
        raise SettingsError(f"{path}:{error.lineno}: not a launch file in XML: {error}") from error
    if root[0].tag != "launch":
        raise SettingsError(f"{root[0].where}: expected <launch>, got <{root[0].tag}>")
    return root[0]


@dataclass
class Scope:
    """What substitutions see: launch configurations, environment, the file they stand in."""

    variables: dict[str, str]
    environment: dict[str, str]
    file: Path

    def expand(self, text: str, where: str) -> str:
        """`text` with every substitution replaced; a backslash keeps the next character as it is."""
        expanded, rest = _expand(text, 0, self, where, is_nested=False)
        assert rest == len(text)
        return expanded

    def truth(self, text: str, where: str) -> bool:
        """The value of `if` and `unless`: true, false, 1 or 0 in any case."""
        value = self.expand(text, where).strip().lower()
        if value not in ("true", "false", "1", "0"):
            raise SettingsError(f"{where}: expected true, false, 1 or 0 in a condition, got '{value}'")
        return value in ("true", "1")


def split_words(text: str, expand: Callable[[str], str]) -> list[str]:
    """A command line split at its spaces as a shell does; what `expand` makes of a `$(...)` stays within its word.

    A backslash is taken first, as everywhere in a launch file: it hides no space from the split.
    """
    kept: list[str] = []
    parts, position = [], 0
    while position < len(text):
        if text[position] == "\\" and position + 1 < len(text):
            parts.append(text[position + 1])
            position += 2
            continue
        if not text.startswith("$(", position):
            parts.append(text[position])
            position += 1
            continue
        end, depth = position + 2, 1
        while end < len(text) and depth:
            depth += (text[end] == "(") - (text[end] == ")")
            end += 1
        parts.append(f"\x00{len(kept)}\x00")
        kept.append(expand(text[position:end]))
        position = end
    words = shlex.split("".join(parts))
    return [re.sub("\x00(\\d+)\x00", lambda match: kept[int(match[1])], word) for word in words]


def _expand(text: str, position: int, scope: Scope, where: str, *, is_nested: bool) -> tuple[str, int]:
    parts: list[str] = []
    while position < len(text):
        if text[position] == "\\" and position + 1 < len(text):
            parts.append(text[position + 1])
            position += 2
        elif text.startswith("$(", position):
            inner, position = _expand(text, position + 2, scope, where, is_nested=True)
            parts.append(_substitute(inner, scope, where))
        elif text[position] == ")" and is_nested:
            return "".join(parts), position + 1
        else:
            parts.append(text[position])
            position += 1
    if is_nested:
        raise SettingsError(f"{where}: '$(' without its ')' in '{text}'")
    return "".join(parts), position


def _substitute(inner: str, scope: Scope, where: str) -> str:
    name, *arguments = shlex.split(inner) or [""]
    if name not in _SUBSTITUTIONS:
        raise UnsupportedError(f"{where}: substitution '$({name} ...)' is not supported without ROS 2")
    function, counts = _SUBSTITUTIONS[name]
    if len(arguments) not in counts:
        raise SettingsError(f"{where}: $({name}) takes {min(counts)} to {max(counts)} words, got {len(arguments)}")
    return function(scope, arguments, where)


def _var(scope: Scope, arguments: list[str], where: str) -> str:
    if arguments[0] in scope.variables:
        return scope.variables[arguments[0]]
    if len(arguments) > 1:
        return arguments[1]
    raise SettingsError(
        f"{where}: launch configuration '{arguments[0]}' does not exist; declare it with <arg> or <let>"
    )


def _env(scope: Scope, arguments: list[str], where: str) -> str:
    if arguments[0] in scope.environment:
        return scope.environment[arguments[0]]
    if len(arguments) > 1:
        return arguments[1]
    raise SettingsError(f"{where}: environment variable '{arguments[0]}' does not exist and has no default")


def _dirname(scope: Scope, _: list[str], __: str) -> str:
    return str(scope.file.resolve().parent)


def _find_pkg_share(scope: Scope, arguments: list[str], where: str) -> str:
    return str(find_share(arguments[0], scope.environment, where))


_SUBSTITUTIONS: dict[str, tuple[Callable[[Scope, list[str], str], str], tuple[int, ...]]] = {
    "var": (_var, (1, 2)),
    "env": (_env, (1, 2)),
    "optenv": (_env, (2,)),
    "dirname": (_dirname, (0,)),
    "find-pkg-share": (_find_pkg_share, (1,)),
}


def find_share(package: str, environment: Mapping[str, str], where: str) -> Path:
    """The share directory of a package: ours wherever it is installed, others through AMENT_PREFIX_PATH."""
    candidates: Iterable[Path] = (
        Path(prefix) / "share" / package
        for prefix in environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
        if prefix
    )
    if package == PACKAGE:
        candidates = (path for path in share_directories() if (path / "launch").is_dir())
    for path in candidates:
        if path.is_dir():
            return path
    raise SettingsError(
        f"{where}: package '{package}' was not found; it needs ROS 2, or its prefix in AMENT_PREFIX_PATH"
    )
