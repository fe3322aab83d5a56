"""A URDF as a tree of links: which link is the tool, which one its path is drawn in, what moves in between."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ebt_policy_ros.core.checked import nearest
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.messages.urdf import KINDS, parse_robot

_ALL_KINDS = (*KINDS, "fixed", "floating", "planar")
_NO_LIMIT = {"lower": "0", "upper": "0", "effort": "0", "velocity": "0"}
"""Limits do not matter to where a link is, but parsers want them."""


@dataclass(frozen=True, slots=True)
class TreeJoint:
    """A joint of any type, and the two links that it joins."""

    name: str
    kind: str
    """As in the URDF: revolute, continuous, prismatic, fixed, floating, planar."""
    parent: str
    child: str
    mimics: tuple[str, float, float] | None
    """(joint, multiplier, offset) that it follows."""


@dataclass(frozen=True, slots=True)
class UrdfTree:
    """Links and joints, known to be one tree."""

    root: str
    """The link without a parent."""
    joints: Mapping[str, TreeJoint]
    """By name, in the order of the URDF."""
    above: Mapping[str, TreeJoint]
    """Link -> the joint between it and its parent."""
    skeleton: str
    """The URDF of links and joints alone: no meshes, no inertias, no limits, nothing of other programs."""

    @classmethod
    def from_text(cls, text: str) -> UrdfTree:
        """SettingsError names the link or joint that keeps a URDF from being a tree."""
        robot = parse_robot(text)
        links = _names(robot, "link")
        names = _names(robot, "joint")
        joints = {name: _joint(element, name, links) for name, element in names.items()}
        above: dict[str, TreeJoint] = {}
        below: dict[str, list[str]] = {link: [] for link in links}
        for joint in joints.values():
            if joint.child in above:
                raise SettingsError(
                    f"URDF: link '{joint.child}' is the child of two joints, '{above[joint.child].name}' and "
                    f"'{joint.name}'; expected a tree"
                )
            above[joint.child] = joint
            below[joint.parent].append(joint.child)
        reached = [link for link in links if link not in above]
        if len(reached) != 1:
            raise SettingsError(f"URDF: expected one link without a parent, got {', '.join(reached) or 'none'}")
        for link in reached:  # grows while it is gone through
            reached += below[link]
        if len(reached) < len(links):
            lost = ", ".join(sorted(set(links) - set(reached)))
            raise SettingsError(f"URDF: no joints lead from the root '{reached[0]}' to {lost}; expected one tree")
        tree = cls(reached[0], joints, above, _skeleton(links, names))
        for name in joints:
            tree.leader(name)
        return tree

    @property
    def links(self) -> list[str]:
        """The root first."""
        return [self.root, *self.above]

    def path(self, link: str) -> list[TreeJoint]:
        """The joints from the root to ``link``."""
        path: list[TreeJoint] = []
        while link in self.above:
            path.append(self.above[link])
            link = path[-1].parent
        return path[::-1]

    def leader(self, name: str) -> tuple[str, float, float]:
        """(joint, multiplier, offset): the joint that decides where ``name`` is, in the end, and how."""
        multiplier, offset, seen = 1.0, 0.0, [name]
        while (mimics := self.joints[seen[-1]].mimics) is not None:
            leader, factor, shift = mimics
            if leader not in self.joints or leader in seen:
                what = "is none of its joints" if leader not in self.joints else "follows it in turn"
                raise SettingsError(f"URDF: joint '{name}' follows '{leader}', which {what}")
            offset, multiplier = offset + multiplier * shift, multiplier * factor
            seen.append(leader)
        return seen[-1], multiplier, offset

    def require(self, arm: Sequence[str]) -> None:
        """SettingsError unless all these joints exist and move."""
        for name in arm:
            if name not in self.joints:
                near = nearest(name, [*self.joints])
                raise SettingsError(f"URDF: it lacks joint '{name}', which the policy commands; {near}")
            if self.joints[name].kind not in KINDS:
                kind = self.joints[name].kind
                raise SettingsError(
                    f"URDF: joint '{name}', which the policy commands, is {kind}; expected one of {', '.join(KINDS)}"
                )

    def tool_frame(self, arm: Sequence[str], hand: str | None) -> str:
        """The link that carries the hand's joint, where the arm's last joint moves it; else the end of the arm: from
        its last joint on over fixed joints, as long as there is one way only.

        SettingsError when the arm's joints are missing, do not move, or are not one chain.
        """
        self.require(arm)
        paths = [self._names(self.joints[name].child) for name in arm]
        longest = max(paths, key=len, default=[])
        beside = [name for name in arm if name not in longest]
        if not longest or beside:
            what = f"'{longest[-1]}' does not move with '{beside[0]}'" if beside else "there are none but the hand's"
            raise SettingsError(
                f"URDF: the policy's joints are no chain: {what}; name the link whose path is drawn in the robot file, "
                "as kinematics: {tool_frame: ...}"
            )
        if hand in self.joints and longest[-1] in self._names(self.joints[hand].parent):
            return self.joints[hand].parent
        link = self.joints[longest[-1]].child
        while True:
            below = [joint for joint in self.joints.values() if joint.parent == link]
            if len(below) != 1 or below[0].kind != "fixed":
                return link
            link = below[0].child

    def base_frame(self, tool: str, known: Collection[str]) -> str:
        """The root; or, where joints that are not ``known`` move the whole arm, the link beyond the last of them.

        SettingsError when no known joint moves ``tool``.
        """
        base = self.root
        for joint in self.path(tool):
            if self._is_known(joint, known):
                return base
            if joint.kind != "fixed":
                base = joint.child
        raise SettingsError(f"URDF: link '{tool}' is moved by none of the joints that the policy commands")

    def assumed(self, base: str, tool: str, known: Collection[str]) -> list[str]:
        """The joints between two links whose positions are not known."""
        one, other = self.path(base), self.path(tool)
        between = [joint for joint in (*one, *other) if (joint in one) != (joint in other)]
        return [joint.name for joint in between if joint.kind != "fixed" and not self._is_known(joint, known)]

    def _names(self, link: str) -> list[str]:
        return [joint.name for joint in self.path(link)]

    def _is_known(self, joint: TreeJoint, known: Collection[str]) -> bool:
        return joint.kind in KINDS and (joint.name in known or self.leader(joint.name)[0] in known)


def _names(robot: ElementTree.Element, tag: str) -> dict[str, ElementTree.Element]:
    """Name -> element of all links or joints."""
    found: dict[str, ElementTree.Element] = {}
    for element in robot.findall(tag):
        name = element.get("name", "")
        if not name or name in found:
            raise SettingsError(
                f"URDF: expected a name of its own for every {tag}, got '{name}'" + " twice" * bool(name)
            )
        found[name] = element
    return found


def _joint(element: ElementTree.Element, name: str, links: Collection[str]) -> TreeJoint:
    kind = element.get("type", "")
    if kind not in _ALL_KINDS:
        raise SettingsError(f"URDF: joint '{name}': type: expected one of {', '.join(_ALL_KINDS)}, got '{kind}'")
    ends = []
    for key in ("parent", "child"):
        end = element.find(key)
        link = "" if end is None else end.get("link", "")
        if link not in links:
            raise SettingsError(f"URDF: joint '{name}': {key}: expected one of its links, got '{link}'")
        ends.append(link)
    for tag, key in (("origin", "xyz"), ("origin", "rpy"), ("axis", "xyz")):
        numbers = _numbers(element.find(tag), key, f"URDF: joint '{name}': {tag} {key}", count=3)
        if tag == "axis" and kind in KINDS and numbers is not None and not any(numbers):
            raise SettingsError(f"URDF: joint '{name}': axis xyz: expected a direction, got zeros")
    mimic = element.find("mimic")
    if mimic is None:
        return TreeJoint(name, kind, ends[0], ends[1], None)
    where = f"URDF: joint '{name}': mimic"
    (factor,) = _numbers(mimic, "multiplier", f"{where} multiplier") or (1.0,)
    (shift,) = _numbers(mimic, "offset", f"{where} offset") or (0.0,)
    return TreeJoint(name, kind, ends[0], ends[1], (mimic.get("joint", ""), factor, shift))


def _numbers(element: ElementTree.Element | None, key: str, where: str, count: int = 1) -> tuple[float, ...] | None:
    text = None if element is None else element.get(key)
    if text is None:
        return None
    try:
        numbers = tuple(float(word) for word in text.split())
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise SettingsError(f"{where}: expected {count} finite numbers, got '{text}'")
    return numbers


def _skeleton(links: Collection[str], joints: Mapping[str, ElementTree.Element]) -> str:
    robot = ElementTree.Element("robot", name="robot")
    for link in links:
        ElementTree.SubElement(robot, "link", name=link)
    for name, element in joints.items():
        joint = ElementTree.SubElement(robot, "joint", name=name, type=element.get("type", ""))
        joint.extend(part for tag in ("parent", "child", "origin", "axis") for part in element.findall(tag)[:1])
        if joint.get("type") in ("revolute", "prismatic"):
            ElementTree.SubElement(joint, "limit", _NO_LIMIT)
    return ElementTree.tostring(robot, encoding="unicode")
