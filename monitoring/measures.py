"""Performance metrics of predictions against labels, with confidence intervals.

Every interval is two-sided. Sources: AUC by DeLong, DeLong and Clarke-Pearson,
Biometrics 44, 1988, in the O(n log n) form of Sun and Xu, IEEE Signal Proc.
Letters 21, 2014; average precision on the logit scale, Boyd, Eng and Page,
ECML PKDD 2013; the calibration gap, which is calibration-in-the-large without
its sign (Van Calster et al., BMC Medicine 17, 2019), by the normal interval;
accuracy by Wilson's score interval, JASA 22, 1927; F1, RMSE and R2 by the delta
method; the others are means of per-row losses, with the normal interval of a
mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from types import MappingProxyType
from typing import Final

import numpy as np

from monitoring.table import FloatArray
from noria.errors import InvalidInput

_EPSILON: Final = 1e-15
_HALF: Final = 0.5


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric's value and interval; None where the rows can't tell (``problem`` says why)."""

    value: float | None
    low: float | None
    high: float | None
    samples: int
    problem: str = ""


def measure(
    metric: str, scores: FloatArray, labels: FloatArray, confidence: float = 0.95
) -> Measured:
    """Measure one metric.

    Args:
        metric: one of ``METRICS``.
        scores: (n,) probabilities of the positive class, or predicted values.
        labels: (n,) 0 or 1, or true values.
        confidence: of the two-sided interval, 0 to 1.

    Raises:
        InvalidInput: the metric is unknown.
    """
    if metric not in _METRICS:
        raise InvalidInput(
            f"metric: {metric!r} is unknown", fix=f"use one of {', '.join(_METRICS)}"
        )
    usable = np.isfinite(scores) & np.isfinite(labels)
    s, y = scores[usable], labels[usable]
    if not s.size:
        return Measured(None, None, None, 0, "no labelled rows")
    z = NormalDist().inv_cdf(_HALF + confidence / 2.0)
    found = _METRICS[metric](s, y, z)
    if isinstance(found, str):
        return Measured(None, None, None, int(s.size), found)
    value, low, high = (float(v) for v in found)
    if not (math.isfinite(value) and math.isfinite(low) and math.isfinite(high)):
        return Measured(None, None, None, int(s.size), "not a finite number")
    return Measured(value, low, high, int(s.size))


def unmeasured(rows: int) -> Measured:
    """Return that rows of more than two classes can't be measured by one probability each."""
    return Measured(
        None, None, None, rows, "performance of more than two classes is not measured yet"
    )


_Interval = tuple[float, float, float]


def _auc(s: FloatArray, y: FloatArray, z: float) -> _Interval | str:
    positive, negative = s[y > _HALF], s[y <= _HALF]
    m, n = positive.size, negative.size
    if not m or not n:
        return "needs rows of both classes"
    # Share of the other class under each score, ties half: the structural components.
    ordered_n, ordered_p = np.sort(negative), np.sort(positive)
    of_positive = _midrank(ordered_n, positive) / n
    of_negative = 1.0 - _midrank(ordered_p, negative) / m
    value = float(of_positive.mean())
    variance = 0.0
    if m > 1:
        variance += float(of_positive.var(ddof=1)) / m
    if n > 1:
        variance += float(of_negative.var(ddof=1)) / n
    half = z * math.sqrt(variance)
    return value, max(0.0, value - half), min(1.0, value + half)


def _midrank(ordered: FloatArray, points: FloatArray) -> FloatArray:
    below = np.searchsorted(ordered, points, side="left")
    upto = np.searchsorted(ordered, points, side="right")
    found: FloatArray = (below + upto) / 2.0
    return found


def _average_precision(s: FloatArray, y: FloatArray, z: float) -> _Interval | str:
    positives = float((y > _HALF).sum())
    if not positives:
        return "needs rows of the positive class"
    order = np.argsort(-s, kind="stable")
    hits = (y[order] > _HALF).astype(np.float64)
    # Equal scores are one threshold: the precision at the end of each run of ties.
    ends = np.flatnonzero(np.append(np.diff(s[order]) != 0, True))
    found = np.cumsum(hits)[ends]
    precision = found / (ends + 1.0)
    value = float((np.diff(found, prepend=0.0) * precision).sum() / positives)
    clipped = min(max(value, 1e-9), 1.0 - 1e-9)
    eta = math.log(clipped / (1.0 - clipped))
    tau = 1.0 / math.sqrt(positives * clipped * (1.0 - clipped))
    low, high = eta - z * tau, eta + z * tau
    return value, _sigmoid(low), _sigmoid(high)


