"""Rows that are none: each is a real row with half of its columns from another real row.

Every value is usual by itself, only together they are not. What a detector makes of them can be
measured without a label. It says how well a detector knows what goes with what, and nothing about
values that are far out; of columns that have nothing to do with each other, nothing at all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def spliced(matrix: Array, seed: int) -> Array:
    """Return each of n rows with a random half of its columns from another of them, (n, d).

    The same shape and seed choose the same rows and columns, whatever the matrix holds: two models
    that encode the same rows each in its own way are asked about the same spliced rows.
    """
    rows, width = matrix.shape
    if rows < 2 or width < 2:
        return matrix.copy()
    rng = np.random.default_rng(seed)
    donor = (np.arange(rows) + rng.integers(1, rows, rows)) % rows
    taken = rng.random((rows, width)).argsort(axis=1) < width // 2
    return np.where(taken, matrix[donor], matrix)
