"""From a long table of values to series on the steps of a calendar, and to samples of them.

A *sample* is what one forecast is about: a series and an *origin*, the last step whose value is
known. It has a *history*, the values up to the origin, and a *future*, the values after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from math import gcd
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError, shorten
from noria.spec import ModelSpec
from noria.tasks.forecasting import HISTORY
from noria.tasks.forecasting.beside import static_of
from noria.tasks.forecasting.describe import ForecastingOptions, history_of, season_of
from noria.tasks.forecasting.hierarchy import ALL, sums_of
from noria.tasks.forecasting.reconciling import levels_of
from noria.tasks.forecasting.steps import Steps
from noria.tasks.origins import LABEL_KNOWN
from noria.tasks.protocol import Requests
from noria.tasks.sources.rows import labelled, moments, ordered, read_rows

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

LATER: Final = " later"
"""Ends the name of a column with a covariate's values after those that a sample may know.

They are the newest of the series, for forecasts from its end; nothing is learnt from them."""

_MOST_STEPS: Final = 50_000_000
_FEW_SAMPLES: Final = 600


def targets_of(horizon: int) -> tuple[str, ...]:
    """Return what the steps of a forecast are called."""
    return tuple(f"t+{step}" for step in range(1, horizon + 1))


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One series: its key, the number of its first step, and a value for each step, NaN in gaps.

    ``covariates`` are values of the steps from the first on too, of as many as there are rows for;
    ``facts`` hold for all of them.
    """

    key: tuple[str, ...]
    first: int
    values: Array
    covariates: Mapping[str, Array] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call it."""
        return "the series" if not self.key else f"series {shorten('|'.join(self.key))}"

    @property
    def gaps(self) -> int:
        """How many steps have no value."""
        return int(np.isnan(self.values).sum())


def with_later_rows(spec: ModelSpec, base: Path, as_of: datetime | None) -> pd.DataFrame:
    """Return the rows whose value was known at ``as_of``, and the others without their value.

    The others are those since the first of them: what is known ahead is told by them.

    Raises:
        DataError: See ``noria.tasks.sources.rows.labelled_rows``.
    """
    rows = read_rows(spec, base)
    ours = labelled(spec, rows, as_of)
    time, target = str(spec.data.event_time), str(spec.data.target)
    known = rows[target].notna()
    if as_of is not None:
        known &= rows[time] <= pd.Timestamp(as_of.astimezone(UTC))
    rest = rows[~known & (rows[time] > ours[time].min())].assign(**{target: np.nan})
    return ordered(spec.data, pd.concat([ours, rest])) if len(rest) else ours


def series_of(spec: ModelSpec, options: ForecastingOptions, rows: pd.DataFrame) -> list[Series]:
    """Return the series of a long table, in the order of their keys.

    Args:
        spec: The model.
        options: Its options.
        rows: A row for each value: entity key, event time, target, features. With features that are
            known ahead, also rows whose target is NaN.

    Raises:
        DataError: A step has two values, a value is infinite, a series is too long, or a fact of it
            changes.
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
    ordered = rows.iloc[order]
    bad = np.flatnonzero(np.isinf(values) if options.known_ahead else ~np.isfinite(values))
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
        rows_of, places = slice(start, stop), numbers[start:stop] - first

        def stepped(given: Array, places: Numbers = places, steps: int = last - first + 1) -> Array:
            held = np.full(steps, np.nan)
            held[places] = given
            return held

        held = stepped(values[rows_of])
        known = np.flatnonzero(~np.isnan(held))
        if known.size:
            key = named[codes[start]]
            own = ordered.iloc[rows_of]
            beside = {name: stepped(_numbers(own[name])) for name in _changing(options)}
            facts = {name: _fact(own, name, key, time) for name in static_of(spec)}
            begin = int(known[0])
            covariates = {name: column[begin:] for name, column in beside.items()}
            kept = held[begin : known[-1] + 1]
            found.append(Series(key, first + begin, kept, covariates, facts))
    return found


