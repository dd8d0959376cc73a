"""Principal components of rows of many columns, for detectors that need fewer than rows."""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from noria.tasks.anomaly.detectors import Array, Arrays

MOST: Final = 32
"""Columns, and components in their place where there are more."""


def components_of(rows: Array, seed: int) -> dict[str, NDArray[Any]]:
    """Return ``axes`` (MOST, w) and ``origin`` (w,) of n rows; nothing where w is no more."""
    if min(rows.shape) <= MOST:
        return {}
    from sklearn.decomposition import PCA

    found = PCA(MOST, svd_solver="randomized", random_state=seed).fit(rows)
    return {"axes": found.components_, "origin": found.mean_}


def onto(kept: Arrays, rows: Array) -> Array:
    """Return rows (n, w) in the components that are kept, or as they are."""
    if "axes" not in kept:
        return rows
    found: Array = (rows - kept["origin"]) @ kept["axes"].T
    return found
