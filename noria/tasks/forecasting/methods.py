"""Local methods: each forecasts a series from its own history alone.

The models are those of statsforecast, called without its frames: a request is one history. It is
imported by the first call that needs it (2.5 s of CPU), not with this module.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import DataError, InvalidInput, NotInstalled, TrainingError
from noria.tasks.forecasting.seasons import Pattern, pattern

Array = NDArray[np.float64]
Method = Callable[[Array, int, int], Array]

NEWEST: Final = 512
"""A model is fitted to so many of the newest values; a season's pattern is that of all."""

LONGEST_SEASON: Final = 24
"""A longer season is taken out before a model, never one of the model's own states."""

_LEAST_VALUES: Final = 5
_SPARSE: Final = 1.32
_SMOOTHING: Final = 0.1
_FAR: Final = 10.0
_SIZE: Final = 1000.0


class Unsuited(TrainingError):
    """A method has no forecast of this history: it is too short for it, or the fit failed."""


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """What a method said: ``values`` (m, h), and in which rows (m,) a simpler method spoke."""

    values: Array
    fell_back: NDArray[np.bool_]


def forecast(name: str, histories: Array, season: int, horizon: int) -> Array:
    """Return the forecasts (m, horizon) of ``attempt``."""
    return attempt(name, histories, season, horizon).values


def attempt(name: str, histories: Array, season: int, horizon: int) -> Attempt:
    """Forecast each of m series by the method ``name`` of ``METHODS``. Every number is finite.

    Where the method can't, the seasonal naive speaks; where less than a season is known, the
    newest value. A history of one value all along goes on so. Models see every history in one
    size, so that a unit changes nothing.

    Args:
        name: Of the method.
        histories: (m, L), oldest first; NaN before the start of a shorter series.
        season: Steps of a season; 1: there is none.
        horizon: Steps ahead, at least 1.

    Raises:
        InvalidInput: There is no such method, or season or horizon are not positive.
        DataError: A history has no value, a gap, or an infinite value.
        NotInstalled: statsforecast is not there.
    """
    if name not in METHODS:
        raise InvalidInput(f"method {name}: is not known", fix=f"write one of {', '.join(METHODS)}")
    if season < 1 or horizon < 1:
        raise InvalidInput(
            f"season {season} and horizon {horizon} must be 1 or more", fix="write such numbers"
        )
    values = np.empty((len(histories), horizon))
    fell_back = np.zeros(len(histories), np.bool_)
    for row, padded in enumerate(histories):
        values[row], fell_back[row] = _one(METHODS[name], _known(padded, row), season, horizon)
    return Attempt(values, fell_back)


def seasonal_naive(history: Array, season: int, horizon: int) -> Array:
    """Return the values of one season ago, again and again.

    Raises:
        Unsuited: Less than a season is known.
    """
    if history.size < season:
        raise Unsuited(f"{history.size} values are less than a season of {season}")
    return history[history.size - season + np.arange(horizon) % season]


def theta(history: Array, season: int, horizon: int) -> Array:
    """Forecast by the dynamic optimised Theta model, without the season's pattern.

    Fiorucci, Pellegrini, Louzada, Petropoulos and Koehler, International Journal of Forecasting
    32 (2016).

    Raises:
        Unsuited: Too few values, or no fit.
    """
    return _without_season(_theta, history, season, horizon)


def ets(history: Array, season: int, horizon: int) -> Array:
    """Forecast by the exponential smoothing with additive errors that AICc chooses.

    Hyndman, Koehler, Snyder and Grose, International Journal of Forecasting 18 (2002). Trend
    (none, additive, damped) and season (none, additive) are states; a season of over
    ``LONGEST_SEASON`` steps is taken out before. Multiplicative errors and seasons were left out:
    they take three times as long for a MASE that was no better on M1.

    Raises:
        Unsuited: Too few values, or no fit.
    """
    return _with_season(_ets, history, season, horizon)


