"""Metrics of rankings: a sample is one query, and its candidates are scored.

Of n queries the truth is (n, m): how relevant each of up to m candidates is, from 0, NaN where a
query has fewer. The prediction is (n, m): their scores, NaN for a candidate that was not
retrieved. Each query gives one number from 0 to 1, and a metric is their mean, so that they add up
over batches, and an interval is one over queries.

nDCG is Järvelin and Kekäläinen's (ACM TOIS 20, 2002) with linear gains; of candidates of the same
score it is the mean over their orders (McSherry and Najork, ECIR 2008), as in scikit-learn. The
others ask whether a candidate is relevant, which is over 0, and set candidates of the same score
against the model, the irrelevant first: equal scores earn nothing. A query without a relevant
candidate gives 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput
from noria.measures.catalog import CUTOFFS
from noria.measures.estimates import Array, Estimate, share_of

Flags = NDArray[np.bool_]


def check(metric: str, truth: Array, prediction: Array) -> None:
    """Refuse what are no rankings.

    Raises:
        InvalidInput: The shapes are not (n, m), or a relevance is under 0 or infinite.
    """
    if truth.ndim != 2 or truth.shape != prediction.shape:
        raise InvalidInput(
            f"{metric}: relevances {truth.shape} and scores {prediction.shape} are no rankings",
            fix="give both as (queries, candidates), NaN where a query has fewer",
        )
    if (truth < 0).any() or np.isinf(truth).any():
        raise InvalidInput(
            f"{metric}: a relevance is under 0 or infinite",
            fix="give 0 for what is not relevant, and more the more it is",
        )


def per_query(metric: str, truth: Array, prediction: Array) -> Array:
    """Return what each of n queries gives, (n,): the statistic that adds up.

    Args:
        metric: One of ``RANKINGS``.
        truth: (n, m) relevances, NaN where there is no candidate.
        prediction: (n, m) scores, NaN for what was not retrieved.
    """
    return _RANKINGS[metric](np.nan_to_num(truth), np.where(np.isnan(truth), np.nan, prediction))


def estimate(metric: str, truth: Array, prediction: Array) -> Estimate:
    """Return a metric of n queries; n > 0. The arguments are those of ``per_query``."""
    queries = per_query(metric, truth, prediction)
    found = share_of(queries)
    if metric.startswith("hit-rate"):
        return replace(found, hits=(float(queries.sum()), float(queries.size)))
    return found


def _relevant(truth: Array, scores: Array) -> Flags:
    """Return (n, m) whether the candidate at each place of the ranking is relevant."""
    found = (truth > 0) & ~np.isnan(scores)
    # The last key is the first to sort by; NaN goes last.
    order = np.lexsort((found, -scores), axis=-1)
    return np.asarray(np.take_along_axis(found, order, axis=-1))


def _reciprocal_rank(truth: Array, scores: Array) -> Array:
    ranked = _relevant(truth, scores)
    first = ranked.argmax(axis=1)
    return np.asarray(np.where(ranked.any(axis=1), 1.0 / (first + 1.0), 0.0))


def _precision(cutoff: int, truth: Array, scores: Array) -> Array:
    return np.asarray(_relevant(truth, scores)[:, :cutoff].sum(axis=1) / cutoff)


def _recall(cutoff: int, truth: Array, scores: Array) -> Array:
    hits = _relevant(truth, scores)[:, :cutoff].sum(axis=1)
    return np.asarray(hits / np.maximum((truth > 0).sum(axis=1), 1))


def _hit(cutoff: int, truth: Array, scores: Array) -> Array:
    return np.asarray(_relevant(truth, scores)[:, :cutoff].any(axis=1), np.float64)


def _ndcg(cutoff: int, truth: Array, scores: Array) -> Array:
    n, m = truth.shape
    places = np.arange(m)
    discount = np.where(places < cutoff, 1.0 / np.log2(places + 2.0), 0.0)
    ideal = -np.sort(-truth, axis=1) @ discount
    # NaN goes last, and equals nothing; candidates of the same score share their places.
    order = np.argsort(-scores, axis=1)
    ranked = np.take_along_axis(scores, order, axis=1)
    gains = np.where(np.isnan(ranked), 0.0, np.take_along_axis(truth, order, axis=1))
    begins = np.ones((n, m), np.bool_)
    begins[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    group = np.cumsum(begins.ravel()) - 1
    mean = np.bincount(group, gains.ravel()) / np.bincount(group)
    gained = mean * np.bincount(group, np.tile(discount, n))
    query = np.nonzero(begins)[0]
    reached = np.bincount(query, gained, minlength=n)
    return np.asarray(np.divide(reached, ideal, out=np.zeros(n), where=ideal > 0))


_AT: Final[Mapping[str, Callable[[int, Array, Array], Array]]] = MappingProxyType(
    {"ndcg": _ndcg, "recall": _recall, "precision": _precision, "hit-rate": _hit}
)
_RANKINGS: Final[Mapping[str, Callable[[Array, Array], Array]]] = MappingProxyType(
    {
        "reciprocal-rank": _reciprocal_rank,
        **{
            f"{name}-at-{cutoff}": partial(of, cutoff)
            for name, of in _AT.items()
            for cutoff in CUTOFFS
        },
    }
)

RANKINGS: Final = tuple(_RANKINGS)
"""The metrics of rankings."""
