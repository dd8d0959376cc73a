"""The exact interval of a proportion, and that of a quantile, in plain Python.

Clopper and Pearson, Biometrika 26, 1934: it covers at least as often as it says for
every sample size and every proportion, which no approximation does near 0 and 1.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

_TINY: Final = 1e-300
_TERMS: Final = 10_000
_STEPS: Final = 200
_CLOSE: Final = 1e-10


def exact(hits: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the two-sided interval of ``hits`` among ``trials``; of no trials, 0 to 1.

    Args:
        hits: 0 to ``trials``; a mean of weighted rows may give a fraction.
        trials: How many there were.
        confidence: Of the whole interval, 0 to 1; each side misses half of the rest.
    """
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if hits <= 0 else _solve(hits, trials - hits + 1.0, tail)
    high = 1.0 if hits >= trials else _solve(hits + 1.0, trials - hits, 1.0 - tail)
    return low, high


def quantile_ranks(
    quantile: float, samples: int, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Return the ranks, as shares of ``samples``, between which a quantile lies.

    How many of the values are under the quantile is binomial, which bounds it by two of them in
    their order (David and Nagaraja, Order Statistics, 2003, section 7.1). None: even the
    greatest does not bound it, for there are fewer than ``samples_for_quantile``.
    """
    tail = (1.0 - confidence) / 2.0
    low, high = (_count_at(samples, quantile, share) for share in (tail, 1.0 - tail))
    return (low / samples, (high + 1) / samples) if high < samples else None


def samples_for_quantile(quantile: float, confidence: float = 0.95) -> int:
    """Return how many values it takes until the greatest bounds the quantile from above."""
    tail = (1.0 - confidence) / 2.0
    return math.ceil(math.log(tail) / math.log(quantile))


def _count_at(trials: int, share: float, level: float) -> int:
    """Return the least count that a binomial one does not exceed with the chance ``level``."""
    low, high = 0, trials
    while low < high:
        middle = (low + high) // 2
        if 1.0 - beta(middle + 1.0, trials - middle, share) >= level:
            high = middle
        else:
            low = middle + 1
    return low


def _solve(a: float, b: float, share: float) -> float:
    """Return x where the Beta(a, b) distribution reaches ``share``: Newton's steps in a bracket."""
    low, high = 0.0, 1.0
    # From where the normal approximation has it.
    mean = a / (a + b)
    spread = math.sqrt(mean * (1.0 - mean) / (a + b + 1.0))
    x = mean + NormalDist().inv_cdf(share) * spread
    if not low < x < high:
        x = mean
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    for _ in range(_STEPS):
        found = beta(a, b, x) - share
        if found < 0:
            low = x
        else:
            high = x
        density = math.exp(scale + (a - 1.0) * math.log(x) + (b - 1.0) * math.log1p(-x))
        step = found / density if density > _TINY else math.inf
        following = x - step
        if not low < following < high:
            following = (low + high) / 2.0
        if abs(following - x) <= _CLOSE * x:
            return following
        x = following
    return x


def beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function (Lentz's continued fraction)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - beta(b, a, 1.0 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    c, d = 1.0, 1.0 / _away(1.0 - (a + b) * x / (a + 1.0))
    fraction = d
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / _away(1.0 + even * d)
        c = _away(1.0 + even / c)
        fraction *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1.0 / _away(1.0 + odd * d)
        c = _away(1.0 + odd / c)
        fraction *= d * c
        if abs(d * c - 1.0) < 1e-13:
            break
    return front * fraction / a


def _away(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
