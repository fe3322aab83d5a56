"""The ROS part of a command line: `--ros-args -r from:=to -p name:=value --params-file F --log-level L`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .names import Remap, name_problem, node_pattern
from .unsupported import unsupported

Scalar = bool | int | float | str
ParameterValue = Scalar | list[Any] | None


class ArgumentsError(RuntimeError):
    """A ROS argument is unknown or malformed; names it."""


@dataclass(frozen=True)
class Override:
    """One parameter value for every node whose full name matches `node` ('/**' for all)."""

    node: str
    name: str
    value: ParameterValue

    def applies_to(self, full_node_name: str) -> bool:
        return node_pattern(self.node).match(full_node_name) is not None


@dataclass
class Arguments:
    """What one command line says; `others` are the arguments that are not ROS's."""

    remaps: list[Remap] = field(default_factory=list)
    overrides: list[Override] = field(default_factory=list)
    log_levels: dict[str, str] = field(default_factory=dict)
    rosout_enabled: bool = True
    stdout_enabled: bool = True
    others: list[str] = field(default_factory=list)

    def parameters_for(self, full_node_name: str) -> dict[str, ParameterValue]:
        """Overrides of one node; later ones win."""
        return {item.name: item.value for item in self.overrides if item.applies_to(full_node_name)}

    def first(self, kind: str, node_name: str) -> str | None:
        """Target of the first 'node' or 'namespace' rule for this node."""
        return next((rule.target for rule in self.remaps if rule.kind == kind and rule.applies_to(node_name)), None)


_WITH_VALUE = {
    "-r": "remap",
    "--remap": "remap",
    "-p": "param",
    "--param": "param",
    "--params-file": "file",
    "--log-level": "level",
    "--log-config-file": "log_config",
    "--log-file-name": "ignored",
    "-e": "ignored",
    "--enclave": "ignored",
}
_SWITCH = re.compile(r"--(enable|disable)-(rosout|stdout|external-lib)-logs\Z")


def parse(argv: Sequence[str]) -> Arguments:
    """Reads a whole command line; ArgumentsError for what rcl would refuse too."""
    result = Arguments()
    position, is_ros = 0, False
    while position < len(argv):
        word = argv[position]
        position += 1
        if word == "--ros-args":
            is_ros = True
        elif not is_ros:
            result.others.append(word)
        elif word == "--":
            is_ros = False
        elif word in _WITH_VALUE:
            if position == len(argv):
                raise ArgumentsError(f"Couldn't parse trailing {word} flag. No value follows it")
            _apply(result, _WITH_VALUE[word], word, argv[position])
            position += 1
        elif switch := _SWITCH.match(word):
            is_enabled = switch[1] == "enable"
            if switch[2] == "rosout":
                result.rosout_enabled = is_enabled
            elif switch[2] == "stdout":
                result.stdout_enabled = is_enabled
        else:
            raise ArgumentsError(f"Found unknown ROS arguments: [{word}]")
    return result


def _apply(result: Arguments, kind: str, flag: str, value: str) -> None:
    if kind == "remap":
        result.remaps.append(_remap(flag, value))
    elif kind == "param":
        result.overrides.append(_parameter(flag, value))
    elif kind == "file":
        result.overrides.extend(read_parameter_file(Path(value)))
    elif kind == "level":
        logger, _, level = value.rpartition(":=")
        if level.upper() not in ("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL"):
            raise ArgumentsError(f"Couldn't parse log level rule: '{flag} {value}'")
        result.log_levels[logger] = level.upper()
    elif kind == "log_config":
        raise unsupported("--log-config-file")


def _split_node(rule: str) -> tuple[str | None, str]:
    """'node:rest' -> ('node', 'rest'); 'rostopic://...' has no such part."""
    match = re.match(r"([A-Za-z_][A-Za-z0-9_]*):(?![=/])(.*)\Z", rule)
    return (match[1], match[2]) if match else (None, rule)


def _remap(flag: str, rule: str) -> Remap:
    source, separator, target = rule.partition(":=")
    if not separator or not source or not target:
        raise ArgumentsError(f"Couldn't parse remap rule: '{flag} {rule}', expected 'from:=to'")
    node, source = _split_node(source)
    if source in ("__node", "__name"):
        return Remap("node", source, target, node)
    if source == "__ns":
        return Remap("namespace", source, target, node)
    kind = "any"
    for prefix, meaning in (("rostopic://", "topic"), ("rosservice://", "service")):
        if source.startswith(prefix):
            kind, source = meaning, source.removeprefix(prefix)
    for name in (source, target):
        if problem := name_problem(name):
            raise ArgumentsError(f"Couldn't parse remap rule: '{flag} {rule}': {problem[0]}")
    return Remap(kind, source, target, node)


