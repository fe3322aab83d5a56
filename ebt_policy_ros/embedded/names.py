"""ROS names: validation, expansion, remapping and the DDS topic names they become."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def name_problem(name: str) -> tuple[str, int] | None:
    """What is wrong with a topic, service or parameter-free name, and where; None when nothing is."""
    if not name:
        return "topic name must not be empty string", 0
    if name.endswith("/"):
        return "topic name must not end with a forward slash", len(name) - 1
    if re.search(r"[^A-Za-z0-9_/~{}]", name):
        index = re.search(r"[^A-Za-z0-9_/~{}]", name).start()  # type: ignore[union-attr]
        return "topic name must not contain characters other than alphanumerics, '_', '~', '{', or '}'", index
    tilde = name.find("~", 1)
    if tilde > 0 or (name.startswith("~") and len(name) > 1 and name[1] != "/"):
        return "tilde (~) must be first and be followed by a forward slash (/)", max(tilde, 0)
    offset = 0
    for index, token in enumerate(name.split("/")):
        if not token and index > 0:
            return "topic name must not contain repeated forward slashes", offset
        if token[:1].isdigit():
            return "topic name token must not start with a number", offset
        offset += len(token) + 1
    return None


def node_name_problem(name: str) -> tuple[str, int] | None:
    """What is wrong with a node name."""
    if not name:
        return "node name must not be empty", 0
    bad = re.search(r"[^A-Za-z0-9_]", name)
    if bad:
        return "node name must not contain characters other than alphanumerics or '_'", bad.start()
    return ("node name must not start with a number", 0) if name[0].isdigit() else None


def namespace_problem(namespace: str) -> tuple[str, int] | None:
    """What is wrong with an absolute namespace."""
    if namespace == "/":
        return None
    if not namespace.startswith("/"):
        return "namespace must be absolute, it must lead with a '/'", 0
    if "~" in namespace or "{" in namespace:
        return "namespace must not contain characters other than alphanumerics, '_', or '/'", 0
    return name_problem(namespace)


def expand(name: str, node_name: str, namespace: str) -> str:
    """Absolute name: '~' is the node, '{node}' and '{ns}' are replaced, relative names get the namespace."""
    base = "" if namespace == "/" else namespace
    name = name.replace("{node}", node_name).replace("{namespace}", namespace).replace("{ns}", namespace)
    if name.startswith("~"):
        return f"{base}/{node_name}{name[1:]}"
    return name if name.startswith("/") else f"{base}/{name}"


@dataclass(frozen=True)
class Remap:
    """One rule `[node:]from:=to`; kind is 'topic', 'service', 'any', 'node' or 'namespace'."""

    kind: str
    source: str
    target: str
    node: str | None = None

    def applies_to(self, node_name: str) -> bool:
        return self.node is None or self.node == node_name


def remap(name: str, kind: str, rules: Iterable[Remap], node_name: str, namespace: str) -> str:
    """The first rule that matches the absolute `name` decides."""
    for rule in rules:
        concerns = rule.kind in (kind, "any") and rule.applies_to(node_name)
        if concerns and expand(rule.source, node_name, namespace) == name:
            return expand(rule.target, node_name, namespace)
    return name


def topic_on_wire(name: str) -> str:
    return f"rt{name}"


def request_on_wire(name: str) -> str:
    return f"rq{name}Request"


def reply_on_wire(name: str) -> str:
    return f"rr{name}Reply"


def type_from_wire(type_name: str) -> str:
    """'std_msgs::msg::dds_::Header_' -> 'std_msgs/msg/Header'; other names come back unchanged."""
    return (
        type_name.replace("::dds_::", "/").removesuffix("_").replace("::", "/")
        if "::dds_::" in type_name
        else type_name
    )


def node_pattern(pattern: str) -> re.Pattern[str]:
    """Regular expression of a parameter file's node key: '*' is one token, '**' any number of them."""
    absolute = pattern if pattern.startswith("/") else f"/{pattern}"
    tokens = []
    for token in absolute.strip("/").split("/"):
        if token == "**":
            tokens.append(r"(/\w+)*")
        else:
            tokens.append("/" + re.escape(token).replace(r"\*", r"\w+"))
    return re.compile("".join(tokens) + r"\Z")
