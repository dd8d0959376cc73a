"""Measuring a model on rows, and comparing two models on the same rows.

Where an interval would not cover as often as it says there is none, and the measurement
says which count is missing. ``docs/statistics.md`` has the sources of the methods and
how often each was measured to cover.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from noria.errors import InvalidInput, shorten
from noria.measures import estimates, own, rankings, spans
from noria.measures.catalog import METRICS as CATALOG
from noria.measures.catalog import Metric, OwnMetric
from noria.measures.estimates import (
    CLASSIFICATION,
    LABELS,
    MULTI_LABEL,
    REGRESSION,
    Array,
    Estimate,
    estimate,
    of_labels,
)
from noria.measures.intervals import difference, freedom, of_difference, of_one
from noria.measures.measurement import Measurement

METRICS: Final = (*CLASSIFICATION, *REGRESSION)
"""The metrics that predictions and labels of rows are measured by."""

_ALL: Final = (*METRICS, *MULTI_LABEL, *rankings.RANKINGS, *spans.SPANS)
_UNBOUNDED: Final = (*REGRESSION, *LABELS)

RARER: Final = 10
"""Rows of the rarest class that an interval of a metric of classes needs."""

ROWS: Final = 100
"""Rows, queries or documents that an interval of a metric of values, rankings or spans needs.

