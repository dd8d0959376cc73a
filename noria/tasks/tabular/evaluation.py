"""Evaluating predictions of held-out rows: metrics, baseline, champion, gates, plots."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError
from noria.measures.catalog import Metric
from noria.measures.measurement import Measurement
from noria.measures.measuring import decided, measure
from noria.spec import ChampionGate, ModelSpec
from noria.tasks.champion import against, not_compared, recipe_gate
from noria.tasks.encoding import Columns
from noria.tasks.gates import judge
from noria.tasks.held_out import BLOCK, HeldOut
from noria.tasks.measure import Truth, compare
from noria.tasks.package import Manifest, load_predictor
from noria.tasks.protocol import Comparison, Evaluation
from noria.tasks.tabular.deciding import told
from noria.tasks.tabular.intervals import ENDS
from noria.tasks.tabular.intervals import measured as of_intervals
from noria.tasks.tabular.schema import columns_of, target_of
from noria.tasks.tabular.seen import refuse_seen, unseen
from noria.tasks.tabular.threads import limited_to
from noria.values import Class

Array = NDArray[np.float64]
_ONE = "prediction"
_MEASURED = "measured."
_LIMIT = "threshold."
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


Measure: TypeAlias = Callable[[MatrixPredictor, pd.DataFrame, Array], Mapping[str, Array]]
"""Measures a model itself on n rows, given them and their (n, d) matrix: (n,) numbers by metric.

For the metrics of ``inputs``, which predictions and labels alone don't tell.
"""


def measure_nothing(model: MatrixPredictor, rows: pd.DataFrame, matrix: Array) -> dict[str, Array]:  # noqa: ARG001 - a Measure
    """Measure a model by its predictions alone."""
    return {}


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


def scores(model: MatrixPredictor, matrix: Array) -> Array:
    """Return probabilities or values of encoded rows."""
    return _main(model, model.predict_matrix(matrix))


def answers(model: MatrixPredictor, matrix: Array, measured: Mapping[str, Array]) -> pd.DataFrame:
    """Return what is said of encoded rows, with the ends of intervals where the model has any.

    What a ``Measure`` gave of the same rows is beside it.
    """
    outputs = model.predict_matrix(matrix)
    starts = tuple(f"{end}-" for end in ENDS)
    ends = {name: values for name, values in outputs.items() if name.startswith(starts)}
    said = to_frame(_main(model, outputs), measured)
    return with_limits(model.manifest.limits, said).assign(**ends)


def with_limits(limits: Sequence[float], frame: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with the thresholds that their model calls rows by, where it has any."""
    return frame.assign(**{f"{_LIMIT}{place}": limit for place, limit in enumerate(limits)})


def _main(model: MatrixPredictor, outputs: Mapping[str, np.ndarray]) -> Array:
    return outputs["probability" if model.manifest.classes else "prediction"]


def to_frame(said: Array, measured: Mapping[str, Array]) -> pd.DataFrame:
    """Return (n,) predictions as the column ``prediction``, (n, k) as ``prediction.0`` and on.

    What a ``Measure`` gave is beside them, as ``measured.NAME``.
    """
    columns = (
        {_ONE: said}
        if said.ndim == 1
        else {f"{_ONE}.{place}": said[:, place] for place in range(said.shape[1])}
    )
    return pd.DataFrame({**columns, **{_MEASURED + name: of for name, of in measured.items()}})


def said_of(frame: pd.DataFrame) -> Array:
    """Return the predictions that ``to_frame`` wrote."""
    if _ONE in frame:
        return frame[_ONE].to_numpy(np.float64)
    classes = sum(str(name).startswith(f"{_ONE}.") for name in frame)
    names = [f"{_ONE}.{place}" for place in range(classes)]
    return np.ascontiguousarray(frame[names].to_numpy(np.float64))


def read_by(metric: Metric, frame: pd.DataFrame) -> Array | None:
    """Return what a metric is computed from; None: the model was not measured by it."""
    if metric.of != "inputs":
        limits = frame[[name for name in frame if str(name).startswith(_LIMIT)]].to_numpy()
        return decided(metric, said_of(frame), limits[:, 0] if limits.shape[1] == 1 else limits)
    name = _MEASURED + metric.name
    return frame[name].to_numpy(np.float64) if name in frame else None


