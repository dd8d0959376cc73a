"""The family ``recommendation``, step by step; see ``noria.tasks.protocol.TaskFamily``.

A row of its frames is a sample (``noria.tasks.recommendation.interactions``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from noria.errors import DataError
from noria.spec import ModelSpec, Range
from noria.tasks.package import Manifest
from noria.tasks.protocol import Check, Comparison, Evaluation, Requests, ValidationReport
from noria.tasks.recommendation import EXCLUDE, HISTORY, ONLY
from noria.tasks.recommendation.describe import options_of
from noria.tasks.recommendation.words import ALS, AUTO, POPULARITY
from noria.tasks.sampled import Sampled, Words, refuse_few, refuse_outside

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from noria.measures.catalog import Metric
    from noria.measures.measurement import Measurement
    from noria.spec import ChampionGate
    from noria.tasks.held_out import HeldOut
    from noria.tasks.recommendation.fitting import Fitted, Samples
    from noria.tasks.recommendation.predictor import Recommender


class Recommendation(Sampled["Samples", "Fitted"]):
    """See ``noria.tasks.protocol.TaskFamily``."""

    words = Words("interactions", "sample", "moments", "answers", "items")

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
        refuse_few(spec, len(rows), "interactions")
        refuse_outside(spec, rows)
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

    def truth(self, samples: Samples) -> NDArray[np.float64]:
        """See ``Sampled.truth``: the numbers of the items taken."""
        return samples.truth

    def content(self, samples: Samples) -> Sequence[NDArray[Any]]:
        """See ``Sampled.content``."""
        return samples.truth, samples.event

    def known_until(self, spec: ModelSpec, manifest: Manifest) -> int | None:  # noqa: ARG002
        """See ``Sampled.known_until``: when the last interaction was."""
        from noria.tasks.recommendation.fitting import KNOWN_UNTIL

        found = manifest.parameters.get(KNOWN_UNTIL, manifest.trained_until)
        return None if found is None else int(found)

    def new_to(self, until: int, event: NDArray[np.int64]) -> NDArray[np.bool_]:
        """See ``Sampled.new_to``: later than all that it knows."""
        return event > until

    def searches(self, spec: ModelSpec) -> bool:
        """See ``Sampled.searches``: popularity has nothing."""
        return spec.train.algorithm != POPULARITY

    def searched_on(
        self,
        spec: ModelSpec,  # noqa: ARG002 - whatever it says
        samples: Samples,
        places: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """See ``Sampled.searched_on``: the newest third is what it is measured on."""
        from noria.tasks.recommendation.fitting import in_time

        return in_time(samples, places)

    def tried(
        self,
        spec: ModelSpec,
        samples: Samples,
        older: NDArray[np.int64],
        newer: NDArray[np.int64],
        params: Mapping[str, Any],
        metric: Metric,  # noqa: ARG002 - all read the same
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See ``Sampled.tried``."""
        from noria.tasks.recommendation.fitting import learnt, settings_of
        from noria.tasks.recommendation.predictor import PREDICTION

        method = ALS if spec.train.algorithm == AUTO else spec.train.algorithm
        used = settings_of(params)[0] if method == ALS else params
        model = learnt(spec, samples, older, method, used, None).predictor
        return samples.truth[newer], model.predict(samples.columns(newer))[PREDICTION]

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
            else model.predictor
        )
        return to_frame(recommender.predict(prepared.columns(places))[PREDICTION])

    def measured(
        self, spec: ModelSpec, samples: Samples, places: NDArray[np.int64], said: pd.DataFrame
    ) -> dict[str, Measurement]:
        """See ``Sampled.measured``."""
        from noria.tasks.recommendation.judged import measured

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
        from noria.tasks.recommendation.judged import compared

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
        from noria.tasks.recommendation.judged import completed

        found, samples = self.judged(spec, candidate, test, held_out, champion)
        return completed(spec, found, candidate, samples, held_out, plots_dir)

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


LEARNER: Final = Recommendation()
