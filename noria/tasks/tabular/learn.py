"""Learning a tabular model: folds, stacking and calibration around one algorithm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError
from noria.spec import Data, ModelSpec, cpu_count
from noria.tasks.encoding import Encoder
from noria.tasks.package import Feature
from noria.tasks.sources.rows import moments
from noria.tasks.tabular import calibration
from noria.tasks.tabular.derived import Derived, DerivedScorer
from noria.tasks.tabular.describe import TabularClassificationOptions, TabularRegressionOptions
from noria.tasks.tabular.fit import Design, balanced, fit
from noria.tasks.tabular.fit_derived import fit_derived, widened_by
from noria.tasks.tabular.fit_texts import CodedScorer, Corpus, Reading, reading_of
from noria.tasks.tabular.folds import Fold, RowFacts, deciles, folds, hold_out
from noria.tasks.tabular.hyperparameters import CUMULATIVE
from noria.tasks.tabular.intervals import HELD, Band, Intervals, margin_of, quantiles_of
from noria.tasks.tabular.levels import Levels, WideScorer, fit_levels, goal_of
from noria.tasks.tabular.members import WEIGHTED, fit_members, members_of
from noria.tasks.tabular.ordered import fit_steps
from noria.tasks.tabular.plans import Plan, plan_of, with_plan, without_plan
from noria.tasks.tabular.predictor import probabilities
from noria.tasks.tabular.resampling import resampled
from noria.tasks.tabular.schema import MAX_CATEGORIES, Target, columns_of, numbers
from noria.tasks.tabular.scorers import Scorer
from noria.tasks.tabular.scorers.stacked import StackedScorer
from noria.tasks.tabular.threads import threads_for

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What training gives: the scorer, its calibrator (or None), and the algorithm's name.

    The scorer is of the matrix that ``reading`` makes of the coded one; so are the intervals.
    """

    scorer: Scorer
    calibrator: calibration.Calibrator | None
    algorithm: str
    reading: Reading
    intervals: Intervals = field(default_factory=Intervals)


def facts_of(spec: ModelSpec, frame: pd.DataFrame, target: Target) -> RowFacts:
    """Return what splits need to know about the rows of a frame."""
    data = spec.data
    key = data.split.group_key
    if key is not None and bool(frame[key].isna().any()):
        raise DataError(
            f"spec.data.split.groupKey: {key} is missing in {int(frame[key].isna().sum())} rows",
            fix="fill it, or drop those rows in the data module",
        )
    return RowFacts(
        strata=target.codes if target.classes else deciles(target.values),
        event=None if data.event_time is None else moments(frame, data.event_time),
        known=None if data.label_time is None else moments(frame, data.label_time),
        groups=None if key is None else pd.factorize(frame[key], sort=True)[0].astype(np.int64),
    )


def design_of(
    spec: ModelSpec,
    frame: pd.DataFrame,
    features: Sequence[Feature],
    target: Target,
    rarer: Mapping[str, Sequence[str]] | None = None,
) -> Design:
    """Return the encoded rows of a frame, of the weights that its rows have.

    ``rarer`` is as ``Encoder`` takes it.
    """
    more = rarer or {}
    data, event_time = spec.data, spec.data.event_time
    features = [feature for feature in features if feature.origin != "descriptor"]
    # A text is one place in its corpus until rows are fitted on.
    sizes = [1 if feature.kind == "text" else feature.size for feature in features]
    matrix = np.empty((len(frame), sum(sizes)))
    corpora: dict[int, Corpus] = {}
    first = 0
    for feature, size in zip(features, sizes, strict=True):
        # One after another: all the columns at once would take as much again as the matrix.
        columns = columns_of((feature,), event_time, frame)
        if feature.kind == "text":
            codes, different = pd.factorize(columns[feature.name])
            corpora[first] = Corpus(feature.name, different, feature.size, spec.train.seed)
            matrix[:, first] = np.where(codes < 0, np.nan, codes)
        else:
            encoder = Encoder((feature,), event_time, rarer=more)
            matrix[:, first : first + size] = encoder.encode(columns)
        first += size
    return Design(
        matrix=matrix,
        target=target.values,
        classes=len(target.classes),
        # A table without an entry is a column without a value: it has nothing to split on.
        categories=tuple(
            max(1, len(feature.categories) + len(more.get(feature.name, ())))
            if feature.kind == "categorical"
            else 0
            for feature, size in zip(features, sizes, strict=True)
            for _ in range(size)
        ),
        weight=None if data.weight is None else numbers(frame[data.weight]),
        seed=spec.train.seed,
        threads=threads_for(matrix.size, int(cpu_count(spec.train.compute.cpu))),
        corpora=corpora,
        monotone=_monotone(data, features, len(target.classes)),
        resampling=(
            tuple(map(str, target.classes))
            if getattr(spec.task.options, "resample", "none") != "none"
            else ()
        ),
        names=tuple(
            feature.name for feature, size in zip(features, sizes, strict=True) for _ in range(size)
        ),
    )


