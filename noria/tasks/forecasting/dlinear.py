"""A global model of torch: DLinear, one linear map of all series. It is served by numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from noria.errors import IntegrityError, InvalidInput, NotInstalled, TrainingError
from noria.tasks.arrays import pack, unpack
from noria.tasks.choosing import some_of
from noria.tasks.forecasting import methods
from noria.tasks.neural.plan import Plan

Array = NDArray[np.float64]
Places = NDArray[np.int64]

FILE: Final = "dlinear.json"
MAPS: Final = "maps.npz"

MOST_WINDOWS: Final = 50_000
MOST_VALUES: Final = 20_000_000
"""Windows that are learnt from and values in them; of more, windows are drawn by the seed."""

_SEASONS: Final = 3
_HORIZONS: Final = 2
_LEAST_WINDOW: Final = 8
_LONG_ENOUGH: Final = 0.1
_NEWEST: Final = 0.2
_FLAT: Final = 1e-12


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hyperparameters. ``window``: values that a forecast reads; None: ``window_of`` says."""

    window: Annotated[int, Meta(ge=2)] | None = None
    learning_rate: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.003
    weight_decay: Annotated[float, Meta(ge=0.0)] = 0.01
    epochs: Annotated[int, Meta(ge=1, le=1000)] = 30
    batch_size: Annotated[int, Meta(ge=1)] = 256
    patience: Annotated[int, Meta(ge=1)] = 5


