"""Performance of predictions against the labels that came back, as ``noria.measures`` has it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitoring.table import FloatArray
from noria.errors import InvalidInput, traceback_tail
from noria.loop.values import finite
from noria.measures import measuring
from noria.measures.catalog import Metric
from noria.measures.estimates import LABELS, REGRESSION
from noria.measures.measurement import Measurement
from noria.measures.measuring import decided

_SHOWN: Final = 300
_MANY: Final = 2
"""Of more classes than that one probability a row does not tell enough."""

MOST_PARTS: Final = 100
"""Of more targets or classes nobody reads each one's value."""

_log = logging.getLogger(__name__)


class Failed(Measurement, frozen=True):
    """A measurement that failed, whatever the rows are: its ``problem`` is the metric's own."""


def measure(
    metric: str | Metric,
    scores: FloatArray,
    labels: FloatArray,
    *,
    classes: int = 0,
    confidence: float = 0.95,
    thresholds: Sequence[float] = (),
    baseline: FloatArray | None = None,
) -> Measurement:
    """Measure one metric on the rows that have a label.

    Args:
        metric: One of ``noria.measures.measuring.METRICS``; or one of labels alone, which does not
            look at ``scores``; or a family's own.
        scores: (n,) probabilities of the positive class, or predicted values; of k > 2 classes
            (n, k), each one's probability in their order; of t targets (n, t).
        labels: (n,) the place of the class, or true values, or (n, t); NaN where there is none.
        classes: How many there are, as far as it is known; 0: it is not, or there are none.
        confidence: Of the two-sided interval, 0 to 1.
        thresholds: From which probability on something is called positive; none: 0.5.
        baseline: A simple model's predictions, as ``scores``; None: there are none.

    Raises:
        InvalidInput: The metric is unknown, or a family's own fails.
    """
    name = metric if isinstance(metric, str) else metric.name
    if name in LABELS:
        return measuring.measure_labels(name, labels[_known(labels)], confidence)
    width = 1 if scores.ndim == 1 else scores.shape[1]
    wanted = classes if classes > _MANY else 1
    if not width:
        said = "the answers hold no number"
        return Measurement(name, None, samples=labels.size, confidence=confidence, problem=said)
    if classes and labels.size and width != wanted:
        each = f"{wanted} numbers a row, one for each class" if wanted > 1 else "one number a row"
        said = f"needs {each}, has {width}"
        return Measurement(name, None, samples=labels.size, confidence=confidence, problem=said)
    if name in REGRESSION and scores.ndim != labels.ndim:
        said = f"needs a label for each of the {width} numbers a row, or one number a row"
        return Measurement(name, None, samples=labels.size, confidence=confidence, problem=said)
    if isinstance(metric, Metric) and metric.of == "baselines":
        if baseline is None or baseline.shape != scores.shape:
            said = (
                "needs a simple model's predictions beside the model's, and the answers have none"
            )
            return Measurement(name, None, samples=labels.size, confidence=confidence, problem=said)
        scores = np.stack([scores, baseline], axis=-1)
    truth, answered = _usable(scores, labels)
    known = measuring.metric_of(metric)
    return measuring.measure(known, truth, decided(known, answered, thresholds), confidence)


def by_part(
    metrics: Mapping[Metric, Measurement],
    scores: FloatArray,
    labels: FloatArray,
    names: Sequence[str],
    thresholds: Sequence[float] = (),
) -> dict[str, dict[str, float | None]]:
    """Return what the metrics that were measured are the means of: metric to name to value.

    Args:
        metrics: What each gave; one without a value has no parts.
        scores: As ``measure`` takes them.
        labels: As ``measure`` takes them.
        names: Of the classes, or of the targets; without one for each they are counted from 0.
        thresholds: As ``measure`` takes them.
    """
    if scores.ndim == 1 or scores.shape[1] > MOST_PARTS:
        return {}
    truth, said = _usable(scores, labels)
    parts = {
        metric.name: measuring.parts_of(metric, truth, decided(metric, said, thresholds))
        for metric, found in metrics.items()
        if found.value is not None and metric.name not in LABELS
    }
    named = names if len(names) == scores.shape[1] else tuple(map(str, range(scores.shape[1])))
    return {
        metric: dict(zip(named, map(finite, values), strict=True))
        for metric, values in parts.items()
        if values
    }


def _usable(scores: FloatArray, labels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return labels and scores of the rows that have all of them."""
    usable = _known(scores) & _known(labels)
    return labels[usable], scores[usable]


def _known(values: FloatArray) -> NDArray[np.bool_]:
    """Return which rows have all of their numbers, (n,)."""
    return np.asarray(np.isfinite(values).all(axis=tuple(range(1, values.ndim))))


def of_window(
    metric: str | Metric,
    scores: FloatArray,
    labels: FloatArray,
    *,
    classes: int = 0,
    confidence: float = 0.95,
    thresholds: Sequence[float] = (),
    baseline: FloatArray | None = None,
) -> Measurement:
    """Measure a window; what can't be measured here is ``Failed``, and the other metrics go on."""
    name = metric if isinstance(metric, str) else metric.name
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return measure(
                metric,
                scores,
                labels,
                classes=classes,
                confidence=confidence,
                thresholds=thresholds,
                baseline=baseline,
            )
    except InvalidInput as error:
        said = f"not measured here: {error.message}"
    except Exception as error:  # noqa: BLE001 - labels must not be lost by what is made of them
        _log.error("metric %s failed: %s", name, traceback_tail(error))
        said = f"it can't be measured: {error}"[:_SHOWN]
    return Failed(name, None, samples=labels.shape[0], confidence=confidence, problem=said)
