"""How well clusters agree with groups that somebody named: they judge, nothing is found by them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError, shorten
from noria.measures.catalog import OwnMetric
from noria.measures.measurement import Measurement
from noria.spec import ModelSpec
from noria.tasks.sources.typed import read_as

Array = NDArray[np.float64]
Places = NDArray[np.int64]

LEAST: Final = 10
"""Labelled rows of a block under which nothing is said."""

_DRAWS: Final = 500


def labels_of(spec: ModelSpec, rows: pd.DataFrame) -> Array:
    """Return the number of each row's group, (n,); NaN where nobody said.

    Raises:
        DataError: A label is no whole number; the message names column, row and value.
    """
    name = spec.data.target
    if name is None:
        return np.full(len(rows), np.nan)
    found = read_as(rows[name], "number")
    wrong = ~np.isnan(found) & (found != np.round(found))
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"spec.data.target: {name} is {shorten(float(found[place]))} in row {place + 1} of "
            f"{len(rows)}, and in {int(wrong.sum())} rows no whole number",
            fix="number the groups, and leave the label empty where nobody looked",
        )
    return found


def measured(
    metrics: tuple[OwnMetric, ...], labels: Array, number: Places, block: Places, seed: int
) -> dict[str, Measurement]:
    """Return how well clusters agree with labels, with 95 % intervals by bootstrap of the rows.

    Clusters are compared within a block, for another fit's have other numbers; the value is the
    mean of the blocks by their labelled rows.

    Args:
        metrics: Those of labels.
        labels: (n,) as ``labels_of`` gives them.
        number: (n,) clusters.
        block: (n,) which fit grouped each row.
        seed: Of the bootstrap.
    """
    known = ~np.isnan(labels)
    parts = [np.flatnonzero(known & (block == one)) for one in np.unique(block)]
    parts = [rows for rows in parts if rows.size >= LEAST]
    count = sum(rows.size for rows in parts)
    if not count:
        return {}
    chance = np.random.default_rng(seed)
    draws = [[chance.choice(rows, rows.size) for rows in parts] for _ in range(_DRAWS)]
    found = {}
    for metric in metrics:
        values = [_mean(metric, labels, number, drawn) for drawn in (parts, *draws)]
        low, high = np.quantile(values[1:], (0.025, 0.975))
        found[metric.name] = Measurement(
            value=values[0], samples=count, low=float(low), high=float(high), method="bootstrap"
        )
    return found


def _mean(metric: OwnMetric, labels: Array, number: Places, parts: list[Places]) -> float:
    of: Any = metric.whole
    sizes = [rows.size for rows in parts]
    return float(np.average([of(labels[rows], number[rows]) for rows in parts], weights=sizes))
