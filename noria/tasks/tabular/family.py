"""The two tabular task families, step by step; see ``noria.tasks.protocol.TaskFamily``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from noria.errors import DataError, LeakageError, Problem
from noria.spec import ModelSpec
from noria.tasks.package import Manifest, write_package
from noria.tasks.protocol import Evaluation, Split, TuneResult, ValidationReport
from noria.tasks.tabular.hyperparameters import (
    ALGORITHMS,
    problems_of,
    refuse_unknown,
    space_problems,
)

if TYPE_CHECKING:
    import pandas as pd

    from noria.tasks.tabular.calibration import Calibrator
    from noria.tasks.tabular.predictor import TabularPredictor
    from noria.tasks.tabular.scorers import Scorer
    from noria.tasks.tabular.scorers.linear import LinearScorer


@dataclass(frozen=True, slots=True, eq=False)
class FittedTabular:
    """A model between ``train`` and ``save``; its manifest has no files and no name yet."""

    manifest: Manifest
    scorer: Scorer
    calibrator: Calibrator | None
    linear_baseline: LinearScorer

    @property
    def rows(self) -> int:
        """How many rows it was fitted on."""
        return self.manifest.rows

    @property
    def predictor(self) -> TabularPredictor:
        """The model as it will be served."""
        from noria.tasks.tabular.predictor import TabularPredictor

        return TabularPredictor(self.manifest, self.scorer, self.calibrator)

    @property
    def baseline(self) -> TabularPredictor:
        """The linear model that was fitted first."""
        from noria.tasks.tabular.predictor import TabularPredictor

        return TabularPredictor(self.manifest, self.linear_baseline)

    def files(self) -> dict[str, bytes]:
        """Return the files of the package."""
        from noria.tasks.tabular.predictor import BASELINE_FILE

        files = dict(self.scorer.files())
        if self.calibrator is not None:
            files.update(self.calibrator.files())
        (files[BASELINE_FILE],) = self.linear_baseline.files().values()
        return files


class Tabular:
    """Classification and regression of rows of columns.

    Each step imports only what it needs: ingesting, validating and splitting
    load no machine-learning library.
    """

    def check(self, spec: ModelSpec) -> list[Problem]:
        """See ``TaskFamily.check``."""
        data, train, family = spec.data, spec.train, spec.task.family
        problems = [
            Problem(
                f"spec.data.features[{place}].type",
                f"{feature.name} is text, which {family} does not read",
                "use categorical for a few different values, or remove it",
            )
            for place, feature in enumerate(data.features)
            if feature.type == "text"
        ]
        names = {feature.name for feature in data.features}
        problems.extend(
            Problem(
                f"spec.data.timeFeatures[{place}]",
                f"{name} is also a feature's name",
                "rename the column, or remove one of the two",
            )
            for place, name in enumerate(data.time_features)
            if name in names
        )
        for path, algorithm in (
            ("spec.train.algorithm", train.algorithm),
            *(
                (f"spec.train.ensemble.members[{place}]", member)
                for place, member in enumerate(train.ensemble.members)
            ),
        ):
            if algorithm not in ALGORITHMS:
                problems.append(
                    Problem(path, f"{algorithm} is not tabular", f"choose {', '.join(ALGORITHMS)}")
                )
        problems.extend(
            problems_of(
                train.algorithm, family, train.hyperparameters, "spec.train.hyperparameters"
            )
        )
        problems.extend(space_problems(train.search))
        searched = {name: "" for name in train.search.space if name != "objective"}
        problems.extend(problems_of(train.algorithm, family, searched, "spec.train.search.space"))
        return problems

    def distributes(self, spec: ModelSpec) -> bool:  # noqa: ARG002 - none of its algorithms does
        """Whether the algorithm trains on several nodes: none for tables does."""
        return False

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

        return validate(spec, rows)

    def features(self, spec: ModelSpec, base: Path, rows: pd.DataFrame) -> pd.DataFrame:
        """See ``TaskFamily.features``; looked-up features are held against maxMissing here."""
        from noria.tasks.sources.rows import moments
        from noria.tasks.tabular.encoding import time_feature
        from noria.tasks.tabular.leakage import refuse_answers
        from noria.tasks.tabular.schema import features_of, target_of
        from noria.tasks.tabular.validation import missing_problems

        data = spec.data
        frame = rows
        looked_up = data.looked_up_features()
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
            only = data.model_copy(update={"features": looked_up, "time_features": ()})
            refuse_answers(features_of(only, frame), frame, target_of(spec, frame))
        if data.time_features and data.event_time is not None:
            when = moments(frame, data.event_time)
            derived = {name: time_feature(name, when) for name in data.time_features}
            frame = frame.assign(**derived)
        return frame

    def split(self, spec: ModelSpec, frame: pd.DataFrame) -> Split:
        """See ``TaskFamily.split``."""
        from noria.tasks.tabular.folds import hold_out
        from noria.tasks.tabular.leakage import refuse_shared_entities
        from noria.tasks.tabular.learn import facts_of
        from noria.tasks.tabular.schema import target_of

        settings = spec.data.split
        fold = hold_out(
            settings.kind,
            facts_of(spec, frame, target_of(spec, frame)),
            settings.test_fraction,
            int(settings.gap.total_seconds() * 1000),
            spec.train.seed,
        )
        train = frame.iloc[fold.train].reset_index(drop=True)
        test = frame.iloc[fold.test].reset_index(drop=True)
        refuse_shared_entities(spec.data, train, test)
        return Split(train, test, fold.purged)

    def tune(self, spec: ModelSpec, train: pd.DataFrame, workdir: Path) -> TuneResult:
        """See ``TaskFamily.tune``."""
        settings = spec.train.search
        defaults = dict(spec.train.hyperparameters)
        if settings.kind == "none":
            return TuneResult(defaults)
        from noria.tasks.tabular.fit import fit
        from noria.tasks.tabular.learn import cross_validation, design_of, facts_of
        from noria.tasks.tabular.metrics import value_of
        from noria.tasks.tabular.predictor import probabilities
        from noria.tasks.tabular.schema import features_of, target_of
        from noria.tasks.tabular.search import search

        target = target_of(spec, train)
        design = design_of(spec, train, features_of(spec.data, train), target)
        folds = cross_validation(spec, facts_of(spec, train, target))

        def score(params: Mapping[str, Any], place: int) -> float:
            refuse_unknown(spec.train.algorithm, spec.task.family, params)
            fold = folds[place]
            raw = fit(spec.train.algorithm, params, design.take(fold.train)).raw(
                design.matrix[fold.test]
            )
            prediction = probabilities(raw) if design.classes else raw[:, 0]
            return value_of(settings.metric, design.target[fold.test], prediction, design.classes)

        # More trials or more time carry on with the same study; anything else is another one.
        said = spec.train.model_dump(
            mode="json", exclude={"compute": True, "search": {"trials", "timeout"}}
        )
        digest = hashlib.sha256(msgspec.json.encode([said, spec.task.model_dump(mode="json")]))
        digest.update(design.matrix.tobytes())
        digest.update(design.target.tobytes())
        return search(
            settings, defaults, score, len(folds), spec.train.seed, workdir, digest.hexdigest()
        )

    def train(self, spec: ModelSpec, train: pd.DataFrame, params: dict[str, Any]) -> FittedTabular:
        """See ``TaskFamily.train``."""
        from noria.tasks.sources.rows import moments
        from noria.tasks.tabular.fit_linear import fit_linear
        from noria.tasks.tabular.hand_made import outputs_of
        from noria.tasks.tabular.learn import design_of, facts_of, learn
        from noria.tasks.tabular.schema import features_of, inputs_of, lookup_of, target_of
        from noria.tasks.tabular.threads import limited_to

        refuse_unknown(spec.train.algorithm, spec.task.family, params)
        data = spec.data
        target = target_of(spec, train)
        features = features_of(data, train)
        design = design_of(spec, train, features, target)
        with limited_to(design.threads):
            baseline = fit_linear(
                design.matrix, design.target, design.weight, design.classes, design.categories
            )
        learned = learn(spec, params, design, facts_of(spec, train, target))
        manifest = Manifest(
            model="",
            family=spec.task.family,
            algorithm=learned.algorithm,
            inputs=inputs_of(data),
            outputs=outputs_of(spec.task.family, target.classes),
            features=features,
            options={
                **spec.task.options.model_dump(mode="json", by_alias=True),
                # What training rows may miss, requests may miss too.
                "allowMissing": data.validation.max_missing > 0,
            },
            lookup=lookup_of(data),
            event_time=data.event_time,
            entity_key=tuple(data.entity_key),
            target=data.target or "",
            classes=target.classes,
            rows=len(train),
            trained_until=(
                None if data.event_time is None else int(moments(train, data.event_time).max())
            ),
            seed=spec.train.seed,
            parameters=dict(params),
        )
        return FittedTabular(manifest, learned.scorer, learned.calibrator, baseline)

    def evaluate(
        self,
        spec: ModelSpec,
        model: FittedTabular | Path,
        test: pd.DataFrame,
        champion: Path | None,
        plots_dir: Path | None,
    ) -> Evaluation:
        """See ``TaskFamily.evaluate``."""
        from noria.tasks.tabular.evaluation import evaluate, open_package

        if isinstance(model, Path):
            predictor, baseline = open_package(model)
        else:
            predictor, baseline = model.predictor, model.baseline
        return evaluate(spec, predictor, baseline, test, champion, plots_dir)

    def save(
        self, spec: ModelSpec, fitted: FittedTabular, package: Path, *, model: str = ""
    ) -> Manifest:
        """See ``TaskFamily.save``."""
        del spec  # everything is in the manifest already
        manifest = msgspec.structs.replace(fitted.manifest, model=model)
        return write_package(package, manifest, fitted.files())

    def reference(
        self,
        spec: ModelSpec,
        package: Path,
        train: pd.DataFrame,
        test: pd.DataFrame,
        out_dir: Path,
    ) -> None:
        """See ``TaskFamily.reference``.

        Raises:
            LeakageError: The package was fitted on more rows than ``train`` holds.
        """
        from noria.tasks.tabular.evaluation import ask, open_package, refuse_seen, truth_of
        from noria.tasks.tabular.measure import metric_values
        from noria.tasks.tabular.metrics import names_of
        from noria.tasks.tabular.reference import write_reference

        model, _ = open_package(package)
        refuse_seen(spec, model, test)
        if model.manifest.rows > len(train):
            raise LeakageError(
                f"the package was fitted on {model.manifest.rows} rows, of which train holds "
                f"{len(train)}",
                fix="build the reference from the package as it was evaluated, before the refit",
            )
        asked = ask(model, None, test)
        values = metric_values(
            names_of(spec.task.family),
            truth_of(spec, model, test),
            {"model": asked.prediction},
        )
        write_reference(
            out_dir,
            model.manifest,
            train,
            asked.prediction,
            values["model"],
            spec.monitoring.reference_rows,
        )


FAMILIES: Final[Mapping[str, Tabular]] = {
    "tabular-classification": Tabular(),
    "tabular-regression": Tabular(),
}
