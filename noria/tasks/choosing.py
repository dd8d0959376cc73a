"""Steps of choosing among fits: by some of the rows, and the simplest that is good enough."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.int64]


def some_of(rows: int, most: int, seed: int) -> Places:
    """Return places of at most so many of n rows, rising, drawn by the seed."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def simplest(losses: Array, group: Places) -> int:
    """Return which of m fits to take: the simplest that is within noise of the best.

    The first whose mean is above the least mean by no more than one standard error of their
    paired difference (the one-standard-error rule of Breiman, Friedman, Olshen and Stone,
    Classification and Regression Trees, 1984). Of one group no standard error is known: the first.

    Args:
        losses: (m, n) of the same n rows, the simplest fit first; less is better.
        group: (n,) numbers rows whose losses hang together.
    """
    best = losses[int(np.argmin(losses.mean(axis=1)))]
    for place, own in enumerate(losses):
        if (own - best).mean() <= standard_error(own - best, group):
            return place
    return int(np.argmin(losses.mean(axis=1)))


def standard_error(values: Array, group: Places) -> float:
    """Return the standard error of a mean of rows (n,) that hang together in groups.

    The usual one of a ratio where clusters are drawn (Cochran, Sampling Techniques, 1977); rows
    of their own make it the usual one of a mean.
    """
    _, number = np.unique(group, return_inverse=True)
    groups = int(number.max()) + 1
    if groups < 2:
        return math.inf
    away = np.bincount(number, values - values.mean())
    return float(np.sqrt(groups / (groups - 1) * (away @ away)) / values.size)
