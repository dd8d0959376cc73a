"""Moments as numbered steps of the calendar: what is one apart there is one apart in a series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from noria.tasks.forecasting.describe import ForecastingOptions

Numbers = NDArray[np.int64]

_FREQUENCIES: Final = {
    "minute": "min",
    "hour": "h",
    "day": "D",
    "week": "W-SUN",
    "month": "M",
    "quarter": "Q",
    "year": "Y",
}
_OF_UTC: Final = ("minute", "hour")


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a calendar: ``every`` so many of a unit, days and longer in a time zone.

    A day of 23 or 25 hours is one day. Hours and minutes are UTC's, where none comes twice.
    """

    every: int
    unit: str
    zone: str

    @classmethod
    def of(cls, options: ForecastingOptions) -> Steps:
        """Return those of a model's options."""
        from noria.tasks.forecasting.describe import unit_of

        every, unit = unit_of(options)
        return cls(every, unit, "UTC" if unit in _OF_UTC else options.time_zone)

    def numbers(self, moments: Numbers) -> Numbers:
        """Return the step in which each moment lies; moments are milliseconds since 1970 UTC."""
        local = pd.DatetimeIndex(moments.astype("datetime64[ms]")).tz_localize("UTC")
        if self.zone != "UTC":
            local = local.tz_convert(self.zone)
        periods = local.tz_localize(None).to_period(_FREQUENCIES[self.unit])
        ordinals: Numbers = np.asarray(periods.astype("int64"), np.int64)
        found: Numbers = np.floor_divide(ordinals, self.every)
        return found

    def starts(self, numbers: Numbers) -> Numbers:
        """Return the moment at which each step starts, milliseconds since 1970 UTC."""
        ordinals = np.asarray(numbers, np.int64) * self.every
        made: Any = pd.PeriodIndex  # its stubs lack from_ordinals
        periods = made.from_ordinals(ordinals, freq=_FREQUENCIES[self.unit])
        local = periods.to_timestamp(how="start")
        # A day that starts with a skipped hour starts after it; one that comes twice, the first.
        begun = local.tz_localize(
            self.zone, ambiguous=np.ones(len(local), bool), nonexistent="shift_forward"
        )
        found: Numbers = begun.tz_convert("UTC").to_numpy("datetime64[ms]").astype(np.int64)
        return found

    def __str__(self) -> str:
        """Say how long a step is."""
        return self.unit if self.every == 1 else f"{self.every} {self.unit}s"
