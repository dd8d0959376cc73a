"""Fitting forecasts. Local methods need none: it is to choose one, and to measure its errors.

What a local method says of a sample is the same whatever it is fitted on; it is made once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError, TrainingError, shorten
from noria.spec import ModelSpec
from noria.spec.data import Feature as Column
from noria.tasks.choosing import some_of
from noria.tasks.fitted import FittedPredictor
from noria.tasks.forecasting import HISTORY, boosting, choice, dlinear, intervals, methods
from noria.tasks.forecasting.accuracy import root_scale
from noria.tasks.forecasting.beside import Beside, beside_of, static_of
from noria.tasks.forecasting.describe import (
    AUTO,
    BOOSTING,
    CHOSEN_FROM,
    DESCRIPTORS,
    DLINEAR,
    GLOBAL,
    NAIVE,
    ForecastingOptions,
    history_of,
    options_of,
    season_of,
    unit_of,
)
from noria.tasks.forecasting.gaps import filled
from noria.tasks.forecasting.known import mean_of_known
from noria.tasks.forecasting.panel import LATER, targets_of
from noria.tasks.forecasting.predictor import (
    PREDICTION,
    RECONCILED,
    Forecaster,
    Settings,
    Shared,
    Tails,
)
from noria.tasks.forecasting.reconciling import learnt, levels_of, members_of
from noria.tasks.forecasting.steps import Steps
from noria.tasks.origins import LABEL_KNOWN
from noria.tasks.package import Feature, Input, Manifest, Output
from noria.tasks.sources.rows import moments

Array = NDArray[np.float64]
Places = NDArray[np.int64]

NEWEST: Final = 1.0 / 3.0
"""Share of the samples, the newest, that intervals are measured on, and that show what requests
will look like."""

_LEAST: Final = 200
"""The newest are no fewer than so many, where there are."""

LEARNT_FROM: Final = 0.5
"""Greatest share of the samples that are the newest, where boosting learns from the others."""

_ENOUGH: Final = 1000
"""Most samples that methods are chosen by: more change little, and cost milliseconds each."""

_ORIGINS: Final = 3
"""Origins from which on ``auto`` tries boosting. Errors of all series at one moment hang together:
a model of all of them that wins at one or two may have been lucky once."""


_SCALARS: Final[Mapping[str, tuple[str, Literal["numeric", "boolean", "categorical"]]]] = {
    "numeric": ("FP64", "numeric"),
    "boolean": ("BOOL", "boolean"),
    "categorical": ("BYTES", "categorical"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples as they are fitted on: n histories (n, L) without gaps, n futures (n, h).

    ``raw`` are the histories with their gaps, ``scale`` (n,) the mean size of their own seasonal
    differences, ``root_scale`` (n,) the root of the mean of their squares. ``group`` (n,) numbers
    the samples whose errors hang together: those of a series, where there are several. ``columns``
    are their features, ``origins`` (n,) the steps that they start from. ``said`` keeps what local
    methods say of all of them.
    """

    frame: pd.DataFrame
    raw: Array
    histories: Array
    futures: Array
    scale: Array
    root_scale: Array
    group: Places
    season: int
    columns: Mapping[str, Any]
    origins: Places
    said: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: ModelSpec, frame: pd.DataFrame) -> Samples:
        """Return the samples of a frame, as ``panel.samples_of`` makes it."""
        options = options_of(spec)
        season = season_of(options)
        raw = np.stack([np.asarray(one, np.float64) for one in frame[HISTORY]])
        histories = filled(raw, options.gaps)
        futures = frame[list(targets_of(options.horizon))].to_numpy(np.float64)
        scale, root = intervals.scale(histories, season), root_scale(histories, season)
        root = np.where(root > 0.0, root, scale)
        found = _series_of(spec, frame)
        group = found if np.unique(found).size > 1 else np.arange(len(frame), dtype=np.int64)
        changing = (*options.known_ahead, *options.past)
        columns: dict[str, Any] = {
            name: np.stack([np.asarray(one, np.float64) for one in frame[name]])
            for name in changing
        }
        kinds = {one.name: one.type for one in spec.data.features}
        columns |= {name: _facts(frame[name], kinds[name]) for name in static_of(spec)}
        origins = Steps.of(options).numbers(moments(frame, str(spec.data.event_time)))
        return cls(frame, raw, histories, futures, scale, root, group, season, columns, origins)

    def series(self, spec: ModelSpec) -> Places:
        """Return numbers of the series that samples are of, (n,)."""
        return _series_of(spec, self.frame)

    def by(self, method: str, places: Places) -> Array:
        """Return what a local method says of samples; none is asked about twice."""
        held = self.said.setdefault(method, np.full(self.futures.shape, np.nan))
        asked = np.unique(places[np.isnan(held[places, 0])])
        if asked.size:
            horizon = self.futures.shape[1]
            found = methods.forecast(method, self.histories[asked], self.season, horizon)
            held[asked] = found
        return held[places]

    def beside(self, read: Beside | None, places: Places, steps: Steps) -> Array | None:
        """Return what is known beside the histories of samples; see ``Beside.read``.

        Raises:
            DataError: The samples lack a feature that is read.
        """
        if read is None:
            return None
        lacking = [name for name in read.names if name not in self.columns]
        if lacking:
            raise DataError(
                f"it reads {', '.join(lacking)}, which these samples do not have",
                fix="name them in spec.data.features",
            )
        columns = {name: self.columns[name][places] for name in read.names}
        horizon = self.futures.shape[1]
        return read.read(columns, self.origins[places], self.season, horizon, steps)

    def errors(self, said: Array, places: Places) -> Array:
        """Return the absolute errors of what was said of samples, in units of their scale."""
        found: Array = abs(said - self.futures[places]) / self.scale[places, None]
        return found


