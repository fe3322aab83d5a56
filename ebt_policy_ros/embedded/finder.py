"""The import hook: last on sys.meta_path, so real packages are always found first."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from .definitions import ACTIONS, PACKAGES
from .unsupported import UnsupportedModuleError, unsupported

_RCLPY = Path(__file__).parent / "rclpy"
_WITH_ACTIONS = {name.split("/")[0] for name in ACTIONS}
_KINDS = {"msg": "Messages", "srv": "Services", "action": "Actions"}


class _InterfaceLoader(Loader):
    """Makes `package` and its `msg`, `srv` and `action`; classes are created when they are first asked for."""

    def __init__(self, package: str, kind: str) -> None:
        self.package = package
        self.kind = kind

    def exec_module(self, module: ModuleType) -> None:
        if not self.kind:
            module.__doc__ = f"Interfaces of {self.package}."
            return
        from .message_store import store

        names = store().names(self.package, self.kind)

        def __getattr__(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            if name not in names:
                raise unsupported(f"{module.__name__}.{name}")
            made = store().interface_class(f"{self.package}/{self.kind}/{name}")
            setattr(module, name, made)
            return made

        module.__doc__ = f"{_KINDS[self.kind]} of {self.package}."
        module.__all__ = list(names)  # type: ignore[attr-defined]
        module.__getattr__ = __getattr__  # type: ignore[method-assign]


class EmbeddedFinder(MetaPathFinder):
    """Finds the subset's modules by the names they have in ROS 2."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, *rest = fullname.split(".")
        if package == "rclpy":
            return self._rclpy_spec(fullname, rest)
        if package not in PACKAGES:
            return None
        if rest and not isinstance(getattr(sys.modules.get(package), "__loader__", None), _InterfaceLoader):
            return None
        if not rest:
            return ModuleSpec(fullname, _InterfaceLoader(package, ""), is_package=True)
        if len(rest) == 1 and rest[0] in _KINDS and (rest[0] != "action" or package in _WITH_ACTIONS):
            return ModuleSpec(fullname, _InterfaceLoader(package, rest[0]))
        raise UnsupportedModuleError(str(unsupported(fullname)), name=fullname)

    def _rclpy_spec(self, fullname: str, rest: list[str]) -> ModuleSpec | None:
        owner = sys.modules.get("rclpy")
        if rest and (owner is None or Path(owner.__file__ or "").parent != _RCLPY):
            return None
        location = _RCLPY.joinpath(*rest)
        if (location / "__init__.py").is_file():
            return importlib.util.spec_from_file_location(
                fullname, location / "__init__.py", submodule_search_locations=[str(location)]
            )
        if location.with_suffix(".py").is_file():
            return importlib.util.spec_from_file_location(fullname, location.with_suffix(".py"))
        raise UnsupportedModuleError(str(unsupported(fullname)), name=fullname)


def install() -> None:
    """Adds the finder to the end of sys.meta_path, once; harmless where ROS 2 is installed."""
    if not any(isinstance(finder, EmbeddedFinder) for finder in sys.meta_path):
        sys.meta_path.append(EmbeddedFinder())


def is_active() -> bool:
    """Whether `rclpy` is the subset (False also before it is imported)."""
    module = sys.modules.get("rclpy")
    return module is not None and Path(module.__file__ or "").parent == _RCLPY
