"""What is watched of an input that is a moment: no date, but how long before the event it was."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

MISSING: Final = np.iinfo(np.int64).min
"""A missing moment among int64 milliseconds, as NaT is."""
_DAY: Final = 86_400_000


def days_of(column: str) -> str:
    """Return the name of the column of numbers that is watched of a moment beside an event time."""
    return f"{column}.days"


def days_before(moments: NDArray[np.int64], event: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many days before its event each of n moments was; NaN where one is missing.

    Both are milliseconds since 1970 UTC. A moment after its event is so many days below 0.
    """
    known = (moments != MISSING) & (event != MISSING)
    days = (event.astype(np.float64) - moments.astype(np.float64)) / _DAY
    return np.where(known, days, np.nan)
