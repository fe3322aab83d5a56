"""Ranges of parameters: why a value is outside, in rclpy's words; empty when it is not."""

from __future__ import annotations

import math
from typing import Any


def integer_problem(name: str, value: int, allowed: Any) -> str:
    """`allowed` is an IntegerRange; its ends are always valid, whatever the step."""
    low, high = sorted((allowed.from_value, allowed.to_value))
    if value in (low, high):
        return ""
    if not low < value < high:
        return f"Parameter {name} out of range. Min: {low}, Max: {high}, value: {value}"
    if allowed.step != 0 and (value - low) % allowed.step != 0:
        return (
            f"The parameter value for {name} is not a valid step. "
            f"Min: {low}, max: {high}, value: {value}, step: {allowed.step}"
        )
    return ""


def double_problem(name: str, value: float, allowed: Any, tolerance: float) -> str:
    """`allowed` is a FloatingPointRange; `tolerance` is relative, at its ends and at every step."""
    low, high = sorted((allowed.from_value, allowed.to_value))
    if any(math.isclose(value, edge, rel_tol=tolerance) for edge in (low, high)):
        return ""
    if not low < value < high:
        return f"Parameter {name} out of range Min: {low}, Max: {high}, value: {value}"
    if allowed.step != 0.0:
        nearest = low + round((value - low) / allowed.step) * allowed.step
        if not math.isclose(nearest, value, rel_tol=tolerance):
            return (
                f"The parameter value for {name} is not close enough to a valid step. "
                f"Min: {low}, max: {high}, value: {value}, step: {allowed.step}"
            )
    return ""
