"""The family ``multi-label``, step by step: for each label a tabular model of two classes.

Rows are read, checked, encoded and split once, as the tabular families do; each label is then
learnt by itself (binary relevance: Boutell, Luo, Shen and Brown, Pattern Recognition 37, 2004).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from noria.errors import DataError
from noria.spec import ModelSpec
from noria.tasks.multilabel.describe import options_of
from noria.tasks.package import Manifest, read_manifest
from noria.tasks.protocol import Check, Evaluation, TuneResult, ValidationReport
from noria.tasks.tabular.family import (
    TABULAR,
    FittedTabular,
    PreparedTabular,
    Tabular,
    manifest_of,
)
from noria.tasks.tabular.hyperparameters import refuse_unknown

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from noria.tasks.held_out import HeldOut
    from noria.tasks.tabular.folds import Fold
    from noria.tasks.tabular.schema import Target

LABELS: Final = "labels"
"""Under this name the hyperparameters of each label travel; no algorithm has one of that name."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class FittedMultiLabel:
    """A model for each label between ``fit`` and ``save``, in the order of the labels."""

    manifest: Manifest
    parts: tuple[FittedTabular, ...]

    @property
    def rows(self) -> int:
        """How many rows it was fitted on."""
        return self.manifest.rows

    def files(self) -> dict[str, bytes]:
        """Return the files of the package."""
        from noria.tasks.multilabel.predictor import files_of

        algorithms = [part.manifest.algorithm for part in self.parts]
        return files_of(algorithms, [part.files() for part in self.parts])


