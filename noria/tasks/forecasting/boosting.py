"""A global model: one LightGBM for all series, which corrects a simple method's forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError, InvalidInput, TrainingError
from noria.tasks.forecasting import intervals, methods
from noria.tasks.forecasting.known import mean_of_known
from noria.tasks.tabular.fit import Design
from noria.tasks.tabular.fit import fit as fit_design
from noria.tasks.tabular.scorers import Scorer, lightgbm_native

Array = NDArray[np.float64]

FILE: Final = "boosting.json"
DEFAULTS: Final[Mapping[str, Any]] = {
    "objective": "regression_l1",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "feature_fraction": 0.5,
    "n_estimators": 200,
}
"""LightGBM's parameters where none are given, chosen on M1, Tourism and counts of flights."""

MOST_ROWS: Final = 1_000_000
"""Steps that are learnt from; of more, whole windows are drawn by the seed."""

_LAGS: Final = 48
_FEW_LAGS: Final = 8
_SEASONS: Final = 3


class _Shape(msgspec.Struct, frozen=True):
    season: int
    horizon: int
    width: int
    base: str
    beside: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Boosted:
    """A fitted model. Safe for several threads."""

    name: ClassVar[str] = "boosting"

    scorer: Scorer
    shape: _Shape

    def predict(self, windows: Array, beside: Array | None = None) -> Array:
        """Return the forecasts (m, h) after windows (m, L), ``beside`` as in the fit.

        Raises:
            InvalidInput: The windows are of another length than those of the fit, or other numbers
                stand beside them.
            DataError: A window has no value or a gap.
        """
        if windows.ndim != 2 or windows.shape[1] != self.shape.width:
            raise InvalidInput(
                f"windows {windows.shape} are not (m, {self.shape.width})",
                fix="give as many newest values as the model was fitted on",
            )
        wanted = (len(windows), self.shape.horizon, self.shape.beside)
        if self.shape.beside and (beside is None or beside.shape != wanted):
            raise InvalidInput(f"the numbers beside the windows are not {wanted}", fix="give them")
        view = _View.of(windows, self.shape, beside)
        away = self.scorer.raw(view.matrix).reshape(view.base.shape)
        said = view.base + away * view.scale[:, None]
        floor = np.where(np.nanmin(windows, axis=1) == 0.0, 0.0, -np.inf)
        return np.maximum(said, floor[:, None])

    def files(self) -> dict[str, bytes]:
        """Return LightGBM's model text, and the shape of what it reads as JSON."""
        return {**self.scorer.files(), FILE: msgspec.json.encode(self.shape)}


