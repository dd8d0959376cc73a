"""Measuring predictions on held-out rows, and candidate against champion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.measures import measuring
from noria.measures.catalog import Metric
from noria.spec import ChampionGate
from noria.tasks.protocol import Comparison

Array = NDArray[np.float64]

RANKED: Final = frozenset({"auc", "average-precision"})
"""Metrics of how scores rank the rows: they need the scores of one fit."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What really happened in n held-out rows: class codes or values; ``classes`` 0: values.

    ``block`` (n,) numbers the rows that one fit predicted; None: one fit predicted them all.
    """

    values: Array
    classes: int
    seed: int
    block: NDArray[np.int64] | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.values.shape[0])

    def take(self, places: NDArray[np.int64]) -> Truth:
        """Return the truth of some of the rows."""
        block = None if self.block is None else self.block[places]
        return Truth(self.values[places], self.classes, self.seed, block)

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Which rows are of class 1."""
        return np.asarray(self.values == 1)


def compare(
    gates: Sequence[ChampionGate],
    truth: Truth,
    candidate: Array,
    champion: Array,
    metrics: Sequence[Metric] = (),
) -> tuple[Comparison, ...]:
    """Return a paired comparison per gate on the same n rows.

    ``metrics``: where a gate may name one of the family's own, ``spec.metrics``.
    """
    named = {metric.name: metric for metric in metrics}
    return tuple(
        _in_blocks(gate, truth, candidate, champion)
        or _compared(gate, named.get(gate.metric), truth.values, candidate, champion)
        for gate in gates
    )


def _in_blocks(
    gate: ChampionGate, truth: Truth, candidate: Array, champion: Array
) -> Comparison | None:
    """Compare by the mean of the blocks, weighted by their rows; None where pooling will do.

    Scores of different fits have no common scale, so a metric of ranks over several fits'
    rows is worse than that of each fit (Forman and Scholz, SIGKDD Explorations 12, 2010).
    Blocks are different rows, so their errors are independent.
    """
    if gate.metric not in RANKED or truth.block is None:
        return None
    blocks = [np.nonzero(truth.block == number)[0] for number in np.unique(truth.block)]
    parts = [
        _compared(gate, None, truth.values[rows], candidate[rows], champion[rows])
        for rows in blocks
    ]
    if len(parts) == 1 or any(part.low is None for part in parts):
        return None
    share = np.array([rows.size for rows in blocks]) / truth.rows

    def mean(name: str) -> float:
        return float(sum(w * getattr(part, name) for w, part in zip(share, parts, strict=True)))

    gain = mean("difference")
    below, above = (
        math.sqrt(
            sum(
                (w * (getattr(part, end) - (part.difference or 0.0))) ** 2
                for w, part in zip(share, parts, strict=True)
            )
        )
        for end in ("low", "high")
    )
    return Comparison(
        metric=gate.metric,
        samples=truth.rows,
        confidence=gate.confidence,
        candidate=mean("candidate"),
        champion=mean("champion"),
        difference=gain,
        low=gain - below,
        high=gain + above,
        method=f"{parts[0].method}, mean of {len(parts)} blocks",
    )


def _compared(
    gate: ChampionGate, metric: Metric | None, truth: Array, candidate: Array, champion: Array
) -> Comparison:
    metric = metric or measuring.metric_of(gate.metric)
    # Each end of the two-sided interval is a one-sided bound of the gate's confidence.
    found = measuring.compare(metric, truth, candidate, champion, 2.0 * gate.confidence - 1.0)
    if found.value is None:
        return Comparison(gate.metric, found.samples, gate.confidence, problem=found.problem)
    low, high = found.low, found.high
    sign = 1.0
    if not metric.greater_is_better:
        sign = -1.0
        low, high = (None, None) if low is None or high is None else (-high, -low)
    return Comparison(
        metric=gate.metric,
        samples=found.samples,
        confidence=gate.confidence,
        candidate=measuring.value_of(metric, truth, candidate),
        champion=measuring.value_of(metric, truth, champion),
        difference=sign * found.value,
        low=low,
        high=high,
        method=found.method,
        problem=found.problem,
    )
