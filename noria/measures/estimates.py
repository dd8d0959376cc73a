"""Each metric's value, and what every row contributes to it.

The influence of a row is how much the metric would move if that row weighed more
(Hampel, JASA 69, 1974): for a mean it is the row's distance from it, for the AUC
DeLong, DeLong and Clarke-Pearson's structural components (Biometrics 44, 1988). The
variance of a metric is the mean square of the influences over the rows, that of a
difference the one of their difference row by row. From this one quantity comes every
interval (``intervals``), of one model and of two on the same rows.

Binary F1, precision and recall are those of the positive class, with more classes the mean over
classes; AUC and average precision are then one class against the rest, the mean. The Brier score
of k classes is halved, so that it lies in 0 to 1 for every k. The calibration gap is
calibration-in-the-large (Van Calster et al., BMC Medicine 17, 2019) without its sign;
with more than two classes, half the sum over classes. Of several targets a row a metric is
the mean over targets of each one's own; of several labels, each 0 or 1, so are those of a class,
such as F1 (the macro-F1) and the AUC. ``MULTI_LABEL`` has those of all labels of a row together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

_CLIP: Final = 1e-15
_HALF: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A metric on n rows.

    Attributes:
        value: NaN where it is not defined.
        influence: (n,) of each row, scaled so that the sum of squares over n squared
            is the variance.
        down: By how much one more row, as bad as can be (for an unbounded loss: as low as
            the lowest seen), would lower the number; at most 0.
        up: The same, upwards; at least 0.
        most: The change that one more row makes on which the model is plainly wrong.
        freedom: The least degrees of freedom that the variance is known with.
        parts: Signed sums of which the value is the sum of magnitudes, as (mean, influence)
            each; only of a calibration gap, which is not smooth at 0.
        hits: (hits, trials) where the value is a function of one proportion.
        skewness: Of numbers on no known scale, whose longer tail the rows show less than it is.
    """

    value: float
    influence: Array
    down: float = 0.0
    up: float = 0.0
    most: float = 0.0
    freedom: float = 1.0
    parts: Sequence[tuple[float, Array]] = ()
    hits: tuple[float, float] | None = None
    skewness: float = 0.0


def estimate(metric: str, truth: Array, prediction: Array) -> Estimate:
    """Return a metric of n rows; n > 0.

    Args:
        metric: One of ``ESTIMATED``.
        truth: (n,) values, or (n, t) of t targets, or (n,) class codes as floats.
        prediction: (n,) or (n, t) values, or (n,) probabilities of class 1, or (n, k).
    """
    if metric in _REGRESSION:
        if truth.ndim == 1:
            return _REGRESSION[metric](truth, prediction)
        return _over_targets(parts_of(metric, truth, prediction))
    if metric in _OF_LABELS:
        return _OF_LABELS[metric](truth == 1, prediction >= _HALF)
    if metric in _OF_A_CLASS:
        parts = parts_of(metric, truth, prediction)
        return _average(parts) if truth.ndim == 1 else _over_targets(parts)
    return _CLASSIFICATION[metric](truth.astype(np.int64), prediction)


def parts_of(metric: str, truth: Array, prediction: Array) -> list[Estimate]:
    """Return the estimates that a metric is the mean of: of each target, or of each class.

    Of two classes it is the positive one's alone. A metric that is no such mean has none.
    """
    if metric in _REGRESSION and truth.ndim > 1:
        pairs = zip(truth.T, prediction.T, strict=True)
        return [_REGRESSION[metric](*pair) for pair in pairs]
    if metric not in _OF_A_CLASS:
        return []
    of = _OF_A_CLASS[metric]
    if truth.ndim > 1:
        pairs = zip(truth.T, prediction.T, strict=True)
        return [of(labels == 1, scores >= _HALF, scores) for labels, scores in pairs]
    codes = truth.astype(np.int64)
    if prediction.ndim == 1:
        return [of(codes == 1, prediction >= _HALF, prediction)]
    guess = prediction.argmax(axis=1)
    return [of(codes == k, guess == k, prediction[:, k]) for k in range(prediction.shape[1])]


def _sum(values: Array) -> float:
    # A product with ones: the same bits whatever else is measured beside it.
    return float((np.ones((1, values.shape[0])) @ values)[0])


