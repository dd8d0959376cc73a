"""The family ``recommendation``, step by step; see ``noria.tasks.protocol.TaskFamily``.

A row of its frames is a sample (``noria.tasks.recommendation.interactions``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from noria.errors import DataError
from noria.spec import ModelSpec, Range
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
from noria.tasks.recommendation import EXCLUDE, HISTORY, ONLY
from noria.tasks.recommendation.describe import options_of
from noria.tasks.recommendation.words import ALS, AUTO, POPULARITY

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from noria.tasks.held_out import HeldOut
    from noria.tasks.recommendation.fitting import Fitted, Samples
    from noria.tasks.recommendation.predictor import Recommender


class Recommendation:
    """See ``noria.tasks.protocol.TaskFamily``."""

    def distributes(self, spec: ModelSpec) -> bool:  # noqa: ARG002 - none of its methods does
        """Whether the algorithm trains on several nodes: none does."""
        return False

    def request_columns(self, spec: ModelSpec) -> list[str]:
        """See ``TaskFamily.request_columns``."""
        return [*spec.data.entity_key, str(spec.data.event_time), HISTORY, EXCLUDE, ONLY]

    def ingest(self, spec: ModelSpec, base: Path, as_of: datetime | None) -> pd.DataFrame:
        """See ``TaskFamily.ingest``: a row for each interaction."""
        from noria.tasks.sources.rows import labelled_rows

        return labelled_rows(_with_weight(spec), base, as_of)

    def validate(self, spec: ModelSpec, rows: pd.DataFrame) -> ValidationReport:
        """See ``TaskFamily.validate``."""
        from noria.tasks.recommendation.interactions import checked

        data = spec.data
        if len(rows) < data.validation.min_rows:
            raise DataError(
                f"{len(rows)} interactions, fewer than spec.data.validation.minRows "
                f"({data.validation.min_rows})",
                fix="give more, or lower it",
            )
        _refuse_outside(spec, rows)
        counted = checked(spec, rows)
        users, items = counted[data.entity_key[0]], counted[str(data.target)]
        if items.nunique() <= options_of(spec).k:
            raise DataError(
                f"spec.data.target: {data.target} has {items.nunique()} items, and every answer "
                f"would hold {options_of(spec).k} of them",
                fix="give interactions with more items, or lower spec.task.options.k",
            )
        once = int((users.value_counts() == 1).sum())
        checks = [
            Check(
                "interactions",
                f"{len(counted)} of {users.nunique()} users with {items.nunique()} items",
            ),
            Check("taken again", f"{len(rows) - len(counted)} interactions do not count"),
            Check("no history", f"{once} of {users.nunique()} users have one interaction alone"),
        ]
        return ValidationReport(len(rows), tuple(checks))

    def features(self, spec: ModelSpec, base: Path, rows: pd.DataFrame) -> pd.DataFrame:  # noqa: ARG002 - nothing is looked up
        """Return the samples; see ``noria.tasks.recommendation.interactions.samples_of``."""
        from noria.tasks.recommendation.interactions import samples_of

        return samples_of(spec, rows)

    def requests(self, spec: ModelSpec, rows: pd.DataFrame, start: float, end: float) -> Requests:
        """See ``noria.tasks.protocol.Asking``."""
        from noria.tasks.recommendation.interactions import requests_of

        return requests_of(spec, rows, start, end)

    def split(self, spec: ModelSpec, frame: pd.DataFrame, champion: Path | None) -> Split:
        """See ``TaskFamily.split``: the newest samples, and of the others those known before."""
        import numpy as np

        from noria.tasks.judging import judged_rows
        from noria.tasks.origins import LABEL_KNOWN
        from noria.tasks.recommendation.judged import known_until
        from noria.tasks.sources.rows import moments
        from noria.tasks.tabular.folds import RowFacts, hold_out, newest

        settings = spec.data.split
        frame = frame.reset_index(drop=True)
        event = moments(frame, str(spec.data.event_time))
        facts = RowFacts(np.zeros(len(frame), np.int64), event, moments(frame, LABEL_KNOWN))
        gap_ms = int(settings.gap.total_seconds() * 1000)
        until = None if champion is None else known_until(read_manifest(champion))
        fresh = 0 if until is None else int((event > until).sum())
        if fresh:
            fold = newest(facts, judged_rows(fresh, len(frame)), gap_ms)
        else:
            fold = hold_out("temporal", facts, settings.test_fraction, gap_ms, spec.train.seed)
        return Split(frame.iloc[fold.train], frame.iloc[fold.test], fold.purged)

    def tune(self, spec: ModelSpec, train: pd.DataFrame, workdir: Path) -> TuneResult:
        """See ``TaskFamily.tune``: by the newest third of the samples."""
        from hashlib import sha256

        import numpy as np

        from noria.tasks.recommendation.fitting import in_time, learnt, settings_of
        from noria.tasks.search import search

        settings, given = spec.train.search, dict(spec.train.hyperparameters)
        if settings.kind == "none" or spec.train.algorithm == POPULARITY:
            return TuneResult(given)
        method = ALS if spec.train.algorithm == AUTO else spec.train.algorithm
        samples = self.prepare(spec, train.reset_index(drop=True))
        older, newer = in_time(samples, np.arange(len(train)))
        if not older.size:  # as when fitting: nothing is known before the newest
            return TuneResult(given)
        metric = spec.metric(settings.metric)

        def score(params: Mapping[str, Any], fold: int) -> float:  # noqa: ARG001 - there is one
            from noria.measures.measuring import value_of
            from noria.tasks.recommendation.predictor import PREDICTION

            used = settings_of(params)[0] if method == ALS else params
            model = learnt(spec, samples, older, method, used, None).recommender
            said = model.predict(samples.columns(newer))[PREDICTION]
            return value_of(metric, samples.truth[newer], said)

        study = sha256(samples.truth.tobytes() + samples.event.tobytes()).hexdigest()
        return search(settings, given, score, 1, spec.train.seed, workdir, study, metric=metric)

    def prepare(self, spec: ModelSpec, frame: pd.DataFrame) -> Samples:
        """See ``TaskFamily.prepare``."""
        from noria.tasks.recommendation import fitting

        return fitting.Samples.of(spec, frame)

    def fit(
        self,
        spec: ModelSpec,
        prepared: Samples,
        places: NDArray[np.int64],
        params: Mapping[str, Any],
        weight: NDArray[np.float64] | None,
    ) -> Fitted:
        """See ``TaskFamily.fit``."""
        from noria.tasks.recommendation.fitting import fit

        return fit(spec, prepared, places, params, weight)

    def with_rounds(
        self,
        spec: ModelSpec,  # noqa: ARG002 - whatever it says
        params: Mapping[str, Any],  # noqa: ARG002
        times: float,  # noqa: ARG002
    ) -> dict[str, Any] | None:
        """See ``TaskFamily.with_rounds``: no method has rounds of boosting."""
        return None

    def fit_baseline(
        self, spec: ModelSpec, prepared: Samples, places: NDArray[np.int64]
    ) -> Fitted | None:
        """See ``TaskFamily.fit_baseline``: what most have taken."""
        from noria.tasks.recommendation.fitting import learnt

        return learnt(spec, prepared, places, POPULARITY, {}, None)

    def predict(
        self,
        spec: ModelSpec,  # noqa: ARG002 - everything is in the manifest
        model: Fitted | Path,
        prepared: Samples,
        places: NDArray[np.int64],
    ) -> pd.DataFrame:
        """See ``TaskFamily.predict``."""
        from noria.tasks.package import load_predictor
        from noria.tasks.recommendation.judged import to_frame
        from noria.tasks.recommendation.predictor import PREDICTION

        recommender = (
            cast("Recommender", load_predictor(model))
            if isinstance(model, Path)
            else model.recommender
        )
        return to_frame(recommender.predict(prepared.columns(places))[PREDICTION])

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
        from noria.tasks.judging import CONFIDENCE
        from noria.tasks.recommendation.judged import compared

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
        from noria.tasks.recommendation.judged import evaluate

        return evaluate(self, spec, candidate, test, held_out, champion, plots_dir)

    def save(
        self, spec: ModelSpec, fitted: Fitted, package: Path, *, model: str = "", recipe: str = ""
    ) -> Manifest:
        """See ``TaskFamily.save``."""
        del spec  # everything is in the manifest already
        recommender = fitted.recommender
        manifest = msgspec.structs.replace(recommender.manifest, model=model, recipe=recipe)
        return write_package(package, manifest, recommender.files())

    def reference(
        self,
        spec: ModelSpec,
        package: Path,
        frame: pd.DataFrame,
        test: pd.DataFrame,
        held_out: HeldOut,
        out_dir: Path,
    ) -> None:
        """See ``TaskFamily.reference``: what the newest requests looked like."""
        import numpy as np

        from noria.tasks.package import load_predictor
        from noria.tasks.recommendation.fitting import NEWEST
        from noria.tasks.recommendation.judged import measured, said_of
        from noria.tasks.reference import write_reference

        samples, judged = self.prepare(spec, frame), self.prepare(spec, test)
        # Older samples have shorter histories than requests will have.
        start = np.quantile(samples.event, 1.0 - NEWEST, method="lower")
        places = np.flatnonzero(samples.event >= start)
        found = measured(spec, judged, np.arange(len(test)), held_out.model)
        model = cast("Recommender", load_predictor(package))
        columns = model.describe(samples.columns(places))
        most = spec.monitoring.reference_rows
        said = said_of(held_out.model)
        write_reference(out_dir, model.manifest, columns, said, found, most)


def _with_weight(spec: ModelSpec) -> ModelSpec:
    """Return the spec as one whose rows have the weight too: columns with a range are read."""
    weight, data = options_of(spec).weight, spec.data
    if weight is None:
        return spec
    ranges = {weight: Range(), **data.validation.ranges}
    validation = data.validation.model_copy(update={"ranges": ranges})
    return spec.model_copy(update={"data": data.model_copy(update={"validation": validation})})


def _refuse_outside(spec: ModelSpec, rows: pd.DataFrame) -> None:
    for name, limits in spec.data.validation.ranges.items():
        for end, wrong in (
            (limits.min, rows[name] < (-float("inf") if limits.min is None else limits.min)),
            (limits.max, rows[name] > (float("inf") if limits.max is None else limits.max)),
        ):
            if wrong.any():
                first = rows[wrong].iloc[0]
                raise DataError(
                    f"spec.data.validation.ranges.{name}: {int(wrong.sum())} values lie beyond "
                    f"{end}, the first is {first[name]:g} at {first[str(spec.data.event_time)]}",
                    fix="correct them, or widen the range",
                )


LEARNER: Final = Recommendation()
