"""What the subset does not do fails here, by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from ebt_policy_ros.core.errors import UnsupportedError

_HINT = "it needs a ROS 2 installation (source its setup file), or a wider embedded subset"


class UnsupportedModuleError(UnsupportedError, ModuleNotFoundError):
    """An `import` of a part of ROS 2 that the embedded subset does not have."""


class UnsupportedMemberError(UnsupportedError, AttributeError):
    """Something of a class of rclpy that the embedded subset does not have; hasattr() says False."""


class UnsupportedMember:
    """In the body of a class: what rclpy has by this name and the subset has not; whoever asks for it is told so.

    Not ``__getattr__``: that makes every access to every attribute slower.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._what = f"{owner.__name__}.{name}"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        raise UnsupportedMemberError(str(unsupported(self._what)))


def module_getattr(module: str, submodules: tuple[str, ...] = ()) -> Callable[[str], Any]:
    """`__getattr__` for `module`: imports known submodules, raises UnsupportedError for everything else."""

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        if name in submodules:
            return import_module(f"{module}.{name}")
        raise UnsupportedError(f"{module}.{name} is not supported by the embedded rclpy subset: {_HINT}")

    return __getattr__


def unsupported(what: str) -> UnsupportedError:
    """The error for one unsupported feature, named as the user wrote it."""
    return UnsupportedError(f"{what} is not supported by the embedded rclpy subset: {_HINT}")