def _mean(rows: Array, wrong: float) -> Estimate:
    """Return the mean of rows; ``wrong`` is what a row gives on which the model is plainly wrong.

    One more row is as good as the best that was seen, and as bad as the worst or ``wrong``.
    """
    n = rows.shape[0]
    value = _sum(rows) / n
    return Estimate(
        value,
        (rows - value) * unbiased(n),
        down=(float(rows.min()) - value) / (n + 1),
        up=(max(float(rows.max()), wrong) - value) / (n + 1),
        most=wrong / (n + 1),
    )


def unbiased(rows: int) -> float:
    """Return the factor of deviations from their own mean: n - 1 in a variance."""
    return math.sqrt(rows / max(rows - 1, 1))


def share_of(rows: Array) -> Estimate:
    """Return the mean of numbers from 0 to 1; one more may be either of these."""
    return between(rows, 0.0, 1.0)


def between(rows: Array, low: float, high: float) -> Estimate:
    """Return the mean of numbers from ``low`` to ``high``; one more may be either of these."""
    n = rows.shape[0]
    value = _sum(rows) / n
    return Estimate(
        value,
        (rows - value) * unbiased(n),
        down=(low - value) / (n + 1),
        up=(high - value) / (n + 1),
        most=(high - low) / (n + 1),
    )


def unscaled(rows: Array) -> Estimate:
    """Return the mean of numbers on no known scale; one more is as low, or high, as any seen."""
    found = _mean(rows, float(rows.max()))
    spread = math.sqrt(float(found.influence @ found.influence) / rows.size)
    third = float(((found.influence / spread) ** 3).mean()) if 0 < spread < math.inf else 0.0
    return replace(found, most=max(found.up, -found.down), skewness=third)


def _average(parts: Sequence[Estimate]) -> Estimate:
    """Return the mean over classes of a metric; one more row comes in each class, independently."""
    if len(parts) == 1:
        return parts[0]
    k = len(parts)
    return Estimate(
        float(np.mean([part.value for part in parts], axis=0)),
        np.asarray(np.mean([part.influence for part in parts], axis=0)),
        down=-math.hypot(*(part.down for part in parts)) / k,
        up=math.hypot(*(part.up for part in parts)) / k,
        most=math.hypot(*(part.most for part in parts)) / k,
        freedom=min(part.freedom for part in parts),
    )


def _over_targets(parts: Sequence[Estimate]) -> Estimate:
    """Return the mean over targets of a metric; one more row may be bad in each of them at once."""
    return Estimate(
        float(np.mean([part.value for part in parts], axis=0)),
        np.asarray(np.mean([part.influence for part in parts], axis=0)),
        down=float(np.mean([part.down for part in parts], axis=0)),
        up=float(np.mean([part.up for part in parts], axis=0)),
        most=float(np.mean([part.most for part in parts], axis=0)),
        freedom=min(part.freedom for part in parts),
    )


# --- labels alone ---------------------------------------------------------------------------


def of_labels(metric: str, labels: Array) -> Estimate:
    """Return a metric, one of ``LABELS``, of n labels alone; n > 0."""
    return _LABELS[metric](labels)


# --- regression -----------------------------------------------------------------------------


def _mae(truth: Array, prediction: Array) -> Estimate:
    # A model that knows nothing of a row errs as the mean does.
    return _mean(np.abs(prediction - truth), float(np.abs(truth - truth.mean()).mean()))


def _rmse(truth: Array, prediction: Array) -> Estimate:
    square = _mean((prediction - truth) ** 2, float(truth.var()))
    value = math.sqrt(square.value)
    scale = _HALF / value if value else 0.0
    return Estimate(
        value,
        square.influence * scale,
        down=square.down * scale,
        up=square.up * scale,
        most=square.most * scale,
    )


def _r2(truth: Array, prediction: Array) -> Estimate:
    n = truth.shape[0]
    errors = (prediction - truth) ** 2
    # Centred first: the variance of large values of a small spread would cancel out.
    centred = truth - truth.mean()
    sums = np.column_stack([errors, centred, centred**2])
    squared, first, second = (np.ones((1, n)) @ sums)[0]
    spread = second - first**2 / n
    if not spread > 0:
        return Estimate(math.nan, np.zeros(n))
    value = float(1.0 - squared / spread)
    error, deviation = squared / n, spread / n
    influence = -(errors - error) / deviation + error / deviation**2 * (centred**2 - deviation)
    return Estimate(
        value,
        influence * unbiased(n),
        # A row that errs as the mean does has the influence -R2.
        down=min(-abs(value), float(influence.min())) / (n + 1),
        up=max(0.0, float(influence.max())) / (n + 1),
        most=abs(value) / (n + 1),
    )


