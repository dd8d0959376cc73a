"""The pattern of a season in one series, taken out before a model and put back after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_NORMAL_95: Final = 1.645
_LEAST_FACTOR: Final = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """What each place of a season adds to the level, or multiplies it by: ``index`` (season,)."""

    kind: Literal["add", "multiply"]
    index: Array

    def removed(self, history: Array) -> Array:
        """Return a history (n,) without its season."""
        found = self._from(0, history.size)
        return history / found if self.kind == "multiply" else history - found

    def restored(self, forecast: Array, after: int) -> Array:
        """Return a forecast (h,) with the season, where it comes after so many values."""
        found = self._from(after, forecast.size)
        return forecast * found if self.kind == "multiply" else forecast + found

    def _from(self, start: int, steps: int) -> Array:
        return self.index[(start + np.arange(steps)) % self.index.size]


def pattern(history: Array, season: int) -> Pattern | None:
    """Return the season's pattern of a history (n,); None where it has none that is sure.

    The test is the 90 % one of the Theta method (Assimakopoulos and Nikolopoulos, International
    Journal of Forecasting 16, 2000; Fiorucci et al., ibid. 32, 2016): the autocorrelation at the
    season against Bartlett's standard error. Two seasons at least are needed. The pattern is that
    of classical decomposition: ratios to a centred moving average, or differences where a
    value is not positive or a ratio is next to nothing.
    """
    if season < 2 or history.size < 2 * season or not _repeats(history, season):
        return None
    if history.min() > 0.0:
        ratios = _index(history, season, "multiply")
        if ratios.min() >= _LEAST_FACTOR:
            return Pattern("multiply", ratios)
    return Pattern("add", _index(history, season, "add"))


def _repeats(history: Array, season: int) -> bool:
    away = history - history.mean()
    total = away @ away
    if total == 0.0:
        return False
    lagged = np.array([away[lag:] @ away[:-lag] for lag in range(1, season + 1)]) / total
    error = np.sqrt((1.0 + 2.0 * (lagged[:-1] @ lagged[:-1])) / history.size)
    return bool(lagged[-1] > _NORMAL_95 * error)


def _index(history: Array, season: int, kind: Literal["add", "multiply"]) -> Array:
    window = np.ones(season + 1 - season % 2)
    if season % 2 == 0:
        window[[0, -1]] = 0.5
    trend = np.convolve(history, window / season, "valid")
    start = window.size // 2
    middle = history[start : start + trend.size]
    found = middle / trend if kind == "multiply" else middle - trend
    place = (start + np.arange(trend.size)) % season
    index: Array = np.bincount(place, found, season) / np.bincount(place, minlength=season)
    mean = float(index.mean())
    return index / mean if kind == "multiply" else index - mean
