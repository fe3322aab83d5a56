"""What a launch file starts: its elements evaluated to commands, environments and labels."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path

from ebt_policy_ros.core.errors import SettingsError, UnsupportedError
from ebt_policy_ros.resources import PACKAGE

from .arguments import ParameterValue, read_value
from .launch_text import Element, Scope, read_launch_file, split_words

_NODE_ATTRIBUTES = (
    "pkg", "exec", "name", "namespace", "args", "ros_args", "output", "respawn", "respawn_delay", "cwd", "if", "unless"
)  # fmt: skip
_ENTRY_POINTS = {"policy_node": "ebt_policy_ros.cli.nodes:policy_node", "sim_node": "ebt_policy_ros.cli.nodes:sim_node"}


@dataclass(frozen=True)
class ProcessDescription:
    """One process of a launch file."""

    label: str
    command: list[str]
    environment: dict[str, str]
    output: str = "log"
    cwd: str | None = None
    respawn: bool = False
    respawn_delay_s: float = 0.0
    where: str = ""


@dataclass
class _Context:
    """What the elements before this one have set up; groups work on a copy."""

    scope: Scope
    processes: list[ProcessDescription]
    namespace: str = ""
    remaps: list[tuple[str, str]] = field(default_factory=list)
    parameters: list[tuple[str, ParameterValue]] = field(default_factory=list)

    initial_environment: Mapping[str, str] = field(default_factory=dict)

    def copy(self) -> _Context:
        scope = Scope(dict(self.scope.variables), dict(self.scope.environment), self.scope.file)
        return replace(self, scope=scope, remaps=list(self.remaps), parameters=list(self.parameters))

    def start_over(self) -> _Context:
        """As if nothing had been set up before: what a group sees to which nothing is forwarded."""
        scope = Scope({}, dict(self.initial_environment), self.scope.file)
        return replace(self, scope=scope, namespace="", remaps=[], parameters=[])

    def text(self, element: Element, name: str, default: str | None = None) -> str:
        """Attribute `name` with its substitutions done; SettingsError when it is missing and has no default."""
        if name not in element.attributes and default is not None:
            return default
        return self.scope.expand(self.attribute(element, name), element.where)

    def words(self, element: Element, name: str) -> list[str]:
        """Attribute `name` as words, none when it is missing; what a substitution gives stays within its word."""
        text = element.attributes.get(name, "")
        try:
            return split_words(text, lambda part: self.scope.expand(part, element.where))
        except SettingsError:
            raise
        except ValueError as error:
            raise SettingsError(f"{element.where}: cannot split {name}='{text}' into words: {error}") from error

    def attribute(self, element: Element, name: str) -> str:
        """Attribute `name` as it is written; SettingsError when it is missing."""
        if name not in element.attributes:
            raise SettingsError(f"{element.where}: <{element.tag}> needs the attribute '{name}'")
        return element.attributes[name]


def evaluate(path: Path, arguments: Mapping[str, str], environment: Mapping[str, str]) -> list[ProcessDescription]:
    """The processes that `path` starts with launch arguments `arguments`.

    Raises SettingsError (what is missing or wrong, with file and line) and UnsupportedError (tag, attribute or
    substitution that only ROS 2 understands).
    """
    root = read_launch_file(path)
    declared = declared_arguments(root)
    unknown = sorted(set(arguments) - set(declared))
    if unknown:
        raise SettingsError(
            f"{path} has no launch argument {', '.join(unknown)}; it has {', '.join(sorted(declared)) or 'none'}"
        )
    context = _Context(Scope(dict(arguments), dict(environment), path), [], initial_environment=environment)
    _run_all(root, context)
    return context.processes


def declared_arguments(root: Element) -> dict[str, Element]:
    """The <arg> elements of a launch file, by name; those of included files do not count."""
    found = {}
    for element in root.children:
        if element.tag == "arg":
            found[element.attributes.get("name", "")] = element
        elif element.tag == "group":
            found.update(declared_arguments(element))
    return found


def _run_all(parent: Element, context: _Context) -> None:
    for element in parent.children:
        _run(element, context)


def _run(element: Element, context: _Context) -> None:
    if element.tag not in _ACTIONS:
        raise element.unsupported()
    if _is_wanted(element, context):
        _ACTIONS[element.tag](element, context)


def _is_wanted(element: Element, context: _Context) -> bool:
    where = element.where
    if "if" in element.attributes and "unless" in element.attributes:
        raise SettingsError(f"{where}: <{element.tag}> has both 'if' and 'unless'")
    if "if" in element.attributes:
        return context.scope.truth(element.attributes["if"], where)
    return not ("unless" in element.attributes and context.scope.truth(element.attributes["unless"], where))


def _arg(element: Element, context: _Context) -> None:
    element.allow("name", "default", "description", "if", "unless")
    name = context.text(element, "name")
    if name not in context.scope.variables:
        if "default" not in element.attributes:
            raise SettingsError(f"{element.where}: launch argument '{name}' has no default: give it as {name}:=value")
        context.scope.variables[name] = context.text(element, "default")
    choices = [child for child in element.children if child.tag == "choice"]
    if any(child.tag != "choice" for child in element.children):
        raise next(child for child in element.children if child.tag != "choice").unsupported()
    allowed = [context.text(child, "value") for child in choices]
    if allowed and context.scope.variables[name] not in allowed:
        got = context.scope.variables[name]
        raise SettingsError(
            f"{element.where}: launch argument '{name}' must be one of {', '.join(allowed)}, got '{got}'"
        )


def _let(element: Element, context: _Context) -> None:
    element.allow("name", "value", "if", "unless")
    context.scope.variables[context.text(element, "name")] = context.text(element, "value")


def _include(element: Element, context: _Context) -> None:
    element.allow("file", "if", "unless")
    path = Path(context.text(element, "file"))
    if not path.name.endswith(".xml"):
        raise UnsupportedError(f"{element.where}: only launch files in XML can be included without ROS 2, got {path}")
    given = {}
    for child in element.children:
        if child.tag != "arg":
            raise child.unsupported()
        child.allow("name", "value")
        given[context.text(child, "name")] = context.text(child, "value")
    context.scope.variables.update(given)
    # As in ROS 2, what an included file sets up (variables, namespace, environment) stays: a group keeps it in.
    outer_file, context.scope.file = context.scope.file, path
    _run_all(read_launch_file(path), context)
    context.scope.file = outer_file


def _group(element: Element, context: _Context) -> None:
    element.allow("scoped", "forwarding", "if", "unless")
    is_scoped = context.scope.truth(element.attributes.get("scoped", "true"), element.where)
    forwards = context.scope.truth(element.attributes.get("forwarding", "true"), element.where)
    _run_all(element, (context.copy() if forwards else context.start_over()) if is_scoped else context)


def _push_namespace(element: Element, context: _Context) -> None:
    element.allow("namespace", "if", "unless")
    context.namespace = _joined(context.namespace, context.text(element, "namespace"))


def _joined(outer: str, inner: str) -> str:
    return inner if inner.startswith("/") else f"{outer.rstrip('/')}/{inner}" if inner else outer


def _set_env(element: Element, context: _Context) -> None:
    element.allow("name", "value", "if", "unless")
    context.scope.environment[context.text(element, "name")] = context.text(element, "value")


def _unset_env(element: Element, context: _Context) -> None:
    element.allow("name", "if", "unless")
    context.scope.environment.pop(context.text(element, "name"), None)


def _set_remap(element: Element, context: _Context) -> None:
    element.allow("from", "to", "if", "unless")
    context.remaps.append((context.text(element, "from"), context.text(element, "to")))


def _set_parameter(element: Element, context: _Context) -> None:
    element.allow("name", "value", "type", "if", "unless")
    context.parameters.append((context.text(element, "name"), _parameter_value(element, context)))


def _parameter_value(element: Element, context: _Context) -> ParameterValue:
    """The value as its `type` says, else as YAML reads it; `value-sep` makes a list."""
    text = context.text(element, "value")
    kind = element.attributes.get("type")
    separator = element.attributes.get("value-sep") or element.attributes.get("sep")
    if separator:
        return [_converted(item, kind, element) for item in text.split(separator)]
    return _converted(text, kind, element)


def _converted(text: str, kind: str | None, element: Element) -> ParameterValue:
    if kind is None:
        return read_value(text, element.where) if text else ""
    try:
        if kind == "str":
            return text
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
    except ValueError:
        raise SettingsError(f"{element.where}: expected a value of type {kind}, got '{text}'") from None
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise SettingsError(f"{element.where}: expected true or false, got '{text}'")
        return text.lower() == "true"
    raise UnsupportedError(f"{element.where}: parameter type '{kind}' is not supported without ROS 2")


def _node(element: Element, context: _Context) -> None:
    element.allow(*_NODE_ATTRIBUTES)
    package, executable = context.text(element, "pkg"), context.text(element, "exec")
    environment = dict(context.scope.environment)
    ros_arguments = context.words(element, "ros_args")
    if name := context.text(element, "name", ""):
        ros_arguments += ["-r", f"__node:={name}"]
    namespace = _joined(context.namespace, context.text(element, "namespace", ""))
    if namespace:
        ros_arguments += ["-r", f"__ns:={namespace if namespace.startswith('/') else '/' + namespace}"]
    for key, value in context.parameters:
        ros_arguments += ["-p", f"{key}:={_written(value)}"]
    remaps = [*context.remaps]
    for child in element.children:
        _node_child(child, context, ros_arguments, remaps, environment)
    for source, target in remaps:
        ros_arguments += ["-r", f"{source}:={target}"]
    command = [*_executable(package, executable, environment, element), *context.words(element, "args")]
    context.processes.append(
        ProcessDescription(
            label=f"{executable}-{len(context.processes) + 1}",
            command=[*command, "--ros-args", *ros_arguments] if ros_arguments else command,
            environment=environment,
            output=context.text(element, "output", "log"),
            cwd=context.text(element, "cwd", "") or None,
            respawn=context.scope.truth(element.attributes.get("respawn", "false"), element.where),
            respawn_delay_s=float(context.text(element, "respawn_delay", "0.0")),
            where=element.where,
        )
    )


def _process(element: Element, context: _Context) -> None:
    """``<executable cmd="...">``: any program, split as ros2 launch does, without a shell."""
    element.allow("cmd", "name", "output", "cwd", "if", "unless")
    environment = dict(context.scope.environment)
    for child in element.children:
        if child.tag != "env":
            raise UnsupportedError(f"{child.where}: <{child.tag}> in <executable> is not supported without ROS 2")
        _set_variable(child, context, environment)
    context.attribute(element, "cmd")
    command = context.words(element, "cmd")
    if not command or shutil.which(command[0], path=environment.get("PATH")) is None:
        raise UnsupportedError(f"{element.where}: '{command[0] if command else ''}' is not installed here")
    context.processes.append(
        ProcessDescription(
            label=f"{context.text(element, 'name', Path(command[0]).name)}-{len(context.processes) + 1}",
            command=command,
            environment=environment,
            output=context.text(element, "output", "log"),
            cwd=context.text(element, "cwd", "") or None,
            where=element.where,
        )
    )


def _set_variable(element: Element, context: _Context, environment: dict[str, str]) -> None:
    """``<env name="..." value="..."/>`` of one process."""
    element.allow("name", "value")
    environment[context.text(element, "name")] = context.text(element, "value")


def _node_child(
    child: Element,
    context: _Context,
    ros_arguments: list[str],
    remaps: list[tuple[str, str]],
    environment: dict[str, str],
) -> None:
    if child.tag == "param":
        ros_arguments += _param(child, context, "")
    elif child.tag == "remap":
        child.allow("from", "to")
        remaps.append((context.text(child, "from"), context.text(child, "to")))
    elif child.tag == "env":
        _set_variable(child, context, environment)
    else:
        raise child.unsupported()


def _param(element: Element, context: _Context, prefix: str) -> list[str]:
    element.allow("name", "value", "type", "value-sep", "sep", "from", "allow_substs")
    if "from" in element.attributes:
        if context.scope.truth(element.attributes.get("allow_substs", "false"), element.where):
            raise UnsupportedError(f"{element.where}: allow_substs is not supported without ROS 2")
        path = context.text(element, "from")
        if not Path(path).is_file():
            raise SettingsError(f"{element.where}: there is no parameter file {path}")
        return ["--params-file", path]
    name = prefix + context.text(element, "name")
    if "value" in element.attributes:
        return ["-p", f"{name}:={_written(_parameter_value(element, context))}"]
    if not element.children:
        raise SettingsError(f"{element.where}: <param> needs 'value', 'from' or nested <param>")
    found = []
    for child in element.children:
        if child.tag != "param":
            raise child.unsupported()
        found += _param(child, context, f"{name}.")
    return found


def _written(value: ParameterValue) -> str:
    """A value as `-p name:=...` takes it, its type unmistakable."""
    if isinstance(value, list):
        return "[" + ", ".join(_written(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _executable(package: str, executable: str, environment: Mapping[str, str], element: Element) -> list[str]:
    """The command of a node: ours through this interpreter, others as ROS 2 installs them."""
    if package == PACKAGE:
        for point in entry_points(group="console_scripts", name=executable):
            owner = point.dist.name if point.dist is not None else ""
            if owner.replace("-", "_") == PACKAGE:
                return [sys.executable, "-m", "ebt_policy_ros.embedded", point.value]
        if executable in _ENTRY_POINTS:
            return [sys.executable, "-m", "ebt_policy_ros.embedded", _ENTRY_POINTS[executable]]
    for prefix in environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        path = Path(prefix) / "lib" / package / executable
        if prefix and os.access(path, os.X_OK):
            return [str(path)]
    raise UnsupportedError(f"{element.where}: executable '{executable}' of package '{package}' needs ROS 2")


_ACTIONS = {
    "arg": _arg,
    "let": _let,
    "include": _include,
    "group": _group,
    "push_ros_namespace": _push_namespace,
    "push-ros-namespace": _push_namespace,
    "set_env": _set_env,
    "unset_env": _unset_env,
    "set_remap": _set_remap,
    "set_parameter": _set_parameter,
    "node": _node,
    "executable": _process,
}
