"""The family ``forecasting``, step by step; see ``noria.tasks.protocol.TaskFamily``.

A row of its frames is a sample (``noria.tasks.forecasting.panel``). Local methods look at a
history alone, so what they say of a sample is the same whatever they are fitted on: it is made
once, and fitting is to choose a method by its errors, and to measure how far it is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from noria.errors import DataError, TrainingError, shorten
from noria.spec import ModelSpec
from noria.tasks.forecasting import HISTORY
from noria.tasks.forecasting.describe import (
    AUTO,
    BOOSTING,
    DESCRIPTORS,
    LOCAL,
    ForecastingOptions,
    history_of,
    season_of,
    unit_of,
)
from noria.tasks.package import Feature, Input, Manifest, Output, read_manifest, write_package
from noria.tasks.protocol import (
    Check,
    Comparison,
    Evaluation,
    Requests,
    Split,
    TuneResult,
    ValidationReport,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from noria.tasks.forecasting.predictor import Forecaster
    from noria.tasks.forecasting.steps import Steps
    from noria.tasks.held_out import HeldOut

    Array = NDArray[np.float64]

_NEWEST: Final = 1.0 / 3.0
"""Share of the samples that a fitted method's intervals are measured on, and that show what
requests will look like."""

_BOOSTED_FROM: Final = 300
"""Samples from which on ``auto`` tries boosting too: of fewer it has nothing to learn."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples as they are fitted on: n histories (n, L) without gaps, n futures (n, h).

    ``raw`` are the histories with their gaps, ``scale`` (n,) the mean size of their own seasonal
    differences, ``root_scale`` (n,) the root of the mean of their squares. ``group`` (n,) numbers
    the samples whose errors hang together: those of a series, where there are several. ``said``
    keeps what local methods say of all of them.
    """

    frame: pd.DataFrame
    raw: Array
    histories: Array
    futures: Array
    scale: Array
    root_scale: Array
    group: NDArray[np.int64]
    season: int
    said: dict[str, Array] = field(default_factory=dict)

    def by(self, method: str) -> Array:
        """Return what a local method says of every sample, (n, h)."""
        from noria.tasks.forecasting import methods

        if method not in self.said:
            horizon = self.futures.shape[1]
            self.said[method] = methods.forecast(method, self.histories, self.season, horizon)
        return self.said[method]

    def errors(self, said: Array, places: NDArray[np.int64]) -> Array:
        """Return the absolute errors of what was said of samples, in units of their scale."""
        found: Array = abs(said - self.futures[places]) / self.scale[places, None]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A model between ``fit`` and ``save``."""

    forecaster: Forecaster

    @property
    def rows(self) -> int:
        """How many samples it was fitted on."""
        return self.forecaster.manifest.rows


