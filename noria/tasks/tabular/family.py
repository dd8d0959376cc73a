"""The two tabular task families, step by step; see ``noria.tasks.protocol.TaskFamily``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from noria.errors import DataError
from noria.spec import ModelSpec
from noria.tasks.fitted import save
from noria.tasks.package import Feature, Manifest, Output, read_manifest
from noria.tasks.protocol import Comparison, Evaluation, Split, TuneResult, ValidationReport
from noria.tasks.tabular.describe import order_of, threshold_of
from noria.tasks.tabular.hyperparameters import can_stop, refuse_unknown, with_rounds
from noria.tasks.tabular.plans import plan_of, sentence_of, untried_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from noria.tasks.held_out import HeldOut
    from noria.tasks.tabular.calibration import Calibrator
    from noria.tasks.tabular.evaluation import MatrixPredictor, Measure
    from noria.tasks.tabular.fit import Design
    from noria.tasks.tabular.fit_texts import Reading
    from noria.tasks.tabular.folds import RowFacts
    from noria.tasks.tabular.intervals import Intervals
    from noria.tasks.tabular.schema import Target
    from noria.tasks.tabular.scorers import Scorer


class FittedMatrix(Protocol):
    """A model of a matrix, between ``fit`` and ``save``; its manifest has no files and no name."""

    @property
    def manifest(self) -> Manifest:
        """What the package will say about itself."""
        ...

    @property
    def rows(self) -> int:
        """How many rows it was fitted on."""
        ...

    @property
    def predictor(self) -> MatrixPredictor:
        """The model as it will be served."""
        ...

    def files(self) -> Mapping[str, bytes]:
        """Return the files of the package."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class FittedTabular:
    """A model between ``fit`` and ``save``; its manifest has no files and no name yet."""

    manifest: Manifest
    scorer: Scorer
    calibrator: Calibrator | None
    reading: Reading
    intervals: Intervals
    rarer: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows it was fitted on."""
        return self.manifest.rows

    @property
    def predictor(self) -> MatrixPredictor:
        """The model as it will be served."""
        from noria.tasks.tabular.predictor import TabularPredictor

        readers, rarer = self.reading.readers, self.rarer
        return TabularPredictor(
            self.manifest, self.scorer, self.calibrator, readers, self.intervals, rarer
        )

    def files(self) -> dict[str, bytes]:
        """Return the files of the package."""
        from noria.tasks.tabular.texts import files_of

        files = {
            **self.scorer.files(),
            **files_of(self.reading.readers),
            **self.intervals.files(),
        }
        if self.calibrator is not None:
            files.update(self.calibrator.files())
        if self.rarer:
            from noria.tasks.tabular.predictor import RARER_FILE

            files[RARER_FILE] = msgspec.json.encode(self.rarer)
        return files


@dataclass(frozen=True, slots=True, eq=False)
class PreparedTabular:
    """A frame as it is fitted on: encoded once, then sliced."""

    frame: pd.DataFrame
    target: Target
    features: tuple[Feature, ...]
    design: Design
    facts: RowFacts
    rarer: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Tabular:
    """Classification and regression of rows of columns.

    Each step imports only what it needs: ingesting, validating and splitting
    load no machine-learning library.
    """

    clock: Callable[[], float] = staticmethod(time.process_time)
    """By which ``spec.train.budget`` is kept."""

    most_levels: int = 100_000
    """Categories of one feature that the fit reads; rarer ones count as missing."""

    def distributes(self, spec: ModelSpec) -> bool:
        """Whether the algorithm trains on several nodes; no average and no stack does."""
        algorithm = spec.family.algorithm(spec.train.algorithm)
        return algorithm is not None and algorithm.distributes

    def target(self, spec: ModelSpec, frame: pd.DataFrame) -> Target:
        """Return what the rows of a frame are learnt from, or split by."""
        from noria.tasks.tabular.schema import target_of

        return target_of(spec, frame)

    def request_columns(self, spec: ModelSpec) -> list[str]:
        """See ``TaskFamily.request_columns``."""
        return list(spec.data.request_columns())

    def ingest(self, spec: ModelSpec, base: Path, as_of: datetime | None) -> pd.DataFrame:
        """See ``TaskFamily.ingest``."""
        from noria.tasks.sources.rows import labelled_rows

        return labelled_rows(spec, base, as_of)

    def validate(self, spec: ModelSpec, rows: pd.DataFrame) -> ValidationReport:
        """See ``TaskFamily.validate``."""
        from noria.tasks.tabular.validation import validate

        return validate(spec, rows, self.most_levels)

    def features(self, spec: ModelSpec, base: Path, rows: pd.DataFrame) -> pd.DataFrame:
        """See ``TaskFamily.features``; looked-up features are held against maxMissing here."""
        from noria.tasks.encoding import time_feature
        from noria.tasks.sources.rows import moments
        from noria.tasks.tabular.leakage import refuse_answers
        from noria.tasks.tabular.schema import features_of
        from noria.tasks.tabular.validation import missing_problems

        data = spec.data
        looked_up = data.looked_up_features()
        if not looked_up and not (data.time_features and data.event_time):
            return rows
        from noria.tasks.sources.stored import whole

        frame = rows = whole(rows)
        if looked_up:
            from noria.tasks.sources.feast import historical

            frame = historical(spec, base, rows)
            if len(frame) != len(rows):
                raise DataError(
                    f"the lookup gave {len(frame)} rows for {len(rows)}",
                    fix="the Feast views must have one entity row per join key and time",
                )
            problems = missing_problems(data, frame, tuple(f.name for f in looked_up))
            if problems:
                raise DataError("\n".join(map(str, problems)), problems=problems)
            if data.target is not None:
                only = data.model_copy(update={"features": looked_up, "time_features": ()})
                refuse_answers(features_of(only, frame), frame, self.target(spec, frame))
        if data.time_features and data.event_time is not None:
            when = moments(frame, data.event_time)
            derived = {name: time_feature(name, when) for name in data.time_features}
            frame = frame.assign(**derived)
        return frame

    def split(self, spec: ModelSpec, frame: pd.DataFrame, champion: Path | None) -> Split:
        """See ``TaskFamily.split``."""
        import pandas as pd

        from noria.tasks.judging import judged_rows
        from noria.tasks.tabular.folds import hold_out, newest
        from noria.tasks.tabular.leakage import refuse_shared_entities
        from noria.tasks.tabular.learn import facts_of

        settings = spec.data.split
        if isinstance(frame, pd.DataFrame):
            frame = frame.reset_index(drop=True)
        facts = facts_of(spec, frame, self.target(spec, frame))
        gap_ms = int(settings.gap.total_seconds() * 1000)
        until = None if champion is None else read_manifest(champion).trained_until
        fresh = 0
        if settings.kind == "temporal" and until is not None and facts.event is not None:
            fresh = int((facts.event > until).sum())
        if fresh:
            fold = newest(facts, judged_rows(fresh, len(frame)), gap_ms)
        else:
            fold = hold_out(settings.kind, facts, settings.test_fraction, gap_ms, spec.train.seed)
        train, test = frame.iloc[fold.train], frame.iloc[fold.test]
        refuse_shared_entities(spec.data, train, test)
        return Split(train, test, fold.purged)

    def chooses(self, spec: ModelSpec) -> bool:
        """See ``Choosing``: rounds that nobody has set, an average, and columns to compute."""
        train = spec.train
        options = spec.task.options
        return (
            train.ensemble.kind == "weighted"
            or can_stop(train.algorithm, train.hyperparameters)
            or bool(getattr(options, "components", 0) or order_of(options))
            or getattr(options, "resample", "none") != "none"
            or threshold_of(options) is not None
        )

    def tune(self, spec: ModelSpec, train: pd.DataFrame, workdir: Path) -> TuneResult:
        """See ``TaskFamily.tune``."""
        given = dict(spec.train.hyperparameters)
        if spec.train.search.kind == "none" and not self.chooses(spec):
            return TuneResult(given)
        import numpy as np

        from noria.tasks.tabular.choosing import budget_of, chosen
        from noria.tasks.tabular.deciding import with_thresholds
        from noria.tasks.tabular.learn import slice_of
        from noria.tasks.tabular.ordered import with_order

        budget = budget_of(spec, self.clock)
        refuse_unknown(spec.train.algorithm, spec.task.family, given)
        prepared = self.prepare(spec, train)
        design = slice_of(spec, prepared.design, np.arange(len(train)), None)
        found = chosen(spec, design, prepared.facts, budget, workdir)
        params = with_order(spec, found.params, design, prepared.facts, budget)
        params = with_thresholds(spec, params, design, prepared.facts, budget)
        return msgspec.structs.replace(found, params=params)

    def prepare(self, spec: ModelSpec, frame: pd.DataFrame) -> PreparedTabular:
        """See ``TaskFamily.prepare``."""
        from noria.tasks.tabular.learn import design_of, facts_of
        from noria.tasks.tabular.schema import features_of, rarer_levels

        target = self.target(spec, frame)
        features = features_of(spec.data, frame)
        rarer = rarer_levels(features, frame, self.most_levels)
        design = design_of(spec, frame, features, target, rarer)
        facts = facts_of(spec, frame, target)
        return PreparedTabular(frame, target, features, design, facts, rarer)

    def fit(
        self,
        spec: ModelSpec,
        prepared: PreparedTabular,
        places: NDArray[np.int64],
        params: Mapping[str, Any],
        weight: NDArray[np.float64] | None,
    ) -> FittedMatrix:
        """See ``TaskFamily.fit``."""
        from noria.tasks.tabular.deciding import THRESHOLDS
        from noria.tasks.tabular.intervals import ENDS
        from noria.tasks.tabular.learn import learn, slice_of

        params = dict(params)
        thresholds = tuple(params.pop(THRESHOLDS, ()))
        refuse_unknown(spec.train.algorithm, spec.task.family, params)
        design, facts = slice_of(spec, prepared.design, places, weight), prepared.facts.take(places)
        if spec.train.compute.nodes > 1:
            from noria.tasks.tabular.together import together

            with together(spec.train.algorithm) as world:
                learned = learn(spec, params, replace(design, world=world), facts)
        else:
            learned = learn(spec, params, design, facts)
        manifest = manifest_of(spec, prepared, places, learned.algorithm, params)
        ends = [
            Output(f"{end}-{band.level}", "FP64")
            for band in learned.intervals.bands
            for end in ENDS
        ]
        manifest = msgspec.structs.replace(
            manifest,
            outputs=(*manifest.outputs, *ends),
            options={**manifest.options, **_made(design)},
            thresholds=thresholds or msgspec.UNSET,
        )
        return FittedTabular(
            manifest,
            learned.scorer,
            learned.calibrator,
            learned.reading,
            learned.intervals,
            prepared.rarer,
        )

    def with_rounds(
        self, spec: ModelSpec, params: Mapping[str, Any], times: float
    ) -> dict[str, Any] | None:
        """See ``TaskFamily.with_rounds``."""
        if spec.train.ensemble.kind == "stacking":
            return None
        return with_rounds(spec.train.algorithm, params, times)

    def fit_baseline(
        self, spec: ModelSpec, prepared: PreparedTabular, places: NDArray[np.int64]
    ) -> FittedMatrix | None:
        """See ``TaskFamily.fit_baseline``: the linear model."""
        from noria.tasks.tabular.intervals import Intervals
        from noria.tasks.tabular.learn import fit_read, slice_of

        design = slice_of(spec, prepared.design, places, None)
        scorer, reading = fit_read("linear", {}, design)
        manifest = manifest_of(spec, prepared, places, "linear", {})
        return FittedTabular(manifest, scorer, None, reading, Intervals(), prepared.rarer)

    def predict(
        self,
        spec: ModelSpec,
        model: FittedMatrix | Path,
        prepared: PreparedTabular,
        places: NDArray[np.int64],
    ) -> pd.DataFrame:
        """See ``TaskFamily.predict``."""
        from noria.tasks.tabular.evaluation import answers, encode, open_package

        rows = prepared.frame.iloc[places]
        if isinstance(model, Path):
            predictor = open_package(model)
            matrix = encode(predictor, rows)
        else:
            predictor, matrix = model.predictor, prepared.design.matrix[places]
            if isinstance(model, FittedTabular):
                matrix = model.reading.matrix(matrix)
        measured = self.measure_itself(spec, rows)(predictor, rows, matrix)
        return answers(predictor, matrix, measured)

    def measure_itself(self, spec: ModelSpec, frame: pd.DataFrame) -> Measure:  # noqa: ARG002
        """Return what measures a model beside its predictions of a frame's rows: nothing."""
        from noria.tasks.tabular.evaluation import measure_nothing

        return measure_nothing

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
        from noria.tasks.measure import Truth
        from noria.tasks.tabular.evaluation import compare_recipes

        target = prepared.target
        truth = Truth(target.values[places], len(target.classes), spec.train.seed, block)
        return compare_recipes(spec, truth, ours, theirs)

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
        from noria.tasks.tabular.evaluation import evaluate, open_package
        from noria.tasks.tabular.resampling import sentences_of

        own, model = self.measure_itself(spec, test), open_package(candidate)
        found = evaluate(spec, model, test, held_out, champion, plots_dir, own)
        plan = plan_of(model.manifest.parameters)
        notes = [f"{sentence_of(plan)}."] if plan else []
        notes += untried_of(model.manifest.parameters)
        notes += sentences_of(model.manifest.options, model.manifest.parameters)
        return msgspec.structs.replace(found, notes=(*found.notes, *notes))

    def save(
        self,
        spec: ModelSpec,
        fitted: FittedMatrix,
        package: Path,
        *,
        model: str = "",
        recipe: str = "",
    ) -> Manifest:
        """See ``TaskFamily.save``."""
        del spec  # everything is in the manifest already
        return save(fitted, package, model, recipe)

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
        from noria.tasks.reference import write_reference
        from noria.tasks.tabular.evaluation import measured, said_of, truth_of
        from noria.tasks.tabular.schema import columns_of
        from noria.tasks.tabular.seen import fitted_on

        manifest = read_manifest(package)
        event_time = spec.data.event_time
        columns = columns_of(manifest.features, event_time, fitted_on(spec, manifest, frame))
        write_reference(
            out_dir,
            manifest,
            {**columns, **described(manifest.features, event_time, columns)},
            said_of(held_out.model),
            measured(spec, truth_of(spec, manifest.classes, test), held_out.model),
            spec.monitoring.reference_rows,
        )


