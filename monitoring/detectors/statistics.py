"""The two-sample tests themselves: pure functions on arrays.

Sources: the two-sample Kolmogorov-Smirnov test with the distribution of
Kolmogorov's D_n at the effective sample size nm/(n+m) (Simard and L'Ecuyer,
"Computing the Two-Sided Kolmogorov-Smirnov Distribution", J. Stat. Softw. 39,
2011); Pearson's chi-square test of homogeneity with Yates' correction at one
degree of freedom; Fisher's exact test (Fisher, 1935).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, gammaln, xlogy

from monitoring.table import FloatArray

_LARGE: Final = 140
_TAIL: Final = 2.2
_TERMS: Final = 12


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
    upto = reference.searchsorted(window, side="right")
    below = upto
    if (reference[np.maximum(upto - 1, 0)] == window).any():
        below = reference.searchsorted(window, side="left")
    rank = np.arange(m + 1) / m
    above_reference = float(np.max(rank[1:] - upto / n))
    below_reference = float(np.max(below / n - rank[:-1]))
    return max(above_reference, below_reference, 0.0)


def ks_of_cells(reference: FloatArray, cells: NDArray[np.int64]) -> float:
    """Return the same distance from counts.

    Between two values of the reference it is largest at the ends, so no value is needed.

    Args:
        reference: (n,) sorted, without NaN, with k distinct values.
        cells: (2k + 1,) how many values of the window are before the first of them, equal
            to it, between it and the second, and so on.
    """
    _, counts = np.unique(reference, return_counts=True)
    upto = np.cumsum(cells)
    n, m = reference.size, int(upto[-1])
    if n == 0 or m == 0:
        return 0.0
    ranks = np.cumsum(counts)
    at = np.abs(upto[1::2] / m - ranks / n)
    before = np.abs(upto[0:-1:2] / m - (ranks - counts) / n)
    return max(float(at.max()), float(before.max()))


def ks_p_values(
    statistics: FloatArray, reference_rows: NDArray[np.int64], window_rows: NDArray[np.int64]
) -> FloatArray:
    """Return the two-sided p-value of each D at the effective size round(nm / (n + m))."""
    n = reference_rows.astype(np.float64)
    m = window_rows.astype(np.float64)
    found = np.ones(statistics.shape)
    size = np.round(n * m / np.maximum(n + m, 1.0))
    # Three regions, as in section 4 of the paper: the far tail, the bulk, and whatever is left.
    scaled = size * statistics**2
    # From one half on, both sides can't be that far off: twice one side is exact.
    large = size > _LARGE
    tail = large & ((scaled >= _TAIL) | (statistics >= 0.5))
    bulk = large & ~tail & (size * statistics**1.5 > 1.4)
    rest = ~tail & ~bulk & (size >= 1)
    found[tail] = [
        2.0 * smirnov(int(n), float(d)) for n, d in zip(size[tail], statistics[tail], strict=True)
    ]
    found[bulk] = 1.0 - pelz_good(statistics[bulk], size[bulk])
    if rest.any():
        # More than half of the time that a monitor takes to start, and not needed until now.
        from scipy.stats import kstwo

        found[rest] = kstwo.sf(statistics[rest], size[rest])
    return np.clip(found, 0.0, 1.0)


def smirnov(size: int, statistic: float) -> float:
    """Return P(D_n^+ >= d) for 0 < d < 1: the sum of Birnbaum and Tingey, every term at once.

    Within 1e-10 (relative) of ``scipy.special.smirnov``, in a tenth of its time at n = 900.
    Source: Birnbaum and Tingey, "One-Sided Confidence Contours for Probability Distribution
    Functions", Annals of Mathematical Statistics 22, 1951.
    """
    n = float(size)
    j = np.arange(np.floor(n * (1.0 - statistic)) + 1.0)
    below = statistic + j / n
    terms = (
        gammaln(n + 1.0)
        - gammaln(j + 1.0)
        - gammaln(n - j + 1.0)
        + xlogy(n - j, np.maximum(1.0 - below, 0.0))
        + (j - 1.0) * np.log(below)
    )
    return statistic * float(np.exp(terms).sum())


def pelz_good(statistics: FloatArray, size: FloatArray) -> FloatArray:
    """Return P(D_n <= d) by the expansion of Pelz and Good in powers of n^(-1/2), all at once.

    Source: Pelz and Good, "Approximating the Lower Tail-Areas of the
    Kolmogorov-Smirnov One-Sample Statistic", JRSS B 38, 1976, as written out by
    Simard and L'Ecuyer. Within 1e-6 of the exact value for n above 140, and within 1e-12 of scipy.

    Args:
        statistics: (k,) values of D.
        size: (k,) values of n.
    """
    root = np.sqrt(size)
    z = (root * statistics)[:, None]
    z2 = z * z
    z4, z6, z8 = z2 * z2, z2**3, z2**4
    k = np.arange(_TERMS, dtype=np.float64)
    half = (np.pi * (k + 0.5)) ** 2
    whole = (np.pi * (k + 1.0)) ** 2
    at_half = np.exp(-half / (2.0 * z2))
    at_whole = np.exp(-whole / (2.0 * z2))
    # Sums over all integers are twice the sums over one side.
    first = 2.0 * at_half.sum(axis=1, keepdims=True)
    second = 2.0 * ((half - z2) * at_half).sum(axis=1, keepdims=True)
    third = 2.0 * (
        (6 * z6 + 2 * z4 + half * (2 * z4 - 5 * z2) + half**2 * (1 - 2 * z2)) * at_half
    ).sum(axis=1, keepdims=True)
    third_whole = 2.0 * (whole * at_whole).sum(axis=1, keepdims=True)
    fourth = 2.0 * (
        (
            half**3 * (5 - 30 * z2)
            + half**2 * (-60 * z2 + 212 * z4)
            + half * (135 * z4 - 96 * z6)
            - 30 * z6
            - 90 * z8
        )
        * at_half
    ).sum(axis=1, keepdims=True)
    fourth_whole = 2.0 * ((3 * whole * z2 - whole**2) * at_whole).sum(axis=1, keepdims=True)
    unit = np.sqrt(np.pi / 2.0)
    r = root[:, None]
    found: FloatArray = unit * (
        first / z
        + second / (6 * z4 * r)
        + (third / (72 * z6 * z) - third_whole / (36 * z2 * z)) / r**2
        + (fourth / (6480 * z8 * z2) + fourth_whole / (216 * z6)) / r**3
    )
    return found[:, 0]


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
