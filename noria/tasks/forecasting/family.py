"""The family ``forecasting``, step by step; see ``noria.tasks.protocol.TaskFamily``.

A row of its frames is a sample (``noria.tasks.forecasting.panel``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from noria.errors import DataError, shorten
from noria.spec import ModelSpec
from noria.tasks.forecasting import HISTORY
from noria.tasks.forecasting.describe import AUTO, BOOSTING, options_of, season_of
from noria.tasks.package import Manifest, read_manifest, write_package
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

    from noria.spec.data import Range
    from noria.tasks.forecasting.fitting import Fitted, Samples
    from noria.tasks.forecasting.predictor import Forecaster
    from noria.tasks.held_out import HeldOut


class Forecasting:
    """See ``noria.tasks.protocol.TaskFamily``."""

    def distributes(self, spec: ModelSpec) -> bool:  # noqa: ARG002 - none of its methods does
        """Whether the algorithm trains on several nodes: none does."""
        return False

    def request_columns(self, spec: ModelSpec) -> list[str]:
        """See ``TaskFamily.request_columns``."""
        features = (feature.name for feature in spec.data.features)
        return [*spec.data.entity_key, str(spec.data.event_time), HISTORY, *features]

    def ingest(self, spec: ModelSpec, base: Path, as_of: datetime | None) -> pd.DataFrame:
        """See ``TaskFamily.ingest``: a row for each value of a series.

        With features that are known ahead, also the rows whose value is not known at ``as_of``.
        """
        from noria.tasks.sources.rows import labelled_rows

        if not options_of(spec).known_ahead:
            return labelled_rows(spec, base, as_of)
        from noria.tasks.forecasting.panel import with_later_rows

        return with_later_rows(spec, base, as_of)

    def validate(self, spec: ModelSpec, rows: pd.DataFrame) -> ValidationReport:
        """See ``TaskFamily.validate``."""
        from noria.tasks.forecasting.panel import refuse_gaps, series_of

        data, options = spec.data, options_of(spec)
        values = int(rows[str(data.target)].notna().sum())
        if values < data.validation.min_rows:
            raise DataError(
                f"{values} values, fewer than spec.data.validation.minRows "
                f"({data.validation.min_rows})",
                fix="give more, or lower it",
            )
        _refuse_outside(spec, rows)
        _refuse_missing(spec, rows)
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
        return ValidationReport(values, tuple(checks))

    def features(self, spec: ModelSpec, base: Path, rows: pd.DataFrame) -> pd.DataFrame:  # noqa: ARG002 - nothing is looked up
        """Return the samples of the series; see ``noria.tasks.forecasting.panel.samples_of``."""
        from noria.tasks.forecasting.panel import samples_of, series_of, with_sums

        options = options_of(spec)
        series = with_sums(spec, options, series_of(spec, options, rows))
        return samples_of(spec, options, series)

    def requests(self, spec: ModelSpec, rows: pd.DataFrame, start: float, end: float) -> Requests:
        """See ``noria.tasks.protocol.Asking``."""
        from noria.tasks.forecasting.panel import requests_of, series_of, with_sums

        options = options_of(spec)
        series = with_sums(spec, options, series_of(spec, options, rows))
        return requests_of(spec, options, series, start, end)

    def split(self, spec: ModelSpec, frame: pd.DataFrame, champion: Path | None) -> Split:
        """See ``TaskFamily.split``: the newest origins, whose futures no training sample knows."""
        import numpy as np

        from noria.tasks.forecasting.fitting import known_until
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

        from noria.tasks.forecasting.fitting import LEARNT_FROM, boosted, in_time
        from noria.tasks.forecasting.steps import Steps
        from noria.tasks.search import search

        settings, given = spec.train.search, dict(spec.train.hyperparameters)
        if settings.kind == "none" or spec.train.algorithm not in (AUTO, BOOSTING):
            return TuneResult(given)
        samples = self.prepare(spec, train.reset_index(drop=True))
        older, newer = in_time(spec, samples, np.arange(len(train)), LEARNT_FROM)
        if not older.size:  # as when fitting: nothing is known before the newest
            return TuneResult(given)
        metric = spec.metric(settings.metric)

        def score(params: Mapping[str, Any], fold: int) -> float:  # noqa: ARG001 - there is one
            from noria.measures.measuring import value_of
            from noria.tasks.forecasting.judged import in_units

            model, read = boosted(spec, samples, older, params, None)
            beside = samples.beside(read, newer, Steps.of(options_of(spec)))
            said = model.predict(samples.histories[newer], beside)
            truth, said = in_units(metric.name, samples, newer, said)
            return value_of(metric, truth, said)

        study = sha256(samples.histories.tobytes() + samples.futures.tobytes()).hexdigest()
        return search(settings, given, score, 1, spec.train.seed, workdir, study, metric=metric)

    def prepare(self, spec: ModelSpec, frame: pd.DataFrame) -> Samples:
        """See ``TaskFamily.prepare``."""
        from noria.tasks.forecasting import fitting

        return fitting.Samples.of(spec, frame)

    def fit(
        self,
        spec: ModelSpec,
        prepared: Samples,
        places: NDArray[np.int64],
        params: Mapping[str, Any],
        weight: NDArray[np.float64] | None,
    ) -> Fitted:
        """See ``TaskFamily.fit``: a method is chosen, and its intervals are measured."""
        from noria.tasks.forecasting.fitting import fit

        return fit(spec, prepared, places, params, weight)

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
        from noria.tasks.forecasting.fitting import fit_naive

        return fit_naive(spec, prepared, places)

    def predict(
        self,
        spec: ModelSpec,  # noqa: ARG002 - everything is in the manifest
        model: Fitted | Path,
        prepared: Samples,
        places: NDArray[np.int64],
    ) -> pd.DataFrame:
        """See ``TaskFamily.predict``."""
        from noria.tasks.forecasting.fitting import of_width
        from noria.tasks.forecasting.judged import UNRECONCILED, to_frame
        from noria.tasks.package import load_predictor

        forecaster = (
            cast("Forecaster", load_predictor(model))
            if isinstance(model, Path)
            else model.forecaster
        )
        settings, histories = forecaster.settings, prepared.histories[places]
        alike = settings.season == prepared.season and settings.horizon == prepared.futures.shape[1]
        plain = forecaster.boosted is None and not settings.methods
        keys = prepared.frame[list(forecaster.manifest.entity_key)].iloc[places]
        series = forecaster.places_of(map(tuple, keys.to_numpy(object).astype(str)))
        if plain and alike and settings.history == histories.shape[1]:
            said = prepared.by(settings.method, places)
        else:
            read = settings.beside if forecaster.boosted is not None else None
            beside = prepared.beside(read, places, settings.steps)
            windows = of_width(histories, settings.history)
            said = forecaster.forecasts(windows, beside, series)
        if forecaster.hierarchy is None:
            return to_frame(forecaster.answer(histories, said))
        agreed, _ = forecaster.reconciled(said, series, prepared.origins[places])
        return to_frame({**forecaster.answer(histories, agreed), UNRECONCILED: said})

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

        from noria.tasks.forecasting.beside import named_in
        from noria.tasks.forecasting.fitting import NEWEST
        from noria.tasks.forecasting.judged import measured, said_of
        from noria.tasks.forecasting.shape import described
        from noria.tasks.reference import write_reference
        from noria.tasks.sources.rows import moments

        # Requests come with histories as the newest are: older ones of growing series are shorter.
        event = moments(frame, str(spec.data.event_time))
        newest = frame[event >= np.quantile(event, 1.0 - NEWEST, method="lower")]
        samples, judged = self.prepare(spec, newest), self.prepare(spec, test)
        found = measured(spec, judged, np.arange(len(test)), held_out.model)
        columns = described(samples.raw, samples.season)
        columns |= named_in(spec).described(samples.columns, options_of(spec).horizon)
        most = spec.monitoring.reference_rows
        said = said_of(held_out.model, options_of(spec).horizon)
        write_reference(out_dir, read_manifest(package), columns, said, found, most)


def _refuse_missing(spec: ModelSpec, rows: pd.DataFrame) -> None:
    """Refuse a feature that is missing too often beside the values."""
    rows, most = rows[rows[str(spec.data.target)].notna()], spec.data.validation.max_missing
    for feature in spec.data.features:
        share = float(rows[feature.name].isna().mean())
        if share > most:
            raise DataError(
                f"spec.data.features: {feature.name} is missing in {share:.0%} of the rows, more "
                f"than spec.data.validation.maxMissing ({most:g})",
                fix="fill it, remove the feature, or raise the limit",
            )


def _refuse_outside(spec: ModelSpec, rows: pd.DataFrame) -> None:
    for name, limits in spec.data.validation.ranges.items():
        _refuse_beyond(spec, rows, name, limits)


def _refuse_beyond(spec: ModelSpec, rows: pd.DataFrame, name: str, limits: Range) -> None:
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


LEARNER: Final = Forecasting()
