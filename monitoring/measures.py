"""Performance of predictions against the labels that came back, as ``noria.measures`` has it."""

from __future__ import annotations

import logging
from typing import Final

import numpy as np

from monitoring.table import FloatArray
from noria.errors import InvalidInput, traceback_tail
from noria.measures import measuring
from noria.measures.measurement import Measurement

_SHOWN: Final = 300
_MANY: Final = 2
"""Of more classes than that one probability a row does not tell enough."""

_log = logging.getLogger(__name__)


def measure(
    metric: str,
    scores: FloatArray,
    labels: FloatArray,
    *,
    classes: int = 0,
    confidence: float = 0.95,
) -> Measurement:
    """Measure one metric on the rows that have a label.

    Args:
        metric: One of ``noria.measures.measuring.METRICS``.
        scores: (n,) probabilities of the positive class, or predicted values; of k > 2 classes
            (n, k), each one's probability in their order.
        labels: (n,) the place of the class, or true values; NaN where there is none.
        classes: How many there are, as far as it is known; 0: it is not, or there are none.
        confidence: Of the two-sided interval, 0 to 1.

    Raises:
        InvalidInput: The metric is unknown.
    """
    width = 1 if scores.ndim == 1 else scores.shape[1]
    wanted = classes if classes > _MANY else 1
    if not width:
        said = "the answers hold no number"
        return Measurement(metric, None, samples=labels.size, confidence=confidence, problem=said)
    if classes and labels.size and width != wanted:
        each = f"{wanted} numbers a row, one for each class" if wanted > 1 else "one number a row"
        said = f"needs {each}, has {width}"
        return Measurement(metric, None, samples=labels.size, confidence=confidence, problem=said)
    known = np.isfinite(scores) if scores.ndim == 1 else np.isfinite(scores).all(axis=1)
    usable = known & np.isfinite(labels)
    return measuring.measure(metric, labels[usable], scores[usable], confidence)


def of_window(
    metric: str,
    scores: FloatArray,
    labels: FloatArray,
    *,
    classes: int = 0,
    confidence: float = 0.95,
) -> Measurement:
    """Measure a window; what can't be measured here is said, and the other metrics go on."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return measure(metric, scores, labels, classes=classes, confidence=confidence)
    except InvalidInput as error:
        said = f"not measured here: {error.message}"
    except Exception as error:  # noqa: BLE001 - labels must not be lost by what is made of them
        _log.error("metric %s failed: %s", metric, traceback_tail(error))
        said = f"it can't be measured: {error}"[:_SHOWN]
    return Measurement(metric, None, samples=labels.size, problem=said)