class Forecasting:
    """See ``noria.tasks.protocol.TaskFamily``."""

    def distributes(self, spec: ModelSpec) -> bool:  # noqa: ARG002 - none of its methods does
        """Whether the algorithm trains on several nodes: none does."""
        return False

    def request_columns(self, spec: ModelSpec) -> list[str]:
        """See ``TaskFamily.request_columns``."""
        return [*spec.data.entity_key, str(spec.data.event_time), HISTORY]

    def ingest(self, spec: ModelSpec, base: Path, as_of: datetime | None) -> pd.DataFrame:
        """See ``TaskFamily.ingest``: a row for each value of a series."""
        from noria.tasks.sources.rows import labelled_rows

        return labelled_rows(spec, base, as_of)

    def validate(self, spec: ModelSpec, rows: pd.DataFrame) -> ValidationReport:
        """See ``TaskFamily.validate``."""
        from noria.tasks.forecasting.panel import refuse_gaps, series_of

        data, options = spec.data, options_of(spec)
        if len(rows) < data.validation.min_rows:
            raise DataError(
                f"{len(rows)} values, fewer than spec.data.validation.minRows "
                f"({data.validation.min_rows})",
                fix="give more, or lower it",
            )
        _refuse_outside(spec, rows)
        series = series_of(spec, options, rows)
        most, column = data.validation.max_missing, str(data.event_time)
        gaps = refuse_gaps(options, series, most, column)
        least = season_of(options) + 1 + options.horizon
        short = [one.name for one in series if one.values.size < least]
        total = sum(one.values.size for one in series)
        said = f"{len(series)} series of {total} steps"
        checks = [
            Check("series", said),
            Check("gaps", f"{gaps} of {total} steps have no value"),
            Check(
                "too short",
                f"{len(short)} of {len(series)} series have fewer than {least} values, and nothing "
                f"is learnt from them{': ' + shorten(', '.join(short)) if short else ''}",
            ),
        ]
        return ValidationReport(len(rows), tuple(checks))

    def features(self, spec: ModelSpec, base: Path, rows: pd.DataFrame) -> pd.DataFrame:  # noqa: ARG002 - nothing is looked up
        """Return the samples of the series; see ``noria.tasks.forecasting.panel.samples_of``."""
        from noria.tasks.forecasting.panel import samples_of, series_of

        options = options_of(spec)
        return samples_of(spec, options, series_of(spec, options, rows))

    def requests(self, spec: ModelSpec, rows: pd.DataFrame, start: float, end: float) -> Requests:
        """See ``noria.tasks.protocol.Asking``."""
        from noria.tasks.forecasting.panel import requests_of, series_of

        options = options_of(spec)
        return requests_of(spec, options, series_of(spec, options, rows), start, end)

    def split(self, spec: ModelSpec, frame: pd.DataFrame, champion: Path | None) -> Split:
        """See ``TaskFamily.split``: the newest origins, whose futures no training sample knows."""
        import numpy as np

        from noria.tasks.forecasting.steps import Steps
        from noria.tasks.judging import judged_rows
        from noria.tasks.origins import LABEL_KNOWN
        from noria.tasks.sources.rows import moments
        from noria.tasks.tabular.folds import RowFacts, hold_out, newest

        settings = spec.data.split
        frame = frame.reset_index(drop=True)
        event = moments(frame, str(spec.data.event_time))
        facts = RowFacts(np.zeros(len(frame), np.int64), event, moments(frame, LABEL_KNOWN))
        gap_ms = int(settings.gap.total_seconds() * 1000)
        until = None
        if champion is not None:
            until = known_until(read_manifest(champion), Steps.of(options_of(spec)))
        fresh = 0 if until is None else int((event >= until).sum())
        if fresh:
            fold = newest(facts, judged_rows(fresh, len(frame)), gap_ms)
        else:
            fold = hold_out("temporal", facts, settings.test_fraction, gap_ms, spec.train.seed)
        return Split(frame.iloc[fold.train], frame.iloc[fold.test], fold.purged)

    def tune(self, spec: ModelSpec, train: pd.DataFrame, workdir: Path) -> TuneResult:
        """See ``TaskFamily.tune``: boosting's, by the newest third of the samples."""
        from hashlib import sha256

        import numpy as np

        from noria.tasks.search import search

        settings, given = spec.train.search, dict(spec.train.hyperparameters)
        if settings.kind == "none" or spec.train.algorithm not in (AUTO, BOOSTING):
            return TuneResult(given)
        samples = self.prepare(spec, train.reset_index(drop=True))
        older, newer = _in_time(spec, samples, np.arange(len(train)))
        metric = spec.metric(settings.metric)

        def score(params: Mapping[str, Any], fold: int) -> float:  # noqa: ARG001 - there is one
            from noria.measures.measuring import value_of
            from noria.tasks.forecasting.judged import in_units

            said = _boosted(spec, samples, older, params, None).predict(samples.histories[newer])
            truth, said = in_units(metric.name, samples, newer, said)
            return value_of(metric, truth, said)

        study = sha256(samples.histories.tobytes() + samples.futures.tobytes()).hexdigest()
        return search(settings, given, score, 1, spec.train.seed, workdir, study, metric=metric)

    def prepare(self, spec: ModelSpec, frame: pd.DataFrame) -> Samples:
        """See ``TaskFamily.prepare``."""
        import numpy as np

        from noria.tasks.forecasting import intervals
        from noria.tasks.forecasting.accuracy import root_scale
        from noria.tasks.forecasting.gaps import filled
        from noria.tasks.forecasting.panel import targets_of

        options = options_of(spec)
        season = season_of(options)
        raw = np.stack([np.asarray(one, np.float64) for one in frame[HISTORY]])
        histories = filled(raw, options.gaps)
        futures = frame[list(targets_of(options.horizon))].to_numpy(np.float64)
        scale, root = intervals.scale(histories, season), root_scale(histories, season)
        root = np.where(root > 0.0, root, scale)
        keys = frame[list(spec.data.entity_key)]
        group = keys.groupby(list(keys)).ngroup().to_numpy() if len(keys.columns) else raw[:0, 0]
        if np.unique(group).size < 2:
            group = np.arange(len(frame))
        group = group.astype(np.int64)
        return Samples(frame, raw, histories, futures, scale, root, group, season)

    def fit(
        self,
        spec: ModelSpec,
        prepared: Samples,
        places: NDArray[np.int64],
        params: Mapping[str, Any],
        weight: NDArray[np.float64] | None,
    ) -> Fitted:
        """See ``TaskFamily.fit``: a method is chosen, and its intervals are measured."""
        algorithm = spec.train.algorithm
        tried: tuple[str, ...] = (algorithm,)
        if algorithm == AUTO:
            tried = (*LOCAL, BOOSTING) if places.size >= _BOOSTED_FROM else LOCAL
        elif algorithm != BOOSTING:
            refuse_parameters(algorithm, params)
        if BOOSTING not in tried:
            errors = {name: prepared.errors(prepared.by(name)[places], places) for name in tried}
            return _best(spec, prepared, places, params, errors, places)
        older, newer = _in_time(spec, prepared, places)
        errors = {
            name: prepared.errors(prepared.by(name)[newer], newer)
            for name in tried
            if name != BOOSTING
        }
        before = _boosted(spec, prepared, older, params, _part(weight, places, older))
        errors[BOOSTING] = prepared.errors(before.predict(prepared.histories[newer]), newer)
        return _best(spec, prepared, places, params, errors, newer, weight)

    def with_rounds(
        self,
        spec: ModelSpec,  # noqa: ARG002 - whatever it says
        params: Mapping[str, Any],  # noqa: ARG002
        times: float,  # noqa: ARG002
    ) -> dict[str, Any] | None:
        """See ``TaskFamily.with_rounds``: no method's rounds are a recipe's."""
        return None

    def fit_baseline(
        self, spec: ModelSpec, prepared: Samples, places: NDArray[np.int64]
    ) -> Fitted | None:
        """See ``TaskFamily.fit_baseline``: the value of one season ago."""
        errors = prepared.errors(prepared.by(LOCAL[0])[places], places)
        return _best(spec, prepared, places, {}, {LOCAL[0]: errors}, places)

    def predict(
        self,
        spec: ModelSpec,  # noqa: ARG002 - everything is in the manifest
        model: Fitted | Path,
        prepared: Samples,
        places: NDArray[np.int64],
    ) -> pd.DataFrame:
        """See ``TaskFamily.predict``."""
        from noria.tasks.forecasting.judged import to_frame
        from noria.tasks.package import load_predictor

        forecaster = (
            cast("Forecaster", load_predictor(model))
            if isinstance(model, Path)
            else model.forecaster
        )
        settings, histories = forecaster.settings, prepared.histories[places]
        alike = settings.season == prepared.season and settings.horizon == prepared.futures.shape[1]
        if forecaster.boosted is None and alike and settings.history == histories.shape[1]:
            said = prepared.by(settings.method)[places]
        else:
            said = forecaster.forecasts(_of_width(histories, settings.history))
        return to_frame(forecaster.answer(histories, said))

    def compare(
        self,
        spec: ModelSpec,
        prepared: Samples,
        places: NDArray[np.int64],
        ours: pd.DataFrame,
        theirs: pd.DataFrame,
        block: NDArray[np.int64] | None = None,
    ) -> Comparison:
        """See ``TaskFamily.compare``."""
        from noria.spec import ChampionGate
        from noria.tasks.forecasting.judged import compared
        from noria.tasks.judging import CONFIDENCE

        gate = ChampionGate(metric=spec.family.default_metric, confidence=CONFIDENCE)
        (found,) = compared(spec, (gate,), prepared, places, ours, theirs, block)
        return found

    def evaluate(
        self,
        spec: ModelSpec,
        candidate: Path,
        test: pd.DataFrame,
        held_out: HeldOut,
        champion: Path | None,
        plots_dir: Path | None,
    ) -> Evaluation:
        """See ``TaskFamily.evaluate``."""
        from noria.tasks.forecasting.judged import evaluate

        return evaluate(self, spec, candidate, test, held_out, champion, plots_dir)

    def save(
        self, spec: ModelSpec, fitted: Fitted, package: Path, *, model: str = "", recipe: str = ""
    ) -> Manifest:
        """See ``TaskFamily.save``."""
        del spec  # everything is in the manifest already
        forecaster = fitted.forecaster
        manifest = msgspec.structs.replace(forecaster.manifest, model=model, recipe=recipe)
        return write_package(package, manifest, forecaster.files())

    def reference(
        self,
        spec: ModelSpec,
        package: Path,
        frame: pd.DataFrame,
        test: pd.DataFrame,
        held_out: HeldOut,
        out_dir: Path,
    ) -> None:
        """See ``TaskFamily.reference``: descriptors of the histories, forecasts of the held out."""
        import numpy as np

        from noria.tasks.forecasting.judged import measured, said_of
        from noria.tasks.forecasting.shape import described
        from noria.tasks.reference import write_reference
        from noria.tasks.sources.rows import moments

        # Requests come with histories as the newest are: older ones of growing series are shorter.
        event = moments(frame, str(spec.data.event_time))
        newest = frame[event >= np.quantile(event, 1.0 - _NEWEST, method="lower")]
        samples, judged = self.prepare(spec, newest), self.prepare(spec, test)
        found = measured(spec, judged, np.arange(len(test)), held_out.model)
        columns = described(samples.raw, samples.season)
        most = spec.monitoring.reference_rows
        said = said_of(held_out.model, options_of(spec).horizon)
        write_reference(out_dir, read_manifest(package), columns, said, found, most)


