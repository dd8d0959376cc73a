"""Evaluating predictions of held-out rows: metrics, baseline, champion, gates, plots."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError, LeakageError, NoriaError
from noria.measures.measurement import Measurement
from noria.measures.measuring import measure
from noria.spec import ChampionGate, ModelSpec
from noria.tasks.encoding import Columns
from noria.tasks.gates import judge
from noria.tasks.held_out import BLOCK, HeldOut
from noria.tasks.judging import CONFIDENCE
from noria.tasks.measure import Truth, compare
from noria.tasks.package import Manifest, load_predictor
from noria.tasks.protocol import Comparison, Evaluation
from noria.tasks.sources.rows import moments
from noria.tasks.tabular.schema import columns_of, target_of
from noria.tasks.tabular.threads import limited_to
from noria.values import Class

Array = NDArray[np.float64]
_ONE = "prediction"
_ONE_BY_ONE = 100


class MatrixPredictor(Protocol):
    """A predictor that reads the columns of its manifest as one matrix."""

    @property
    def manifest(self) -> Manifest:
        """What the package says about itself."""
        ...

    def encode(self, columns: Columns) -> Array:
        """Return the (n, d) matrix of n rows; see ``Encoder.encode``."""
        ...

    def predict_matrix(self, matrix: Array) -> dict[str, np.ndarray]:
        """Return the outputs for an encoded (n, d) matrix."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What was said of n held-out rows, the baseline beside it, and the model of the last block.

    ``matrix`` (m, d) are the encoded rows of the last block, ``places`` (m,) which they are.
    """

    model: MatrixPredictor
    matrix: Array
    places: NDArray[np.int64]
    prediction: Array
    baseline: Array | None


def open_package(package: Path) -> MatrixPredictor:
    """Return the model of a package.

    Raises:
        DataError: It does not read rows of columns.
        IntegrityError: The package is damaged.
    """
    found = load_predictor(package)
    if not hasattr(found, "predict_matrix"):
        raise DataError(f"{package}: is of the family {found.manifest.family}")
    return cast("MatrixPredictor", found)


def encode(model: MatrixPredictor, rows: pd.DataFrame) -> Array:
    """Return rows as the model reads them."""
    return model.encode(columns_of(model.manifest.features, model.manifest.event_time, rows))


def ask(model: MatrixPredictor, rows: pd.DataFrame) -> Array:
    """Return probabilities or values of rows."""
    return scores(model, encode(model, rows))


def scores(model: MatrixPredictor, matrix: Array) -> Array:
    """Return probabilities or values of encoded rows."""
    outputs = model.predict_matrix(matrix)
    return outputs["probability" if model.manifest.classes else "prediction"]


def to_frame(said: Array) -> pd.DataFrame:
    """Return (n,) predictions as the column ``prediction``, (n, k) as ``prediction.0`` and on."""
    if said.ndim == 1:
        return pd.DataFrame({_ONE: said})
    return pd.DataFrame({f"{_ONE}.{place}": said[:, place] for place in range(said.shape[1])})


def said_of(frame: pd.DataFrame) -> Array:
    """Return the predictions that ``to_frame`` wrote."""
    if _ONE in frame:
        return frame[_ONE].to_numpy(np.float64)
    names = [f"{_ONE}.{place}" for place in range(len(frame.columns))]
    return np.ascontiguousarray(frame[names].to_numpy(np.float64))


def truth_of(spec: ModelSpec, classes: tuple[Class, ...], test: pd.DataFrame) -> Truth:
    """Return what happened in held-out rows, in codes of the model's classes."""
    target = target_of(spec, test, known=classes)
    return Truth(target.values, len(classes), spec.train.seed)


def measured(spec: ModelSpec, truth: Truth, prediction: Array) -> dict[str, Measurement]:
    """Return every metric of the family, with 95 % intervals; (n,) or (n, k) predictions."""
    with limited_to(1):
        return {one.name: measure(one, truth.values, prediction) for one in spec.metrics}


def compare_recipes(
    spec: ModelSpec, truth: Truth, ours: pd.DataFrame, theirs: pd.DataFrame
) -> Comparison:
    """Compare two predictions of the same rows; see ``TaskFamily.compare``."""
    gate = ChampionGate(metric=spec.family.default_metric, confidence=CONFIDENCE)
    (found,) = compare([gate], truth, said_of(ours), said_of(theirs), spec.metrics)
    return found


