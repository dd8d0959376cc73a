"""The family ``forecasting``, step by step; see ``noria.tasks.protocol.TaskFamily``.

A row of its frames is a sample (``noria.tasks.forecasting.panel``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from noria.errors import DataError, shorten
from noria.spec import ModelSpec
from noria.tasks.forecasting import HISTORY
from noria.tasks.forecasting.describe import AUTO, GLOBAL, options_of, season_of
from noria.tasks.package import Manifest, read_manifest
from noria.tasks.protocol import Check, Comparison, Evaluation, Requests, ValidationReport
from noria.tasks.sampled import Sampled, Words, refuse_few, refuse_outside

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from noria.measures.catalog import Metric
    from noria.measures.measurement import Measurement
    from noria.spec import ChampionGate
    from noria.tasks.forecasting.fitting import Fitted, Samples
    from noria.tasks.forecasting.predictor import Forecaster
    from noria.tasks.held_out import HeldOut


class Forecasting(Sampled["Samples", "Fitted"]):
    """See ``noria.tasks.protocol.TaskFamily``."""

    words = Words("values", "origin", "origins", "forecasts", "steps")

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
        refuse_few(spec, values, "values")
        refuse_outside(spec, rows)
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

    def truth(self, samples: Samples) -> NDArray[np.float64]:
        """See ``Sampled.truth``: the futures."""
        return samples.futures

    def content(self, samples: Samples) -> Sequence[NDArray[Any]]:
        """See ``Sampled.content``."""
        return samples.histories, samples.futures

    def known_until(self, spec: ModelSpec, manifest: Manifest) -> int | None:
        """See ``Sampled.known_until``: the first origin whose future is not known."""
        from noria.tasks.forecasting.fitting import known_until
        from noria.tasks.forecasting.steps import Steps

        return known_until(manifest, Steps.of(options_of(spec)))

    def searches(self, spec: ModelSpec) -> bool:
        """See ``Sampled.searches``: models of all series have something."""
        return spec.train.algorithm in (AUTO, *GLOBAL)

    def searched_on(
        self, spec: ModelSpec, samples: Samples, places: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """See ``Sampled.searched_on``."""
        from noria.tasks.forecasting.fitting import LEARNT_FROM, in_time

        return in_time(spec, samples, places, LEARNT_FROM)

    def tried(
        self,
        spec: ModelSpec,
        samples: Samples,
        older: NDArray[np.int64],
        newer: NDArray[np.int64],
        params: Mapping[str, Any],
        metric: Metric,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See ``Sampled.tried``."""
        from noria.tasks.forecasting.fitting import shared
        from noria.tasks.forecasting.judged import in_units
        from noria.tasks.forecasting.steps import Steps

        model, read = shared(spec, samples, older, params, None)
        beside = samples.beside(read, newer, Steps.of(options_of(spec)))
        said = model.predict(samples.histories[newer], beside)
        return in_units(metric.name, samples, newer, said)

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
        plain = forecaster.shared is None and not settings.methods
        keys = prepared.frame[list(forecaster.manifest.entity_key)].iloc[places]
        series = forecaster.places_of(map(tuple, keys.to_numpy(object).astype(str)))
        if plain and alike and settings.history == histories.shape[1]:
            said = prepared.by(settings.method, places)
        else:
            read = settings.beside if forecaster.shared is not None else None
            beside = prepared.beside(read, places, settings.steps)
            windows = of_width(histories, settings.history)
            said = forecaster.forecasts(windows, beside, series)
        if forecaster.hierarchy is None:
            return to_frame(forecaster.answer(histories, said))
        agreed, _ = forecaster.reconciled(said, series, prepared.origins[places])
        return to_frame({**forecaster.answer(histories, agreed), UNRECONCILED: said})

    def measured(
        self, spec: ModelSpec, samples: Samples, places: NDArray[np.int64], said: pd.DataFrame
    ) -> dict[str, Measurement]:
        """See ``Sampled.measured``."""
        from noria.tasks.forecasting.judged import measured

        return measured(spec, samples, places, said)

    def compared(
        self,
        spec: ModelSpec,
        gates: Sequence[ChampionGate],
        samples: Samples,
        places: NDArray[np.int64],
        ours: pd.DataFrame,
        theirs: pd.DataFrame,
        block: NDArray[np.int64] | None,
    ) -> tuple[Comparison, ...]:
        """See ``Sampled.compared``."""
        from noria.tasks.forecasting.judged import compared

        return compared(spec, gates, samples, places, ours, theirs, block)

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
        from noria.tasks.forecasting.judged import completed

        found, samples = self.judged(spec, candidate, test, held_out, champion)
        return completed(spec, found, samples, held_out, plots_dir)

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


LEARNER: Final = Forecasting()