def truth_of(spec: ModelSpec, classes: tuple[Class, ...], test: pd.DataFrame) -> Truth:
    """Return what happened in held-out rows, in codes of the model's classes."""
    target = target_of(spec, test, known=classes)
    return Truth(target.values, len(classes), spec.train.seed)


def measured(spec: ModelSpec, truth: Truth, said: pd.DataFrame) -> dict[str, Measurement]:
    """Return every metric of what ``to_frame`` wrote that there is, with 95 % intervals."""
    with limited_to(1):
        return {
            one.name: measure(one, truth.values, read)
            for one in spec.metrics
            if (read := read_by(one, said)) is not None
        }


def compare_recipes(
    spec: ModelSpec, truth: Truth, ours: pd.DataFrame, theirs: pd.DataFrame
) -> Comparison:
    """Compare two predictions of the same rows; see ``TaskFamily.compare``."""
    return compared(spec, recipe_gate(spec), truth, ours, theirs)


def compared(
    spec: ModelSpec, gate: ChampionGate, truth: Truth, ours: pd.DataFrame, theirs: pd.DataFrame
) -> Comparison:
    """Compare two predictions of the same rows by a gate's metric."""
    metric = spec.metric(gate.metric)
    mine, other = read_by(metric, ours), read_by(metric, theirs)
    if mine is None or other is None:
        return Comparison(gate.metric, 0, gate.confidence, problem="was not measured")
    (found,) = compare([gate], truth, mine, other, spec.metrics)
    return found


def evaluate(
    spec: ModelSpec,
    candidate: MatrixPredictor,
    test: pd.DataFrame,
    held_out: HeldOut,
    champion: Path | None,
    plots_dir: Path | None,
    measure_itself: Measure,
) -> Evaluation:
    """Measure predictions; see ``TaskFamily.evaluate``. The champion is measured here, too."""
    if test.empty:
        raise DataError("there are no held-out rows", fix="raise spec.data.split.testFraction")
    block = held_out.rows[BLOCK].to_numpy(np.int64)
    last = np.nonzero(block == block.max())[0]
    refuse_seen(spec, candidate.manifest, test.iloc[last])
    truth = replace(truth_of(spec, candidate.manifest.classes, test), block=block)
    said, baseline = held_out.model, held_out.baseline
    shown: dict[str, Measurement] = {}
    for level in getattr(spec.task.options, "levels", ()):
        if f"{ENDS[0]}-{level}" in said:
            columns = {str(name): said[name].to_numpy() for name in said}
            shown |= of_intervals(truth.values, columns, level)
    values = measured(spec, truth, said)
    classes = candidate.manifest.classes
    comparisons, broken = against(
        champion, partial(_against, spec, classes, said, truth, test, measure_itself)
    )
    plots: tuple[str, ...] = ()
    if plots_dir is not None:
        from noria.tasks.tabular.plots import draw

        matrix = encode(candidate, test.iloc[last])
        beside = None if baseline is None else said_of(baseline)
        plots = draw(plots_dir, Asked(candidate, matrix, last, said_of(said), beside), truth)
    return Evaluation(
        rows=truth.rows,
        metrics={**values, **shown},
        baseline={} if baseline is None else measured(spec, truth, baseline),
        comparisons=comparisons,
        gates=judge(spec.gates, values, comparisons, broken, held_out.choice),
        plots=plots,
        choice=held_out.choice,
        notes=told(spec, candidate.manifest.limits, truth.values, said_of(said)),
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


def _against(
    spec: ModelSpec,
    classes: tuple[Class, ...],
    said: pd.DataFrame,
    truth: Truth,
    test: pd.DataFrame,
    measure_itself: Measure,
    champion: Path,
) -> tuple[Comparison, ...]:
    """Compare with the champion on the rows that it has not been fitted on."""
    other = open_package(champion)
    if other.manifest.family != spec.task.family:
        raise DataError(f"it is of the family {other.manifest.family}")
    fresh = unseen(spec, other.manifest, test)
    if not fresh.size:
        return not_compared(spec, "no labelled row is newer than the champion")
    rows = test.iloc[fresh]
    matrix = encode(other, rows)
    answered = _in_order_of(classes, other, scores(other, matrix))
    theirs = to_frame(answered, measure_itself(other, rows, matrix))
    if other.manifest.classes == classes:
        theirs = with_limits(other.manifest.limits, theirs)
    ours, fresh_truth = said.iloc[fresh], truth.take(fresh)
    return tuple(compared(spec, gate, fresh_truth, ours, theirs) for gate in spec.gates.champion)


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
