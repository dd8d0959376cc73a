"""The drop between a metric on some rows and the same metric on other rows."""

from __future__ import annotations

import math
from typing import TypeAlias

Bounds: TypeAlias = tuple[float, float]


def drop(
    value: float, within: Bounds, base: float, around: Bounds, *, greater_is_better: bool
) -> tuple[float, float, float]:
    """Return how much worse ``value`` is than ``base``: as measured, at least and at most.

    Different rows err independently, so the half-widths towards each other add in squares
    (Newcombe, Statistics in Medicine 17, 1998, method 10; Zou and Donner, the same 27, 2008).

    Args:
        value: Measured on some rows.
        within: Its interval.
        base: The same metric on other rows.
        around: Its interval.
        greater_is_better: The metric's direction.
    """
    low, high = within
    base_low, base_high = around
    if greater_is_better:
        worse = base - value
        return (
            worse,
            worse - math.hypot(high - value, base - base_low),
            worse + math.hypot(value - low, base_high - base),
        )
    worse = value - base
    return (
        worse,
        worse - math.hypot(value - low, base_high - base),
        worse + math.hypot(high - value, base - base_low),
    )