def with_sums(
    spec: ModelSpec, options: ForecastingOptions, series: Sequence[Series]
) -> list[Series]:
    """Return the series and the sums of them that the options name, in the order of their keys.

    A sum is over all parts that have begun and not ended; a step of which a part has a gap has
    none, unless a gap is nothing.

    Raises:
        DataError: A key has the value that stands for all.
    """
    if not options.hierarchy:
        return list(series)
    levels = levels_of(spec.data.entity_key, options.hierarchy)
    parts: dict[tuple[str, ...], list[Series]] = {}
    for one in series:
        if ALL in one.key:
            raise DataError(
                f"spec.data.entityKey: {one.name} has the value {ALL}, which stands for the sum of "
                "all",
                fix="give it another name",
            )
        for key in dict.fromkeys(sums_of(one.key, levels)):
            parts.setdefault(key, []).append(one)
    found = [_added(key, own, options) for key, own in parts.items()]
    return sorted([*series, *found], key=lambda one: one.key)


def _added(key: tuple[str, ...], parts: Sequence[Series], options: ForecastingOptions) -> Series:
    first = min(one.first for one in parts)
    values = np.zeros(max(one.first + one.values.size for one in parts) - first)
    for one in parts:
        start = one.first - first
        values[start : start + one.values.size] += _values(one, options)
    known = np.flatnonzero(~np.isnan(values))
    return Series(key, first + int(known[0]), values[known[0] : known[-1] + 1])


def _changing(options: ForecastingOptions) -> tuple[str, ...]:
    return (*options.known_ahead, *options.past)


def _numbers(column: pd.Series) -> Array:
    return np.asarray(column.astype("Float64").to_numpy(np.float64, na_value=np.nan))


def _fact(rows: pd.DataFrame, name: str, key: tuple[str, ...], time: str) -> Any:
    """Return what all rows of a series say, None where none does.

    Raises:
        DataError: They say different things.
    """
    said = rows[[name, time]].dropna(subset=name)
    other = said[said[name] != said[name].iloc[0]] if len(said) else said
    if len(other):
        raise DataError(
            f"spec.data.features: {name} of {_named(key)} is {said[name].iloc[0]} and, at "
            f"{_said(other[time].to_numpy()[0])}, {other[name].iloc[0]}",
            fix="name it in spec.task.options.knownAhead or past, or in spec.data.entityKey if "
            "these are two series",
        )
    return said[name].iloc[0] if len(said) else None


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