def _sigmoid(x: float) -> float:
    return 0.5 * (1.0 + math.tanh(x / 2.0))


def _accuracy(s: FloatArray, y: FloatArray, z: float) -> _Interval:
    n = s.size
    p = float(((s >= _HALF) == (y > _HALF)).mean())
    scale = 1.0 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / n + z * z / (4.0 * n * n))
    return p, min(p, centre - half), max(p, centre + half)


def _f1(s: FloatArray, y: FloatArray, z: float) -> _Interval | str:
    n = s.size
    called, true = s >= _HALF, y > _HALF
    hit, missed = float((called & true).sum()), float((called != true).sum())
    if not hit + missed:
        return "needs rows of the positive class"
    value = 2 * hit / (2 * hit + missed)
    u, v = hit / n, missed / n
    # F1 = 2u / (2u + v) with multinomial u, v; gradient (2v, -2u) / (2u + v)^2.
    scale = (2 * u + v) ** 2
    du, dv = 2 * v / scale, -2 * u / scale
    variance = (du * du * u * (1 - u) + dv * dv * v * (1 - v) - 2 * du * dv * u * v) / n
    half = z * math.sqrt(max(variance, 0.0))
    return value, max(0.0, value - half), min(1.0, value + half)


def _mean(losses: FloatArray, z: float) -> _Interval:
    value = float(losses.mean())
    spread = float(losses.std(ddof=1)) if losses.size > 1 else 0.0
    half = z * spread / math.sqrt(losses.size)
    return value, max(0.0, value - half), value + half


def _log_loss(s: FloatArray, y: FloatArray, z: float) -> _Interval:
    p = np.clip(s, _EPSILON, 1.0 - _EPSILON)
    return _mean(-np.where(y > _HALF, np.log(p), np.log1p(-p)), z)


def _brier(s: FloatArray, y: FloatArray, z: float) -> _Interval:
    return _mean((s - (y > _HALF)) ** 2, z)


def _calibration_gap(s: FloatArray, y: FloatArray, z: float) -> _Interval:
    differences = s - (y > _HALF)
    value = abs(float(differences.mean()))
    spread = float(differences.std(ddof=1)) if s.size > 1 else 0.0
    half = z * spread / math.sqrt(s.size)
    return value, max(0.0, value - half), min(1.0, value + half)


def _mae(s: FloatArray, y: FloatArray, z: float) -> _Interval:
    return _mean(np.abs(s - y), z)


def _rmse(s: FloatArray, y: FloatArray, z: float) -> _Interval:
    squares = (s - y) ** 2
    value = math.sqrt(float(squares.mean()))
    if not value or squares.size < 2:
        return value, value, value
    half = z * float(squares.std(ddof=1)) / math.sqrt(squares.size) / (2 * value)
    return value, max(0.0, value - half), value + half


def _r2(s: FloatArray, y: FloatArray, z: float) -> _Interval | str:
    errors, deviations = (s - y) ** 2, (y - y.mean()) ** 2
    a, b = float(errors.mean()), float(deviations.mean())
    if not b:
        return "needs labels that vary"
    # Influence of each row on 1 - a / b.
    influence = -(errors - a) / b + a / (b * b) * (deviations - b)
    half = z * float(influence.std()) / math.sqrt(s.size)
    value = 1.0 - a / b
    return value, value - half, min(1.0, value + half)


_METRICS: Final[Mapping[str, Callable[[FloatArray, FloatArray, float], _Interval | str]]] = (
    MappingProxyType(
        {
            "auc": _auc,
            "average-precision": _average_precision,
            "log-loss": _log_loss,
            "brier": _brier,
            "calibration-gap": _calibration_gap,
            "accuracy": _accuracy,
            "f1": _f1,
            "mae": _mae,
            "rmse": _rmse,
            "r2": _r2,
        }
    )
)
METRICS: Final = tuple(_METRICS)
GREATER_IS_BETTER: Final = frozenset({"auc", "average-precision", "accuracy", "f1", "r2"})