def fit(
    windows: Array,
    futures: Array,
    *,
    season: int,
    seed: int,
    threads: int,
    weight: Array | None,
    params: Mapping[str, Any],
    base: str = "seasonal-naive",
    beside: Array | None = None,
    tables: tuple[int, ...] = (),
) -> Boosted:
    """Fit a model to windows (m, L) and what came after them (m, h).

    It learns the difference to the forecast of a local method, in scales of the window, with the
    step as a feature: one model of all steps was better than one for each on M1 and
    Tourism, and about as good on flights. Global models of many series: Montero-Manso and Hyndman,
    International Journal of Forecasting 37 (2021). The same arguments give the same model.

    Args:
        windows: Oldest first; NaN before the start of a shorter series.
        futures: NaN is a step that is not known: it is left out.
        season: Steps of a season; 1: there is none.
        seed: Of the draws.
        threads: At most.
        weight: (m,) how much each window counts; None: the same.
        params: LightGBM's, over ``DEFAULTS``.
        base: The local method (``methods.METHODS``) that is corrected.
        beside: (m, h, k) what else is known of each step, NaN where it is not; None: nothing.
        tables: (k,) how many categories each of these numbers is a place in; 0: none.

    Raises:
        InvalidInput: Shapes differ, or LightGBM refuses a parameter.
        DataError: A window has no value or a gap.
        TrainingError: No step is known, or LightGBM fails.
    """
    if windows.ndim != 2 or futures.ndim != 2 or len(windows) != len(futures):
        raise InvalidInput(
            f"windows {windows.shape} and futures {futures.shape} are not (m, L) and (m, h)",
            fix="give for each window what came after it",
        )
    shape = _Shape(season, futures.shape[1], windows.shape[1], base, len(tables))
    most = max(1, MOST_ROWS // max(1, shape.horizon))
    if len(windows) > most:
        drawn = np.random.default_rng(seed).choice(len(windows), most, replace=False)
        drawn.sort()
        windows, futures = windows[drawn], futures[drawn]
        weight = None if weight is None else weight[drawn]
        beside = None if beside is None else beside[drawn]
    view = _View.of(windows, shape, beside)
    target = ((futures - view.base) / view.scale[:, None]).ravel()
    known = np.flatnonzero(np.isfinite(target))
    if not known.size:
        raise TrainingError("no step after any window is known", fix="give longer series")
    design = Design(
        matrix=view.matrix[known],
        target=target[known],
        classes=0,
        categories=(*(0 for _ in range(view.matrix.shape[1] - len(tables))), *tables),
        weight=None if weight is None else np.repeat(weight, shape.horizon)[known],
        seed=seed,
        threads=threads,
    )
    return Boosted(fit_design("lightgbm", _merged(params), design), shape)


def load(files: Mapping[str, bytes]) -> Boosted:
    """Return the model of ``Boosted.files``.

    Raises:
        IntegrityError: A file is missing, or they do not fit each other.
        NotInstalled: LightGBM is not installed.
    """
    try:
        shape = msgspec.json.decode(files[FILE], type=_Shape)
    except (KeyError, msgspec.DecodeError) as error:
        raise IntegrityError(f"{FILE}: {error}", fix="train again") from error
    scorer = lightgbm_native.load(files)
    lags = _lags(shape)
    if shape.base not in methods.METHODS or scorer.width != lags + _SEASONS + 6 + shape.beside:
        raise IntegrityError(f"{FILE}: does not fit the model beside it", fix="train again")
    return Boosted(scorer, shape)


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """Windows as the model sees them: ``base`` (m, h), ``scale`` (m,), ``matrix`` (m h, d)."""

    base: Array
    scale: Array
    matrix: Array

    @classmethod
    def of(cls, windows: Array, shape: _Shape, beside: Array | None) -> _View:
        season, horizon = shape.season, shape.horizon
        base = methods.forecast(shape.base, windows, season, horizon)
        scale = intervals.scale(windows, season)

        def scaled(values: Array) -> Array:
            return (values - level[:, None]) / scale[:, None]

        means = [mean_of_known(_ago(windows, season, back)) for back in range(1, _SEASONS + 1)]
        level = np.where(np.isnan(means[0]), windows[:, -1], means[0])
        of_window = np.column_stack(
            [
                scaled(windows[:, windows.shape[1] - _lags(shape) :]),
                scaled(np.column_stack(means)),
                np.log1p(np.abs(level) / scale),
                (~np.isnan(windows)).sum(axis=1),
            ]
        )
        step = np.arange(horizon)
        of_step = [
            np.broadcast_to(step + 1.0, base.shape),
            scaled(base),
            *(scaled(_ago(windows, season, back)[:, step % season]) for back in (1, 2)),
        ]
        matrix = np.column_stack(
            [np.repeat(of_window, horizon, axis=0), *(column.ravel() for column in of_step)]
        )
        if beside is not None:
            matrix = np.column_stack([matrix, beside.reshape(len(matrix), -1)])
        return cls(base, scale, matrix)


def _lags(shape: _Shape) -> int:
    return min(shape.width, max(2 * shape.season, _FEW_LAGS), _LAGS)


def _ago(windows: Array, season: int, back: int) -> Array:
    """Return the season so many seasons back, (m, season); NaN where it lies before the window."""
    found = np.full((len(windows), season), np.nan)
    end = windows.shape[1] - (back - 1) * season
    part = windows[:, max(0, end - season) : max(0, end)]
    if part.shape[1]:
        found[:, -part.shape[1] :] = part
    return found


def _merged(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters over the defaults; rounds have several names."""
    from noria.tasks.tabular.hyperparameters import ROUNDS

    kept = dict(DEFAULTS)
    if any(name in params for name in ROUNDS):
        del kept["n_estimators"]
    return {**kept, **params}
