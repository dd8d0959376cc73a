"""What was said of held-out rows: metrics with and without labels, champion, gates, plots."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError
from noria.measures.catalog import Metric, OwnMetric
from noria.measures.measurement import Measurement
from noria.measures.measuring import measure
from noria.spec import ChampionGate, ModelSpec
from noria.tasks.anomaly import ANOMALY, PREDICTION
from noria.tasks.anomaly.describe import FALSE_ALARMS, NET, SPLICED
from noria.tasks.anomaly.labels import labels_of
from noria.tasks.anomaly.predictor import Anomalous
from noria.tasks.champion import against, not_compared
from noria.tasks.gates import judge
from noria.tasks.held_out import BLOCK, HeldOut
from noria.tasks.measure import Truth, compare
from noria.tasks.package import load_predictor
from noria.tasks.protocol import Comparison, Evaluation
from noria.tasks.tabular.schema import columns_of
from noria.tasks.tabular.seen import refuse_seen, unseen
from noria.tasks.tabular.threads import limited_to

if TYPE_CHECKING:
    from noria.tasks.tabular.family import FittedMatrix, PreparedTabular

Array = NDArray[np.float64]
Places = NDArray[np.int64]

TWIN: Final = "spliced"
"""Column of what is said of each held-out row's spliced twin."""


def _given(truth: Array, said: Array) -> Array:
    del said
    return truth


RIGHT: Final = OwnMetric(
    "alarm-precision",
    greater_is_better=True,
    low=0.0,
    high=1.0,
    of="inputs",
    about="share of anomalies among labelled held-out rows that alarm",
    per_sample=_given,
)
FOUND: Final = OwnMetric(
    "alarm-recall",
    greater_is_better=True,
    low=0.0,
    high=1.0,
    of="inputs",
    about="share of alarms among held-out rows that are labelled as anomalies",
    per_sample=_given,
)


def open_package(package: Path) -> Anomalous:
    """Return the model of a package.

    Raises:
        DataError: It is of another family.
        IntegrityError: The package is damaged.
    """
    found = load_predictor(package)
    if not isinstance(found, Anomalous):
        raise DataError(f"{package}: is of the family {found.manifest.family}")
    return found


def encoded(model: Anomalous, rows: pd.DataFrame) -> Array:
    """Return rows as the model reads them, (n, d)."""
    columns = columns_of(model.manifest.features, model.manifest.event_time, rows)
    series = (one.name for one in model.manifest.inputs if one.kind == "series")
    return model.encode({**columns, **{name: rows[name].to_numpy() for name in series}})


def ask(model: Anomalous, matrix: Array, seed: int) -> pd.DataFrame:
    """Return what is said of encoded rows (n, d) and of their spliced twins."""
    with limited_to(1):
        scores, twins = model.score(matrix), model.score(model.twins(matrix, seed))
    known = model.calibration
    return pd.DataFrame(
        {
            PREDICTION: known.unlikeness(scores),
            ANOMALY: known.alarms(scores) * 1.0,
            TWIN: known.unlikeness(twins),
        }
    )


def asked(metric: Metric, labels: Array, said: pd.DataFrame) -> tuple[Array, Array, Places]:
    """Return truth and prediction as a metric reads them, and the places of the rows that count.

    Args:
        metric: One of the family's.
        labels: (n,) 1 for an anomaly, 0 for none, NaN where nobody said.
        said: What ``ask`` returned of n rows.
    """
    scores = said[PREDICTION].to_numpy(np.float64)
    if metric.name == SPLICED.name:
        pairs = np.column_stack([scores, said[TWIN].to_numpy(np.float64)])
        return np.zeros(len(said)), pairs, np.arange(len(said))
    if metric.name in (NET.name, FALSE_ALARMS.name):
        rows = np.flatnonzero(~(labels == 1.0))
        columns = [ANOMALY] if metric.name == FALSE_ALARMS.name else [PREDICTION, TWIN, ANOMALY]
        known = said[columns].to_numpy(np.float64)[rows]
        return np.zeros(rows.size), known[:, 0] if len(columns) == 1 else known, rows
    rows = np.flatnonzero(~np.isnan(labels))
    return labels[rows], scores[rows], rows


