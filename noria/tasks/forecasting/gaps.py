"""Gaps in histories, filled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def filled(values: Array, gaps: str) -> Array:
    """Return histories (..., n) without gaps between their values: zero, or a line through them.

    What lies before the first value stays missing, and what lies after the last one stays so too:
    a history ends with the last value that is known.
    """
    if not np.isnan(values).any():
        return values
    found = np.array(values, np.float64)
    for row in found.reshape(-1, found.shape[-1]):
        known = np.flatnonzero(~np.isnan(row))
        if not known.size:
            continue
        inner = row[known[0] : known[-1] + 1]
        none = np.isnan(inner)
        if gaps == "zero":
            inner[none] = 0.0
        else:
            places = np.arange(inner.size)
            inner[none] = np.interp(places[none], places[~none], inner[~none])
    return found
