"""Intervals from what every row contributes to a metric, of one model and of two.

An interval is Student's, of the rows and of one more row that is as bad (as good) as can
be: what n rows have not shown may still be there. So perfect separation, equal answers
and losses that have all been small leave an interval with a width, about that of the
rule of three. The degrees of freedom are Satterthwaite's (Biometrics Bulletin 2, 1946),
from the kurtosis of the influences: where a few rows carry the variance, few degrees.
On no known scale (a rating, an unbounded metric of a family's own) the end towards the longer
tail lies further out by the skewness (Johnson, JASA 73, 1978).
The accuracy, a hit rate, and F1 of one class are proportions and have an exact one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from noria.measures.catalog import Metric
from noria.measures.estimates import Array, Estimate
from noria.measures.proportion import exact

Bounds: TypeAlias = tuple[float, float]


def of_one(metric: Metric, found: Estimate, confidence: float) -> Bounds:
    """Return the two-sided interval of a metric; its value always lies inside."""
    if found.hits is not None:
        low, high = exact(*found.hits, confidence)
        return (_f1(low), _f1(high)) if metric.name == "f1" else (low, high)
    least = -math.inf if metric.low is None else metric.low
    greatest = math.inf if metric.high is None else metric.high
    if found.parts:
        low, high = _of_magnitudes(found.parts, found.most, confidence)
    else:
        error, reach = _error(found.influence), _student(found, confidence)
        low = found.value + found.down - reach * math.hypot(error, found.down)
        high = found.value + found.up + reach * math.hypot(error, found.up)
        bent = _bent(found.skewness, reach, found.influence.size) * error
        low, high = low + min(bent, 0.0), high + max(bent, 0.0)
    return max(least, low), min(greatest, high)


def of_difference(ours: Estimate, theirs: Estimate, confidence: float) -> Bounds:
    """Return the two-sided interval of ours minus theirs, on the same rows."""
    value = ours.value - theirs.value
    most = max(ours.most, theirs.most)
    if not ours.parts:
        half = _half(difference(ours, theirs), most, confidence)
        return value - half, value + half
    # Near 0 the sign of a gap is not known: of both combinations the wider one.
    half, k = 0.0, len(ours.parts)
    for mine, other in zip(ours.parts, theirs.parts, strict=True):
        both = (Estimate(0.0, mine[1] + sign * other[1]) for sign in (1.0, -1.0))
        half += max(_half(one, most / k, 1.0 - (1.0 - confidence) / k) for one in both)
    return value - half, value + half


def difference(ours: Estimate, theirs: Estimate) -> Estimate:
    """Return the difference as an estimate of its own."""
    return Estimate(
        ours.value - theirs.value, ours.influence - theirs.influence, freedom=ours.freedom
    )


def freedom(found: Estimate) -> float:
    """Return the degrees of freedom that the variance of the influences is known with.

    The variance of a variance is its square times (kurtosis - 1) / n, that of Student's is 2
    over the degrees.
    """
    n = found.influence.size
    squares = found.influence**2
    second, fourth = float(squares.sum()), float(squares @ squares)
    if not second > 0:
        return found.freedom
    kurtosis = n * fourth / second**2
    degrees = 2.0 * n / (kurtosis - 1.0) if kurtosis > 1.0 else float(n)
    return min(max(degrees, found.freedom), max(n - 1.0, 1.0))


def _of_magnitudes(parts: Sequence[tuple[float, Array]], most: float, confidence: float) -> Bounds:
    """Return the interval of a sum of magnitudes: each part's own, at its share of the risk."""
    low, high, k = 0.0, 0.0, len(parts)
    for value, influence in parts:
        # The lower end of a magnitude fails on either side, so that it takes half the risk.
        near, far = (
            _half(Estimate(value, influence), most / k, 1.0 - (1.0 - confidence) / (sides * k))
            for sides in (2, 1)
        )
        low += max(0.0, abs(value) - near)
        high += abs(value) + far
    return low, high


def _bent(skewness: float, reach: float, rows: int) -> float:
    """Return by how many standard errors the end towards the longer tail moves outwards.

    The first term of the Edgeworth expansion of Student's t (Johnson, JASA 73, 1978; Hall, JRSS B
    54, 1992). The other end would move inwards by as much, and stays.
    """
    return skewness * (1.0 + 2.0 * reach**2) / (6.0 * math.sqrt(rows))


def _half(found: Estimate, most: float, confidence: float) -> float:
    """Return the half width of the rows and of one more that is as different as any.

    The fewer rows carry the variance, the more the middle may be off for one that was not seen.
    """
    n = found.influence.size
    squares = found.influence**2
    second, fourth = float(squares.sum()), float(squares @ squares)
    carrying = second**2 / fourth if fourth > 0 else 0.0
    seen = math.sqrt(float(squares.max())) / (n + 1)
    shift = max(seen, most / (1.0 + carrying))
    reach = _student(found, confidence)
    return shift + reach * math.hypot(_error(found.influence), max(seen, most))


def _error(influence: Array) -> float:
    """Return the standard error."""
    return math.sqrt(float(influence @ influence)) / influence.size


def _student(found: Estimate, confidence: float) -> float:
    # Whoever takes only values (the leakage checks of a step) needs no scipy.
    from scipy import special

    return float(special.stdtrit(freedom(found), (1.0 + confidence) / 2.0))


def _f1(share: float) -> float:
    return 2.0 * share / (1.0 + share)
