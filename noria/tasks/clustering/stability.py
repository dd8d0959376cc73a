"""How well rows lie in their clusters, and whether the clusters come again.

Silhouettes: Rousseeuw, Journal of Computational and Applied Mathematics 20 (1987). Stability:
Hennig, Computational Statistics and Data Analysis 52 (2007).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.tasks.clustering.assign import Clustering

Array = NDArray[np.float64]
Places = NDArray[np.int64]

BOOTSTRAPS: Final = 20
UNSTABLE: Final = 0.6
"""Jaccard similarity under which a cluster may be one of this sample alone (Hennig)."""
STABLE: Final = 0.75
"""Jaccard similarity from which on a cluster is stable (Hennig)."""

MOST_COMPARED: Final = 1_000
"""Points that silhouettes are measured against."""

_CELLS: Final = 4_000_000


def silhouettes(points: Array, cluster: Places, seed: int) -> Array:
    """Return the silhouette of each of n points, (n,), from -1 to 1.

    Distances are to at most ``MOST_COMPARED`` points, drawn by the seed. 0 for noise, for the only
    point of a cluster, and where there is one cluster: none lies better or worse there.
    """
    among = np.arange(len(points))
    if len(points) > MOST_COMPARED:
        drawn = np.random.default_rng(seed).choice(len(points), MOST_COMPARED, replace=False)
        among = np.sort(drawn)
    among = among[cluster[among] >= 0]
    numbers, of = np.unique(cluster[among], return_inverse=True)
    found = np.zeros(len(points))
    if numbers.size < 2:
        return found
    to = points[among]
    member = np.eye(numbers.size)[of]
    counts = member.sum(axis=0)
    squares = (to**2).sum(axis=1)
    is_among = np.zeros(len(points), bool)
    is_among[among] = True
    known = np.flatnonzero(np.isin(cluster, numbers))
    step = max(1, _CELLS // len(among))
    for first in range(0, known.size, step):
        rows = known[first : first + step]
        part = points[rows]
        squared = (part**2).sum(axis=1)[:, None] + squares - 2.0 * (part @ to.T)
        sums = np.sqrt(np.maximum(squared, 0.0)) @ member
        own = np.searchsorted(numbers, cluster[rows])
        place = np.arange(rows.size)
        others = counts[own] - is_among[rows]
        within = sums[place, own] / np.maximum(others, 1.0)
        means = sums / counts
        means[place, own] = np.inf
        beside = means.min(axis=1)
        size = np.maximum(within, beside)
        value = (beside - within) / np.where(size > 0.0, size, 1.0)
        found[rows] = np.where(others > 0.0, value, 0.0)
    return found


def stabilities(
    points: Array,
    cluster: Places,
    again: Callable[[Array, int], Clustering],
    seed: int,
    times: int = BOOTSTRAPS,
) -> Array:
    """Return how stable each of k clusters of n points is, (k,), 0 to 1.

    The mean over bootstrap samples of the greatest Jaccard similarity between the cluster and one
    of those found in the sample, of the points that the sample has. NaN where no sample had
    a point of the cluster.

    Args:
        points: (n, p).
        cluster: (n,) the clusters, -1 for noise.
        again: Finds clusters of points, by a seed.
        seed: Of the samples.
        times: How many.
    """
    count = int(cluster.max(initial=-1)) + 1
    chance = np.random.default_rng(seed)
    total, seen = np.zeros(count), np.zeros(count)
    for number in range(times):
        sample = chance.integers(0, len(points), len(points))
        other = again(points[sample], seed + number)
        kept = np.unique(sample)
        similar = jaccard(cluster[kept], other.assign(points[kept]).cluster, count, other.clusters)
        there = np.bincount(cluster[kept] + 1, minlength=count + 1)[1:] > 0
        total[there] += similar.max(axis=1, initial=0.0)[there]
        seen[there] += 1
    return np.where(seen > 0, total / np.maximum(seen, 1), np.nan)


def jaccard(one: Places, other: Places, ones: int, others: int) -> Array:
    """Return the Jaccard similarity of each cluster of one to each of another, (k, l)."""
    table = np.zeros((ones + 1, others + 1))
    np.add.at(table, (one + 1, other + 1), 1.0)
    both = table[1:, 1:]
    whole = table[1:].sum(axis=1)[:, None] + table[:, 1:].sum(axis=0) - both
    return np.asarray(both / np.where(whole > 0.0, whole, 1.0))