class _Shape(msgspec.Struct, frozen=True):
    season: int
    horizon: int
    width: int
    window: int


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A fitted model: ``trend`` and ``rest`` (window, h), ``bias`` (h,). Safe for threads."""

    name: ClassVar[str] = "dlinear"

    shape: _Shape
    trend: Array
    rest: Array
    bias: Array

    def predict(self, windows: Array, beside: Array | None = None) -> Array:  # noqa: ARG002 - as boosting
        """Return the forecasts (m, h) after windows (m, L).

        Where fewer values than the model reads are known, or they are all alike, the seasonal
        naive speaks. A window that touches zero and never goes below has no forecast below zero.

        Raises:
            InvalidInput: The windows are of another length than those of the fit.
            DataError: A window has no value or a gap.
        """
        season, horizon = self.shape.season, self.shape.horizon
        if windows.ndim != 2 or windows.shape[1] != self.shape.width:
            raise InvalidInput(
                f"windows {windows.shape} are not (m, {self.shape.width})",
                fix="give as many newest values as the model was fitted on",
            )
        said = methods.forecast("seasonal-naive", windows, season, horizon)
        view = _View.of(windows[:, -self.shape.window :], season)
        found = view.trend @ self.trend + view.rest @ self.rest + self.bias
        largest = np.finfo(np.float64).max
        with np.errstate(over="ignore"):
            own = np.clip(view.back(found), -largest, largest)
        low = windows[view.rows].min(axis=1, initial=np.inf, where=~np.isnan(windows[view.rows]))
        said[view.rows] = np.maximum(own, np.where(low == 0.0, 0.0, -np.inf)[:, None])
        return said

    def files(self) -> dict[str, bytes]:
        """Return the maps as arrays, and the shape of what they read as JSON."""
        maps = {"trend": self.trend, "rest": self.rest, "bias": self.bias}
        return {FILE: msgspec.json.encode(self.shape), MAPS: pack(maps)}


def fit(
    windows: Array,
    futures: Array,
    *,
    origins: Places,
    season: int,
    seed: int,
    weight: Array | None,
    params: Mapping[str, Any],
) -> Linear:
    """Fit the model to windows (m, L) and what came after them (m, h).

    Zeng, Chen, Zhang and Xu, "Are Transformers Effective for Time Series Forecasting?" (AAAI
    2023). A window in units of its own mean and spread is taken apart into a moving average and
    the rest; each has a linear map to all steps. The maps start as those of the seasonal naive,
    and decay towards them. What lies up to a horizon before an origin is learnt from too. Training
    is on the CPU in one thread, so that the same arguments give the same model.

    Args:
        windows: Oldest first; NaN before the start of a shorter series.
        futures: NaN is a step that is not known: it is left out.
        origins: (m,) the step at which each window ends; training ends by the newest ones.
        season: Steps of a season; 1: there is none.
        seed: Of the draws.
        weight: (m,) how much each window counts; None: the same.
        params: ``Parameters``, by name.

    Raises:
        InvalidInput: Shapes differ.
        TrainingError: A parameter can't be, or no window is long enough.
        NotInstalled: torch is not there.
    """
    if windows.ndim != 2 or futures.ndim != 2 or len(windows) != len(futures):
        raise InvalidInput(
            f"windows {windows.shape} and futures {futures.shape} are not (m, L) and (m, h)",
            fix="give for each window what came after it",
        )
    try:
        given = msgspec.convert(dict(params), Parameters)
    except msgspec.ValidationError as error:
        raise TrainingError(
            f"spec.train.hyperparameters: {error}",
            fix=f"known are {', '.join(Parameters.__struct_fields__)}",
        ) from error
    width, horizon = windows.shape[1], futures.shape[1]
    length = given.window or window_of(windows, season, horizon)
    rows, back = _drawn(windows, length, horizon, seed)
    ends = width - back
    whole = np.concatenate([windows, futures], axis=1)
    view = _View.of(whole[rows[:, None], ends[:, None] + np.arange(-length, 0)], season)
    rows, ends = rows[view.rows], ends[view.rows]
    later = (whole[rows[:, None], ends[:, None] + np.arange(horizon)] - view.level) / view.spread
    known = np.isfinite(later)
    if not known.any():
        raise TrainingError(
            f"no window has {length} values that differ and a known step after them",
            fix="give longer series, or a smaller window in spec.train.hyperparameters",
        )
    naive = _naive(length, season, horizon)
    target = np.where(known, later - (view.trend + view.rest) @ naive, 0.0)
    counts = known * (1.0 if weight is None else weight[rows, None])
    learnt, held = _in_time(origins[rows] - width + ends, horizon)
    plan = Plan(
        epochs=given.epochs,
        batch=given.batch_size,
        learning_rate=given.learning_rate,
        weight_decay=given.weight_decay,
        patience=given.patience,
        seed=seed,
    )
    trend, rest, bias = _trained(view, target, counts, learnt, held, plan)
    return Linear(_Shape(season, horizon, width, length), trend + naive, rest + naive, bias)


def window_of(windows: Array, season: int, horizon: int) -> int:
    """Return how many values to read: three seasons and two horizons, where there are.

    And no more than nine of ten windows have.
    """
    wanted = max(_SEASONS * season, _HORIZONS * horizon, _LEAST_WINDOW)
    counts = (~np.isnan(windows)).sum(axis=1)
    enough = int(np.quantile(counts, _LONG_ENOUGH, method="lower"))
    return max(2, min(wanted, enough))


def load(files: Mapping[str, bytes]) -> Linear:
    """Return the model of ``Linear.files``.

    Raises:
        IntegrityError: A file is missing, or they do not fit each other.
    """
    try:
        shape = msgspec.json.decode(files[FILE], type=_Shape)
        maps = unpack(files[MAPS], MAPS)
        found = Linear(shape, maps["trend"], maps["rest"], maps["bias"])
    except (KeyError, msgspec.DecodeError) as error:
        raise IntegrityError(f"{FILE} or {MAPS}: {error}", fix="train again") from error
    wanted = (shape.window, shape.horizon)
    if (found.trend.shape, found.rest.shape, found.bias.shape) != (wanted, wanted, wanted[1:]):
        raise IntegrityError(f"{MAPS}: does not fit {FILE}", fix="train again")
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """Windows that can be read, ``rows`` (k,) of (m, L), in units of their ``spread`` (k, 1).

    ``trend`` (k, L) is the moving average over a season, ``rest`` (k, L) what is left of it.
    """

    rows: Places
    level: Array
    spread: Array
    trend: Array
    rest: Array

    @classmethod
    def of(cls, windows: Array, season: int) -> _View:
        rows = np.flatnonzero(~np.isnan(windows).any(axis=1))
        size = np.abs(windows[rows]).max(axis=1, initial=0.0)
        rows, size = rows[size > 0.0], size[size > 0.0, None]
        # Divided by their size first: squares of great values are infinite.
        part = windows[rows] / size
        level, spread = part.mean(axis=1, keepdims=True), part.std(axis=1, keepdims=True)
        uneven = spread[:, 0] > _FLAT
        rows, part, size = rows[uneven], part[uneven], size[uneven]
        level, spread = level[uneven], spread[uneven]
        scaled = (part - level) / spread
        trend = scaled @ _average(windows.shape[1], season)
        return cls(rows, level * size, spread * size, trend, scaled - trend)

    def back(self, values: Array) -> Array:
        """Return values (k, h) in the windows' own unit."""
        return np.asarray(self.level + self.spread * values)


