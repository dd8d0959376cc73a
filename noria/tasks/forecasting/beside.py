"""What a forecast knows beside a series' own values: covariates and holidays, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import InvalidInput
from noria.spec import ModelSpec
from noria.tasks.forecasting.calendars import YEARS, Calendar, calendars_of, first_day_of, year_of
from noria.tasks.forecasting.describe import ForecastingOptions, options_of
from noria.tasks.forecasting.known import mean_of_known
from noria.tasks.forecasting.steps import Steps

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
Columns = Mapping[str, Any]

_AROUND: Final = 3
_OF_AHEAD: Final = 3
_OF_PAST: Final = 3


class Beside(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which columns are read how. ``categories`` has the table of each static feature of texts.

    Holidays are known from the day ``first`` on and before the day ``last``, since 1970-01-01.
    """

    ahead: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    booleans: tuple[str, ...] = ()
    categories: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    calendars: tuple[Calendar, ...] = ()
    zone: str = "UTC"
    first: int = 0
    last: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return (*self.ahead, *self.past, *self.static)

    @property
    def tables(self) -> tuple[int, ...]:
        """Of each number that ``read`` gives, how many categories it has; 0: it is a number."""
        days = 1 + 2 * _AROUND * len(self.calendars) if self.calendars else 0
        numbers = _OF_AHEAD * len(self.ahead) + _OF_PAST * len(self.past) + days
        return (
            *(0 for _ in range(numbers)),
            *(len(self.categories.get(name, ())) for name in self.static),
        )

    def read(
        self, columns: Columns, origins: Numbers, season: int, horizon: int, steps: Steps
    ) -> Array:
        """Return numbers of each step of m forecasts, (m, horizon, k).

        Of a covariate that is known ahead, its value at the step, and by how much that is more
        than at the step that the seasonal naive repeats and than the mean of the last season. Of
        one that is not, its newest value and the means of the last two seasons. Of
        holidays, whether the step is one, or the day before or after, and the same of the step that
        the seasonal naive repeats; and the day of the week.

        Args:
            columns: ``ahead`` (m, L + horizon), ``past`` (m, L), ``static`` (m,).
            origins: (m,) the steps that forecasts start from.
            season: Steps of a season.
            horizon: Steps of a forecast.
            steps: The calendar of the series.

        Raises:
            InvalidInput: Holidays are not known at a step.
        """
        step = np.arange(horizon)
        found: list[Array] = []
        for name in self.ahead:
            values = columns[name]
            width = values.shape[1] - horizon
            now, before = values[:, width:], _before(values[:, :width], season)
            found += [now, now - before[:, step % season], now - mean_of_known(before)[:, None]]
        for name in self.past:
            values = columns[name]
            last, older = _before(values, season), _before(values[:, :-season], season)
            for of_origin in (_newest(values), mean_of_known(last), mean_of_known(older)):
                found.append(np.repeat(of_origin[:, None], horizon, axis=1))
        if self.calendars:
            found += self._of_days(origins, season, horizon, steps)
        for name in self.static:
            found.append(np.repeat(self._coded(name, columns[name])[:, None], horizon, axis=1))
        return np.stack(found, axis=-1)

    def _of_days(self, origins: Numbers, season: int, horizon: int, steps: Steps) -> list[Array]:
        step = np.arange(horizon)
        days = self.days(origins[:, None] + 1 + step, steps)
        repeated = self.days(origins[:, None] + 1 - season + step % season, steps)
        wrong = (days < self.first) | (days >= self.last)
        if wrong.any():
            day = np.datetime64(int(days[wrong][0]), "D")
            start, end = (np.datetime64(one, "D") for one in (self.first, self.last - 1))
            names = ", ".join(calendar.name for calendar in self.calendars)
            raise InvalidInput(
                f"a forecast reaches {day}, and this version knows the holidays of {names} from "
                f"{start} to {end}",
                fix="train again",
            )
        found = [((days + 3) % 7).astype(np.float64)]
        for calendar in self.calendars:
            for around in (calendar.around(days), calendar.around(repeated)):
                found += list(np.moveaxis(around, -1, 0))
        return found

    def days(self, numbers: Numbers, steps: Steps) -> Numbers:
        """Return on which day steps begin, in days since 1970-01-01."""
        unique, places = np.unique(numbers, return_inverse=True)
        begun = pd.DatetimeIndex(steps.starts(unique).astype("datetime64[ms]"))
        local = begun.tz_localize("UTC").tz_convert(self.zone).tz_localize(None)
        found: Numbers = np.asarray(local.to_numpy("datetime64[D]"), np.int64)
        return found[places].reshape(numbers.shape)

    def _coded(self, name: str, values: Any) -> Array:
        if name not in self.categories:
            return np.asarray(values, np.float64)
        table = {text: float(place) for place, text in enumerate(self.categories[name])}
        return np.array([table.get(value, np.nan) for value in values], np.float64)

    def described(self, columns: Columns, horizon: int) -> dict[str, Any]:
        """Return what is watched of each column, (m,).

        Of one that is known ahead its mean over the forecast, of a boolean whether any step has it;
        else the newest value.
        """
        found: dict[str, Any] = {}
        for name in self.ahead:
            steps = columns[name][:, -horizon:]
            mean = mean_of_known(steps)
            found[name] = np.where(mean > 0.0, 1.0, mean) if name in self.booleans else mean
        found |= {name: _newest(columns[name]) for name in self.past}
        return found | {name: columns[name] for name in self.static}


def beside_of(
    spec: ModelSpec, columns: Columns, calendars: tuple[str, ...], first: int, last: int
) -> Beside:
    """Return what a model reads beside the values.

    Args:
        spec: The model.
        columns: Of the samples that it is fitted on.
        calendars: Names of the holidays that it knows.
        first: The first day of any value, since 1970-01-01.
        last: The day of the newest one.

    Raises:
        InvalidInput: There is no calendar of a country.
        NotInstalled: The package holidays is not there.
    """
    categories = {
        feature.name: tuple(sorted({one for one in columns[feature.name] if one is not None}))
        for feature in spec.data.features
        if feature.type == "categorical"
    }
    start, end = year_of(first) - 1, year_of(last) + YEARS
    return msgspec.structs.replace(
        named_in(spec),
        categories=categories,
        calendars=calendars_of(calendars, start, end),
        first=first_day_of(start),
        last=first_day_of(end + 1),
    )


def named_in(spec: ModelSpec) -> Beside:
    """Return which features a spec names for what; it has no categories or holidays yet."""
    options = options_of(spec)
    return Beside(
        ahead=options.known_ahead,
        past=options.past,
        static=static_of(spec),
        booleans=tuple(one.name for one in spec.data.features if one.type == "boolean"),
        zone=options.time_zone,
    )


def static_of(spec: ModelSpec) -> tuple[str, ...]:
    """Return the features that are facts of a whole series."""
    options: ForecastingOptions = options_of(spec)
    changing = (*options.known_ahead, *options.past)
    return tuple(one.name for one in spec.data.features if one.name not in changing)


def _before(values: Array, season: int) -> Array:
    """Return the last season of values (m, L), (m, season)."""
    found = np.full((len(values), season), np.nan)
    part = values[:, max(0, values.shape[1] - season) :]
    if part.shape[1]:
        found[:, -part.shape[1] :] = part
    return found


def _newest(values: Array) -> Array:
    """Return the newest value that is known of each row (m, L), (m,)."""
    known = ~np.isnan(values)
    last = values.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
    found: Array = values[np.arange(len(values)), last]
    return found