# --- probabilities --------------------------------------------------------------------------


def _log_loss(codes: NDArray[np.int64], prediction: Array) -> Estimate:
    if prediction.ndim == 1:
        right = np.where(codes == 1, prediction, 1.0 - prediction)
    else:
        right = prediction[np.arange(codes.size), codes]
    # What the same predictions would cost if the labels were others.
    others = 1 if prediction.ndim == 1 else prediction.shape[1] - 1
    wrong = -np.log(np.clip((1.0 - right) / others, _CLIP, 1.0))
    return _mean(-np.log(np.clip(right, _CLIP, 1.0)), float(wrong.mean()))


def _brier(codes: NDArray[np.int64], prediction: Array) -> Estimate:
    if prediction.ndim == 1:
        rows = (prediction - codes) ** 2
    else:
        rows = _HALF * ((prediction - _indicators(codes, prediction)) ** 2).sum(axis=1)
    return _mean(np.asarray(rows), 1.0)


def _calibration_gap(codes: NDArray[np.int64], prediction: Array) -> Estimate:
    if prediction.ndim == 1:
        signed = [_mean(prediction - codes, 1.0)]
        scale = 1.0
    else:
        differences = prediction - _indicators(codes, prediction)
        signed = [_mean(column, 1.0) for column in differences.T]
        scale = _HALF
    n = codes.size
    return Estimate(
        float(np.sum([scale * abs(part.value) for part in signed], axis=0)),
        np.asarray(sum(scale * np.sign(part.value) * part.influence for part in signed)),
        most=1.0 / (n + 1),
        parts=[(scale * part.value, scale * part.influence) for part in signed],
    )


def _indicators(codes: NDArray[np.int64], prediction: Array) -> Array:
    return np.asarray(np.eye(prediction.shape[1])[codes])


# --- decisions ------------------------------------------------------------------------------


def _guess(prediction: Array) -> NDArray[np.int64]:
    if prediction.ndim == 1:
        return (prediction >= _HALF).astype(np.int64)
    return np.asarray(prediction.argmax(axis=1))


def _accuracy(codes: NDArray[np.int64], prediction: Array) -> Estimate:
    right = (_guess(prediction) == codes).astype(np.float64)
    return replace(_mean(right, 1.0), hits=(float(right.sum()), float(right.size)))


def _f1(true: Flags, guessed: Flags, score: Array) -> Estimate:
    del score
    n = guessed.size
    both = guessed & true
    hits, relevant = float(both.sum()), float((guessed | true).sum())
    total = float(guessed.sum()) + float(true.sum())
    if not total:
        # No such class and none guessed: nothing was missed, as in scikit-learn it counts 0.
        return Estimate(0.0, np.zeros(n), hits=(0.0, 0.0))
    value = 2.0 * hits / total
    influence = (2.0 * both - value * (guessed.astype(np.float64) + true)) * (n / total)
    down, up = 2.0 * hits / (total + 1.0) - value, 2.0 * (hits + 1.0) / (total + 2.0) - value
    return Estimate(
        value,
        influence * unbiased(n),
        down=down,
        up=up,
        most=max(-down, up),
        # Of the rows that are positive or called so, a share is both; F1 = 2 share / (1 + share),
        # and how many of so many rows are both is binomial.
        hits=(hits, relevant),
    )


def _precision(true: Flags, guessed: Flags, score: Array) -> Estimate:
    del score
    # Nothing is called so: nothing was right, as in scikit-learn it counts 0.
    return _rate(true, guessed, nothing=0.0)


def _recall(true: Flags, guessed: Flags, score: Array) -> Estimate:
    del score
    return _rate(guessed, true, nothing=math.nan)


def _rate(hit: Flags, among: Flags, nothing: float) -> Estimate:
    """Return the share of rows among some that are hit; ``nothing`` where these are none."""
    n, m = among.size, int(among.sum())
    if not m:
        return Estimate(nothing, np.zeros(n), hits=(0.0, 0.0))
    hits = float((hit & among).sum())
    value = hits / m
    return Estimate(
        value,
        among * (hit - value) * (n / m * unbiased(m)),
        down=-value / (m + 1),
        up=(1.0 - value) / (m + 1),
        most=1.0 / (m + 1),
        freedom=max(m - 1, 1),
        hits=(hits, float(m)),
    )


