"""Joints and their limits from a URDF, the text of a robot's ``robot_description``."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

from ebt_policy_ros.core.errors import SettingsError

KINDS = {"revolute": "revolute", "continuous": "revolute", "prismatic": "prismatic"}
"""URDF joint types that move -> ours."""


@dataclass(frozen=True, slots=True)
class UrdfJoint:
    """A joint that moves; a limit is None where the URDF states none."""

    name: str
    kind: str
    """'revolute' [rad] or 'prismatic' [m]."""
    lower: float | None
    upper: float | None
    velocity: float | None
    mimics: str = ""
    """Another joint that it follows; such a joint is not commanded."""


def parse_robot(text: str) -> ElementTree.Element:
    """The ``<robot>`` element of a URDF; SettingsError says what came instead.

    Entities are refused: nobody's robot description needs them, and they can blow up a small file.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise SettingsError("URDF: a document type declaration is not allowed; remove it")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, UnicodeError) as error:
        raise SettingsError(f"URDF: not XML: {error}; is it a xacro file? run xacro on it first") from error
    if root.tag != "robot":
        raise SettingsError(f"URDF: expected <robot> as its outermost element, got <{root.tag}>")
    if "<xacro:" in text:
        raise SettingsError("URDF: it still holds xacro elements; run xacro on it first")
    return root


def read_urdf(text: str) -> dict[str, UrdfJoint]:
    """Name -> joint, in the order of the URDF, fixed joints left out; SettingsError names what is malformed.

    See ``parse_robot`` for what else is refused.
    """
    found = {}
    for element in parse_robot(text).findall("joint"):
        name, kind = element.get("name", ""), element.get("type", "")
        if kind not in KINDS:
            continue
        limit, mimic = element.find("limit"), element.find("mimic")

        def number(key: str, limit: ElementTree.Element | None = limit, name: str = name) -> float | None:
            text = None if limit is None else limit.get(key)
            if text is None:
                return None
            try:
                value = float(text)
            except ValueError as error:
                raise SettingsError(f"URDF: joint '{name}': limit {key}: expected a number, got '{text}'") from error
            return value if math.isfinite(value) else None

        lower, upper = (None, None) if kind == "continuous" else (number("lower"), number("upper"))
        follows = "" if mimic is None else mimic.get("joint", "")
        found[name] = UrdfJoint(name, KINDS[kind], lower, upper, number("velocity"), follows)
    if not found:
        raise SettingsError("URDF: it has no joint that moves")
    return found
