"""The threshold of two classes: from which probability on a row is called positive.

It is chosen on what fits say of rows that were held out of them, all of them training rows, and
taken if it is better than 0.5 there: each fifth of these rows is called by what the other four
would choose. Scores stay as they are. Of a floor ("recall where the precision is at least 0.9")
the threshold that meets it there is taken, and 0.5 where none does.

Elkan, IJCAI 2001 ("The foundations of cost-sensitive learning"), has why the threshold, and not a
resampling of the rows, is what costs move.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import DataError
from noria.measures.catalog import METRICS, Metric
from noria.measures.measuring import compare, decided, measure
from noria.spec import ModelSpec
from noria.tasks.tabular.describe import COST, HALF, Threshold, cost_of, threshold_of
from noria.tasks.tabular.fit import Design
from noria.tasks.tabular.folds import RowFacts
from noria.tasks.tabular.learn import learn
from noria.tasks.tabular.plans import with_untried
from noria.tasks.tabular.predictor import probabilities
from noria.tasks.tabular.tryout import held_out_folds

if TYPE_CHECKING:
    from noria.tasks.tabular.choosing import Budget

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

THRESHOLDS: Final = "thresholds"
"""Under this name they travel with the hyperparameters; no algorithm has one of that name."""

_PARTS: Final = 5
_CONFIDENCE: Final = 0.8
"""Two-sided, so that each end holds with 0.9: a threshold that may be no better isn't taken."""
_CALLED: Final = 10
"""Rows called positive that a precision is trusted from."""


def with_thresholds(
    spec: ModelSpec, params: Mapping[str, Any], design: Design, facts: RowFacts, budget: Budget
) -> dict[str, Any]:
    """Return hyperparameters with the threshold that the spec asks for, if it asks for one.

    Where the budget does not hold the fits that choose it, it stays 0.5, and they say so.

    Raises:
        DataError: There are more than two classes.
    """
    wanted = threshold_of(spec.task.options)
    if wanted is None:
        return dict(params)
    if design.classes != 2:
        raise DataError(
            f"spec.task.options.threshold: is of two classes, and {spec.data.target} has "
            f"{design.classes}",
            fix="remove it: of more classes the likeliest one is answered",
        )
    found = held_out(spec, params, design, facts, budget)
    if found is None:
        return with_untried(params, "the threshold stays at 0.5")
    said, codes = found
    return {**params, THRESHOLDS: [chosen(wanted, codes, said, spec.train.seed)]}


def held_out(
    spec: ModelSpec, params: Mapping[str, Any], design: Design, facts: RowFacts, budget: Budget
) -> tuple[Array, Codes] | None:
    """Return what the whole model says of rows held out of its fits, and their classes, (n,).

    None where the budget does not hold these fits and, by what they took so far, the later ones.
    """
    said, codes = [], []
    folds = held_out_folds(spec, design, facts)
    began, seen = budget.clock(), 0
    for place, fold in enumerate(folds):
        spent = budget.clock() - began if place else 0.0
        refit = spent * design.matrix.shape[0] / seen if place else 0.0
        if not budget.holds(refit, spent / place * (len(folds) - place) if place else 0.0):
            return None
        seen += fold.train.size
        learned = learn(spec, params, design.take(fold.train), facts.take(fold.train))
        raw = learned.scorer.raw(learned.reading.matrix(design.matrix[fold.test]))
        found = probabilities(raw)
        said.append(found if learned.calibrator is None else learned.calibrator.apply(found))
        codes.append(design.target[fold.test].astype(np.int64))
    if not said:
        raise DataError(
            "spec.train.crossValidation: no fold has every class to fit on",
            fix="give more rows or fewer folds, or remove spec.task.options.threshold",
        )
    return np.concatenate(said), np.concatenate(codes)


def chosen(wanted: Threshold, codes: Codes, said: Array, seed: int) -> float:
    """Return the threshold, 0.5 where no other is shown to be better.

    Args:
        wanted: What it is chosen for.
        codes: (n,) classes, 1 is the positive one.
        said: (n,) probabilities of it, by fits that have not seen the rows.
        seed: Deals the rows into parts.
    """
    found = _best(wanted, codes, said)
    if found is None or wanted.floor is not None:
        return HALF if found is None else found
    parts = np.empty(codes.size, np.int64)
    rng = np.random.default_rng(seed)
    for code in (0, 1):
        rows = np.nonzero(codes == code)[0]
        parts[rng.permutation(rows)] = np.arange(rows.size) % _PARTS
    limits = np.full(codes.size, HALF)
    for part in range(_PARTS):
        others = parts != part
        own = _best(wanted, codes[others], said[others])
        limits[~others] = HALF if own is None else own
    metric, truth = metric_of(wanted), codes.astype(np.float64)
    ours, half = (decided(metric, said, limit) for limit in (limits, [HALF]))
    gain = compare(metric, truth, ours, half, _CONFIDENCE)
    least = gain.low if metric.greater_is_better else gain.high
    better = least is not None and (least > 0.0) == metric.greater_is_better and least != 0.0
    return found if better else HALF