def _average(length: int, season: int) -> Array:
    """Return the matrix (L, L) of a centred moving average; both ends are repeated beyond."""
    span = max(season, 3)
    kernel = np.ones(span + 1 - span % 2) / span
    if span % 2 == 0:
        kernel[[0, -1]] /= 2.0
    found, half = np.zeros((length, length)), kernel.size // 2
    for place, share in enumerate(kernel):
        read = np.clip(np.arange(length) + place - half, 0, length - 1)
        np.add.at(found, (read, np.arange(length)), share)
    return found


def _naive(length: int, season: int, horizon: int) -> Array:
    """Return the map (L, h) of the seasonal naive, and of the newest value in a shorter window."""
    span, steps = season if season <= length else 1, np.arange(horizon)
    found = np.zeros((length, horizon))
    found[length - span + steps % span, steps] = 1.0
    return found


def _drawn(windows: Array, length: int, horizon: int, seed: int) -> tuple[Places, Places]:
    """Return rows and how many steps before their origin windows end that are long enough."""
    counts = (~np.isnan(windows)).sum(axis=1)
    steps = np.arange(min(horizon, max(1, windows.shape[1] - length + 1)))
    rows, back = np.nonzero(counts[:, None] - steps >= length)
    most = max(1, min(MOST_WINDOWS, MOST_VALUES // (length + horizon)))
    drawn = some_of(rows.size, most, seed)
    return rows[drawn], back[drawn]


def _in_time(origins: Places, horizon: int) -> tuple[Places, Places]:
    """Return the places of the windows to learn from, and of the newest, which end the training.

    No value is in the futures of both. Where that leaves nothing to learn from, none is held out.
    """
    newest = origins >= np.quantile(origins, 1.0 - _NEWEST, method="lower")
    older = origins + horizon <= origins[newest].min()
    if not older.any():
        return np.arange(origins.size), np.arange(0)
    return np.flatnonzero(older), np.flatnonzero(newest)


def _trained(
    view: _View, target: Array, counts: Array, learnt: Places, held: Places, plan: Plan
) -> tuple[Array, Array, Array]:
    """Return what is added to the naive's maps: those of the epoch that was best on ``held``."""
    try:
        import torch
    except ImportError as error:
        raise NotInstalled(
            f"dlinear is trained by torch, which can't be imported: {error}", fix="install torch"
        ) from error
    trend, rest, wanted, weight = map(torch.from_numpy, (view.trend, view.rest, target, counts))
    shape = (view.trend.shape[1], target.shape[1])
    maps = [
        torch.zeros(one, dtype=torch.float64, requires_grad=True)
        for one in (shape, shape, shape[1:])
    ]

    def loss(places: Places) -> Any:
        at = torch.from_numpy(places)
        away = trend[at] @ maps[0] + rest[at] @ maps[1] + maps[2] - wanted[at]
        return (away.abs() * weight[at]).sum() / weight[at].sum().clamp_min(1e-12)

    optimizer = torch.optim.AdamW(maps, lr=plan.learning_rate, weight_decay=plan.weight_decay)
    best, since, step = np.inf, 0, 0
    kept = [one.detach().clone() for one in maps]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for epoch in range(plan.epochs):
            for batch in plan.batches(epoch, learnt.size):
                optimizer.param_groups[0]["lr"] = plan.rate(step, learnt.size)
                optimizer.zero_grad()
                loss(learnt[batch]).backward()
                optimizer.step()
                step += 1
            with torch.no_grad():
                value = float(loss(held)) if held.size else -float(epoch)
            since += 1
            if value < best:
                best, since = value, 0
                kept = [one.detach().clone() for one in maps]
            if since >= plan.patience:
                break
    finally:
        torch.set_num_threads(threads)
    return kept[0].numpy(), kept[1].numpy(), kept[2].numpy()
