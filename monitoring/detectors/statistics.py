"""The two-sample tests themselves: pure functions on arrays.

Sources: the two-sample Kolmogorov-Smirnov test with the distribution of
Kolmogorov's D_n at the effective sample size nm/(n+m) (Simard and L'Ecuyer,
"Computing the Two-Sided Kolmogorov-Smirnov Distribution", J. Stat. Softw. 39,
2011); Pearson's chi-square test of homogeneity with Yates' correction at one
degree of freedom; Fisher's exact test (Fisher, 1935).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, gammaln
from scipy.stats import kstwo

from monitoring.table import FloatArray


def ks_statistic(reference: FloatArray, window: FloatArray) -> float:
    """Return the largest distance between two empirical distribution functions.

    Between two neighbouring points of the window its distribution function is
    flat and the reference's only rises, so the supremum is at the window's
    points or just before them: two binary searches per point, no merged sort.

    Args:
        reference: (n,) sorted, without NaN.
        window: (m,) sorted, without NaN.
    """
    n, m = reference.size, window.size
    if n == 0 or m == 0:
        return 0.0
    below = np.searchsorted(reference, window, side="left")
    upto = np.searchsorted(reference, window, side="right")
    rank = np.arange(m + 1) / m
    above_reference = float(np.max(rank[1:] - upto / n))
    below_reference = float(np.max(below / n - rank[:-1]))
    return max(above_reference, below_reference, 0.0)


def ks_p_values(
    statistics: FloatArray, reference_rows: NDArray[np.int64], window_rows: NDArray[np.int64]
) -> FloatArray:
    """Return the two-sided p-value of each D at the effective size round(nm / (n + m))."""
    n = reference_rows.astype(np.float64)
    m = window_rows.astype(np.float64)
    empty = (n == 0) | (m == 0)
    size = np.maximum(np.round(n * m / np.maximum(n + m, 1.0)), 1.0)
    found = np.clip(np.asarray(kstwo.sf(statistics, size), dtype=np.float64), 0.0, 1.0)
    return np.where(empty, 1.0, found)


def chi_square(
    reference: NDArray[np.int64], window: NDArray[np.int64]
) -> tuple[float, float, float]:
    """Return statistic, p-value and Cramer's V of two rows of counts.

    Categories that neither side holds carry no information and are left out.
    """
    table = np.stack([reference, window]).astype(np.float64)
    table = table[:, table.sum(axis=0) > 0]
    total = table.sum()
    rows = table.sum(axis=1, keepdims=True)
    freedom = table.shape[1] - 1
    if freedom < 1 or not rows.all():
        return 0.0, 1.0, 0.0
    expected = rows * table.sum(axis=0, keepdims=True) / total
    distance = np.abs(table - expected)
    plain = float((distance**2 / expected).sum())
    statistic = plain
    if freedom == 1:
        statistic = float(((distance - np.minimum(0.5, distance)) ** 2 / expected).sum())
    return statistic, float(chdtrc(freedom, statistic)), float(np.sqrt(plain / total))


def fisher_exact(a: int, b: int, c: int, d: int) -> tuple[float, float, float]:
    """Return odds ratio, two-sided p-value and difference of proportions of [[a, b], [c, d]].

    The first row is the reference, the second the window; the columns count
    "yes" and "no". Two-sided in Fisher's sense: the probability of every table
    with these margins that is at most as probable as the one seen.
    """
    n, m, yes = a + b, c + d, a + c
    if n == 0 or m == 0:
        return 1.0, 1.0, 0.0
    low, high = max(0, yes - m), min(n, yes)
    support = np.arange(low, high + 1)
    logs = (
        _log_choose(n, support) + _log_choose(m, yes - support) - _log_choose(n + m, np.array(yes))
    )
    seen = logs[a - low]
    # Ties are decided on a relative margin: equal probabilities differ by rounding only.
    p_value = float(np.exp(logs[logs <= seen + 1e-7]).sum())
    odds = (a * d) / (b * c) if b * c else float("inf") if a * d else 1.0
    return odds, min(p_value, 1.0), c / m - a / n


def _log_choose(n: int, k: NDArray[np.int64]) -> FloatArray:
    found: FloatArray = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    return found
