"""What ``ebt-policy check`` finds, and the words it says it in."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
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


def near(name: str, known: Sequence[str]) -> str:
    """The nearest known name, or all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"


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
