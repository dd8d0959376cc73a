"""Labels of rows: read, checked, and one of them as the target of a model of two classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError
from noria.spec import Feature, ModelSpec
from noria.spec.task import TaskSection
from noria.tasks.multilabel.describe import options_of
from noria.tasks.multilabel.predictor import CLASSES
from noria.tasks.sources.typed import read_as
from noria.tasks.tabular.describe import CLASSIFICATION, TabularClassificationOptions
from noria.tasks.tabular.family import PreparedTabular
from noria.tasks.tabular.schema import Target

Array = NDArray[np.float64]

_FEW: Final = 10
"""Rows of a combination of labels that are a stratum of their own."""


def with_labels(spec: ModelSpec) -> ModelSpec:
    """Return the spec as one whose rows have the labels, which are read as booleans."""
    data = spec.data
    also = tuple(Feature(name=name, type="boolean") for name in options_of(spec).labels)
    return spec.model_copy(
        update={"data": data.model_copy(update={"features": (*data.features, *also)})}
    )


def labelled(spec: ModelSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of which all labels are known, with numbers for these.

    Raises:
        DataError: There is none.
    """
    names = list(options_of(spec).labels)
    missing = rows[names].isna()
    found = rows[~missing.any(axis=1)].reset_index(drop=True)
    if found.empty:
        most = str(missing.sum().idxmax())
        raise DataError(
            f"spec.task.options.labels: none of {len(rows)} rows has all of them; {most} is "
            f"missing in {int(missing[most].sum())}",
            fix="give rows with a label in each of these columns, or remove the one that has none",
        )
    return found.assign(**{name: found[name].astype(np.float64) for name in names})


def labels_of(spec: ModelSpec, rows: pd.DataFrame) -> Array:
    """Return the labels of n rows, (n, k) of 0 and 1.

    Raises:
        DataError: One is neither; it names column, row and value.
    """
    names = options_of(spec).labels
    return np.column_stack([np.asarray(read_as(rows[name], "boolean"), float) for name in names])


def strata_of(labels: Array) -> NDArray[np.int64]:
    """Return a number for each row's combination of labels, (n,); rare ones are together."""
    _, codes, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    codes = codes.reshape(-1).astype(np.int64)
    return np.where(counts[codes] < _FEW, counts.size, codes)


def refuse_constant(spec: ModelSpec, labels: Array) -> None:
    """Refuse a label that is the same in all rows.

    Raises:
        DataError: It names the label and its value.
    """
    for place, name in enumerate(options_of(spec).labels):
        first = labels[0, place]
        if (labels[:, place] == first).all():
            raise DataError(
                f"spec.task.options.labels[{place}]: {name} is {first:g} in all {len(labels)} rows",
                fix="give rows of both kinds, or remove it from the labels",
            )


def alone(spec: ModelSpec, place: int) -> ModelSpec:
    """Return the model of one label by itself: two classes of a row, without a search.

    Of a budget it has its share.
    """
    options = options_of(spec)
    own = TabularClassificationOptions(
        class_weights=options.class_weights,
        calibration=options.calibration,
        threshold=options.threshold,
    )
    train = spec.train
    budget = None if train.budget is None else train.budget / len(options.labels)
    search = train.search.model_copy(update={"kind": "none"})
    return spec.model_copy(
        update={
            "task": TaskSection(family=CLASSIFICATION.name, options=own),
            "data": spec.data.model_copy(update={"target": options.labels[place]}),
            "train": train.model_copy(update={"budget": budget, "search": search}),
        }
    )


def target_of(labels: Array, place: int) -> Target:
    """Return one label of rows as the target of two classes."""
    codes = labels[:, place].astype(np.int64)
    return Target(labels[:, place], codes, CLASSES)


def part_of(prepared: PreparedTabular, place: int) -> PreparedTabular:
    """Return the same encoded rows with one label as their target."""
    target = target_of(prepared.target.values, place)
    return replace(
        prepared,
        target=target,
        design=replace(prepared.design, target=target.values),
        facts=replace(prepared.facts, strata=target.codes),
    )