What happens once in thirty is then seen.
"""

SPREAD: Final = 10
"""Degrees of freedom that the variance of unbounded errors must be known with."""

_SAME: Final = 1e-12


def metric_of(metric: str | Metric) -> Metric:
    """Return a metric of Noria's by its name; one that a family brings is itself.

    Raises:
        InvalidInput: It is none that predictions and labels are measured by.
    """
    if isinstance(metric, OwnMetric):
        return metric
    name = metric.name if isinstance(metric, Metric) else metric
    if name not in _ALL:
        raise InvalidInput(
            f"metric: {shorten(name)} is not one that predictions and labels are measured by",
            fix=f"use one of {', '.join(_ALL)}; one that a family brings is given as it is, "
            "not by its name",
        )
    return CATALOG[name]


def measure(
    metric: str | Metric, truth: Array, prediction: Array, confidence: float = 0.95
) -> Measurement:
    """Measure one metric.

    Args:
        metric: One of ``METRICS``, ``rankings.RANKINGS`` or ``spans.SPANS``; or a family's own.
        truth: (n,) values, or (n, t) of t targets a row, or (n,) class codes as floats; (n, m)
            relevances of n queries (``rankings``), or (n,) documents' ``spans``.
        prediction: (n,) or (n, t) values, or (n,) probabilities of class 1, or (n, k) of k classes;
            (n, m) scores, or (n,) documents' spans.
        confidence: Of the two-sided interval, 0 to 1.

    Raises:
        InvalidInput: The metric is unknown, these are no rankings or spans and it is of them, or
            a family's own fails.
    """
    metric = metric_of(metric)
    found = _estimated(metric, truth, prediction)
    n = int(truth.shape[0])
    if isinstance(found, str):
        return Measurement(metric.name, None, samples=n, confidence=confidence, problem=found)
    lacks = _lacks(metric, truth, prediction, found)
    low, high = (None, None) if lacks else of_one(metric, found, confidence)
    method = "" if lacks else "exact" if found.hits is not None else "influence"
    return Measurement(metric.name, found.value, low, high, n, confidence, method, lacks)


def decided(metric: Metric, prediction: Array, thresholds: Sequence[float] | Array) -> Array:
    """Return what a metric reads of probabilities: of one that decides, 1 from a threshold on.

    Args:
        metric: The metric; one of scores reads them as they are.
        prediction: (n,) probabilities, or (n, t) of t targets.
        thresholds: One for all rows, or (n,) of each row's; of t targets one each, or (n, t). None
            at all: a half, and of k classes the likeliest.
    """
    limits = np.asarray(thresholds, np.float64)
    if not metric.decides or not limits.size:
        return prediction
    called = np.where(prediction >= limits, 1.0, 0.0)
    return np.where(np.isnan(prediction), math.nan, called)


def measure_labels(metric: str, labels: Array, confidence: float = 0.95) -> Measurement:
    """Measure what labels alone say, where there is no number that they could be held to.

    Args:
        metric: One of ``noria.measures.estimates.LABELS``.
        labels: (n,) values.
        confidence: Of the two-sided interval, 0 to 1.
    """
    n = labels.size
    if not n:
        said = "needs labelled rows, has 0"
        return Measurement(metric, None, confidence=confidence, problem=said)
    found = of_labels(metric, labels)
    if not math.isfinite(found.value):
        said = "is not a finite number"
        return Measurement(metric, None, samples=n, confidence=confidence, problem=said)
    of = CATALOG[metric]
    lacks = f"needs {ROWS} labelled rows, has {n}" if n < ROWS else _lacks_spread(of, found)
    low, high = (None, None) if lacks else of_one(of, found, confidence)
    method = "" if lacks else "influence"
    return Measurement(metric, found.value, low, high, n, confidence, method, lacks)


def compare(
    metric: str | Metric, truth: Array, ours: Array, theirs: Array, confidence: float = 0.95
) -> Measurement:
    """Measure ours minus theirs on the same rows, in the metric's own direction and unit.

    Args:
        metric: As in ``measure``.
        truth: As in ``measure``.
        ours: As ``prediction`` in ``measure``.
        theirs: The same shape.
        confidence: Of the two-sided interval, 0 to 1; each of its ends alone is a bound that
            holds with (1 + confidence) / 2.

    Raises:
        InvalidInput: As in ``measure``.
    """
    metric = metric_of(metric)
    mine, other = _estimated(metric, truth, ours), _estimated(metric, truth, theirs)
    n = int(truth.shape[0])
    if isinstance(mine, str) or isinstance(other, str):
        said = mine if isinstance(mine, str) else str(other)
        return Measurement(metric.name, None, samples=n, confidence=confidence, problem=said)
    apart = difference(mine, other)
    lacks = (
        _lacks(metric, truth, ours, mine)
        or _lacks(metric, truth, theirs, other)
        or _lacks_spread(metric, apart)
        or _lacks_difference(metric, apart)
    )
    low, high = (None, None) if lacks else of_difference(mine, other, confidence)
    method = "" if lacks else "paired influence"
    return Measurement(metric.name, apart.value, low, high, n, confidence, method, lacks)


def value_of(metric: str | Metric, truth: Array, prediction: Array) -> float:
    """Return a metric without its interval; NaN where it is not defined on the rows.

    Raises:
        InvalidInput: As in ``measure``.
    """
    found = _estimated(metric_of(metric), truth, prediction)
    return math.nan if isinstance(found, str) else found.value


def parts_of(metric: str | Metric, truth: Array, prediction: Array) -> tuple[float, ...]:
    """Return the values that a metric is the mean of: each target's, or each class's.

    Of spans, those of each of ``spans.types_of``. NaN where one is not defined on the rows; empty
    for a metric that is no such mean, as a family's own, and of two classes.

    Raises:
        InvalidInput: The metric is unknown.
    """
    name = metric_of(metric).name
    if name in spans.SPANS:
        spans.check(name, truth, prediction)
        return tuple(one.value for one in spans.parts_of(name, truth, prediction))
    found = estimates.parts_of(name, truth, prediction) if truth.shape[0] else []
    return tuple(one.value for one in found) if len(found) > 1 else ()


def _estimated(metric: Metric, truth: Array, prediction: Array) -> Estimate | str:
    """Return the estimate, or why there is none."""
    if not truth.shape[0]:
        return f"needs {_samples(metric)}, has 0"
    found = _estimate(metric, truth, prediction)
    if math.isfinite(found.value):
        return found
    if metric.name in REGRESSION and (np.ptp(truth, axis=0) == 0).any():
        return f"needs labels that vary: all {truth.shape[0]} are the same"
    if metric.name in CLASSIFICATION and (lacks := _lacks_classes(truth, prediction)):
        return lacks
    if metric.name in spans.SPANS:
        return "needs documents with spans, has none"
    return "is not a finite number"


def _estimate(metric: Metric, truth: Array, prediction: Array) -> Estimate:
    if isinstance(metric, OwnMetric):
        return own.estimate(metric, truth, prediction)
    if metric.name in rankings.RANKINGS:
        rankings.check(metric.name, truth, prediction)
        return rankings.estimate(metric.name, truth, prediction)
    if metric.name in spans.SPANS:
        spans.check(metric.name, truth, prediction)
        return spans.estimate(metric.name, truth, prediction)
    return estimate(metric.name, truth, prediction)


def _samples(metric: Metric) -> str:
    named = {"rankings": "queries", "spans": "documents", "inputs": "rows"}
    return named.get(metric.of, "labelled rows")


def _lacks(metric: Metric, truth: Array, prediction: Array, found: Estimate) -> str:
    """Say what the rows lack for an interval; empty: nothing."""
    if not metric.judges:
        return "has no interval: it is no mean over samples"
    if metric.name not in CLASSIFICATION and found.hits is None:
        n = truth.shape[0]
        few = f"needs {ROWS} {_samples(metric)}, has {n}"
        return few if n < ROWS else _lacks_spread(metric, found)
    if found.hits is None:
        return _lacks_classes(truth, prediction) or _lacks_difference(metric, found)
    return "" if found.hits[1] else "needs rows that are positive or called so, has 0"


def _lacks_classes(truth: Array, prediction: Array) -> str:
    if truth.ndim > 1:
        ones = (truth == 1).sum(axis=0)
        rarer = int(np.minimum(ones, truth.shape[0] - ones).min())
        said = f"needs {RARER} labelled rows of each label's rarer class, has {rarer}"
        return said if rarer < RARER else ""
    classes = 2 if prediction.ndim == 1 else prediction.shape[1]
    rarer = int(np.bincount(truth.astype(np.int64), minlength=classes).min())
    return f"needs {RARER} labelled rows of the rarer class, has {rarer}" if rarer < RARER else ""


def _lacks_spread(metric: Metric, found: Estimate) -> str:
    if not _is_unbounded(metric):
        return ""
    if lacks := _lacks_difference(metric, found):
        return lacks
    n = found.influence.size
    degrees = freedom(found)
    if degrees >= SPREAD:
        return ""
    wanted = math.ceil(n * SPREAD / degrees / 10.0) * 10
    return f"needs about {wanted} labelled rows, has {n}: a few great errors outweigh the rest"


def _lacks_difference(metric: Metric, found: Estimate) -> str:
    """Say that nothing tells how far one more row could be; a bounded metric's range does."""
    n = found.influence.size
    unbounded = _is_unbounded(metric) or metric.name == "log-loss"
    if unbounded and float(np.abs(found.influence).max()) <= _SAME:
        return f"needs rows that differ: all {n} give the same"
    return ""


def _is_unbounded(metric: Metric) -> bool:
    if isinstance(metric, OwnMetric):
        return not metric.is_bounded
    return metric.name in _UNBOUNDED