class MultiLabel(Tabular):
    """See ``noria.tasks.protocol.TaskFamily``."""

    def ingest(self, spec: ModelSpec, base: Path, as_of: datetime | None) -> pd.DataFrame:
        """See ``TaskFamily.ingest``: rows of which all labels are known."""
        from noria.tasks.multilabel.rows import labelled, with_labels

        return labelled(spec, super().ingest(with_labels(spec), base, as_of))

    def validate(self, spec: ModelSpec, rows: pd.DataFrame) -> ValidationReport:
        """See ``TaskFamily.validate``; each label is checked as a target."""
        from noria.tasks.multilabel.rows import labels_of, refuse_constant, target_of
        from noria.tasks.tabular.leakage import refuse_answers
        from noria.tasks.tabular.schema import features_of

        found = super().validate(spec, rows)
        labels = labels_of(spec, rows)
        refuse_constant(spec, labels)
        present = tuple(one for one in spec.data.features if one.name in rows)
        data = spec.data.model_copy(update={"features": present, "time_features": ()})
        features = features_of(data, rows)
        checks = []
        for place, name in enumerate(options_of(spec).labels):
            _named(name, lambda at: refuse_answers(features, rows, target_of(labels, at)), place)
            ones = int(labels[:, place].sum())
            checks.append(Check(f"label {name}", f"1: {ones}, 0: {len(rows) - ones}"))
        checks.append(Check("leakage", "no feature alone determines a label"))
        return ValidationReport(found.rows, (*found.checks, *checks))

    def target(self, spec: ModelSpec, frame: pd.DataFrame) -> Target:
        """See ``Tabular.target``: the labels, (n, k); rows are split by their combination."""
        from noria.tasks.multilabel.rows import labels_of, strata_of
        from noria.tasks.tabular.schema import Target

        labels = labels_of(spec, frame)
        strata = strata_of(labels)
        return Target(labels, strata, tuple(range(int(strata.max(initial=0)) + 1)))

    def prepare(self, spec: ModelSpec, frame: pd.DataFrame) -> PreparedTabular:
        """See ``TaskFamily.prepare``: the matrix is that of every label."""
        from noria.tasks.multilabel.predictor import CLASSES
        from noria.tasks.tabular.learn import design_of, facts_of
        from noria.tasks.tabular.schema import features_of, rarer_levels

        target = self.target(spec, frame)
        features = features_of(spec.data, frame)
        rarer = rarer_levels(features, frame, self.most_levels)
        design = design_of(spec, frame, features, replace(target, classes=CLASSES), rarer)
        facts = facts_of(spec, frame, target)
        return PreparedTabular(frame, replace(target, classes=()), features, design, facts, rarer)

    def tune(self, spec: ModelSpec, train: pd.DataFrame, workdir: Path) -> TuneResult:
        """See ``TaskFamily.tune``: a search of what all labels share, else each label's own."""
        import numpy as np

        from noria.tasks.multilabel.rows import alone, part_of
        from noria.tasks.tabular.choosing import budget_of, chosen
        from noria.tasks.tabular.deciding import with_thresholds
        from noria.tasks.tabular.learn import slice_of

        found = TuneResult(dict(spec.train.hyperparameters))
        refuse_unknown(spec.train.algorithm, spec.task.family, found.params)
        searched = spec.train.search.kind != "none"
        if not searched and not self.chooses(spec):
            return found
        prepared = self.prepare(spec, train)
        if searched:
            found = self._searched(spec, prepared, workdir)

        def own(place: int) -> dict[str, Any]:
            one, part = alone(spec, place), part_of(prepared, place)
            design = slice_of(one, part.design, np.arange(len(train)), None)
            params: Mapping[str, Any] = found.params
            budget = budget_of(one, self.clock)
            if not searched:
                params = chosen(one, design, part.facts, budget, workdir / str(place)).params
            return with_thresholds(one, params, design, part.facts, budget)

        each = self._each(spec, own)
        return msgspec.structs.replace(found, params={**found.params, LABELS: each})

    def fit(  # type: ignore[override]
        self,
        spec: ModelSpec,
        prepared: PreparedTabular,
        places: NDArray[np.int64],
        params: Mapping[str, Any],
        weight: NDArray[np.float64] | None,
    ) -> FittedMultiLabel:
        """See ``TaskFamily.fit``."""
        from noria.tasks.multilabel.rows import alone, part_of

        shared = {name: value for name, value in params.items() if name != LABELS}
        each = params.get(LABELS) or [shared] * len(options_of(spec).labels)

        def one(place: int) -> FittedTabular:
            own = alone(spec, place)
            fitted = TABULAR.fit(own, part_of(prepared, place), places, each[place], weight)
            return cast("FittedTabular", fitted)

        algorithm = spec.train.algorithm
        return _together(spec, prepared, places, algorithm, params, self._each(spec, one))

    def fit_baseline(  # type: ignore[override]
        self, spec: ModelSpec, prepared: PreparedTabular, places: NDArray[np.int64]
    ) -> FittedMultiLabel:
        """See ``TaskFamily.fit_baseline``: a linear model of each label."""
        from noria.tasks.multilabel.rows import alone, part_of

        def one(place: int) -> FittedTabular:
            fitted = TABULAR.fit_baseline(alone(spec, place), part_of(prepared, place), places)
            return cast("FittedTabular", fitted)

        return _together(spec, prepared, places, "linear", {}, self._each(spec, one))

    def with_rounds(
        self, spec: ModelSpec, params: Mapping[str, Any], times: float
    ) -> dict[str, Any] | None:
        """See ``TaskFamily.with_rounds``: None where each label has its own."""
        return None if LABELS in params else super().with_rounds(spec, params, times)

    def predict(  # type: ignore[override]
        self,
        spec: ModelSpec,
        model: FittedMultiLabel | Path,
        prepared: PreparedTabular,
        places: NDArray[np.int64],
    ) -> pd.DataFrame:
        """See ``TaskFamily.predict``."""
        import numpy as np

        from noria.tasks.multilabel.judged import answered, asked

        if isinstance(model, Path):
            return asked(model, prepared.frame.iloc[places])
        said = [TABULAR.predict(spec, part, prepared, places) for part in model.parts]
        columns = [one["prediction"].to_numpy(np.float64) for one in said]
        return answered(np.column_stack(columns), model.manifest.limits)

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
        from noria.tasks.multilabel.judged import evaluate

        del plots_dir  # nothing is drawn yet
        return evaluate(spec, candidate, test, held_out, champion)

    def reference(
        self,
        spec: ModelSpec,
        package: Path,
        frame: pd.DataFrame,
        test: pd.DataFrame,
        held_out: HeldOut,
        out_dir: Path,
    ) -> None:
        """See ``TaskFamily.reference``."""
        from noria.tasks.encoding import described
        from noria.tasks.measure import Truth
        from noria.tasks.multilabel.rows import labels_of
        from noria.tasks.reference import write_reference
        from noria.tasks.tabular.evaluation import measured, said_of
        from noria.tasks.tabular.schema import columns_of
        from noria.tasks.tabular.seen import fitted_on

        manifest, event_time = read_manifest(package), spec.data.event_time
        columns = columns_of(manifest.features, event_time, fitted_on(spec, manifest, frame))
        truth = Truth(labels_of(spec, test), 0, spec.train.seed)
        write_reference(
            out_dir,
            manifest,
            {**columns, **described(manifest.features, event_time, columns)},
            said_of(held_out.model),
            measured(spec, truth, held_out.model),
            spec.monitoring.reference_rows,
        )

    def _searched(self, spec: ModelSpec, prepared: PreparedTabular, workdir: Path) -> TuneResult:
        from noria.tasks.tabular.evaluation import read_by
        from noria.tasks.tabular.tuning import tuned

        metric = spec.metric(spec.train.search.metric)

        def ask(params: Mapping[str, Any], fold: Fold) -> NDArray[np.float64]:
            fitted = self.fit(spec, prepared, fold.train, params, None)
            said = self.predict(spec, fitted, prepared, fold.test)
            return cast("NDArray[np.float64]", read_by(metric, said))

        return tuned(spec, prepared.design, prepared.facts, ask, workdir)

    def _each(self, spec: ModelSpec, of: Callable[[int], T]) -> list[T]:
        labels = options_of(spec).labels
        return [_named(name, of, place) for place, name in enumerate(labels)]


def _named(label: str, of: Callable[[int], T], place: int) -> T:
    """Return what is made of the label at a place.

    Raises:
        DataError: It can't be made; the message says of which label.
    """
    try:
        return of(place)
    except DataError as error:
        raise type(error)(f"label {label}: {error.message}", fix=error.fix) from error


def _together(
    spec: ModelSpec,
    prepared: PreparedTabular,
    places: NDArray[np.int64],
    algorithm: str,
    params: Mapping[str, Any],
    parts: Sequence[FittedTabular],
) -> FittedMultiLabel:
    """Return the models of all labels as one."""
    from noria.tasks.multilabel.predictor import outputs_of

    limits = tuple(limit for part in parts for limit in part.manifest.limits)
    manifest = msgspec.structs.replace(
        manifest_of(spec, prepared, places, algorithm, params),
        outputs=outputs_of(len(parts)),
        targets=tuple(options_of(spec).labels),
        thresholds=limits or msgspec.UNSET,
    )
    return FittedMultiLabel(manifest, tuple(parts))


LEARNER: Final = MultiLabel()
