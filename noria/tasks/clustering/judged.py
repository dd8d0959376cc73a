"""Clusters of held-out rows: silhouettes, stability, champion, gates, plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError
from noria.measures.catalog import OwnMetric
from noria.measures.measurement import Measurement
from noria.measures.measuring import measure
from noria.spec import ChampionGate, ModelSpec
from noria.tasks.champion import against, not_compared
from noria.tasks.clustering.describe import RAND, SILHOUETTE, STABILITY
from noria.tasks.clustering.labels import labels_of, measured
from noria.tasks.clustering.predictor import Clusters
from noria.tasks.clustering.profile import notes_of
from noria.tasks.clustering.stability import silhouettes
from noria.tasks.gates import judge
from noria.tasks.held_out import BLOCK, HeldOut
from noria.tasks.measure import Truth, compare
from noria.tasks.package import load_predictor
from noria.tasks.protocol import Comparison, Evaluation
from noria.tasks.tabular.evaluation import encode
from noria.tasks.tabular.seen import refuse_seen, unseen

if TYPE_CHECKING:
    from noria.tasks.clustering.assign import Assigned

Array = NDArray[np.float64]
Places = NDArray[np.int64]

PREDICTION: Final = "prediction"


def _mutual_information(truth: Array, number: Array) -> float:
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(truth, number))


MUTUAL: Final = OwnMetric(
    "adjusted-mutual-information",
    greater_is_better=True,
    high=1.0,
    about="how well clusters agree with labels, by information: 1 the same, 0 as chance (Vinh, "
    "Epps and Bailey, Journal of Machine Learning Research 11, 2010)",
    whole=_mutual_information,
)
_STABILITY: Final = STABILITY.name


def open_clusters(package: Path) -> Clusters:
    """Return the clusters of a package.

    Raises:
        DataError: It is of another family.
        IntegrityError: The package is damaged.
    """
    found = load_predictor(package)
    if not isinstance(found, Clusters):
        raise DataError(f"it is of the family {found.manifest.family}")
    return found


def to_frame(model: Clusters, found: Assigned) -> pd.DataFrame:
    """Return what is judged of rows: their clusters' numbers and stability, and the distance."""
    said = model.answers(found)
    return pd.DataFrame(
        {
            PREDICTION: said[PREDICTION],
            "distance": said["distance"],
            _STABILITY: model.stability(found),
        }
    )


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Rows that clusters are judged on: points (n, p), block (n,), and labels (n,) or NaN.

    A silhouette is among the rows of a block: another fit's clusters have other numbers.
    """

    points: Array
    block: Places
    seed: int
    labels: Array

    def of_rows(self, said: pd.DataFrame) -> dict[str, Array]:
        """Return each metric's number of each row, (n,)."""
        number = said[PREDICTION].to_numpy(np.int64)
        found = np.zeros(len(number))
        for block in np.unique(self.block):
            rows = np.flatnonzero(self.block == block)
            found[rows] = silhouettes(self.points[rows], number[rows] - 1, self.seed)
        return {SILHOUETTE.name: found, _STABILITY: said[_STABILITY].to_numpy(np.float64)}

    def measured(self, spec: ModelSpec, said: pd.DataFrame) -> dict[str, Measurement]:
        """Return every metric of the family, with 95 % intervals."""
        numbers = self.of_rows(said)
        found = {
            metric.name: measure(metric, numbers[metric.name], numbers[metric.name])
            for metric in spec.metrics
            if metric.name in numbers
        }
        number = said[PREDICTION].to_numpy(np.int64)
        return found | measured((RAND,), self.labels, number, self.block, self.seed)

    def compared(
        self,
        spec: ModelSpec,
        gates: Sequence[ChampionGate],
        ours: pd.DataFrame,
        theirs: pd.DataFrame,
    ) -> tuple[Comparison, ...]:
        """Return a paired comparison per gate of two clusterings of the rows."""
        one, other = self.of_rows(ours), self.of_rows(theirs)
        found: list[Comparison] = []
        for gate in gates:
            mine, rival = one[gate.metric], other[gate.metric]
            # Each number is the metric of its row: there is no truth beside it.
            truth = Truth(mine, 0, self.seed, self.block)
            found.extend(compare([gate], truth, mine, rival, spec.metrics))
        return tuple(found)

    def take(self, rows: Places) -> Held:
        """Return some of the rows."""
        return Held(self.points[rows], self.block[rows], self.seed, self.labels[rows])


def evaluate(
    spec: ModelSpec,
    package: Path,
    test: pd.DataFrame,
    held_out: HeldOut,
    champion: Path | None,
    plots_dir: Path | None,
) -> Evaluation:
    """Measure clusters; see ``TaskFamily.evaluate``. Silhouettes are in the candidate's space."""
    if test.empty:
        raise DataError("there are no held-out rows", fix="raise spec.data.split.testFraction")
    model = open_clusters(package)
    block = held_out.rows[BLOCK].to_numpy(np.int64)
    refuse_seen(spec, model.manifest, test.iloc[np.flatnonzero(block == block.max())], "grouped")
    points, seed = model.space.points(encode(model, test)), spec.train.seed
    held = Held(points, block, seed, labels_of(spec, test))
    values = held.measured(spec, held_out.model)
    number = held_out.model[PREDICTION].to_numpy(np.int64)
    comparisons, broken = against(champion, partial(_against, spec, held, test, held_out.model))
    plots: tuple[str, ...] = ()
    if plots_dir is not None:
        from noria.tasks.clustering.plots import draw

        plots = draw(plots_dir, model, encode(model, test), spec.train.seed)
    return Evaluation(
        rows=len(test),
        metrics={**values, **measured((MUTUAL,), held.labels, number, block, held.seed)},
        baseline={},
        comparisons=comparisons,
        gates=judge(spec.gates, values, comparisons, broken, held_out.choice),
        plots=plots,
        choice=held_out.choice,
        notes=notes_of(model.settings),
    )


def _against(
    spec: ModelSpec, held: Held, test: pd.DataFrame, ours: pd.DataFrame, champion: Path
) -> tuple[Comparison, ...]:
    """Compare with the champion on the rows that it has not been fitted on."""
    other = open_clusters(champion)
    fresh = unseen(spec, other.manifest, test)
    if not fresh.size:
        return not_compared(spec, "no row is newer than the champion")
    theirs = to_frame(other, other.assigned(encode(other, test.iloc[fresh])))
    mine = ours.iloc[fresh].reset_index(drop=True)
    return held.take(fresh).compared(spec, spec.gates.champion, mine, theirs)
