"""Public holidays as days that a package keeps.

A served model knows what it was trained with, whatever library is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput, NotInstalled

Days = NDArray[np.int64]

YEARS: Final = 10
"""How many years after the newest value holidays are known."""

_EPOCH_YEAR: Final = 1970


class Calendar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The holidays of a country or of a part of one, in days since 1970-01-01."""

    name: str
    days: tuple[int, ...]

    def around(self, days: Days) -> NDArray[np.float64]:
        """Return of each day whether it is a holiday, the day before and the day after one.

        (..., 3), 0 or 1.
        """
        held = np.array(self.days, np.int64)
        beside = (np.isin(days, held), np.isin(days + 1, held), np.isin(days - 1, held))
        return np.stack(beside, axis=-1).astype(np.float64)


def calendars_of(names: Sequence[str], first: int, last: int) -> tuple[Calendar, ...]:
    """Return calendars of the years from ``first`` to ``last``, by the package holidays.

    Raises:
        InvalidInput: There is no such country or part.
        NotInstalled: holidays is not there.
    """
    if not names:
        return ()
    try:
        import holidays
    except ImportError as error:
        raise NotInstalled(
            f"holidays can't be imported: {error}", fix="install noria[forecasting]"
        ) from error
    found = []
    for place, name in enumerate(names):
        country, _, part = name.partition("-")
        try:
            held = holidays.country_holidays(
                country, subdiv=part or None, years=range(first, last + 1)
            )
        except NotImplementedError as error:
            raise InvalidInput(
                f"spec.task.options.holidays[{place}]: {name} has no calendar: {error}",
                fix="write the ISO 3166 code of a country that the package holidays knows",
            ) from error
        days = sorted(np.datetime64(day, "D").astype(int).item() for day in held)
        found.append(Calendar(name, tuple(days)))
    return tuple(found)


def year_of(day: int) -> int:
    """Return the year of a day since 1970-01-01."""
    return int(np.datetime64(day, "D").astype("datetime64[Y]").astype(int)) + _EPOCH_YEAR


def first_day_of(year: int) -> int:
    """Return the first day of a year, in days since 1970-01-01."""
    return int(np.datetime64(f"{year:04}-01-01", "D").astype(int))