def _parameter(flag: str, rule: str) -> Override:
    name, separator, text = rule.partition(":=")
    if not separator or not name:
        raise ArgumentsError(f"Couldn't parse parameter override rule: '{flag} {rule}', expected 'name:=value'")
    node, name = _split_node(name)
    if re.search(r"[:*\s]", name):
        raise ArgumentsError(f"Couldn't parse parameter override rule: '{flag} {rule}', expected '[node:]name:=value'")
    value = read_value(text, f"Couldn't parse parameter override rule: '{flag} {rule}'")
    return Override(node or "/**", name, value)


def read_value(text: str, where: str) -> ParameterValue:
    """One value as `-p name:=text` reads it; ArgumentsError, which begins with `where`, when it is none."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None or (isinstance(node, yaml.ScalarNode) and not node.value and node.style is None):
            raise ArgumentsError(f"{where}: there is no value")
        return _value(node, where)
    except yaml.YAMLError as error:
        raise ArgumentsError(f"{where}: cannot read value '{text}': {error}") from error


def read_parameter_file(path: Path) -> list[Override]:
    """Every `node: ros__parameters:` of a ROS parameter file, nested namespaces joined, in the file's order."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError) as error:
        raise ArgumentsError(f"Couldn't parse params file: '--params-file {path}': {error}") from error
    found: list[Override] = []
    if root is not None:
        _walk_nodes(root, "", path, found)
    return found


def _walk_nodes(node: Any, prefix: str, path: Path, found: list[Override]) -> None:
    if not isinstance(node, yaml.MappingNode):
        raise ArgumentsError(f"{path}:{node.start_mark.line + 1}: expected node names and below them 'ros__parameters'")
    for key, child in node.value:
        if key.value == "ros__parameters":
            _walk_parameters(child, "", prefix, path, found)
        else:
            _walk_nodes(child, f"{prefix}/{key.value}".replace("//", "/"), path, found)


def _walk_parameters(node: Any, prefix: str, target: str, path: Path, found: list[Override]) -> None:
    if not isinstance(node, yaml.MappingNode):
        if isinstance(node, yaml.ScalarNode) and not node.value:
            return
        raise ArgumentsError(f"{path}:{node.start_mark.line + 1}: expected parameters as 'name: value'")
    for key, child in node.value:
        name = f"{prefix}{key.value}"
        if isinstance(child, yaml.MappingNode):
            _walk_parameters(child, f"{name}.", target, path, found)
        else:
            found.append(Override(target, name, _value(child, f"{path}:{child.start_mark.line + 1} {name}")))


def _value(node: Any, where: str) -> ParameterValue:
    """One value as rcl's YAML parser reads it: a list holds one type, an empty one says nothing (None)."""
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if not isinstance(node, yaml.SequenceNode) or not all(isinstance(item, yaml.ScalarNode) for item in node.value):
        raise ArgumentsError(f"{where}: expected a value or a flat list of values")
    if any(not item.value and item.style is None for item in node.value):
        raise ArgumentsError(f"{where}: a list entry is empty")
    values = [_scalar(item) for item in node.value]
    if len({type(value) for value in values}) > 1:
        raise ArgumentsError(f"{where}: sequence should be of same type, got {values}; write 1.0, not 1, beside 2.5")
    return values or None


_TRUE = {"Y", "y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"}
_FALSE = {"N", "n", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"}
_INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)\Z")
_STRING_TAG = "tag:yaml.org,2002:str"


def _scalar(node: Any) -> Scalar:
    """Quoted text is a string; else the first of bool, integer (C notation), float (C notation) that fits."""
    text: str = node.value
    implicit_tag = yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False))
    if node.style is not None or node.tag == _STRING_TAG != implicit_tag:
        return text
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if match := _INTEGER.match(text):
        digits = match[2].lower()
        base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
        value = int(digits, base) * (-1 if match[1] == "-" else 1)
        if -(2**63) <= value < 2**63:
            return value
    try:
        number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan")) if "_" not in text else None
    except ValueError:
        return text
    is_overflow = number is not None and math.isinf(number) and "inf" not in text.lower()
    return text if number is None or is_overflow else number
