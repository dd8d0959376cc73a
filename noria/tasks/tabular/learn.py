"""Learning a tabular model: folds, stacking and calibration around one algorithm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError
from noria.spec import ModelSpec, cpu_count
from noria.tasks.encoding import Encoder
from noria.tasks.package import Feature
from noria.tasks.sources.rows import moments
from noria.tasks.tabular import calibration
from noria.tasks.tabular.describe import TabularClassificationOptions
from noria.tasks.tabular.fit import Design, balanced, fit
from noria.tasks.tabular.folds import Fold, RowFacts, deciles, folds
from noria.tasks.tabular.levels import Levels, WideScorer, fit_levels, goal_of
from noria.tasks.tabular.members import WEIGHTED, fit_members, members_of
from noria.tasks.tabular.predictor import probabilities
from noria.tasks.tabular.schema import MAX_CATEGORIES, Target, columns_of
from noria.tasks.tabular.scorers import Scorer
from noria.tasks.tabular.scorers.stacked import StackedScorer
from noria.tasks.tabular.threads import threads_for

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What training gives: the scorer, its calibrator (or None), and the algorithm's name."""

    scorer: Scorer
    calibrator: calibration.Calibrator | None
    algorithm: str


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
    """Return the encoded rows of a frame, of equal weight; ``rarer`` as ``Encoder`` takes it."""
    more = rarer or {}
    event_time = spec.data.event_time
    matrix = np.empty((len(frame), sum(feature.size for feature in features)))
    first = 0
    for feature in features:
        # One after another: all the columns at once would take as much again as the matrix.
        encoder = Encoder((feature,), event_time, more)
        part = encoder.encode(columns_of((feature,), event_time, frame))
        matrix[:, first : first + feature.size] = part
        first += feature.size
    return Design(
        matrix=matrix,
        target=target.values,
        classes=len(target.classes),
        # A table without an entry is a column without a value: it has nothing to split on.
        categories=tuple(
            max(1, len(feature.categories) + len(more.get(feature.name, ())))
            if feature.kind == "categorical"
            else 0
            for feature in features
            for _ in range(feature.size)
        ),
        weight=None,
        seed=spec.train.seed,
        threads=threads_for(matrix.size, int(cpu_count(spec.train.compute.cpu))),
    )


def slice_of(
    spec: ModelSpec, design: Design, places: NDArray[np.int64], weight: Array | None
) -> Design:
    """Return some rows of a design as they are fitted on.

    Args:
        spec: Says whether classes are balanced.
        design: All rows.
        places: Of n rows.
        weight: (n,) how much each counts; None: the same.

    Raises:
        DataError: Of two classes only one is there.
    """
    rows = design.take(places)
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
    return replace(rows, weight=weight)


def cross_validation(spec: ModelSpec, facts: RowFacts) -> list[Fold]:
    """Return the folds of ``spec.train.crossValidation``."""
    gap_ms = int(spec.data.split.gap.total_seconds() * 1000)
    cv = spec.train.cross_validation
    return list(folds(cv.kind, facts, cv.folds, gap_ms, spec.train.seed))


def learn(spec: ModelSpec, params: Mapping[str, Any], design: Design, facts: RowFacts) -> Learned:
    """Fit the model of the spec on all rows of the design, calibrated if it asks for that.

    Args:
        spec: The model.
        params: Hyperparameters, or the members of an average (``noria.tasks.tabular.weighting``).
        design: The rows.
        facts: About them.
    """
    options = spec.task.options
    method = options.calibration if isinstance(options, TabularClassificationOptions) else "none"
    if spec.train.ensemble.kind == "stacking":
        return _stacked(spec, params, design, facts, method)
    members = members_of(params)
    scorer = fit_wide(spec.train.algorithm, params, design)
    name = WEIGHTED if members else spec.train.algorithm
    if method == "none":
        return Learned(scorer, None, name)
    held = _held(spec, design, facts)
    raw = np.vstack(
        [
            fit_wide(spec.train.algorithm, params, design.take(fold.train)).raw(
                design.matrix[fold.test]
            )
            for fold in held
        ]
    )
    return Learned(scorer, _calibrate(method, raw, design, held), name)


def fit_wide(algorithm: str, params: Mapping[str, Any], design: Design) -> Scorer:
    """Fit an algorithm, or the members that ``params`` name, on target statistics too."""
    wide, levels = widened(design)
    members = members_of(params)
    inner = fit_members(members, wide) if members else fit(algorithm, params, wide)
    return inner if levels is None else WideScorer(levels, inner)


def widened(design: Design) -> tuple[Design, Levels | None]:
    """Return the rows with statistics of columns of many levels, and how others are widened."""
    sizes = {j: size for j, size in enumerate(design.categories) if size > MAX_CATEGORIES}
    if not sizes:
        return design, None
    goal = goal_of(design.target, design.classes)
    levels, matrix = fit_levels(design.matrix, sizes, goal, design.weight, design.seed)
    own = tuple(0 if j in sizes else size for j, size in enumerate(design.categories))
    categories = own + (0,) * (matrix.shape[1] - len(own))
    return replace(design, matrix=matrix, categories=categories), levels


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
    wide, levels = widened(design)
    fitted = tuple(fit(name, _own(spec, name, params), wide) for name in members)
    stacked: Scorer = StackedScorer(members, fitted, meta)
    if levels is not None:
        stacked = WideScorer(levels, stacked)
    calibrator = None
    if method != "none":
        calibrator = _calibrate(method, meta.raw(out), design, held)
    return Learned(stacked, calibrator, "stacking")


def _own(spec: ModelSpec, member: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Hyperparameters belong to ``spec.train.algorithm``; other members have their defaults."""
    return params if member == spec.train.algorithm else {}


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