def samples_of(
    spec: ModelSpec, options: ForecastingOptions, series: Sequence[Series]
) -> pd.DataFrame:
    """Return the samples to learn from and to be judged by, ordered by origin and series.

    Columns: the entity key, the event time (the origin's step), ``history`` (lists of L values,
    NaN where a series is shorter or has a gap), ``t+1`` to ``t+h``, and when the last of these is
    known; a column of each feature, and what comes later of it (``LATER``). A sample is left out
    when a value of its future is not known.

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
    # Sums are held against their parts at the same moments.
    newest = max(one.first + one.values.size for one in long) if options.hierarchy else None
    found = [part for one in long for part in _to_learn(one, least, stride, width, options, newest)]
    if not found:
        raise DataError(
            f"no series has {horizon} values after each other to be judged by",
            fix="fill the gaps, write gaps: zero, or a shorter spec.task.options.horizon",
        )
    rows = _frame(spec, options, found, later=2 * horizon)
    origins = steps.numbers(moments(rows, str(spec.data.event_time)))
    known = steps.starts(origins + horizon).astype("datetime64[ms]")
    rows[LABEL_KNOWN] = pd.Series(known).dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    return rows


def requests_of(
    spec: ModelSpec,
    options: ForecastingOptions,
    series: Sequence[Series],
    start: float,
    end: float,
) -> Requests:
    """Return a request at every origin in [start, end), milliseconds, that has a value after it.

    A value of a gap, or of a step that is still to come, is NaN.
    """
    steps, horizon, width = Steps.of(options), options.horizon, history_of(options)
    found: list[_Sample] = []
    for one in series:
        values = _values(one, options)
        begun = steps.starts(one.first + np.arange(values.size))
        for place in np.flatnonzero((begun >= start) & (begun < end) & ~np.isnan(values)):
            future = np.full(horizon, np.nan)
            held = values[place + 1 : place + 1 + horizon]
            future[: held.size] = held
            if not np.isnan(future).all():
                history = _history(values, int(place) + 1, width)
                found.append(_Sample(one, one.first + int(place), history, future))
    rows, names = _frame(spec, options, found, later=0), targets_of(horizon)
    last = horizon - np.argmax(~np.isnan(rows[list(names)].to_numpy())[:, ::-1], axis=1)
    origins = steps.numbers(moments(rows, str(spec.data.event_time)))
    return Requests(rows, names, steps.starts(origins + last))


class _Sample(NamedTuple):
    series: Series
    origin: int
    history: Array
    future: Array


def _frame(
    spec: ModelSpec, options: ForecastingOptions, samples: Sequence[_Sample], *, later: int
) -> pd.DataFrame:
    """Return samples as rows, ordered by origin and series; see ``samples_of``."""
    steps, horizon, width = Steps.of(options), options.horizon, history_of(options)
    origins = np.array([one.origin for one in samples], np.int64)
    frame: dict[str, Any] = {
        name: pd.Series([one.series.key[place] for one in samples], dtype=object)
        for place, name in enumerate(spec.data.entity_key)
    }
    begun = steps.starts(origins).astype("datetime64[ms]")
    frame[str(spec.data.event_time)] = (
        pd.Series(begun).dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    )
    frame[HISTORY] = pd.Series([one.history for one in samples], dtype=object)
    futures = np.array([one.future for one in samples]).reshape(len(samples), horizon)
    frame |= {name: futures[:, step] for step, name in enumerate(targets_of(horizon))}
    for name in options.known_ahead:
        frame[name] = _column(_about(one, name, width, horizon) for one in samples)
        if later:
            beyond = (_about(one, name, -horizon, horizon + later) for one in samples)
            frame[name + LATER] = _column(beyond)
    for name in options.past:
        frame[name] = _column(_about(one, name, width, 0) for one in samples)
        if later:
            frame[name + LATER] = _column(_about(one, name, 0, horizon) for one in samples)
    for feature in spec.data.features:
        if feature.name not in frame:
            facts = [one.series.facts[feature.name] for one in samples]
            kind = {"numeric": "float64", "boolean": "boolean"}.get(feature.type, "object")
            frame[feature.name] = pd.Series(facts, dtype=kind)
    order = np.argsort(origins, kind="stable")
    return pd.DataFrame(frame).iloc[order].reset_index(drop=True)


def _column(values: Iterator[Array]) -> pd.Series:
    return pd.Series(list(values), dtype=object)


def _about(sample: _Sample, name: str, before: int, after: int) -> Array:
    """Return a covariate's values of so many steps up to an origin and so many after it."""
    values = sample.series.covariates[name]
    end = sample.origin - sample.series.first + 1
    found = np.full(before + after, np.nan)
    held = values[max(0, end - before) : end + after]
    start = max(0, before - end)
    found[start : start + held.size] = held
    return found


def _values(one: Series, options: ForecastingOptions) -> Array:
    return np.nan_to_num(one.values, nan=0.0) if options.gaps == "zero" else one.values


def _history(values: Array, end: int, width: int) -> Array:
    history = np.full(width, np.nan)
    held = values[max(0, end - width) : end]
    history[width - held.size :] = held
    return history


def _stride(long: Sequence[Series], least: int, options: ForecastingOptions) -> int:
    """Return how many steps two origins of a series lie apart.

    A whole horizon, so that forecasts are of different values; less where that leaves few. Never a
    part of a season, so that forecasts begin at every place of it.
    """
    season = season_of(options)
    whole: int = next(n for n in count(options.horizon) if gcd(n, season) == 1)
    strides: list[int] = [whole, *range(options.horizon - 1, 0, -1)]
    for stride in strides:
        if gcd(stride, season) > 1:
            continue
        made = sum(
            min((one.values.size - least - options.horizon) // stride + 1, options.origins)
            for one in long
        )
        if made >= _FEW_SAMPLES:
            return stride
    return 1


def _to_learn(
    one: Series,
    least: int,
    stride: int,
    width: int,
    options: ForecastingOptions,
    newest: int | None,
) -> Iterator[_Sample]:
    """Yield samples from the newest on; ``newest`` is the step after which all series have them."""
    values = _values(one, options)
    last = values.size - options.horizon
    early = 0 if newest is None else (one.first + values.size - newest) % stride
    ends = (last - early - number * stride for number in range(options.origins))
    for end in (last, *ends) if early else ends:
        if end < least:
            return
        future = values[end : end + options.horizon]
        # The value at the origin is known: a history does not end with a gap.
        if np.isnan(future).any() or np.isnan(values[end - 1]):
            continue
        yield _Sample(one, one.first + end - 1, _history(values, end, width), future)


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