def arima(history: Array, season: int, horizon: int) -> Array:
    """Forecast by the seasonal ARIMA that AICc chooses, step by step.

    Hyndman and Khandakar, Journal of Statistical Software 27 (2008). A season of over
    ``LONGEST_SEASON`` steps is taken out before. It takes a tenth of a second to one of many.

    Raises:
        Unsuited: Too few values, or no fit.
    """
    return _with_season(_arima, history, season, horizon)


def combination(history: Array, season: int, horizon: int) -> Array:
    """Return the median, step by step, of four forecasts. The default.

    They are Theta's, that of complex exponential smoothing (Svetunkov, Kourentzes and Ord, Naval
    Research Logistics 69, 2022), the straight line through the first and the newest value without
    their season, and the seasonal naive's. Medians of a few simple models do well in competitions
    (Petropoulos and Svetunkov, International Journal of Forecasting 36, 2020); which ones was
    chosen on M1 and Tourism (docs/benchmarks.md says how). One that can't is left out.

    Raises:
        Unsuited: Only the seasonal naive could, or none.
    """
    found: list[Array] = []
    for member in _MEMBERS:
        try:
            found.append(member(history, season, horizon))
        except Unsuited:
            continue
    if len(found) < 2:
        raise Unsuited(f"{history.size} values are too few for any model")
    return np.asarray(np.median(found, axis=0))


def _known(padded: Array, row: int) -> Array:
    known = np.flatnonzero(~np.isnan(padded))
    history = padded[known[0] :] if known.size else padded[:0]
    if not history.size or not np.isfinite(history).all():
        what = "an infinite value" if np.isinf(padded).any() else "a gap or no value"
        raise DataError(f"history {row} has {what}", fix="fill the gaps and leave out empty series")
    return history


def _one(method: Method, history: Array, season: int, horizon: int) -> tuple[Array, bool]:
    if history.min() == history.max():
        return np.full(horizon, history[-1]), False
    for tried in (method, seasonal_naive):
        try:
            if tried is seasonal_naive:
                said = tried(history, season, horizon)
            else:
                said = _in_one_size(tried, history, season, horizon)
        except Unsuited:
            continue
        return said, tried is not method
    return np.full(horizon, history[-1]), True


def _in_one_size(method: Method, history: Array, season: int, horizon: int) -> Array:
    """Return what a method says of a history whose greatest value is ``_SIZE``, in its own unit.

    The models' optimisers stop at steps that are small against this, not against 1.
    """
    size = np.abs(history).max() / _SIZE
    if size == 0.0:
        raise Unsuited("the values are too small to be divided")
    largest = np.finfo(np.float64).max
    with np.errstate(over="ignore"):
        return np.asarray(
            np.clip(method(history / size, season, horizon) * size, -largest, largest)
        )


def _without_season(model: Method, history: Array, season: int, horizon: int) -> Array:
    found = pattern(history, season)
    return _modelled(model, history, 1, horizon, found)


def _with_season(model: Method, history: Array, season: int, horizon: int) -> Array:
    if season > LONGEST_SEASON:
        return _without_season(model, history, season, horizon)
    return _modelled(model, history, season, horizon)


def _modelled(
    model: Method, history: Array, season: int, horizon: int, taken_out: Pattern | None = None
) -> Array:
    """Return what a model says of the newest values, where that is believable.

    A history that touches zero and never goes below has no forecast below zero.

    Raises:
        Unsuited: Too few values, no fit, or a forecast out of all proportion.
    """
    if history.size < _LEAST_VALUES:
        raise Unsuited(f"{history.size} values are less than {_LEAST_VALUES}")
    if taken_out is None and _is_sparse(history, season):
        said = _smoothed(history, 1, horizon)
    else:
        left = history if taken_out is None else taken_out.removed(history)
        said = _fitted(model, left[-max(NEWEST, 4 * season) :], season, horizon)
        if taken_out is not None:
            said = taken_out.restored(said, history.size)
    low, high = history.min(), history.max()
    room = _FAR * (high - low) * max(1.0, horizon / history.size)
    if not np.isfinite(said).all() or said.min() < low - room or said.max() > high + room:
        raise Unsuited("the fit failed, or its forecast is far from all values")
    return np.maximum(said, 0.0) if low == 0.0 else said


