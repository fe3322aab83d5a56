"""What ``ebt-policy check`` finds, and the words it says it in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit."""

    is_error: bool
    where: str
    text: str

    def __str__(self) -> str:
        return f"{'error' if self.is_error else 'warning'}: {self.where}: {self.text}"


def listed(names: Any) -> str:
    """Names with commas between them."""
    return ", ".join(str(name) for name in names) or "none"


def own_words(text: str, *places: str) -> str:
    """An error without the names of places that a finding says already."""
    text, before = re.sub(r"\b\w+Settings\.", "", text), ""
    while text != before:
        before = text
        for place in places:
            text = text.removeprefix(f"{place}: ").removeprefix(f"{place}.")
    return text
