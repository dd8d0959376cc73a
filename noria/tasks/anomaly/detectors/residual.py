"""Residual: how far a value is from what its series' own past lets expect, in units of its spread.

A row is a value and, before it, the values of its series. The pattern of a season is taken out of
these, the median of each place in it, and the rest is smoothed exponentially (Brown 1959; Hyndman
and Athanasopoulos, Forecasting: Principles and Practice, 2021, chapter 8): the last level and the
season's next place are what is expected. The spread is that of the same forecasts' errors within
the past, of the value's place in the season as far as there are seasons enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput
from noria.tasks.anomaly.detectors import Array, Arrays

ALPHAS: Final = (0.0, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0)
"""What the smoothing is chosen from: 0 is the mean so far, 1 the value before."""

_ROWS: Final = 2000
"""Rows that choose it at most."""

_CELLS: Final = 4_000_000
"""Numbers of the rows that are looked at together."""

_ALIKE: Final = 5.0
"""So many values of all places count beside those of the place in the season."""

_FARTHEST: Final = 3.0
"""An error within the past counts as so many deviations at most: one anomaly hides no other."""

_MOVES: Final = 5.0
"""An error moves the level as one of so many deviations at most."""

_NORMAL: Final = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

_FLAT: Final = 1e-6
"""Share of the size of a past that its spread is at least."""


_MOST: Final = 1e12
"""No score is greater: scores are finite."""


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """``alpha`` and ``season``, one number each."""

    kept: Arrays

    def score(self, rows: Array) -> Array:
        """See ``Detector.score``: of rows (n, 1 + L), the value first, then its past."""
        return apart(rows[:, 0], *self.expected(rows[:, 1:]))

    def expected(self, past: Array) -> tuple[Array, Array]:
        """Return the value to expect after each of n pasts, and its spread, (n,) each.

        Args:
            past: (n, L), the newest value last; NaN is a gap or before the first one. Each has
                a value.
        """
        found, spread = np.empty(len(past)), np.empty(len(past))
        step = max(1, _CELLS // max(past.shape[1], 1))
        for start in range(0, len(past), step):
            part = slice(start, start + step)
            found[part], spread[part] = _looked_at(
                past[part], int(self.kept["season"]), float(self.kept["alpha"])
            )
        return found, spread

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See ``Detector.arrays``."""
        return dict(self.kept)


def apart(values: Array, expected: Array, spread: Array) -> Array:
    """Return how many spreads n values are from those expected, (n,), finite."""
    with np.errstate(over="ignore"):
        return np.asarray(np.minimum(np.abs(values - expected) / spread, _MOST))


def fit(rows: Array, params: Mapping[str, Any], seed: int, threads: int) -> Residual:
    """Choose ``alpha``, unless it is given: by the median absolute error, in sizes of the past."""
    del threads
    season = int(params["season"])
    if "alpha" in params:
        alpha = float(params["alpha"])
        if not 0.0 <= alpha <= 1.0:
            raise InvalidInput(
                f"spec.train.hyperparameters.alpha: {alpha:g} is not from 0 to 1", fix="write 0.2"
            )
        return _of(season, alpha)
    if len(rows) > _ROWS:
        rows = rows[np.random.default_rng(seed).choice(len(rows), _ROWS, replace=False)]
    size = np.maximum(np.nanstd(rows[:, 1:], axis=1), np.finfo(np.float64).tiny)

    def error(alpha: float) -> float:
        expected, _ = _of(season, alpha).expected(rows[:, 1:])
        return float(np.median(np.abs(rows[:, 0] - expected) / size))

    return _of(season, min(ALPHAS, key=error))


def _of(season: int, alpha: float) -> Residual:
    return Residual({"season": np.array(season), "alpha": np.array(alpha)})


def _looked_at(past: Array, season: int, alpha: float) -> tuple[Array, Array]:
    """Return what ``Residual.expected`` does."""
    rows, width = past.shape
    seasons = width // season
    newest = past[:, width - seasons * season :]
    pattern = np.zeros((rows, season))
    if season > 1:
        pattern = _medians(newest.reshape(rows, seasons, season))
    rest = newest - np.tile(pattern, (1, seasons))
    _, errors = _smoothed(rest, alpha, np.full(rows, np.inf))
    # Once more: what is far out moves the level no further than what is just usual.
    level, errors = _smoothed(rest, alpha, _MOVES * _usual(errors))
    spread = _spread(errors, season, np.abs(newest))
    return level + pattern[:, 0], spread


def _medians(held: Array) -> Array:
    """Return the median of each place in the season less that of all places, (n, season)."""
    known = ~np.isnan(held)
    ordered = np.sort(held, axis=1)  # NaN is last
    count = known.sum(axis=1)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0)[:, None] // 2, axis=1)[:, 0]
    high = np.take_along_axis(ordered, (count // 2)[:, None].clip(0, held.shape[1] - 1), axis=1)
    middle = np.where(count > 0, (low + high[:, 0]) / 2.0, np.nan)
    known_places = ~np.isnan(middle)
    total = np.where(known_places, middle, 0.0).sum(axis=1)
    mean = total / np.maximum(known_places.sum(axis=1), 1)
    return np.asarray(np.where(known_places, middle - mean[:, None], 0.0))


def _smoothed(rest: Array, alpha: float, most: Array) -> tuple[Array, Array]:
    """Return the last level (n,) and the errors (n, m) of forecasts one step ahead, NaN in gaps.

    An error counts as ``most`` (n,) at most.
    """
    errors = np.full(rest.shape, np.nan)
    level = np.full(len(rest), np.nan)
    seen = np.zeros(len(rest))
    for step, values in enumerate(rest.T):
        known = ~np.isnan(values)
        error = values - level
        errors[:, step] = error
        seen += known
        # The first values count alike: the mean of few is better than the first of them.
        weight = np.maximum(alpha, 1.0 / np.maximum(seen, 1.0))
        moved = np.where(np.isnan(level), values, level + weight * np.clip(error, -most, most))
        level = np.where(known, moved, level)
    return level, errors


def _usual(errors: Array) -> Array:
    """Return the deviation of n rows of errors by their median, (n,), infinite where it is 0."""
    known = ~np.isnan(errors)
    place = known.sum(axis=1, keepdims=True) // 2
    absolute = np.sort(np.where(known, np.abs(errors), np.inf), axis=1)
    middle = np.take_along_axis(absolute, place, axis=1)[:, 0]
    return np.where(np.isfinite(middle) & (middle > 0.0), middle * _NORMAL, np.inf)


def _spread(errors: Array, season: int, size: Array) -> Array:
    """Return the deviation of the errors to come, (n,)."""
    known = ~np.isnan(errors)
    squares = np.where(known, errors, 0.0) ** 2
    squares = np.minimum(squares, ((_FARTHEST * _usual(errors)) ** 2)[:, None])
    found = squares.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    if season > 1:
        own = squares.reshape(len(errors), -1, season)[:, :, 0]
        number = known.reshape(len(errors), -1, season)[:, :, 0].sum(axis=1)
        found = (own.sum(axis=1) + _ALIKE * found) / (number + _ALIKE)
    least = _FLAT * np.where(np.isnan(size), 0.0, size).max(axis=1)
    return np.asarray(np.maximum(np.sqrt(found), np.where(least > 0.0, least, _FLAT)))
