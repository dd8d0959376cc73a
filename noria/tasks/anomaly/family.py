"""The family ``anomaly-detection``, step by step; see ``noria.tasks.protocol.TaskFamily``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from noria.spec import ModelSpec
from noria.tasks.anomaly.describe import options_of
from noria.tasks.package import read_manifest
from noria.tasks.protocol import Comparison, Evaluation, TuneResult
from noria.tasks.tabular.family import PreparedTabular
from noria.tasks.tabular.own_fit import Unlabelled

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from noria.tasks.anomaly.fitting import Fitted
    from noria.tasks.held_out import HeldOut
    from noria.tasks.tabular.family import FittedMatrix


class Anomalies(Unlabelled):
    """Rows of columns as the tabular families have them, without a target to learn from."""

    def labels(self, spec: ModelSpec, rows: pd.DataFrame) -> NDArray[np.float64]:
        """See ``Unlabelled.labels``."""
        from noria.tasks.anomaly.labels import labels_of

        return labels_of(spec, rows)

    def about(self, labels: NDArray[np.float64]) -> str:
        """See ``Unlabelled.about``."""
        import numpy as np

        return f"{int(np.nansum(labels))} of them 1"

    def request_columns(self, spec: ModelSpec) -> list[str]:
        """See ``TaskFamily.request_columns``; of series the values before, too."""
        return [*super().request_columns(spec), *spec.family.inputs]

    def ingest(self, spec: ModelSpec, base: Path, as_of: datetime | None) -> pd.DataFrame:
        """See ``TaskFamily.ingest``; values of series with those before each."""
        rows = super().ingest(spec, base, as_of)
        if options_of(spec).history is None:
            return rows
        from noria.tasks.anomaly.series import with_history

        return with_history(spec, rows)

    def prepare(self, spec: ModelSpec, frame: pd.DataFrame) -> PreparedTabular:
        """See ``TaskFamily.prepare``; beside the columns of series are the values before."""
        prepared, width = super().prepare(spec, frame), options_of(spec).history
        if width is None:
            return prepared
        import numpy as np

        from noria.tasks.anomaly import HISTORY
        from noria.values.vectors import aligned

        matrix = np.hstack([prepared.design.matrix, aligned(frame[HISTORY], width)])
        return replace(prepared, design=replace(prepared.design, matrix=matrix))

    def tune(self, spec: ModelSpec, train: pd.DataFrame, workdir: Path) -> TuneResult:
        """See ``TaskFamily.tune``; a trial is a ``fit`` for each fold."""
        from noria.measures.measuring import value_of
        from noria.tasks.anomaly.judged import ask_prepared, asked
        from noria.tasks.anomaly.labels import labels_of
        from noria.tasks.search import searched
        from noria.tasks.tabular.learn import cross_validation

        if spec.train.search.kind == "none":
            return TuneResult(dict(spec.train.hyperparameters))
        metric = spec.metric(spec.train.search.metric)
        prepared, labels = self.prepare(spec, train), labels_of(spec, train)
        folds = cross_validation(spec, prepared.facts)

        def score(params: Mapping[str, Any], place: int) -> float:
            fold = folds[place]
            fitted = self.fit(spec, prepared, fold.train, params, None)
            said = ask_prepared(fitted, prepared, fold.test, spec.train.seed)
            return value_of(metric, *asked(metric, labels[fold.test], said)[:2])

        rows = prepared.design.matrix.tobytes(), labels.tobytes()
        return searched(spec, score, len(folds), workdir, *rows)

    def fit(
        self,
        spec: ModelSpec,
        prepared: PreparedTabular,
        places: NDArray[np.int64],
        params: Mapping[str, Any],
        weight: NDArray[np.float64] | None,
    ) -> Fitted:
        """See ``TaskFamily.fit``: a detector, and the threshold by rows that it has not seen."""
        from noria.tasks.anomaly.fitting import fit

        return fit(spec, prepared, places, params, weight)

    def fit_baseline(
        self, spec: ModelSpec, prepared: PreparedTabular, places: NDArray[np.int64]
    ) -> Fitted:
        """See ``TaskFamily.fit_baseline``: each column's tails, of series the value before."""
        from noria.tasks.anomaly.fitting import fit

        if options_of(spec).history is not None:
            return fit(spec, prepared, places, {"alpha": 1.0}, None)
        return fit(spec, prepared, places, {}, None, algorithm="ecod")

    def predict(
        self,
        spec: ModelSpec,
        model: FittedMatrix | Path,
        prepared: PreparedTabular,
        places: NDArray[np.int64],
    ) -> pd.DataFrame:
        """See ``TaskFamily.predict``; of each row's spliced twin, too."""
        from noria.tasks.anomaly.judged import ask_prepared

        return ask_prepared(model, prepared, places, spec.train.seed)

    def compare(
        self,
        spec: ModelSpec,
        prepared: PreparedTabular,
        places: NDArray[np.int64],
        ours: pd.DataFrame,
        theirs: pd.DataFrame,
        block: NDArray[np.int64] | None = None,
    ) -> Comparison:
        """See ``TaskFamily.compare``."""
        from noria.tasks.anomaly.judged import compared
        from noria.tasks.anomaly.labels import labels_of
        from noria.tasks.champion import recipe_gate

        labels = labels_of(spec, prepared.frame.iloc[places])
        (found,) = compared(spec, (recipe_gate(spec),), labels, ours, theirs, block)
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
        from noria.tasks.anomaly.judged import evaluate

        return evaluate(spec, candidate, test, held_out, champion, plots_dir)

    def reference(
        self,
        spec: ModelSpec,
        package: Path,
        frame: pd.DataFrame,
        test: pd.DataFrame,
        held_out: HeldOut,
        out_dir: Path,
    ) -> None:
        """See ``TaskFamily.reference``: the share of alarms is that of held-out rows."""
        import numpy as np

        from noria.tasks.anomaly import ANOMALY, PREDICTION
        from noria.tasks.anomaly.judged import measured
        from noria.tasks.anomaly.labels import labels_of
        from noria.tasks.reference import write_reference
        from noria.tasks.tabular.schema import columns_of
        from noria.tasks.tabular.seen import fitted_on

        manifest, said = read_manifest(package), held_out.model
        frame = fitted_on(spec, manifest, frame)
        columns = columns_of(manifest.features, None, frame)
        alarms = said[ANOMALY].to_numpy(np.float64)
        # Of rows that it was fitted on it would say too few.
        columns[ANOMALY] = np.full(len(frame), np.nan)
        columns[ANOMALY][-alarms.size :] = alarms[-len(frame) :]
        write_reference(
            out_dir,
            manifest,
            columns,
            said[PREDICTION].to_numpy(np.float64),
            measured(spec, labels_of(spec, test), said),
            spec.monitoring.reference_rows,
        )


LEARNER: Final = Anomalies()