def evaluate(
    spec: ModelSpec,
    candidate: MatrixPredictor,
    test: pd.DataFrame,
    held_out: HeldOut,
    champion: Path | None,
    plots_dir: Path | None,
) -> Evaluation:
    """Measure predictions; see ``TaskFamily.evaluate``."""
    if test.empty:
        raise DataError("there are no held-out rows", fix="raise spec.data.split.testFraction")
    block = held_out.rows[BLOCK].to_numpy(np.int64)
    last = np.nonzero(block == block.max())[0]
    _refuse_seen(spec, candidate, test.iloc[last])
    truth = replace(truth_of(spec, candidate.manifest.classes, test), block=block)
    prediction = said_of(held_out.model)
    beside = None if held_out.baseline is None else said_of(held_out.baseline)
    values = measured(spec, truth, prediction)
    comparisons: tuple[Comparison, ...] = ()
    broken = ""
    if champion is not None:
        try:
            comparisons = _against(
                spec, candidate.manifest.classes, prediction, truth, test, champion
            )
        except NoriaError as error:
            broken = f"the champion can't be asked: {error}"
    plots: tuple[str, ...] = ()
    if plots_dir is not None:
        from noria.tasks.tabular.plots import draw

        matrix = encode(candidate, test.iloc[last])
        plots = draw(plots_dir, Asked(candidate, matrix, last, prediction, beside), truth)
    return Evaluation(
        rows=truth.rows,
        metrics=values,
        baseline={} if beside is None else measured(spec, truth, beside),
        comparisons=comparisons,
        gates=judge(spec.gates, values, comparisons, broken, held_out.choice),
        plots=plots,
        choice=held_out.choice,
        row_seconds=_alone(candidate, test.iloc[last[:_ONE_BY_ONE]]),
    )


def _alone(model: MatrixPredictor, rows: pd.DataFrame) -> float:
    """Return how long a row takes that is asked about alone, the median."""
    columns = columns_of(model.manifest.features, model.manifest.event_time, rows)
    took = []
    for row in range(len(rows)):
        one = {name: column[row : row + 1] for name, column in columns.items()}
        began = time.perf_counter()
        model.predict_matrix(model.encode(one))
        took.append(time.perf_counter() - began)
    return float(np.median(took))


def _refuse_seen(spec: ModelSpec, model: MatrixPredictor, block: pd.DataFrame) -> None:
    """Refuse to measure a model on rows that it was fitted on.

    Raises:
        LeakageError: It has seen events as late as the first of the block.
    """
    until, event_time = model.manifest.trained_until, spec.data.event_time
    if spec.data.split.kind != "temporal" or until is None or event_time is None:
        return
    if until >= int(moments(block, event_time).min()):
        raise LeakageError(
            "the model was fitted on rows as late as the held-out ones",
            fix="evaluate the package that predicted them, before the refit (spec.train.refit)",
        )


def _against(
    spec: ModelSpec,
    classes: tuple[Class, ...],
    prediction: Array,
    truth: Truth,
    test: pd.DataFrame,
    champion: Path,
) -> tuple[Comparison, ...]:
    """Compare with the champion on the rows that it has not been fitted on."""
    other = open_package(champion)
    if other.manifest.family != spec.task.family:
        raise DataError(f"it is of the family {other.manifest.family}")
    fresh = np.arange(truth.rows)
    if other.manifest.trained_until is not None and spec.data.event_time is not None:
        event = moments(test, spec.data.event_time)
        fresh = np.nonzero(event > other.manifest.trained_until)[0]
    if not fresh.size:
        return tuple(
            Comparison(
                gate.metric,
                0,
                gate.confidence,
                problem="no labelled row is newer than the champion",
            )
            for gate in spec.gates.champion
        )
    theirs = _in_order_of(classes, other, ask(other, test.iloc[fresh]))
    gates, fresh_truth = spec.gates.champion, truth.take(fresh)
    return compare(gates, fresh_truth, prediction[fresh], theirs, spec.metrics)


def _in_order_of(ours: tuple[Class, ...], other: MatrixPredictor, values: Array) -> Array:
    """Put the champion's probabilities into the candidate's order of classes.

    A class that the champion does not know is impossible to it: it is new.
    """
    theirs = other.manifest.classes
    if ours == theirs:
        return values
    if not set(theirs) <= set(ours):
        raise DataError(f"it knows the classes {list(theirs)}, the candidate {list(ours)}")
    if values.ndim == 1:
        if len(ours) == 2:
            return 1.0 - values
        values = np.column_stack([1.0 - values, values])
    ordered = np.zeros((values.shape[0], len(ours)))
    ordered[:, [ours.index(label) for label in theirs]] = values
    return ordered
