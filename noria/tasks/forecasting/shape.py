"""What a history looks like, in numbers that a monitor watches: its descriptors."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.tasks.forecasting.known import mean_of_known

Array = NDArray[np.float64]

_SEASONS: Final = 3
_FLAT: Final = 1e-12
"""Share of a history's squares under which what is left of it is rounding."""


def described(histories: Array, season: int) -> dict[str, Array]:
    """Return the descriptors of histories, each (n,), NaN where a history is too short for one.

    level: mean of the last season. growth: by which share of its size the level has changed since
    the season before. volatility: mean absolute change from step to step in the last three seasons,
    as a share of their mean size. seasonality: share of the variance within three seasons that the
    places in the season explain, 0 to 1 (as the strength of Wang, Smith and Hyndman, Data Mining
    and Knowledge Discovery 13, 2006); 0 without a season. values: how many there are. None of them
    changes with the place in the season at which a history ends.

    Args:
        histories: (n, L), the newest value last; NaN is a gap or before the first value.
        season: Steps of a season, 1 if there is none.
    """
    span = max(season, 2)
    last, before = histories[:, -span:], histories[:, -2 * span : -span]
    recent = histories[:, -_SEASONS * span :]
    level, was = mean_of_known(last), mean_of_known(before)
    size = mean_of_known(np.abs(recent))
    changes = mean_of_known(np.abs(np.diff(histories[:, -_SEASONS * span - 1 :], axis=1)))
    return {
        "level": level,
        "growth": _share(level - was, size),
        "volatility": _share(changes, size),
        "seasonality": _seasonality(recent, season),
        "values": (~np.isnan(histories)).sum(axis=1).astype(np.float64),
    }


def _share(part: Array, whole: Array) -> Array:
    """Return part / whole; 0 where both are, NaN where one is not known."""
    found = part / np.where(whole == 0.0, 1.0, whole)
    return np.asarray(np.where(np.isnan(whole), np.nan, found))


def _seasonality(recent: Array, season: int) -> Array:
    """Return the share that places in the season explain, (n,); the same from whichever place."""
    count, width = recent.shape
    if season < 2:
        return np.zeros(count)
    seasons = width // season
    if seasons < 2:
        return np.full(count, np.nan)
    held = recent[:, width - seasons * season :].reshape(count, seasons, season)
    rest = held - mean_of_known(held.reshape(-1, season)).reshape(count, seasons, 1)
    known = ~np.isnan(rest)
    size = np.nan_to_num(rest)
    of_place = size.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    explained = (of_place[:, None, :] ** 2 * known).sum(axis=(1, 2))
    spread = (size**2).sum(axis=(1, 2))
    flat = spread <= _FLAT * (np.nan_to_num(held) ** 2).sum(axis=(1, 2))
    found = np.where(flat, 0.0, explained / np.where(flat, 1.0, spread))
    # One season can't be held against another.
    enough = (known.any(axis=2)).sum(axis=1) >= 2
    return np.asarray(np.where(enough, np.clip(found, 0.0, 1.0), np.nan))
