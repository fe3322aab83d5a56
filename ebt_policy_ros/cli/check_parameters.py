"""What does not fit in a parameter file of policy_node, without a node."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebt_policy_ros.cli.check_words import Finding, listed, near, own_words
from ebt_policy_ros.core.errors import SettingsError
from ebt_policy_ros.core.settings import FROM_BUNDLE, SECTIONS

if TYPE_CHECKING:
    from ebt_policy_ros.policy.bundle import Bundle

OTHERS = ("model", "robot", "device", "runtime", "gripper_output", "autostart", "enabled_on_activate", "use_sim_time")
"""Parameters of policy_node outside the sections and cameras."""


def parameter_findings(path: Path, bundle: Bundle | None) -> Iterator[Finding]:
    """Unknown and bad parameters of policy_node, and cameras that the bundle does not have."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield Finding(True, str(path), f"it is not YAML: {error}")
        return
    nodes = (
        {
            name: entry["ros__parameters"]
            for name, entry in (document or {}).items()
            if isinstance(entry, Mapping) and isinstance(entry.get("ros__parameters"), Mapping)
        }
        if isinstance(document, Mapping)
        else {}
    )
    own = {name: given for name, given in nodes.items() if name.split("/")[-1] in ("ebt_policy", "**", "*")}
    if not own:
        yield Finding(
            True,
            str(path),
            "expected parameters of /ebt_policy under 'ros__parameters:', got " + (listed(nodes) if nodes else "none"),
        )
    for given in own.values():
        for name, value in _flat(given):
            yield from _parameter(name, value, bundle)


def _parameter(name: str, value: Any, bundle: Bundle | None) -> Iterator[Finding]:
    section, _, field = name.partition(".")
    where = f"parameter '{name}'"
    if section == "cameras":
        camera = field.split(".")[0]
        if field.split(".")[-1] not in ("topic", "compressed"):
            yield Finding(True, where, "expected cameras.<name>.topic or cameras.<name>.compressed")
        elif bundle is not None and camera not in [spec.name for spec in bundle.cameras]:
            own = listed([spec.name for spec in bundle.cameras])
            yield Finding(True, where, f"the policy has no camera '{camera}'; its cameras are {own}")
        return
    if section in SECTIONS and field:
        names = [item.name for item in dataclasses.fields(SECTIONS[section])]
        if field not in names:
            yield Finding(True, where, f"there is none; {near(field, names)}")
            return
        try:
            if not (value == 0 and name in FROM_BUNDLE):
                SECTIONS[section].from_mapping({field: value}, where=section)
        except SettingsError as error:
            yield Finding(True, where, own_words(str(error), section, field))
    elif name not in OTHERS and not name.startswith("qos_overrides."):
        known = [
            *OTHERS,
            *(f"{part}.{item.name}" for part, own in SECTIONS.items() for item in dataclasses.fields(own)),
        ]
        yield Finding(True, where, f"there is none; {near(name, known)}")


def _flat(given: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
