"""From a long table of values to series on the steps of a calendar, and to samples of them.

A *sample* is what one forecast is about: a series and an *origin*, the last step whose value is
known. It has a *history*, the values up to the origin, and a *future*, the values after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from math import gcd
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError, shorten
from noria.spec import ModelSpec
from noria.tasks.forecasting.describe import ForecastingOptions, history_of, season_of
from noria.tasks.forecasting.steps import Steps
from noria.tasks.origins import LABEL_KNOWN
from noria.tasks.sources.rows import moments

Array = NDArray[np.float64]

HISTORY: Final = "history"
_MOST_STEPS: Final = 50_000_000
_FEW_SAMPLES: Final = 200


def targets_of(horizon: int) -> tuple[str, ...]:
    """Return what the steps of a forecast are called."""
    return tuple(f"t+{step}" for step in range(1, horizon + 1))


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One series: its key, the number of its first step, and a value for each step, NaN in gaps."""

    key: tuple[str, ...]
    first: int
    values: Array

    @property
    def name(self) -> str:
        """What messages call it."""
        return "the series" if not self.key else f"series {shorten('|'.join(self.key))}"

    @property
    def gaps(self) -> int:
        """How many steps have no value."""
        return int(np.isnan(self.values).sum())


def series_of(spec: ModelSpec, options: ForecastingOptions, rows: pd.DataFrame) -> list[Series]:
    """Return the series of a long table, in the order of their keys.

    Args:
        spec: The model.
        options: Its options.
        rows: A row for each value: entity key, event time, target.

    Raises:
        DataError: A step has two values, a value is infinite, or a series is too long.
    """
    data, steps = spec.data, Steps.of(options)
    time, target = str(data.event_time), str(data.target)
    values = rows[target].to_numpy(np.float64)
    numbers = steps.numbers(moments(rows, time))
    keys = [rows[name].astype(object).where(rows[name].notna(), "") for name in data.entity_key]
    if keys:
        codes, names = pd.MultiIndex.from_arrays(keys).factorize(sort=True)
        named = [tuple(map(str, key)) for key in names]
    else:
        codes, named = np.zeros(len(rows), np.int64), [()]
    order = np.lexsort((numbers, codes))
    codes, numbers, values = codes[order], numbers[order], values[order]
    when = rows[time].to_numpy()[order]
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        place = bad[0]
        raise DataError(
            f"spec.data.target: {target} is {values[place]} in {_named(named[codes[place]])} at "
            f"{_said(when[place])}, and in {bad.size - 1} other rows",
            fix="give finite numbers, and no row where a value is not known",
        )
    twice = np.flatnonzero((np.diff(numbers) == 0) & (np.diff(codes) == 0))
    if twice.size:
        place = twice[0]
        raise DataError(
            f"spec.data.eventTime: {_named(named[codes[place]])} has two values in one {steps}, at "
            f"{_said(when[place])} and {_said(when[place + 1])}: {values[place]:g} and "
            f"{values[place + 1]:g}; there are {twice.size} such pairs",
            fix="add them up or keep one, name all columns of the series in spec.data.entityKey, "
            "or write a shorter spec.task.options.step",
        )
    starts = np.flatnonzero(np.r_[True, np.diff(codes) != 0])
    found: list[Series] = []
    for start, stop in zip(starts, [*starts[1:], codes.size], strict=True):
        first, last = int(numbers[start]), int(numbers[stop - 1])
        if last - first >= _MOST_STEPS:
            raise DataError(
                f"spec.data.eventTime: {_named(named[codes[start]])} goes from "
                f"{_said(when[start])} to {_said(when[stop - 1])}, over {_MOST_STEPS} steps",
                fix=f"look for a wrong time, or write a longer step than {steps}",
            )
        held = np.full(last - first + 1, np.nan)
        held[numbers[start:stop] - first] = values[start:stop]
        found.append(Series(named[codes[start]], first, held))
    return found


def refuse_gaps(
    options: ForecastingOptions, series: Sequence[Series], most: float, column: str
) -> int:
    """Return how many steps have no value.

    Args:
        options: The model's.
        series: All series.
        most: Greatest share of steps without a value, 0 to 1, where gaps are interpolated.
        column: Of the event time.

    Raises:
        DataError: There are more gaps than may be.
    """
    total, gaps = sum(one.values.size for one in series), sum(one.gaps for one in series)
    if not gaps or options.gaps == "zero":
        return gaps
    if options.gaps == "refuse" or gaps > most * total:
        worst = max(series, key=lambda one: one.gaps)
        steps = Steps.of(options)
        place = int(np.flatnonzero(np.isnan(worst.values))[0])
        at = pd.Timestamp(int(steps.starts(np.array([worst.first + place]))[0]), unit="ms")
        usual = _usual(series)
        said = f"; most values are {usual} steps apart" if usual > 1 else ""
        fix = (
            f"write step: {usual * steps.every} {steps.unit}s"
            if usual > 1
            else "fill them, write gaps: zero if nothing happened then, or raise "
            "spec.data.validation.maxMissing"
        )
        raise DataError(
            f"spec.data.eventTime: {column} leaves {gaps} of {total} steps of a {steps} without a "
            f"value, the most in {worst.name}: {worst.gaps}, the first on {at.date()}{said}",
            fix=fix,
        )
    return gaps


