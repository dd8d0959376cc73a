"""From a long table of the values of series to rows that each know the values before them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError, shorten
from noria.spec import ModelSpec
from noria.tasks.anomaly import HISTORY
from noria.tasks.anomaly.describe import least_of, options_of
from noria.tasks.sources.rows import moments
from noria.tasks.sources.typed import read_as

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

_MOST_STEPS: Final = 50_000_000


def with_history(spec: ModelSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that can be held against their past, each with it in ``history``.

    It is of ``spec.task.options.history`` values, the newest last, NaN in gaps and before the first
    one. A row is left out that has no value, or too few before it.

    Raises:
        DataError: A value is no number, a step has two, a series is too long, or no row is left.
    """
    data, options = spec.data, options_of(spec)
    name, time, width = data.features[0].name, str(data.event_time), options.history or 0
    values = read_as(rows[name], "number")
    numbers = moments(rows, time) // (options.interval // timedelta(milliseconds=1))
    keys = [rows[key].astype(object).where(rows[key].notna(), "") for key in data.entity_key]
    codes: Numbers = np.zeros(len(rows), np.int64)
    if keys:
        codes = np.asarray(pd.MultiIndex.from_arrays(keys).factorize()[0], np.int64)
    order = np.lexsort((numbers, codes))
    starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0]) if order.size else order
    found: NDArray[Any] = np.full(len(rows), None, object)
    for own in np.split(order, starts[1:]):
        if own.size:
            _refuse_unordered(spec, rows, own, numbers[own])
            found[own] = _pasts(numbers[own], values[own], width, least_of(options))
    kept = np.flatnonzero([one is not None for one in found])
    if not kept.size:
        raise DataError(
            f"no value of {name} has {least_of(options)} others before it in its series",
            fix="give longer series, or a shorter spec.task.options.season; series are told apart "
            "by spec.data.entityKey, and spec.task.options.interval is how far values lie apart",
        )
    return rows.iloc[kept].assign(**{HISTORY: found[kept]})


def _refuse_unordered(spec: ModelSpec, rows: pd.DataFrame, own: Numbers, numbers: Numbers) -> None:
    """Refuse a series, its rows at ``own`` in order of time, that has no one value for each step.

    Raises:
        DataError: It names the first two rows that are in one step.
    """
    data, step = spec.data, options_of(spec).interval
    key = shorten("|".join(str(rows[name].iloc[own[0]]) for name in data.entity_key))
    named, time = f"series {key}" if key else "the series", rows[str(data.event_time)]
    twice = np.flatnonzero(np.diff(numbers) == 0)
    if twice.size:
        first, second = (time.iloc[own[twice[0] + more]] for more in (0, 1))
        raise DataError(
            f"spec.data.eventTime: {named} has two values in one interval of {step}, at {first} "
            f"and {second}; there are {twice.size} such pairs",
            fix="keep one of them, name all columns of the series in spec.data.entityKey, or write "
            "a shorter spec.task.options.interval",
        )
    if numbers[-1] - numbers[0] >= _MOST_STEPS:
        raise DataError(
            f"spec.data.eventTime: {named} goes from {time.iloc[own[0]]} to "
            f"{time.iloc[own[-1]]}, over {_MOST_STEPS} steps",
            fix=f"look for a wrong time, or write a longer interval than {step}",
        )


def _pasts(numbers: Numbers, values: Array, width: int, least: int) -> NDArray[Any]:
    """Return the ``width`` values before each of m, (m,) arrays; None where too few are known.

    They are views of one array, as long as the series.
    """
    places = numbers - numbers[0]
    stepped = np.full(width + int(places[-1]) + 1, np.nan)
    stepped[width + places] = values
    known = np.r_[0, np.cumsum(~np.isnan(stepped))]
    found: NDArray[Any] = np.full(len(values), None, object)
    for row, place in enumerate(places.tolist()):
        if known[place + width] - known[place] >= least and not np.isnan(values[row]):
            found[row] = stepped[place : place + width]
    return found