def options_of(spec: ModelSpec) -> ForecastingOptions:
    """Return the model's options."""
    return cast("ForecastingOptions", spec.task.options)


def refuse_parameters(algorithm: str, params: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that nothing reads.

    Raises:
        TrainingError: There are some.
    """
    if params:
        raise TrainingError(
            f"spec.train.hyperparameters: {shorten(', '.join(sorted(params)))}; {algorithm} has "
            "none",
            fix=f"remove them, or write algorithm: {BOOSTING}",
        )


def _refuse_outside(spec: ModelSpec, rows: pd.DataFrame) -> None:
    name = str(spec.data.target)
    limits = spec.data.validation.ranges.get(name)
    if limits is None:
        return
    values = rows[name]
    for end, wrong in (
        (limits.min, values < (limits.min if limits.min is not None else values)),
        (limits.max, values > (limits.max if limits.max is not None else values)),
    ):
        if wrong.any():
            first = rows[wrong].iloc[0]
            raise DataError(
                f"spec.data.validation.ranges.{name}: {int(wrong.sum())} values lie beyond {end}, "
                f"the first is {first[name]:g} at {first[str(spec.data.event_time)]}",
                fix="correct them, or widen the range",
            )


def _in_time(
    spec: ModelSpec, samples: Samples, places: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of samples whose futures were known before the newest, and these.

    Raises:
        TrainingError: One side is empty.
    """
    import numpy as np

    from noria.tasks.origins import LABEL_KNOWN
    from noria.tasks.sources.rows import moments

    event = moments(samples.frame, str(spec.data.event_time))[places]
    known = moments(samples.frame, LABEL_KNOWN)[places]
    start = np.quantile(event, 1.0 - _NEWEST, method="lower")
    older, newer = places[known <= start], places[event >= start]
    if not older.size or not newer.size:
        raise TrainingError(
            f"{places.size} samples are too few for {BOOSTING}: its intervals are measured on the "
            "newest third",
            fix="give longer series, or write algorithm: auto",
        )
    return older, newer


def _part(
    weight: NDArray[np.float64] | None, places: NDArray[np.int64], part: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Return the weights of some of the places, of mean 1."""
    import numpy as np

    if weight is None:
        return None
    found = weight[np.isin(places, part)]
    return np.asarray(found / found.mean())


def _boosted(
    spec: ModelSpec,
    samples: Samples,
    places: NDArray[np.int64],
    params: Mapping[str, Any],
    weight: NDArray[np.float64] | None,
) -> Any:
    from noria.tasks.forecasting import boosting

    return boosting.fit(
        samples.histories[places],
        samples.futures[places],
        season=samples.season,
        seed=spec.train.seed,
        threads=1,
        weight=weight,
        params=params,
    )


def _best(
    spec: ModelSpec,
    samples: Samples,
    places: NDArray[np.int64],
    params: Mapping[str, Any],
    errors: Mapping[str, Array],
    judged: NDArray[np.int64],
    weight: NDArray[np.float64] | None = None,
) -> Fitted:
    """Return the model of the method whose errors, by method, of the judged samples are least."""
    from noria.tasks.forecasting import choice

    method = next(iter(errors))
    if len(errors) > 1:
        method = choice.choose(errors, groups=samples.group[judged])
    if method == BOOSTING:
        boosted = _boosted(spec, samples, places, params, weight)
        return _fitted(spec, samples, places, params, method, errors[method], boosted)
    # Of a local method every sample is one that it has not seen.
    every = samples.errors(samples.by(method)[places], places)
    return _fitted(spec, samples, places, params, method, every, None)


def known_until(manifest: Manifest, steps: Steps) -> int | None:
    """Return from which moment on an origin's future is not known to a model; None: from any."""
    import numpy as np

    if manifest.trained_until is None:
        return None
    last = steps.numbers(np.array([manifest.trained_until])) + len(manifest.target_names)
    return int(steps.starts(last)[0])


def _of_width(histories: Array, width: int) -> Array:
    """Return histories as another model looks at them: of its own length."""
    import numpy as np

    if histories.shape[1] >= width:
        return histories[:, -width:]
    front = np.full((len(histories), width - histories.shape[1]), np.nan)
    return np.concatenate([front, histories], axis=1)


def _fitted(
    spec: ModelSpec,
    samples: Samples,
    places: NDArray[np.int64],
    params: Mapping[str, Any],
    method: str,
    errors: Array,
    boosted: Any,
) -> Fitted:
    """Return the model of a method, with intervals by its errors and the newest values it knows."""
    import numpy as np

    from noria.tasks.forecasting import intervals
    from noria.tasks.forecasting.panel import targets_of
    from noria.tasks.forecasting.predictor import PREDICTION, Forecaster, Settings, Tails
    from noria.tasks.forecasting.steps import Steps
    from noria.tasks.sources.rows import moments

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
    )
    outputs = [PREDICTION, *(f"{end}-{n}" for n in settings.widths for end in ("lower", "upper"))]
    manifest = Manifest(
        model="",
        family=spec.task.family,
        algorithm=spec.train.algorithm,
        inputs=(
            *(Input(name, "BYTES", "categorical", optional=True) for name in data.entity_key),
            Input(str(data.event_time), "INT64", "timestamp", optional=True),
            Input(HISTORY, "FP64", "series", optional=True, width=width),
        ),
        outputs=tuple(Output(name, "FP64", (horizon,)) for name in outputs),
        features=tuple(Feature(name, "numeric", "descriptor") for name in DESCRIPTORS),
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
    tails = Tails(tail[at], ends, {key: place for place, key in enumerate(last)})
    return Fitted(Forecaster(manifest, settings, boosted, tails))


LEARNER: Final = Forecasting()