def _monotone(data: Data, features: Sequence[Feature], classes: int) -> tuple[int, ...]:
    """Return 1 or -1 for each column of the coded matrix that is held to a direction, else 0."""
    held = {one.name: one.monotone for one in data.features if one.monotone is not None}
    if not held:
        return ()
    if classes > 2:
        raise DataError(
            f"spec.data.features: {next(iter(held))} is held monotone, and of {classes} classes "
            "none is the one that rises",
            fix="remove monotone, or predict two classes or a number",
        )
    signs = {"increasing": 1, "decreasing": -1, None: 0}
    return tuple(
        signs[held.get(feature.name)]
        for feature in features
        for _ in range(1 if feature.kind == "text" else feature.size)
    )


def slice_of(
    spec: ModelSpec, design: Design, places: NDArray[np.int64], weight: Array | None
) -> Design:
    """Return some rows of a design as they are fitted on.

    Args:
        spec: Says whether classes are balanced.
        design: All rows.
        places: Of n rows.
        weight: (n,) how much each counts beside its own weight; None: the same.

    Raises:
        DataError: Of two classes only one is there, or every row weighs 0.
    """
    rows = design.take(places)
    own = rows.weight
    if own is not None and not own.any():
        raise DataError(
            f"spec.data.weight: the {places.size} rows to fit on all weigh 0",
            fix="give one of them a weight over 0 at least",
        )
    if design.classes:
        codes = rows.target.astype(np.int64)
        if design.classes == 2 and np.unique(codes).size < 2:
            raise DataError(
                f"spec.data.target: the {places.size} rows to fit on are all of one class",
                fix="train on rows of both classes",
            )
        options = spec.task.options
        if (
            isinstance(options, TabularClassificationOptions)
            and options.class_weights == "balanced"
        ):
            even = balanced(codes, design.classes)
            weight = even if weight is None else even * weight / float(np.mean(even * weight))
    if own is not None:
        weight = own if weight is None else own * weight
    return replace(rows, weight=weight)


def cross_validation(spec: ModelSpec, facts: RowFacts) -> list[Fold]:
    """Return the folds of ``spec.train.crossValidation``."""
    gap_ms = int(spec.data.split.gap.total_seconds() * 1000)
    cv = spec.train.cross_validation
    return list(folds(cv.kind, facts, cv.folds, gap_ms, spec.train.seed))