def _balanced_accuracy(codes: NDArray[np.int64], prediction: Array) -> Estimate:
    guess = _guess(prediction)
    classes = 2 if prediction.ndim == 1 else prediction.shape[1]
    return _average([_rate(guess == k, codes == k, math.nan) for k in range(classes)])


def _quadratic_kappa(codes: NDArray[np.int64], prediction: Array) -> Estimate:
    """Cohen's kappa with quadratic weights (Psychological Bulletin 70, 1968), by its moments.

    With squared distances, chance is the distance of independent draws of both: the two variances
    and the square of how far the means are apart. (Fleiss and Cohen, Educational and Psychological
    Measurement 33, 1973.)
    """
    a, b = codes.astype(np.float64), _guess(prediction).astype(np.float64)
    n, top = a.size, float((2 if prediction.ndim == 1 else prediction.shape[1]) - 1)
    means, apart = (float(a.mean()), float(b.mean())), float(a.mean() - b.mean())
    seen = float(((a - b) ** 2).mean())
    chance = float(a.var() + b.var()) + apart**2
    if not chance > 0:
        return Estimate(math.nan, np.zeros(n))

    def influence(x: Array, y: Array) -> Array:
        u, v = x - means[0], y - means[1]
        moved = u**2 + v**2 + 2.0 * apart * (u - v) - (chance - apart**2)
        return np.asarray(-((x - y) ** 2 - seen) / chance + seen / chance**2 * moved)

    rows = influence(a, b)
    ends = np.array([0.0, top, 0.0, top]), np.array([top, 0.0, 0.0, top])
    corners = influence(*ends)
    down = min(0.0, float(corners.min()), float(rows.min())) / (n + 1)
    up = max(0.0, float(corners.max()), float(rows.max())) / (n + 1)
    value = 1.0 - seen / chance
    return Estimate(value, rows * unbiased(n), down=down, up=up, most=max(-down, up))


# --- several labels a row --------------------------------------------------------------------


def _micro_f1(true: Flags, guessed: Flags) -> Estimate:
    """F1 of (n, t) labels as if each were a row; what a row brings are all of its labels."""
    n, labels = true.shape
    hits, sizes = (true & guessed).sum(axis=1), true.sum(axis=1) + guessed.sum(axis=1)
    total = float(sizes.sum())
    if not total:
        return Estimate(0.0, np.zeros(n), hits=(0.0, 0.0))
    twice = 2.0 * float(hits.sum())
    value = twice / total
    influence = (2.0 * hits - value * sizes) * (n / total)
    # One more row: all of its labels called and none true, or all of both.
    down = twice / (total + labels) - value
    up = (twice + 2.0 * labels) / (total + 2.0 * labels) - value
    return Estimate(value, influence * unbiased(n), down=down, up=up, most=max(-down, up))


def _hamming_loss(true: Flags, guessed: Flags) -> Estimate:
    return share_of((true != guessed).mean(axis=1))


def _subset_accuracy(true: Flags, guessed: Flags) -> Estimate:
    right = (true == guessed).all(axis=1).astype(np.float64)
    return replace(_mean(right, 1.0), hits=(float(right.sum()), float(right.size)))


# --- ranking --------------------------------------------------------------------------------


def _auc(positive: Flags, guessed: Flags, score: Array) -> Estimate:
    """Mann and Whitney's statistic: ties count one half."""
    del guessed
    m = int(positive.sum())
    n = score.size - m
    if not m or not n:
        return Estimate(math.nan, np.zeros(score.size))
    # Share of the other class under each score, ties half: the structural components.
    below = _others_below(positive, score)
    value = float(below[positive].sum()) / (m * n)
    of_up = below[positive] / n - value
    of_down = 1.0 - below[~positive] / m - value
    influence = np.empty(score.size)
    rows, rarer = score.size, min(m, n)
    influence[positive] = of_up * (rows / m * unbiased(m))
    influence[~positive] = of_down * (rows / n * unbiased(n))
    return Estimate(
        value,
        influence,
        down=-value / (rarer + 1),
        up=(1.0 - value) / (rarer + 1),
        most=1.0 / (rarer + 1),
        freedom=max(rarer - 1, 1),
    )


