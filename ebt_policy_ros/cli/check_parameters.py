"""What does not fit in a parameter file of policy_node, without a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebt_policy_ros.cli.check_words import Finding, listed, own_words
from ebt_policy_ros.core.checked import nearest
from ebt_policy_ros.nodes.parameters import NAMES, check_parameter

if TYPE_CHECKING:
    from ebt_policy_ros.policy.bundle import Bundle


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
    if name == "use_sim_time" or name.startswith("qos_overrides."):
        return
    if name in NAMES:
        if reason := check_parameter(name, value):
            yield Finding(True, where, own_words(reason, f"parameter {name}", field))
        return
    beside = [known.partition(".")[2] for known in NAMES if known.startswith(f"{section}.")]
    yield Finding(True, where, f"there is none; {nearest(field, beside) if beside else nearest(name, NAMES)}")


def _flat(given: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