class Fitted(FittedPredictor[Forecaster]):
    """A model between ``fit`` and ``save``."""

    @property
    def forecaster(self) -> Forecaster:
        """The model as it will be served."""
        return self.predictor


def _series_of(spec: ModelSpec, frame: pd.DataFrame) -> Places:
    keys = list(spec.data.entity_key)
    if not keys:
        return np.zeros(len(frame), np.int64)
    return np.asarray(frame.groupby(keys).ngroup(), np.int64)


def fit(
    spec: ModelSpec,
    samples: Samples,
    places: Places,
    params: Mapping[str, Any],
    weight: NDArray[np.float64] | None,
) -> Fitted:
    """Fit on the samples at places; see ``TaskFamily.fit``.

    Raises:
        TrainingError: The algorithm has no such hyperparameters, or too few samples.
    """
    said: dict[str, Array] = {}
    found = _fit(spec, samples, places, params, weight, said)
    if not options_of(spec).hierarchy:
        return found
    _, newer = in_time(spec, samples, places, LEARNT_FROM if said else 1.0)
    method = found.forecaster.settings.method
    known = said[method] if method in said else samples.by(method, newer)
    return _reconciling(spec, samples, newer, known, found)


def _reconciling(
    spec: ModelSpec, samples: Samples, newer: Places, said: Array, fitted: Fitted
) -> Fitted:
    """Return the model with what makes its forecasts agree, and the intervals that these have.

    ``said`` are forecasts of the samples at ``newer`` by a model that does not know their futures.
    """
    options, plain = options_of(spec), fitted.forecaster
    names = [tuple(key) for key in plain.settings.series]
    keys = samples.frame[list(spec.data.entity_key)].iloc[newer].to_numpy(object).astype(str)
    nodes = plain.places_of(map(tuple, keys))
    moments_of, when = np.unique(samples.origins[newer], return_inverse=True)
    residuals = np.full((len(names), moments_of.size, options.horizon), np.nan)
    residuals[nodes, when] = samples.futures[newer] - said
    members = members_of(names, levels_of(spec.data.entity_key, options.hierarchy))
    # Of a series that has ended nobody asks, and a sum has to be made of those that go on.
    goes_on = plain.tails.ends >= plain.tails.ends.max() - options.horizon
    members = tuple(own[goes_on[own]] for own in members)
    shares = np.nan_to_num(mean_of_known(plain.tails.values[:, -samples.season :]))
    learned = learnt(
        options.reconcile, members, residuals.reshape(len(names), -1), np.maximum(shares, 0.0)
    )
    forecaster = replace(plain, hierarchy=learned)
    agreed, _ = forecaster.reconciled(said, nodes, samples.origins[newer])
    quantiles = intervals.calibrate(
        samples.errors(agreed, newer), tuple(int(level) / 100 for level in plain.settings.widths)
    )
    settings = msgspec.structs.replace(
        plain.settings,
        widths={level: quantiles[int(level) / 100].tolist() for level in plain.settings.widths},
        reconcile=options.reconcile,
        members=[own.tolist() for own in members],
    )
    manifest = msgspec.structs.replace(
        plain.manifest, outputs=(*plain.manifest.outputs, Output(RECONCILED, "BOOL"))
    )
    return Fitted(replace(forecaster, settings=settings, manifest=manifest))


