"""A path or a YAML file -> ``Source``: which kind of data set it is, and how to read it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ebt_policy_ros.core.errors import DatasetError
from ebt_policy_ros.training.optimise import unit_of
from ebt_policy_ros.training.readers import UNITS, Joint, Source

KINDS = ("rosbag2", "lerobot", "robomimic")
EXPECTED = (
    "a rosbag2 bag or a folder of bags (metadata.yaml, *.mcap, *.db3), a LeRobot data set (meta/info.json), "
    "a robomimic file (*.hdf5), or a YAML file that describes one of them"
)
_YAML = (".yaml", ".yml")
_HDF5 = (".hdf5", ".h5")
_BAG = (".mcap", ".db3", ".zstd")


def describe_source(given: str | Path, **overrides: Any) -> Source:
    """The Source of a directory, a file, a YAML file or the name of one in config/data/.

    ``overrides`` are fields of Source that win over the YAML; None is no override. DatasetError says what is wrong.
    """
    path = _find(Path(given).expanduser())
    if path.suffix in _YAML and path.name != "metadata.yaml":
        source = _read_yaml(path)
    else:
        if path.name == "metadata.yaml":
            path = path.parent
        source = Source(path=path, kind=kind_of(path))
    return dataclasses.replace(source, **{key: value for key, value in overrides.items() if value is not None})


def _find(path: Path) -> Path:
    if path.exists():
        return path
    if len(path.parts) == 1 and not path.suffix:
        from ebt_policy_ros.resources import find_resource

        try:
            return find_resource(f"config/data/{path.name}.yaml")
        except FileNotFoundError:
            pass
    raise DatasetError(f"{path}: there is no such file or directory; expected {EXPECTED}")


def kind_of(path: Path) -> str:
    """The kind of the data set at an existing ``path``, by its files; DatasetError says what was looked for."""
    if path.is_file():
        kinds = {**dict.fromkeys(_HDF5, "robomimic"), **dict.fromkeys(_BAG, "rosbag2")}
        if path.suffix in kinds:
            return kinds[path.suffix]
        raise DatasetError(f"{path}: not a data set by its name; expected {EXPECTED}")
    if (path / "meta" / "info.json").is_file():
        return "lerobot"
    folders = [path, *sorted(p for p in path.iterdir() if p.is_dir())]
    if any((f / "metadata.yaml").is_file() or any(p.suffix in _BAG for p in f.iterdir()) for f in folders):
        return "rosbag2"
    files = sorted(p.name for p in path.iterdir() if p.suffix in _HDF5)
    if files:
        raise DatasetError(f"{path}: a robomimic data set is one file; expected the path of one of {', '.join(files)}")
    found = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
    raise DatasetError(f"{path}: not a data set; expected {EXPECTED}; found {found}")


def _read_yaml(path: Path) -> Source:
    import yaml

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatasetError(f"data set description {path} cannot be read: {error}") from error
    if not isinstance(entries, dict) or "path" not in entries:
        raise DatasetError(f"data set description {path}: expected a mapping with at least the key 'path'")
    entries = {str(key): value for key, value in entries.items()}
    data = Path(str(entries.pop("path"))).expanduser()
    data = data if data.is_absolute() else path.parent / data
    if not data.exists():
        raise DatasetError(f"data set description {path}: path {data} does not exist; it is relative to the YAML file")
    kind = entries.pop("kind", None) or kind_of(data)
    if kind not in KINDS:
        raise DatasetError(f"data set description {path}: kind '{kind}' is not known; expected {', '.join(KINDS)}")
    try:
        return _source(data, kind, entries)
    except (TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"data set description {path}: {error}") from error


def _source(data: Path, kind: str, entries: dict[str, Any]) -> Source:
    cameras = _mapping("cameras", entries.pop("cameras", None))
    size = entries.pop("image_size", None)
    if size is not None and (not isinstance(size, list) or len(size) != 2 or not all(_whole(s) for s in size)):
        raise ValueError(f"image_size: expected [height, width] in pixels, got {size}")
    period = entries.pop("period_s", None)
    if period is not None and not (isinstance(period, int | float) and 0.001 <= period <= 10):
        raise ValueError(f"period_s: expected 0.001 to 10 s, got {period}")
    skip = entries.pop("skip", None) or []
    if not isinstance(skip, list) or not all(isinstance(number, int) and number >= 0 for number in skip):
        raise ValueError(f"skip: expected a list of episode numbers from 0 on, got {skip}")
    return Source(
        path=data,
        kind=kind,
        cameras={name: str(key) for name, key in cameras.items()},
        joints=_joints(entries.pop("joints", None)),
        period_s=None if period is None else float(period),
        image_size=None if size is None else (int(size[0]), int(size[1])),
        skip=frozenset(skip),
        **{key: _text(key, entries.pop(key, None)) for key in ("task", "state", "action")},
        options=entries,
    )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and 8 <= value <= 1024


def _text(key: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key}: expected text, got {value}")
    return value


def _mapping(key: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{key}: expected a mapping from name to the data set's key or topic, got {value}")
    return {str(name): entry for name, entry in value.items()}


def _joints(value: Any) -> tuple[Joint, ...]:
    """``[name, ...]``, ``{name: unit}`` or ``{name: {key: ..., unit: ...}}`` -> joints in that order."""
    if isinstance(value, list):
        value = dict.fromkeys(value)
    joints = []
    for name, entry in _mapping("joints", value).items():
        entry = entry if isinstance(entry, dict) else {"unit": entry}
        unknown = set(entry) - {"key", "unit"}
        unit = entry.get("unit") or unit_of(name)
        if unknown or unit not in UNITS:
            wrong = f"key '{sorted(map(str, unknown))[0]}'" if unknown else f"unit '{unit}'"
            raise ValueError(f"joints: {name}: {wrong} is not known; expected key and unit ({', '.join(UNITS)})")
        joints.append(Joint(name, str(entry.get("key") or name), unit))
    return tuple(joints)
