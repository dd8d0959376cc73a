"""Evaluating a model on held-out rows: metrics, baseline, champion, gates, plots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError, LeakageError, NoriaError
from noria.spec import ModelSpec
from noria.tasks.package import read_package
from noria.tasks.protocol import Comparison, Evaluation
from noria.tasks.sources.rows import moments
from noria.tasks.tabular.gates import judge
from noria.tasks.tabular.measure import Truth, compare, metric_values
from noria.tasks.tabular.metrics import names_of
from noria.tasks.tabular.predictor import TabularPredictor, load, load_baseline
from noria.tasks.tabular.schema import columns_of, target_of
from noria.tasks.tabular.threads import limited_to

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A model, the baseline beside it, and what both say about the held-out rows."""

    model: TabularPredictor
    matrix: Array
    prediction: Array
    baseline: Array | None


def open_package(package: Path) -> tuple[TabularPredictor, TabularPredictor | None]:
    """Return the model of a package and its baseline.

    Raises:
        IntegrityError: The package is damaged.
    """
    manifest, files = read_package(package)
    return load(manifest, files), load_baseline(manifest, files)


def ask(model: TabularPredictor, baseline: TabularPredictor | None, test: pd.DataFrame) -> Asked:
    """Predict held-out rows."""
    matrix = model.encode(columns_of(model.manifest.features, model.manifest.event_time, test))
    return Asked(
        model,
        matrix,
        scores(model, matrix),
        None if baseline is None else scores(baseline, matrix),
    )


def scores(model: TabularPredictor, matrix: Array) -> Array:
    """Return probabilities or values of encoded rows."""
    outputs = model.predict_matrix(matrix)
    return outputs["probability" if model.manifest.classes else "prediction"]


def truth_of(spec: ModelSpec, model: TabularPredictor, test: pd.DataFrame) -> Truth:
    """Return what happened in the held-out rows, in the model's class codes."""
    target = target_of(spec, test, known=model.manifest.classes)
    return Truth(target.values, len(model.manifest.classes), spec.train.seed)


def refuse_seen(spec: ModelSpec, model: TabularPredictor, test: pd.DataFrame) -> None:
    """Refuse to measure a model on rows that it was fitted on.

    Raises:
        LeakageError: It has seen events as late as the first held-out one.
    """
    until, event_time = model.manifest.trained_until, spec.data.event_time
    if spec.data.split.kind != "temporal" or until is None or event_time is None or test.empty:
        return
    if until >= int(moments(test, event_time).min()):
        raise LeakageError(
            "the model was fitted on rows as late as the held-out ones",
            fix="evaluate it before it is fitted again on all rows (spec.train.refit)",
        )


def evaluate(
    spec: ModelSpec,
    model: TabularPredictor,
    baseline: TabularPredictor | None,
    test: pd.DataFrame,
    champion: Path | None,
    plots_dir: Path | None,
) -> Evaluation:
    """Measure a model; see ``TaskFamily.evaluate``."""
    if test.empty:
        raise DataError("there are no held-out rows", fix="raise spec.data.split.testFraction")
    refuse_seen(spec, model, test)
    asked = ask(model, baseline, test)
    truth = truth_of(spec, model, test)
    predictions = {"model": asked.prediction}
    if asked.baseline is not None:
        predictions["baseline"] = asked.baseline
    with limited_to(1):
        values = metric_values(names_of(spec.task.family), truth, predictions)
    comparisons: tuple[Comparison, ...] = ()
    broken = ""
    if champion is not None:
        try:
            comparisons = _against(spec, asked, truth, test, champion)
        except NoriaError as error:
            broken = f"the champion can't be asked: {error}"
    gates = judge(spec.gates, values["model"], comparisons, broken)
    plots: tuple[str, ...] = ()
    if plots_dir is not None:
        from noria.tasks.tabular.plots import draw

        plots = draw(plots_dir, asked, truth)
    return Evaluation(
        rows=truth.rows,
        metrics=values["model"],
        baseline=values.get("baseline", {}),
        comparisons=comparisons,
        gates=gates,
        plots=plots,
    )


def _against(
    spec: ModelSpec, asked: Asked, truth: Truth, test: pd.DataFrame, champion: Path
) -> tuple[Comparison, ...]:
    """Compare with the champion on the rows that it has not been fitted on."""
    other, _ = open_package(champion)
    if other.manifest.family != asked.model.manifest.family:
        raise DataError(f"it is of the family {other.manifest.family}")
    if set(other.manifest.classes) != set(asked.model.manifest.classes):
        raise DataError(
            f"it knows the classes {list(other.manifest.classes)}, the candidate "
            f"{list(asked.model.manifest.classes)}"
        )
    fresh = np.arange(truth.rows)
    if other.manifest.trained_until is not None and spec.data.event_time is not None:
        event = moments(test, spec.data.event_time)
        fresh = np.nonzero(event > other.manifest.trained_until)[0]
    rows = test.iloc[fresh]
    matrix = other.encode(columns_of(other.manifest.features, other.manifest.event_time, rows))
    theirs = _in_order_of(asked.model, other, scores(other, matrix))
    return compare(spec.gates.champion, truth.take(fresh), asked.prediction[fresh], theirs)


def _in_order_of(ours: TabularPredictor, other: TabularPredictor, values: Array) -> Array:
    """Put the champion's probabilities into the candidate's order of classes."""
    mine, theirs = ours.manifest.classes, other.manifest.classes
    if mine == theirs:
        return values
    if values.ndim == 1:
        return 1.0 - values
    return values[:, [theirs.index(label) for label in mine]]
