"""Metrics of predictions as functions of row weights.

Weights of one give the metric; resampled weights give the bootstrap, for many
metrics at once. Most metrics are functions of weighted sums over the rows;
the areas under curves need the rows in order of their score, which is found
once. Binary F1 is that of the positive class, with more classes the mean over
classes; AUC and average precision are then one class against the rest, the mean.
The Brier score of k classes is halved, so that it lies in 0 to 1 for every k. The
calibration gap is calibration-in-the-large (Van Calster et al., BMC Medicine 17,
2019) without its sign; with more than two classes, half the sum over classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.spec import METRICS, metrics_for

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
# (replicates, n) weights -> (replicates,) values; NaN where the metric is not defined.
Weighted = Callable[[Array], Array]

_CLIP: Final = 1e-15


def orientation(metric: str) -> float:
    """Return 1.0 when greater is better, else -1.0."""
    return 1.0 if METRICS[metric].greater_is_better else -1.0


def names_of(family: str) -> tuple[str, ...]:
    """Return the metrics of a family, its default first."""
    return tuple(metric.name for metric in metrics_for(family))


def weighted_metrics(
    names: Sequence[str], truth: Array, prediction: Array, classes: int
) -> dict[str, Weighted]:
    """Return each metric as a function of weights.

    Args:
        names: Metrics.
        truth: (n,) values, or class codes as floats.
        prediction: (n,) values, or (n,) probabilities of class 1, or (n, k).
        classes: Number of classes; 0 for a regression.
    """
    if not truth.size:
        return {name: lambda weights: np.full(weights.shape[0], np.nan) for name in names}
    if not classes:
        return {name: _regression(name, truth, prediction) for name in names}
    codes = truth.astype(np.int64)
    return {name: _classification(name, codes, prediction, classes) for name in names}


def value_of(name: str, truth: Array, prediction: Array, classes: int) -> float:
    """Return one metric of unweighted rows; NaN when it is not defined on them."""
    function = weighted_metrics([name], truth, prediction, classes)[name]
    return float(function(np.ones((1, truth.shape[0])))[0])


def _ratio(numerator: Array, denominator: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(denominator > 0, numerator / denominator, np.nan))


def _mean(per_row: Array) -> Weighted:
    return lambda weights: _ratio(weights @ per_row, weights.sum(axis=1))


def _regression(name: str, truth: Array, prediction: Array) -> Weighted:
    error = prediction - truth
    if name == "mae":
        return _mean(np.abs(error))
    if name == "rmse":
        square = _mean(error**2)
        return lambda weights: np.sqrt(square(weights))
    # Centred first: the variance of large values of a small spread would cancel out.
    centred = truth - truth.mean()
    sums = np.column_stack([error**2, centred, centred**2])

    def r2(weights: Array) -> Array:
        total = weights.sum(axis=1)
        squared, first, second = (weights @ sums).T
        return 1.0 - _ratio(squared, second - first**2 / total)

    return r2


def _classification(name: str, codes: Codes, prediction: Array, classes: int) -> Weighted:
    rows = np.arange(codes.size)
    binary = prediction.ndim == 1
    if name == "log-loss":
        if binary:
            right = np.where(codes == 1, prediction, 1.0 - prediction)
        else:
            right = prediction[rows, codes]
        return _mean(-np.log(np.clip(right, _CLIP, 1.0)))
    if name == "brier":
        if binary:
            return _mean((prediction - codes) ** 2)
        return _mean(0.5 * ((prediction - np.eye(classes)[codes]) ** 2).sum(axis=1))
    if name == "calibration-gap":
        if binary:
            signed = _mean(prediction - codes)
            return lambda weights: np.abs(signed(weights))
        per_class = [_mean(part) for part in (prediction - np.eye(classes)[codes]).T]
        return lambda weights: np.sum([0.5 * np.abs(of(weights)) for of in per_class], axis=0)
    guess = (prediction >= 0.5).astype(np.int64) if binary else prediction.argmax(axis=1)
    if name == "accuracy":
        return _mean((guess == codes).astype(np.float64))
    if name == "f1":
        of = [1] if binary else list(range(classes))
        scores = [_f1(guess == k, codes == k) for k in of]
        return lambda weights: np.mean([score(weights) for score in scores], axis=0)
    area = _auc if name == "auc" else _average_precision
    if binary:
        return area(codes == 1, prediction)
    parts = [area(codes == k, prediction[:, k]) for k in range(classes)]
    return lambda weights: np.mean([part(weights) for part in parts], axis=0)


def _f1(guessed: NDArray[np.bool_], true: NDArray[np.bool_]) -> Weighted:
    sums = np.column_stack([guessed & true, guessed, true]).astype(np.float64)

    def score(weights: Array) -> Array:
        both, guesses, truths = (weights @ sums).T
        # No such class and none guessed: nothing was missed, as in scikit-learn it counts 0.
        return np.nan_to_num(_ratio(2.0 * both, guesses + truths), nan=0.0)

    return score


def _auc(positive: NDArray[np.bool_], score: Array) -> Weighted:
    """Mann and Whitney's statistic: ties count one half."""
    order = np.argsort(score, kind="stable")
    hits = positive[order]
    starts = np.concatenate([[0], np.nonzero(np.diff(score[order]))[0] + 1])

    def area(weights: Array) -> Array:
        ordered = weights[:, order]
        up = np.add.reduceat(ordered * hits, starts, axis=1)
        down = np.add.reduceat(ordered * ~hits, starts, axis=1)
        below = np.cumsum(down, axis=1) - 0.5 * down
        return _ratio((up * below).sum(axis=1), up.sum(axis=1) * down.sum(axis=1))

    return area


def _average_precision(positive: NDArray[np.bool_], score: Array) -> Weighted:
    """Sum of precision times the step in recall, at each different score, falling."""
    order = np.argsort(-score, kind="stable")
    hits = positive[order]
    starts = np.concatenate([[0], np.nonzero(np.diff(score[order]))[0] + 1])

    def area(weights: Array) -> Array:
        ordered = weights[:, order]
        up = np.add.reduceat(ordered * hits, starts, axis=1)
        seen = np.cumsum(np.add.reduceat(ordered, starts, axis=1), axis=1)
        precision = np.nan_to_num(_ratio(np.cumsum(up, axis=1), seen), nan=0.0)
        return _ratio((precision * up).sum(axis=1), up.sum(axis=1))

    return area