def learn(spec: ModelSpec, params: Mapping[str, Any], design: Design, facts: RowFacts) -> Learned:
    """Fit the model of the spec on all rows of the design, with what else its options ask for.

    Args:
        spec: The model.
        params: Hyperparameters, or the members of an average (``noria.tasks.tabular.members``).
        design: The rows.
        facts: About them.
    """
    learned = _learn(spec, params, design, facts)
    options = spec.task.options
    if not isinstance(options, TabularRegressionOptions) or not options.levels:
        return learned
    gap_ms = int(spec.data.split.gap.total_seconds() * 1000)
    # How texts are read is the model's own: it knows all of these rows, but no target.
    dense = learned.reading.dense(design)
    fold = hold_out(spec.data.split.kind, facts, HELD, gap_ms, spec.train.seed)
    fitted, held = dense.take(fold.train), dense.take(fold.test)
    algorithm, own = _of_ends(spec, params, learned)
    prediction = held.target
    if not quantiles_of(algorithm, own, options.levels[0]):
        inner = _learn(spec, params, fitted, facts.take(fold.train))
        prediction = inner.scorer.raw(held.matrix)[:, 0]
    bands = []
    for level in options.levels:
        ends = quantiles_of(algorithm, own, level)
        # LightGBM fits no quantile that is held monotone; no algorithm's ends are.
        free = replace(fitted, monotone=())
        scorers = tuple(fit_wide(algorithm, end, free) for end in ends)
        low, high = prediction, prediction
        if scorers:
            low, high = (scorer.raw(held.matrix)[:, 0] for scorer in scorers)
        beyond = np.maximum(low - held.target, held.target - high)
        bands.append(Band(level, margin_of(beyond, level), scorers))
    return replace(
        learned, intervals=Intervals(algorithm if bands[0].scorers else "", tuple(bands))
    )


def _of_ends(
    spec: ModelSpec, params: Mapping[str, Any], learned: Learned
) -> tuple[str, Mapping[str, Any]]:
    """Return the algorithm that fits the ends of intervals, and its hyperparameters.

    Of an average they are those of its own algorithm's first member.
    """
    if learned.algorithm != WEIGHTED:
        return learned.algorithm, params
    algorithm = spec.train.algorithm
    found = (one.parameters for one in members_of(params) if one.algorithm == algorithm)
    return algorithm, with_plan(next(found, spec.train.hyperparameters), plan_of(params))


def _learn(spec: ModelSpec, params: Mapping[str, Any], design: Design, facts: RowFacts) -> Learned:
    options = spec.task.options
    method = _calibration(options)
    if spec.train.ensemble.kind == "stacking":
        return _stacked(spec, params, design, facts, method)
    scorer, reading = fit_read(spec.train.algorithm, params, design)
    name = WEIGHTED if members_of(params) else spec.train.algorithm
    name = CUMULATIVE if params.get(CUMULATIVE) else name
    if method == "none":
        return Learned(scorer, None, name, reading)
    held = _held(spec, design, facts)
    raw = np.vstack(
        [
            fit_wide(spec.train.algorithm, params, design.take(fold.train)).raw(
                design.matrix[fold.test]
            )
            for fold in held
        ]
    )
    return Learned(scorer, _calibrate(method, raw, design, held), name, reading)


def _calibration(options: Any) -> str:
    """Return how probabilities are calibrated: always where rows were made of rarer classes."""
    if not isinstance(options, TabularClassificationOptions):
        return "none"
    made = options.resample == "smote" and options.calibration == "none"
    return "sigmoid" if made else options.calibration


def fit_wide(algorithm: str, params: Mapping[str, Any], design: Design) -> Scorer:
    """Fit an algorithm, or the members that ``params`` name; the scorer is of the design's matrix.

    Texts are read, and columns of many levels have target statistics, by the rows it fits on.
    """
    scorer, reading = fit_read(algorithm, params, design)
    return CodedScorer(reading, scorer) if reading.columns else scorer


def fit_read(algorithm: str, params: Mapping[str, Any], design: Design) -> tuple[Scorer, Reading]:
    """Fit as ``fit_wide`` does; return a scorer of the matrix that the reading makes."""
    wide, by = widened(design, plan_of(params))
    members = members_of(params)
    params = without_plan(params)
    if params.get(CUMULATIVE):
        return by.scorer(fit_steps(algorithm, params, wide)), by.reading
    inner = fit_members(members, wide) if members else fit(algorithm, params, wide)
    return by.scorer(inner), by.reading