def _fit(
    spec: ModelSpec,
    samples: Samples,
    places: Places,
    params: Mapping[str, Any],
    weight: NDArray[np.float64] | None,
    said: dict[str, Array],
) -> Fitted:
    """Fit; ``said`` gets what methods that are fitted said of the newest samples before them."""
    algorithm = spec.train.algorithm
    if algorithm not in (AUTO, *GLOBAL):
        _refuse_parameters(algorithm, params)
        return _local(spec, samples, places, params, algorithm)
    older, newer = in_time(spec, samples, places, LEARNT_FROM)
    local = [name for name in CHOSEN_FROM if name != BOOSTING] if algorithm == AUTO else []
    name = DLINEAR if algorithm == DLINEAR else BOOSTING
    fits = algorithm in GLOBAL or (
        older.size > 0 and np.unique(_event(spec, samples, newer)).size >= _ORIGINS
    )
    if fits and not (older.size and newer.size):
        raise TrainingError(
            f"{places.size} samples are too few for {name}: its intervals are measured on the "
            "newest third",
            fix="give longer series, or write algorithm: auto",
        )
    alone = options_of(spec).choice == "per-series"
    judged = newer if fits else places
    whole = alone or bool(options_of(spec).hierarchy)
    judged = judged if whole else _some(judged, spec.train.seed)
    errors = {name: samples.errors(samples.by(name, judged), judged) for name in local}
    if fits:
        before, read = shared(spec, samples, older, params, _part(weight, places, older))
        beside = samples.beside(read, judged, Steps.of(options_of(spec)))
        said[name] = before.predict(samples.histories[judged], beside)
        errors[name] = samples.errors(said[name], judged)
    groups = samples.group[judged]
    method = choice.choose(errors, groups=groups) if len(errors) > 1 else next(iter(errors))
    if alone:
        return _each(spec, samples, places, params, weight, judged, errors, method)
    if method != name:
        return _local(spec, samples, places, params, method)
    model, read = shared(spec, samples, places, params, weight)
    return _fitted(spec, samples, places, params, method, errors[method], model, read)


def _each(
    spec: ModelSpec,
    samples: Samples,
    places: Places,
    params: Mapping[str, Any],
    weight: NDArray[np.float64] | None,
    judged: Places,
    errors: Mapping[str, Array],
    method: str,
) -> Fitted:
    """Return the model of a method for each series; ``method`` is that of the others."""
    series = samples.series(spec)
    chosen = choice.for_each(errors, series[judged], method)
    own = np.stack([errors[chosen[one]][row] for row, one in enumerate(series[judged].tolist())])
    model, read = None, _read(spec, samples, places, Steps.of(options_of(spec)), calendars=())
    if BOOSTING in (method, *chosen.values()):
        model, read = shared(spec, samples, places, params, weight)
    newer = np.isin(judged, in_time(spec, samples, places)[1])
    return _fitted(spec, samples, places, params, method, own[newer], model, read, chosen)


def fit_naive(spec: ModelSpec, samples: Samples, places: Places) -> Fitted:
    """Return the model that repeats the last season."""
    return _local(spec, samples, places, {}, NAIVE)


def _local(
    spec: ModelSpec, samples: Samples, places: Places, params: Mapping[str, Any], method: str
) -> Fitted:
    """Return the model of a local method; every sample is one that it has not seen."""
    _, newer = in_time(spec, samples, places)
    judged = _some(newer, spec.train.seed)
    errors = samples.errors(samples.by(method, judged), judged)
    read = _read(spec, samples, places, Steps.of(options_of(spec)), calendars=())
    return _fitted(spec, samples, places, params, method, errors, None, read)