def _made(design: Design) -> dict[str, Any]:
    """Return how many rows each class has before rows are made and after it, if any are."""
    import numpy as np

    from noria.tasks.tabular.resampling import counts

    if not design.resampling:
        return {}
    both = counts(design.target.astype(np.int64), design.classes)
    pairs = np.column_stack(both).tolist()
    return {"resampled": dict(zip(design.resampling, pairs, strict=True))}


def manifest_of(
    spec: ModelSpec,
    prepared: PreparedTabular,
    places: NDArray[np.int64],
    algorithm: str,
    params: Mapping[str, Any],
) -> Manifest:
    """Return the manifest of a model of prepared rows, without a name and without files."""
    from noria.tasks.tabular.hand_made import outputs_of
    from noria.tasks.tabular.schema import inputs_of, lookup_of

    data, event = spec.data, prepared.facts.event
    levels = {
        feature.name: len(feature.categories) + len(prepared.rarer[feature.name])
        for feature in prepared.features
        if feature.name in prepared.rarer
    }
    return Manifest(
        model="",
        family=spec.task.family,
        algorithm=algorithm,
        inputs=inputs_of(data, prepared.features, prepared.frame),
        outputs=outputs_of(prepared.target.classes),
        features=prepared.features,
        options={
            **spec.task.options.model_dump(mode="json", by_alias=True),
            # What training rows may miss, requests may miss too.
            "allowMissing": data.validation.max_missing > 0,
            **({"categoriesLearnt": levels} if levels else {}),
        },
        lookup=lookup_of(data),
        event_time=data.event_time,
        entity_key=tuple(data.entity_key),
        target=data.target or "",
        classes=prepared.target.classes,
        rows=places.size,
        trained_until=None if event is None else int(event[places].max()),
        seed=spec.train.seed,
        parameters=dict(params),
    )


class StoredTabular(Tabular):
    """The families of tables, whose steps read one column after another."""

    def by_column(self, spec: ModelSpec) -> bool:  # noqa: ARG002
        """See ``ByColumn``: all that a fit holds is the matrix."""
        return True


TABULAR: Final = StoredTabular()
