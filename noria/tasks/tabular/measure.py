"""Measuring predictions: metrics with intervals, and candidate against champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noria.spec import ChampionGate
from noria.tasks.protocol import Comparison, MetricValue
from noria.tasks.tabular.intervals import (
    auc_difference,
    auc_interval,
    delong,
    one_sided,
    percentile,
    resample,
)
from noria.tasks.tabular.metrics import Weighted, orientation, weighted_metrics

Array = NDArray[np.float64]
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What really happened in n held-out rows: class codes or values; ``classes`` 0: values."""

    values: Array
    classes: int
    seed: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.values.shape[0])

    def take(self, places: NDArray[np.int64]) -> Truth:
        """Return the truth of some of the rows."""
        return Truth(self.values[places], self.classes, self.seed)

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Which rows are of class 1."""
        return np.asarray(self.values == 1)


def metric_values(
    names: Sequence[str], truth: Truth, predictions: Mapping[str, Array]
) -> dict[str, dict[str, MetricValue]]:
    """Return every metric of every model's predictions, with 95 % intervals.

    Args:
        names: Metrics.
        truth: Of the n rows.
        predictions: Model name to (n,) or (n, k); see ``weighted_metrics``.
    """
    functions: dict[tuple[str, str], Weighted] = {}
    for model, prediction in predictions.items():
        of_model = weighted_metrics(names, truth.values, prediction, truth.classes)
        functions.update({(model, name): of_model[name] for name in names})
    once = np.ones((1, truth.rows))
    points = {key: float(function(once)[0]) for key, function in functions.items()}
    by_bootstrap = {
        f"{model}\n{name}": function
        for (model, name), function in functions.items()
        if np.isfinite(points[model, name]) and not _has_delong(name, truth)
    }
    resampled = resample(by_bootstrap, truth.rows, truth.seed)
    result: dict[str, dict[str, MetricValue]] = {model: {} for model in predictions}
    for (model, name), point in points.items():
        if not np.isfinite(point):
            value = MetricValue(name, None, samples=truth.rows, problem=_why_undefined(name, truth))
        elif _has_delong(name, truth):
            auc, covariance = delong(truth.positive, predictions[model][None, :])
            low, high = auc_interval(float(auc[0]), float(covariance[0, 0]), _CONFIDENCE)
            value = MetricValue(name, point, low, high, truth.rows, _CONFIDENCE, "delong")
        else:
            bounds = percentile(resampled[f"{model}\n{name}"], _CONFIDENCE)
            below, above = bounds or (None, None)
            value = MetricValue(name, point, below, above, truth.rows, _CONFIDENCE, "bootstrap")
        result[model][name] = value
    return result


def compare(
    gates: Sequence[ChampionGate], truth: Truth, candidate: Array, champion: Array
) -> tuple[Comparison, ...]:
    """Return a paired comparison per gate on the same n rows."""
    compared = []
    names = list(dict.fromkeys(gate.metric for gate in gates))
    ours = weighted_metrics(names, truth.values, candidate, truth.classes)
    theirs = weighted_metrics(names, truth.values, champion, truth.classes)
    once = np.ones((1, truth.rows))
    sampled = [name for name in names if truth.rows and not _has_delong(name, truth)]
    ours_again = resample({name: ours[name] for name in sampled}, truth.rows, truth.seed)
    theirs_again = resample({name: theirs[name] for name in sampled}, truth.rows, truth.seed)
    for gate in gates:
        name = gate.metric
        own, other = float(ours[name](once)[0]), float(theirs[name](once)[0])
        if not np.isfinite(own) or not np.isfinite(other):
            why = _why_undefined(name, truth)
            compared.append(
                Comparison(metric=name, samples=truth.rows, confidence=gate.confidence, problem=why)
            )
            continue
        sign = orientation(name)
        if _has_delong(name, truth):
            auc, covariance = delong(truth.positive, np.vstack([candidate, champion]))
            difference, low, high = auc_difference(auc, covariance, gate.confidence)
            bounds: tuple[float, float] | None = (low, high)
            method = "paired delong"
        else:
            difference = sign * (own - other)
            bounds = one_sided(sign * (ours_again[name] - theirs_again[name]), gate.confidence)
            method = "paired bootstrap"
        lower, upper = bounds or (None, None)
        compared.append(
            Comparison(
                metric=name,
                candidate=own,
                champion=other,
                difference=difference,
                low=lower,
                high=upper,
                confidence=gate.confidence,
                samples=truth.rows,
                method=method,
            )
        )
    return tuple(compared)


def _has_delong(name: str, truth: Truth) -> bool:
    return name == "auc" and truth.classes == 2 and 0 < int(truth.positive.sum()) < truth.rows


def _why_undefined(name: str, truth: Truth) -> str:
    if not truth.rows:
        return "there are no held-out rows"
    if truth.classes and np.unique(truth.values).size < truth.classes:
        return f"{name} is not defined: the held-out rows do not hold every class"
    if not truth.classes and np.ptp(truth.values) == 0:
        return f"{name} is not defined: the held-out rows all have the same value"
    return f"{name} is not a finite number"