def _fitted(model: Method, history: Array, season: int, horizon: int) -> Array:
    if history.min() == history.max():
        return np.full(horizon, history[-1])
    try:
        with np.errstate(all="ignore"):
            return np.asarray(model(history, season, horizon), np.float64)
    except NotInstalled:
        raise
    except Exception as error:  # the library raises bare ones where a fit fails
        raise Unsuited(f"the fit failed: {type(error).__name__}: {error}") from error


def _is_sparse(history: Array, season: int) -> bool:
    """Whether demand is intermittent: a value comes every 1.32 steps or less often, else zero.

    Syntetos, Boylan and Croston, Journal of the Operational Research Society 56 (2005). A series
    with a season is none: its zeros are known beforehand.
    """
    if history.min() < 0.0 or np.count_nonzero(history) * _SPARSE > history.size:
        return False
    return season == 1 or pattern(history, season) is None


def _smoothed(history: Array, season: int, horizon: int) -> Array:  # noqa: ARG001 - a Method
    """Forecast by simple exponential smoothing from the mean on: the mean demand of a step."""
    weights = (1.0 - _SMOOTHING) ** np.arange(history.size)[::-1]
    rest = (1.0 - _SMOOTHING) ** history.size
    level = _SMOOTHING * (weights @ history) + rest * history.mean()
    return np.full(horizon, level)


def _library(part: str) -> Any:
    try:
        return importlib.import_module(f"statsforecast.{part}")
    except ImportError as error:
        raise NotInstalled(
            f"statsforecast can't be imported: {error}", fix="install noria[forecasting]"
        ) from error


def _theta(history: Array, season: int, horizon: int) -> Any:  # noqa: ARG001 - a Method
    library = _library("theta")
    fitted = library.thetamodel(history, 1, "DOTM", np.nan, np.nan, np.nan, 3)
    return library.forecast_theta(fitted, horizon)["mean"]


def _ets(history: Array, season: int, horizon: int) -> Any:
    library = _library("ets")
    fitted = library.ets_f(history, season, model="AZA" if season > 1 else "AZN")
    return library.forecast_ets(fitted, horizon)["mean"]


def _arima(history: Array, season: int, horizon: int) -> Any:
    library = _library("arima")
    return library.forecast_arima(library.auto_arima_f(history, period=season), horizon)["mean"]


def _ces(history: Array, season: int, horizon: int) -> Any:
    library = _library("ces")
    return library.forecast_ces(library.auto_ces(history, season), horizon)["mean"]


def _drift(history: Array, season: int, horizon: int) -> Array:  # noqa: ARG001 - a Method
    slope = (history[-1] - history[0]) / (history.size - 1)
    line: Array = history[-1] + slope * np.arange(1, horizon + 1)
    return line


def _complex_smoothing(history: Array, season: int, horizon: int) -> Array:
    return _with_season(_ces, history, season, horizon)


def _straight_on(history: Array, season: int, horizon: int) -> Array:
    return _without_season(_drift, history, season, horizon)


_MEMBERS: Final = (theta, _complex_smoothing, _straight_on, seasonal_naive)

METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "seasonal-naive": seasonal_naive,
        "theta": theta,
        "ets": ets,
        "arima": arima,
        "combination": combination,
    }
)
"""By name, from the simplest on: functions of a history (n,), the season and the horizon.

Each raises ``Unsuited`` where it has no forecast; ``forecast`` then falls back.
"""