def metric_of(wanted: Threshold) -> Metric:
    """Return the metric that a threshold is chosen for."""
    return cost_of(wanted) if wanted.for_ == COST else METRICS[wanted.for_]


def _best(wanted: Threshold, codes: Codes, said: Array) -> float | None:
    """Return the best threshold on these rows; None where none meets the floor, or has a value."""
    order = np.argsort(-said, kind="stable")
    scores = said[order]
    last = np.append(np.nonzero(np.diff(scores))[0], scores.size - 1)
    hits = np.cumsum(codes[order])[last].astype(np.float64)
    called = (last + 1).astype(np.float64)
    positive, negative = float(codes.sum()), float((codes == 0).sum())
    if not positive or not negative:
        return None
    wrong = called - hits
    recall, precision = hits / positive, hits / called
    if wanted.for_ == "f1":
        worth = 2.0 * hits / (called + positive)
    elif wanted.for_ == "balanced-accuracy":
        worth = (recall + 1.0 - wrong / negative) / 2.0
    elif wanted.for_ == "recall":
        met = (precision >= (wanted.precision_at_least or 0.0)) & (called >= _CALLED)
        worth = np.where(met, recall, -math.inf)
    elif wanted.for_ == "precision":
        met = (recall >= (wanted.recall_at_least or 0.0)) & (called >= _CALLED)
        worth = np.where(met, precision, -math.inf)
    else:
        false, missed = wanted.false_positive or 1.0, wanted.false_negative or 1.0
        worth = -(wrong * false + (positive - hits) * missed)
        nobody = -positive * missed
        if float(worth.max()) < nobody:
            return min(1.0, (1.0 + float(scores[0])) / 2.0)
    place = int(np.argmax(worth))
    if worth[place] == -math.inf:
        return None
    own = float(scores[last[place]])
    below = float(scores[last[place] + 1]) if last[place] + 1 < scores.size else own
    middle = (own + below) / 2.0
    return middle if middle > below else own


def told(
    spec: ModelSpec, thresholds: Sequence[float], truth: Array, said: Array
) -> tuple[str, ...]:
    """Return what a threshold brought on judged rows, a sentence for each metric.

    Args:
        spec: The model.
        thresholds: Those of the package that is judged.
        truth: (n,) classes.
        said: (n,) probabilities.
    """
    wanted = threshold_of(spec.task.options)
    if wanted is None or not thresholds:
        return ()
    (limit,) = thresholds
    if limit == HALF:
        asked = (
            f"none reaches {wanted.floor}"
            if wanted.floor is not None
            else f"none is shown to be better for {metric_of(wanted).name}"
        )
        return (f"the threshold stays at 0.5: on rows held out of training {asked}",)
    names = (
        [metric_of(wanted)]
        if wanted.floor is None
        else [METRICS["class-recall"], METRICS["class-precision"]]
    )
    found = []
    for metric in names:
        ours, half = (decided(metric, said, [one]) for one in (limit, HALF))
        mine, other = (measure(metric, truth, one) for one in (ours, half))
        gain = compare(metric, truth, ours, half)
        if mine.value is None or other.value is None or gain.value is None:
            found.append(f"{metric.name}: {mine.problem or other.problem}")
            continue
        bounds = (
            gain.problem
            if gain.low is None or gain.high is None
            else f"from {gain.low:+.4g} to {gain.high:+.4g}"
        )
        against = f"{metric.name} {mine.value:.4g} against {other.value:.4g} at 0.5"
        found.append(f"{against}: {gain.value:+.4g} ({bounds})")
    aim = wanted.floor or metric_of(wanted).name
    start = f"a row is called positive from a probability of {limit:.4g} on, chosen for {aim}"
    where = f"on rows held out of training; on the {truth.size:,} judged rows"
    return (f"{start} {where} {'; '.join(found)}",)
