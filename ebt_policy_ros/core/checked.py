"""Frozen settings read from mappings: unknown keys refused by name, types and ranges checked once.

A settings class is a frozen dataclass that inherits ``Checked`` and states the range of a field with ``setting``.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ebt_policy_ros.core.errors import SettingsError

_Settings = TypeVar("_Settings", bound="Checked")


def setting(
    default: Any = dataclasses.MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with what is allowed: ``low <= value <= high``, ``value > above``, or one of ``choices``."""
    allowed = {"low": low, "high": high, "above": above, "choices": choices}
    return dataclasses.field(default=default, metadata=allowed)


def nearest(key: object, known: Sequence[str]) -> str:
    """The nearest known name as a question, or all of them."""
    near = difflib.get_close_matches(str(key), known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"


def unknown_key(where: str, key: object, known: Sequence[str]) -> SettingsError:
    """The error for a key nobody knows, with the nearest known one."""
    return SettingsError(f"{where}: unknown setting '{key}'; {nearest(key, known)}")


@dataclasses.dataclass(frozen=True)
class Checked:
    """Base of the settings classes: ranges are checked on construction, whichever way it comes."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check_range(type(self).__name__, item, getattr(self, item.name))

    @classmethod
    def from_mapping(cls: type[_Settings], mapping: Mapping[str, Any], where: str = "") -> _Settings:
        """The settings in a mapping as YAML or JSON gives it; nested settings are nested mappings.

        ``where`` is what a message puts before a name. SettingsError names the key, its value and what is allowed.
        """
        where = where or cls.__name__
        if not isinstance(mapping, Mapping):
            raise SettingsError(f"{where}: expected a mapping of settings, got {mapping!r}")
        hints = typing.get_type_hints(cls)
        fields = {item.name: item for item in dataclasses.fields(cls)}
        for key in mapping:
            if key not in fields:
                raise unknown_key(where, key, list(fields))
        for name, item in fields.items():
            required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
            if required and name not in mapping:
                raise SettingsError(f"{where}: setting '{name}' is missing; give it a value")
        values = {name: _convert(f"{where}.{name}", value, hints[name]) for name, value in mapping.items()}
        try:
            return cls(**values)
        except SettingsError as error:
            raise SettingsError(f"{where}: {error}") from error


def _check_range(where: str, item: dataclasses.Field[Any], value: object) -> None:
    allowed = item.metadata
    if allowed.get("choices") and value not in allowed["choices"]:
        raise SettingsError(f"{where}.{item.name}: expected one of {', '.join(allowed['choices'])}, got {value!r}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not math.isfinite(value):
        raise SettingsError(f"{where}.{item.name}: expected a finite number, got {value}")
    low, high, above = allowed.get("low"), allowed.get("high"), allowed.get("above")
    bounds = [f"at least {low}"] if low is not None else []
    bounds += [f"more than {above}"] if above is not None else []
    bounds += [f"at most {high}"] if high is not None else []
    outside = (low is not None and value < low) or (high is not None and value > high)
    if outside or (above is not None and value <= above):
        raise SettingsError(f"{where}.{item.name}: expected {' and '.join(bounds)}, got {value}")


def _convert(where: str, value: object, hint: Any) -> Any:
    """A YAML or JSON value as the annotated type; SettingsError when it is another kind."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and types.NoneType in arguments:
            return None
        return _convert(where, value, next(argument for argument in arguments if argument is not types.NoneType))
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise SettingsError(f"{where}: expected a list, got {value!r}")
        return tuple(_convert(f"{where}[{i}]", entry, arguments[0]) for i, entry in enumerate(value))
    if isinstance(hint, type) and issubclass(hint, Checked):
        return value if isinstance(value, hint) else hint.from_mapping(typing.cast(Mapping[str, Any], value), where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise SettingsError(f"{where}: expected {_KINDS.get(hint, hint)}, got {value!r}")
    return value


_KINDS = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