def _others_below(positive: Flags, score: Array) -> Array:
    """Return of each row how many of the other class score lower; of those that tie, half."""
    order = np.argsort(score)
    ranked = score[order]
    # NaN is greater than all and ties with itself, as in any sort.
    rises = (ranked[1:] != ranked[:-1]) & ~np.isnan(ranked[:-1])
    starts = np.concatenate([[0], np.nonzero(rises)[0] + 1])
    rows = np.diff(np.append(starts, score.size))
    ups = np.add.reduceat(positive[order].astype(np.int64), starts)
    both = [np.cumsum(of) - of / 2.0 for of in (rows - ups, ups)]
    down_below, up_below = (np.repeat(of, rows) for of in both)
    below = np.empty(score.size)
    below[order] = np.where(positive[order], down_below, up_below)
    return below


def _average_precision(positive: Flags, guessed: Flags, score: Array) -> Estimate:
    """Sum of precision times the step in recall, at each different score, falling."""
    del guessed
    n, m = score.size, int(positive.sum())
    if not m:
        return Estimate(math.nan, np.zeros(n))
    order = np.argsort(-score, kind="stable")
    hits = positive[order].astype(np.float64)
    starts = np.concatenate([[0], np.nonzero(np.diff(score[order]))[0] + 1])
    up = np.add.reduceat(hits, starts)
    seen = np.diff(np.append(starts, n)).cumsum().astype(np.float64)
    found = np.cumsum(up)
    precision = found / seen
    value = float((precision * up).sum()) / m
    # What a row at a score adds to the precision at each lower score: (hit - precision) / seen.
    places = np.repeat(np.arange(starts.size), np.diff(np.append(starts, n)))
    counts = np.cumsum((up / seen)[::-1])[::-1][places]
    weighted = np.cumsum((up * precision / seen)[::-1])[::-1][places]
    influence = np.empty(n)
    influence[order] = hits * (precision[places] - value) + hits * counts - weighted
    # One more row: a negative ranked first, or a positive last; a positive ranked first.
    first = float((up * found / (seen + 1.0)).sum()) / m - value
    last = ((m + 1) / (n + 1) - value) / (m + 1)
    better = (float((up * (found + 1.0) / (seen + 1.0)).sum()) + 1.0) / (m + 1)
    return Estimate(
        value,
        influence * (n / m * unbiased(m)),
        down=min(first, last),
        up=max(0.0, better - value),
        most=1.0 / (m + 1),
        freedom=max(m - 1, 1),
    )


_REGRESSION: Final[Mapping[str, Callable[[Array, Array], Estimate]]] = MappingProxyType(
    {"mae": _mae, "rmse": _rmse, "r2": _r2}
)
_CLASSIFICATION: Final[Mapping[str, Callable[[NDArray[np.int64], Array], Estimate]]] = (
    MappingProxyType(
        {
            "log-loss": _log_loss,
            "brier": _brier,
            "calibration-gap": _calibration_gap,
            "accuracy": _accuracy,
            "balanced-accuracy": _balanced_accuracy,
            "quadratic-kappa": _quadratic_kappa,
        }
    )
)
_OF_A_CLASS: Final[Mapping[str, Callable[[Flags, Flags, Array], Estimate]]] = MappingProxyType(
    {
        "auc": _auc,
        "average-precision": _average_precision,
        "f1": _f1,
        "class-precision": _precision,
        "class-recall": _recall,
    }
)
"""Of the rows that are of a class, those that are called so, and its scores; the metric is the
mean over classes."""

_OF_LABELS: Final[Mapping[str, Callable[[Flags, Flags], Estimate]]] = MappingProxyType(
    {
        "micro-f1": _micro_f1,
        "hamming-loss": _hamming_loss,
        "subset-accuracy": _subset_accuracy,
    }
)
"""Of the labels of rows, (n, t), that are 1, and those that are called so."""

_LABELS: Final[Mapping[str, Callable[[Array], Estimate]]] = MappingProxyType({"rating": unscaled})

REGRESSION: Final = tuple(_REGRESSION)
LABELS: Final = tuple(_LABELS)
MULTI_LABEL: Final = tuple(_OF_LABELS)
CLASSIFICATION: Final = (*_OF_A_CLASS, *_CLASSIFICATION)
