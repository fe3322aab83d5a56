"""The hash of a type, by which two processes know that they mean the same one."""

from __future__ import annotations

from collections.abc import Mapping

from ebt_policy_ros.embedded.unsupported import module_getattr

_SIZE = 32


class TypeHash:
    """Version and 32 bytes; as text `RIHS01_<hexadecimal>`, or INVALID when it is not known."""

    def __init__(self, version: int = -1, value: bytes = bytes(_SIZE)) -> None:
        self.version = version
        self.value = value

    @classmethod
    def from_user_data(cls, entries: Mapping[str, str]) -> TypeHash:
        """What an endpoint says of its type in the entry `typehash`."""
        prefix, _, digits = entries.get("typehash", "").partition("_")
        try:
            version, value = int(prefix.removeprefix("RIHS")), bytes.fromhex(digits)
        except ValueError:
            return cls()
        return cls(version, value) if len(value) == _SIZE else cls()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeHash) and (self.version, self.value) == (other.version, other.value)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"RIHS{self.version:02}_{self.value.hex()}" if self.version > 0 else "INVALID"


__getattr__ = module_getattr(__name__)
