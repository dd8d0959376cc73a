"""Confidence intervals of metrics, and of differences on the same rows.

The AUC of two classes: DeLong, DeLong and Clarke-Pearson (1988), in the fast
form of Sun and Xu (2014, "Fast implementation of DeLong's algorithm", IEEE
Signal Processing Letters 21), on the logit scale for a single AUC. Everything
else: the percentile bootstrap over rows, all metrics and models on the same
resamples, so that differences are paired. Rows are taken as independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.tasks.tabular.metrics import Weighted

Array = NDArray[np.float64]
RESAMPLES: Final = 1000
# Weights held at once: 32 MB.
_CELLS: Final = 4_000_000


def resample(
    metrics: Mapping[str, Weighted], rows: int, seed: int, resamples: int = RESAMPLES
) -> dict[str, Array]:
    """Return (resamples,) values of each metric under the same multinomial weights."""
    rng = np.random.default_rng(seed)
    values: dict[str, list[Array]] = {name: [] for name in metrics}
    chunk = max(1, _CELLS // max(rows, 1))
    for start in range(0, resamples, chunk):
        count = min(chunk, resamples - start)
        weights = np.empty((count, rows))
        for row in weights:
            row[:] = np.bincount(rng.integers(0, rows, rows), minlength=rows)
        for name, metric in metrics.items():
            values[name].append(metric(weights))
    return {name: np.concatenate(parts) for name, parts in values.items()}


def percentile(values: Array, confidence: float) -> tuple[float, float] | None:
    """Return the two-sided percentile interval, or None when too few values are defined."""
    defined = values[np.isfinite(values)]
    if defined.size < max(20, values.size // 2):
        return None
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)


def one_sided(values: Array, confidence: float) -> tuple[float, float] | None:
    """Return a lower and an upper bound, each of which holds with ``confidence``."""
    return percentile(values, 2.0 * confidence - 1.0)


def delong(positive: NDArray[np.bool_], scores: Array) -> tuple[Array, Array]:
    """Return AUCs and their covariance.

    Args:
        positive: (n,) which rows are positive; both kinds occur.
        scores: (models, n).

    Returns:
        (models,) AUCs and the (models, models) covariance matrix.
    """
    up, down = scores[:, positive], scores[:, ~positive]
    m, n = up.shape[1], down.shape[1]
    whole = np.array([_midranks(np.concatenate(pair)) for pair in zip(up, down, strict=True)])
    own_up = np.array([_midranks(row) for row in up])
    own_down = np.array([_midranks(row) for row in down])
    auc = (whole[:, :m].sum(axis=1) / m - (m + 1) / 2.0) / n
    v10 = (whole[:, :m] - own_up) / n
    v01 = 1.0 - (whole[:, m:] - own_down) / m
    covariance = _covariance(v10) / m + _covariance(v01) / n
    return auc, covariance


def auc_interval(auc: float, variance: float, confidence: float) -> tuple[float, float]:
    """Return the two-sided interval of one AUC, on the logit scale so that it stays in 0 to 1."""
    if auc <= 0.0 or auc >= 1.0 or variance <= 0.0:
        return auc, auc
    reach = _z((1.0 + confidence) / 2.0) * math.sqrt(variance) / (auc * (1.0 - auc))
    centre = math.log(auc / (1.0 - auc))
    return _expit(centre - reach), _expit(centre + reach)


def auc_difference(auc: Array, covariance: Array, confidence: float) -> tuple[float, float, float]:
    """Return first minus second AUC with one-sided bounds, each of ``confidence``."""
    difference = float(auc[0] - auc[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2.0 * covariance[0, 1])
    reach = _z(confidence) * math.sqrt(max(variance, 0.0))
    return difference, difference - reach, difference + reach


def _covariance(components: Array) -> Array:
    if components.shape[1] < 2:
        return np.zeros((components.shape[0], components.shape[0]))
    return np.atleast_2d(np.cov(components))


def _midranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2.0)[inverse])


def _z(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def _expit(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value >= 0 else 1.0 - 1.0 / (1.0 + math.exp(value))