def measured(spec: ModelSpec, labels: Array, said: pd.DataFrame) -> dict[str, Measurement]:
    """Return every metric of the family, with 95 % intervals."""
    with limited_to(1):
        return {
            metric.name: measure(metric, *asked(metric, labels, said)[:2])
            for metric in spec.metrics
        }


def of_alarms(labels: Array, said: pd.DataFrame) -> dict[str, Measurement]:
    """Return how right the alarms are, where there are labels."""
    alarm = said[ANOMALY].to_numpy(np.float64)
    found = {}
    for metric, rows, values in (
        (RIGHT, ~np.isnan(labels) & (alarm == 1.0), labels),
        (FOUND, labels == 1.0, alarm),
    ):
        if rows.any():
            found[metric.name] = measure(metric, values[rows], values[rows])
    return found


def compared(
    spec: ModelSpec,
    gates: tuple[ChampionGate, ...],
    labels: Array,
    ours: pd.DataFrame,
    theirs: pd.DataFrame,
    block: Places | None = None,
) -> tuple[Comparison, ...]:
    """Return a paired comparison per gate of what two models say of the same rows."""
    found: list[Comparison] = []
    for gate in gates:
        metric = spec.metric(gate.metric)
        truth, one, rows = asked(metric, labels, ours)
        _, other, _ = asked(metric, labels, theirs)
        classes = 0 if isinstance(metric, OwnMetric) else 2
        known = Truth(truth, classes, spec.train.seed, None if block is None else block[rows])
        found.extend(compare([gate], known, one, other, spec.metrics))
    return tuple(found)


def evaluate(
    spec: ModelSpec,
    candidate: Path,
    test: pd.DataFrame,
    held_out: HeldOut,
    champion: Path | None,
    plots_dir: Path | None,
) -> Evaluation:
    """Measure what was said of held-out rows; see ``TaskFamily.evaluate``."""
    if test.empty:
        raise DataError("there are no held-out rows", fix="raise spec.data.split.testFraction")
    model = open_package(candidate)
    labels, block = labels_of(spec, test), held_out.rows[BLOCK].to_numpy(np.int64)
    refuse_seen(spec, model.manifest, test.iloc[np.flatnonzero(block == block.max())])
    said, beside = held_out.model, held_out.baseline
    values = measured(spec, labels, said)
    comparisons, broken = against(champion, partial(_against, spec, labels, said, block, test))
    plots: tuple[str, ...] = ()
    if plots_dir is not None:
        from noria.tasks.anomaly.plots import draw

        plots = draw(plots_dir, spec, model, test, labels, said)
    return Evaluation(
        rows=len(test),
        metrics={**values, **of_alarms(labels, said)},
        baseline={} if beside is None else measured(spec, labels, beside),
        comparisons=comparisons,
        gates=judge(spec.gates, values, comparisons, broken, held_out.choice),
        plots=plots,
        choice=held_out.choice,
    )


def _against(
    spec: ModelSpec,
    labels: Array,
    said: pd.DataFrame,
    block: Places,
    test: pd.DataFrame,
    champion: Path,
) -> tuple[Comparison, ...]:
    """Compare with the champion on the rows that it has not been fitted on."""
    other = open_package(champion)
    theirs = said.copy()
    for number in np.unique(block):
        # Block by block, so that both were asked about the same spliced rows.
        mine = np.flatnonzero(block == number)
        told = ask(other, encoded(other, test.iloc[mine]), spec.train.seed)
        theirs.iloc[mine] = told[list(theirs)].to_numpy()
    fresh = unseen(spec, other.manifest, test)
    if not fresh.size:
        return not_compared(spec, "no row is newer than the champion")
    return compared(
        spec,
        spec.gates.champion,
        labels[fresh],
        said.iloc[fresh],
        theirs.iloc[fresh],
        block[fresh],
    )


def ask_prepared(
    model: FittedMatrix | Path, prepared: PreparedTabular, places: Places, seed: int
) -> pd.DataFrame:
    """Return what a model, or that of a package, says of prepared rows; see ``ask``."""
    if isinstance(model, Path):
        package = open_package(model)
        return ask(package, encoded(package, prepared.frame.iloc[places]), seed)
    return ask(cast("Anomalous", model.predictor), prepared.design.matrix[places], seed)