def _refuse_parameters(algorithm: str, params: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that nothing reads.

    Raises:
        TrainingError: There are some.
    """
    if params:
        raise TrainingError(
            f"spec.train.hyperparameters: {shorten(', '.join(sorted(params)))}; {algorithm} has "
            "none",
            fix=f"remove them, or write algorithm: {' or '.join(GLOBAL)}",
        )


def in_time(
    spec: ModelSpec, samples: Samples, places: Places, most: float = 1.0
) -> tuple[Places, Places]:
    """Return the samples whose futures were known before the newest ones, and these.

    ``most`` bounds the newest ones' share, where there are some hundreds at all.
    """
    event = _event(spec, samples, places)
    known = moments(samples.frame, LABEL_KNOWN)[places]
    few = 1.0 if places.size < _LEAST else min(most, _LEAST / places.size)
    share = max(NEWEST, few)
    start = np.quantile(event, 1.0 - share, method="lower")
    return places[known <= start], places[event >= start]


def _event(spec: ModelSpec, samples: Samples, places: Places) -> Places:
    return moments(samples.frame, str(spec.data.event_time))[places]


def _some(places: Places, seed: int) -> Places:
    """Return the samples that methods are chosen and intervals are measured by: enough of them."""
    return places[some_of(places.size, _ENOUGH, seed)]


def _part(
    weight: NDArray[np.float64] | None, places: Places, part: Places
) -> NDArray[np.float64] | None:
    """Return the weights of some of the places, of mean 1."""
    if weight is None:
        return None
    found = weight[np.isin(places, part)]
    return np.asarray(found / found.mean())


def shared(
    spec: ModelSpec,
    samples: Samples,
    places: Places,
    params: Mapping[str, Any],
    weight: NDArray[np.float64] | None,
) -> tuple[Shared, Beside | None]:
    """Return the model of all samples at places, and what it reads beside them."""
    if spec.train.algorithm == DLINEAR:
        linear = dlinear.fit(
            samples.histories[places],
            samples.futures[places],
            origins=samples.origins[places],
            season=samples.season,
            seed=spec.train.seed,
            weight=weight,
            params=params,
        )
        return linear, None
    steps = Steps.of(options_of(spec))
    read = _read(spec, samples, places, steps, options_of(spec).holidays)
    model = boosting.fit(
        samples.histories[places],
        samples.futures[places],
        season=samples.season,
        seed=spec.train.seed,
        threads=1,
        weight=weight,
        params=params,
        beside=samples.beside(read, places, steps),
        tables=() if read is None else read.tables,
    )
    return model, read


def _read(
    spec: ModelSpec, samples: Samples, places: Places, steps: Steps, calendars: tuple[str, ...]
) -> Beside | None:
    if not spec.data.features and not calendars:
        return None
    columns = {name: values[places] for name, values in samples.columns.items()}
    origins = samples.origins[places]
    ends = np.array(
        [origins.min() - samples.raw.shape[1], origins.max() + samples.futures.shape[1]]
    )
    first, last = Beside(zone=options_of(spec).time_zone).days(ends, steps)
    return beside_of(spec, columns, calendars, int(first), int(last))


def known_until(manifest: Manifest, steps: Steps) -> int | None:
    """Return from which moment on an origin's future is not known to a model; None: from any."""
    if manifest.trained_until is None:
        return None
    last = steps.numbers(np.array([manifest.trained_until])) + len(manifest.target_names)
    return int(steps.starts(last)[0])


def of_width(histories: Array, width: int) -> Array:
    """Return histories as another model looks at them: of its own length."""
    if histories.shape[1] >= width:
        return histories[:, -width:]
    front = np.full((len(histories), width - histories.shape[1]), np.nan)
    return np.concatenate([front, histories], axis=1)


def _fitted(
    spec: ModelSpec,
    samples: Samples,
    places: Places,
    params: Mapping[str, Any],
    method: str,
    errors: Array,
    shared: Shared | None,
    read: Beside | None,
    chosen: Mapping[int, str] = MappingProxyType({}),
) -> Fitted:
    """Return the model of a method, with intervals by its errors and the newest values it knows."""
    data, options = spec.data, options_of(spec)
    horizon, width = options.horizon, history_of(options)
    every, unit = unit_of(options)
    steps = Steps.of(options)
    rows = samples.frame.iloc[places]
    keys = [tuple(map(str, key)) for key in rows[list(data.entity_key)].to_numpy(object)]
    last: dict[tuple[str, ...], int] = dict(zip(keys, range(len(keys)), strict=True))
    tail = np.concatenate([samples.raw[places], samples.futures[places]], axis=1)[:, -width:]
    at = np.array(list(last.values()), np.int64)
    event = moments(rows, str(data.event_time))
    quantiles = intervals.calibrate(errors, tuple(level / 100 for level in options.levels))
    settings = Settings(
        method=method,
        horizon=horizon,
        season=samples.season,
        history=width,
        gaps=options.gaps,
        every=every,
        unit=unit,
        zone=steps.zone,
        # Too few errors bound no interval of a high level: it is not answered.
        widths={
            str(level): quantiles[level / 100].tolist()
            for level in options.levels
            if np.isfinite(quantiles[level / 100]).all()
        },
        series=[list(key) for key in last],
        methods=[chosen.get(one, method) for one in samples.series(spec)[places[at]].tolist()]
        if chosen
        else [],
        beside=read,
        facts={}
        if read is None
        else {
            name: [_plain(one) for one in samples.columns[name][places[at]]] for name in read.static
        },
    )
    outputs = [
        PREDICTION,
        *(f"{end}-{n}" for n in settings.widths for end in ("lower", "upper")),
        NAIVE,
    ]
    manifest = Manifest(
        model="",
        family=spec.task.family,
        algorithm=spec.train.algorithm,
        inputs=(
            *(Input(name, "BYTES", "categorical", optional=True) for name in data.entity_key),
            Input(str(data.event_time), "INT64", "timestamp", optional=True),
            Input(HISTORY, "FP64", "series", optional=True, width=width),
            *(_input(one, options) for one in data.features),
        ),
        outputs=tuple(Output(name, "FP64", (horizon,)) for name in outputs),
        features=(
            *(Feature(name, "numeric", "descriptor") for name in DESCRIPTORS),
            *(_feature(one, samples, places) for one in data.features),
        ),
        options={**options.model_dump(mode="json", by_alias=True), "allowMissing": True},
        event_time=data.event_time,
        entity_key=tuple(data.entity_key),
        target=str(data.target),
        targets=targets_of(horizon),
        rows=places.size,
        trained_until=int(event.max()),
        seed=spec.train.seed,
        parameters={**params, "method": method},
    )
    ends = steps.numbers(event[at]) + horizon
    tails = Tails(
        tail[at],
        ends,
        {key: place for place, key in enumerate(last)},
        {} if read is None else _tails(samples, places[at], read),
    )
    return Fitted(Forecaster(manifest, settings, shared, tails))


def _input(feature: Column, options: ForecastingOptions) -> Input:
    """Return how a feature is sent: what is known ahead reaches a horizon further than a history.

    None has to be: a version whose method looks at the values alone needs none of them.
    """
    width = history_of(options)
    if feature.name in options.known_ahead:
        width += options.horizon
    if feature.name in options.known_ahead or feature.name in options.past:
        return Input(feature.name, "FP64", "series", optional=True, width=width)
    return Input(feature.name, *_SCALARS[feature.type], optional=True)


def _feature(feature: Column, samples: Samples, places: Places) -> Feature:
    """Return what is watched of a feature: a number or category of each request."""
    if feature.type != "categorical":
        kind: Literal["numeric", "boolean"] = "boolean" if feature.type == "boolean" else "numeric"
        return Feature(feature.name, kind, "descriptor")
    found = {one for one in samples.columns[feature.name][places] if one is not None}
    return Feature(feature.name, "categorical", "descriptor", tuple(sorted(found)))


def _facts(column: pd.Series, kind: str) -> Any:
    """Return a static feature as a predictor takes it."""
    if kind != "categorical":
        return column.astype("Float64").to_numpy(np.float64, na_value=np.nan)
    return np.array([None if pd.isna(one) else str(one) for one in column], object)


def _plain(value: Any) -> str | float | None:
    return value if isinstance(value, str) or value is None else float(value)


def _tails(samples: Samples, rows: Places, read: Beside) -> dict[str, Array]:
    """Return the newest of each series' covariates: as far ahead as they are known, or till now."""
    found: dict[str, Array] = {}
    for name in (*read.ahead, *read.past):
        later = samples.frame[name + LATER].iloc[rows].tolist()
        found[name] = np.concatenate([samples.columns[name][rows], np.stack(later)], axis=1)
    return found