def filled(values: Array, gaps: str) -> Array:
    """Return histories (..., n) without gaps between their values: zero, or a line through them.

    What lies before the first value stays missing, and what lies after the last one stays so too:
    a history ends with the last value that is known.
    """
    if not np.isnan(values).any():
        return values
    found = np.array(values, np.float64)
    for row in found.reshape(-1, found.shape[-1]):
        known = np.flatnonzero(~np.isnan(row))
        if not known.size:
            continue
        inner = row[known[0] : known[-1] + 1]
        none = np.isnan(inner)
        if gaps == "zero":
            inner[none] = 0.0
        else:
            places = np.arange(inner.size)
            inner[none] = np.interp(places[none], places[~none], inner[~none])
    return found


def samples_of(
    spec: ModelSpec, options: ForecastingOptions, series: Sequence[Series]
) -> pd.DataFrame:
    """Return the samples to learn from and to be judged by, ordered by origin and series.

    Columns: the entity key, the event time (the origin's step), ``history`` (lists of L values,
    NaN where a series is shorter or has a gap), ``t+1`` to ``t+h``, and when the last of these is
    known. A sample is left out when a value of its future is not known.

    Raises:
        DataError: No series is long enough.
    """
    steps, horizon, width = Steps.of(options), options.horizon, history_of(options)
    least = min(season_of(options) + 1, width)
    long = [one for one in series if one.values.size >= least + horizon]
    if not long:
        longest = max((one.values.size for one in series), default=0)
        raise DataError(
            f"the longest of {len(series)} series has {longest} values, and a season, one more and "
            f"a horizon are {least + horizon}",
            fix="give more values, or a shorter spec.task.options.season or horizon",
        )
    stride = _stride(long, least, options)
    found = [part for one in long for part in _of_one(one, least, stride, width, options)]
    if not found:
        raise DataError(
            f"no series has {horizon} values after each other to be judged by",
            fix="fill the gaps, write gaps: zero, or a shorter spec.task.options.horizon",
        )
    origins = np.array([origin for _, origin, _, _ in found], np.int64)
    frame = {
        name: pd.Series([one.key[place] for one, *_ in found], dtype=object)
        for place, name in enumerate(spec.data.entity_key)
    }
    begun = steps.starts(origins).astype("datetime64[ms]")
    frame[str(spec.data.event_time)] = (
        pd.Series(begun).dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    )
    frame[HISTORY] = pd.Series([history for *_, history, _ in found], dtype=object)
    futures = np.array([future for *_, future in found])
    frame |= {name: futures[:, step] for step, name in enumerate(targets_of(horizon))}
    known = steps.starts(origins + horizon).astype("datetime64[ms]")
    frame[LABEL_KNOWN] = pd.Series(known).dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    rows = pd.DataFrame(frame)
    order = np.lexsort((np.arange(len(rows)), origins))
    return rows.iloc[order].reset_index(drop=True)


def _stride(long: Sequence[Series], least: int, options: ForecastingOptions) -> int:
    """Return how many steps two origins of a series lie apart.

    A whole horizon, so that forecasts are of different values; less where that leaves few. Never a
    part of a season, so that forecasts begin at every place of it.
    """
    season = season_of(options)
    whole = next(n for n in count(options.horizon) if gcd(n, season) == 1)
    for stride in (whole, *range(options.horizon - 1, 0, -1)):
        if gcd(stride, season) > 1:
            continue
        made = sum(
            min((one.values.size - least - options.horizon) // stride + 1, options.origins)
            for one in long
        )
        if made >= _FEW_SAMPLES:
            return stride
    return 1


def _of_one(
    one: Series, least: int, stride: int, width: int, options: ForecastingOptions
) -> Iterator[tuple[Series, int, Array, Array]]:
    values = np.nan_to_num(one.values, nan=0.0) if options.gaps == "zero" else one.values
    last = values.size - options.horizon
    for number in range(options.origins):
        end = last - number * stride
        if end < least:
            return
        future = values[end : end + options.horizon]
        # The value at the origin is known: a history does not end with a gap.
        if np.isnan(future).any() or np.isnan(values[end - 1]):
            continue
        history = np.full(width, np.nan)
        held = values[max(0, end - width) : end]
        history[width - held.size :] = held
        yield one, one.first + end - 1, history, future


def _usual(series: Sequence[Series]) -> int:
    """Return how many steps two values of a series are apart, mostly."""
    apart = [np.diff(np.flatnonzero(~np.isnan(one.values))) for one in series]
    every = np.concatenate(apart) if apart else np.zeros(0, np.int64)
    if not every.size:
        return 1
    lengths, counts = np.unique(every, return_counts=True)
    return int(lengths[counts.argmax()]) if counts.max() > every.size / 2 else 1


def _named(key: tuple[str, ...]) -> str:
    return Series(key, 0, np.zeros(0)).name


def _said(moment: np.datetime64) -> str:
    return f"{pd.Timestamp(moment):%Y-%m-%d %H:%M}"
