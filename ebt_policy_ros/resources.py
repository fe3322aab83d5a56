"""Where the package's files are: config/, launch/ and models/, installed or in a checkout."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ebt_policy_ros.core.errors import BundleError, SettingsError

PACKAGE = "ebt_policy_ros"


def share_directories() -> Iterator[Path]:
    """The places that may hold config/, launch/ and models/: ament index, ``sys.prefix/share``, then the checkout."""
    try:
        from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
    except ImportError:
        pass
    else:
        with contextlib.suppress(PackageNotFoundError):
            yield Path(get_package_share_directory(PACKAGE))
    yield Path(sys.prefix) / "share" / PACKAGE
    yield Path(__file__).resolve().parent.parent


def find_resource(relative: str) -> Path:
    """The first existing ``relative`` path (such as ``config/policy.yaml``); FileNotFoundError says where it looked."""
    tried = [directory / relative for directory in share_directories()]
    for path in tried:
        if path.exists():
            return path
    raise FileNotFoundError(f"no {relative} in {', '.join(str(path.parent) for path in tried)}")


def find_model(model: str) -> Path:
    """The bundle directory of ``model``: a directory, or a name under models/; BundleError when there is none."""
    if not model:
        raise BundleError("parameter model is empty; expected a bundle directory or the name of one in models/")
    if Path(model).expanduser().is_dir():
        return Path(model).expanduser()
    if not _is_plain_name(model):
        raise BundleError(f"there is no bundle directory '{model}'")
    try:
        return find_resource(f"models/{model}")
    except FileNotFoundError as error:
        raise BundleError(f"'{model}' is neither a directory nor a bundle's name: {error}") from error


def find_robot(robot: str) -> Path:
    """The YAML file of ``robot``: a file, or a name under config/robots/; SettingsError when there is none."""
    if not robot:
        raise SettingsError("parameter robot is empty; expected a YAML file or the name of one in config/robots/")
    if Path(robot).expanduser().is_file():
        return Path(robot).expanduser()
    if not _is_plain_name(robot):
        raise SettingsError(f"there is no robot file '{robot}'")
    try:
        return find_resource(f"config/robots/{robot}.yaml")
    except FileNotFoundError as error:
        raise SettingsError(f"'{robot}' is neither a file nor a robot's name: {error}") from error


def load_robot_file(robot: str) -> dict[str, Any]:
    """The mapping in the YAML file of ``robot`` (see ``find_robot``); SettingsError when it is not one."""
    import yaml

    path = find_robot(robot)
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"robot file {path} cannot be read: {error}") from error
    if not isinstance(entries, dict):
        raise SettingsError(f"robot file {path}: expected a mapping, got {type(entries).__name__}")
    return entries


def _is_plain_name(name: str) -> bool:
    return "/" not in name and "\\" not in name and not name.startswith(".")
