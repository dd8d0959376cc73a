"""How good lists of items are: a number for each of n lists, whose mean is the metric.

``truth`` (n, m) has the numbers of the items that were taken, ``said`` (n, k) those of the list,
the best first; under 0 there is none. An item is relevant or not: all gains are 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


def ndcg(truth: Array, said: Array) -> Array:
    """Return the discounted gain of each list, of the best possible, (n,), 0 to 1.

    Järvelin and Kekäläinen, ACM Transactions on Information Systems 20 (2002), with the discount
    1 / log2(place + 1). 0 where nothing was taken.
    """
    hits, taken = _hits(truth, said)
    discount = 1.0 / np.log2(np.arange(2.0, hits.shape[1] + 2.0))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])
    best = ideal[np.minimum(taken, hits.shape[1])]
    gains = np.asarray(hits @ discount)
    return np.asarray(gains / np.where(best > 0.0, best, 1.0))


def recall(truth: Array, said: Array) -> Array:
    """Return the share of what was taken that each list has, of what it could have, (n,)."""
    hits, taken = _hits(truth, said)
    return np.asarray(hits.sum(axis=1) / np.maximum(np.minimum(taken, hits.shape[1]), 1))


def hit_rate(truth: Array, said: Array) -> Array:
    """Return whether each list has any of what was taken, (n,), 0 or 1."""
    hits, _ = _hits(truth, said)
    return np.asarray(hits.any(axis=1), np.float64)


def novelty(said: Array, bits: Mapping[float, float]) -> Array:
    """Return the mean self-information of the items of each list, (n,), in bits; NaN of none.

    Zhou and others, PNAS 107 (2010): -log2 of the share of users who took the item.

    Args:
        said: (n, k) numbers of items.
        bits: That of each item, by its number.
    """
    each = np.array([[bits.get(number, np.nan) for number in row] for row in said.tolist()])
    each = each.reshape(said.shape)
    known = ~np.isnan(each)
    counts = known.sum(axis=1)
    found = np.full(len(said), np.nan)
    np.divide(np.where(known, each, 0.0).sum(axis=1), counts, out=found, where=counts > 0)
    return found


def coverage(said: Array, items: int) -> float:
    """Return the share of a catalogue of so many items that any of the lists has, 0 to 1."""
    found = np.unique(said)
    return float((found >= 0.0).sum() / max(items, 1))


def _hits(truth: Array, said: Array) -> tuple[Flags, NDArray[np.int64]]:
    """Return which places of each list were taken (n, k), and how many items were, (n,)."""
    truth, said = (one.reshape(len(one), -1) for one in (truth, said))
    hits = np.zeros(said.shape, np.bool_)
    for column in truth.T:  # all at once they would be (n, k, m)
        hits |= said == column[:, None]
    return hits & (said >= 0.0), (truth >= 0.0).sum(axis=1)