@dataclass(frozen=True, slots=True, eq=False)
class Widening:
    """How rows are made such as an algorithm reads them."""

    reading: Reading
    derived: Derived | None = None
    levels: Levels | None = None

    def scorer(self, inner: Scorer) -> Scorer:
        """Return the scorer of rows whose texts are numbers already."""
        wide = inner if self.levels is None else WideScorer(self.levels, inner)
        return wide if self.derived is None else DerivedScorer(self.derived, wide)

    def rows(self, design: Design, like: Design) -> Design:
        """Return other rows of a design, as those in ``like`` are."""
        dense = self.reading.dense(design)
        if self.derived is not None:
            dense = widened_by(self.derived, dense)
        matrix = dense.matrix if self.levels is None else self.levels.widen(dense.matrix)
        return replace(dense, matrix=matrix, categories=like.categories, names=like.names)


def widened(design: Design, plan: Plan) -> tuple[Design, Widening]:
    """Return the rows as an algorithm reads them, and how others are made such.

    Texts become numbers, and the plan's columns are computed; columns of many levels become
    statistics of the target, and more follow after the last column. Rows that are made of rarer
    classes come last: nothing is learnt from them but by the algorithm.
    """
    reading = reading_of(design)
    dense = reading.dense(design)
    derived = None
    if plan:
        derived, dense = fit_derived(plan, dense)
    sizes = {j: size for j, size in enumerate(dense.categories) if size > MAX_CATEGORIES}
    if not sizes:
        return _whole(dense), Widening(reading, derived)
    goal = goal_of(dense.target, dense.classes)
    levels, matrix = fit_levels(dense.matrix, sizes, goal, dense.weight, dense.seed)
    own = tuple(0 if j in sizes else size for j, size in enumerate(dense.categories))
    more = (0,) * (matrix.shape[1] - len(own))
    monotone = (*dense.monotone, *more) if dense.monotone else ()
    names = (*dense.names, *("",) * len(more)) if dense.names else ()
    wide = replace(dense, matrix=matrix, categories=own + more, monotone=monotone, names=names)
    return _whole(wide), Widening(reading, derived, levels)


def _whole(design: Design) -> Design:
    """Return the rows with those that are made of rarer classes."""
    return resampled(design) if design.resampling else design


def _held(spec: ModelSpec, design: Design, facts: RowFacts) -> list[Fold]:
    held = [fold for fold in cross_validation(spec, facts) if has_classes(design, fold)]
    if not held:
        raise DataError(
            "spec.train.crossValidation: no fold has every class to fit on",
            fix="give more rows, or fewer folds",
        )
    return held


def _stacked(
    spec: ModelSpec, params: Mapping[str, Any], design: Design, facts: RowFacts, method: str
) -> Learned:
    held = _held(spec, design, facts)
    members = tuple(spec.train.ensemble.members)
    # One row of scores per held-out row: all members' outputs side by side.
    out = np.vstack(
        [
            np.hstack(
                [
                    fit_wide(name, _own(spec, name, params), design.take(fold.train)).raw(
                        design.matrix[fold.test]
                    )
                    for name in members
                ]
            )
            for fold in held
        ]
    )
    places = np.concatenate([fold.test for fold in held])
    from noria.tasks.tabular.fit_linear import fit_linear

    meta = fit_linear(
        out,
        design.target[places],
        None if design.weight is None else design.weight[places],
        design.classes,
        (0,) * out.shape[1],
    )
    wide, by = widened(design, plan_of(params))
    fitted = tuple(fit(name, without_plan(_own(spec, name, params)), wide) for name in members)
    stacked = by.scorer(StackedScorer(members, fitted, meta))
    calibrator = None
    if method != "none":
        calibrator = _calibrate(method, meta.raw(out), design, held)
    return Learned(stacked, calibrator, "stacking", by.reading)


def _own(spec: ModelSpec, member: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Hyperparameters belong to ``spec.train.algorithm``; other members have their defaults."""
    return params if member == spec.train.algorithm else with_plan({}, plan_of(params))


def _calibrate(
    method: str, raw: Array, design: Design, held: Sequence[Fold]
) -> calibration.Calibrator:
    codes = design.target[np.concatenate([fold.test for fold in held])].astype(np.int64)
    return calibration.fit(method, probabilities(raw), codes)


def has_classes(design: Design, fold: Fold) -> bool:
    """Say whether every class is among the rows that a fold fits on."""
    if not design.classes:
        return True
    return np.unique(design.target[fold.train]).size == design.classes
