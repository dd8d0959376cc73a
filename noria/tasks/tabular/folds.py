"""Which rows are fitted on and which are held out: splits and cross-validation folds.

Temporal: what is held out comes after what is fitted on, moments are never
torn apart, and a row is fitted on only if its label was known when the first
held-out row was asked about. Stratified: the target's shares (its deciles,
for a regression) are the same on both sides. Group: a group is on one side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from noria.errors import DataError
from noria.tasks.judging import known_before

Kind = Literal["temporal", "stratified", "group"]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class RowFacts:
    """What a split needs to know about n rows; times in milliseconds since 1970 UTC.

    ``strata`` are class codes or deciles of the target, ``groups`` codes of the
    group key. ``known`` is when each label became known (the event, if at once).
    """

    strata: Places
    event: Places | None = None
    known: Places | None = None
    groups: Places | None = None

    def take(self, places: Places) -> RowFacts:
        """Return the facts of some of the rows."""
        return RowFacts(
            self.strata[places],
            None if self.event is None else self.event[places],
            None if self.known is None else self.known[places],
            None if self.groups is None else self.groups[places],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Places of rows, rising; ``purged`` counts rows that are on neither side though earlier."""

    train: Places
    test: Places
    purged: int = 0


def hold_out(kind: Kind, facts: RowFacts, fraction: float, gap_ms: int, seed: int) -> Fold:
    """Split rows once.

    Args:
        kind: How.
        facts: About the rows.
        fraction: Share of rows to hold out, 0 to 1.
        gap_ms: Time left out before the held-out rows, milliseconds (temporal).
        seed: Chooses the rows (stratified, group).

    Raises:
        DataError: One side would be empty.
    """
    count = facts.strata.shape[0]
    if kind == "temporal":
        event, known = _times(facts)
        start = np.sort(event)[min(count - 1, int(count * (1.0 - fraction)))]
        fold = _between(event, known, int(start), None, gap_ms)
    else:
        unit = facts.strata if kind == "stratified" else _groups(facts)
        score = _scores(kind, unit, seed)
        held = score < fraction
        fold = Fold(np.nonzero(~held)[0], np.nonzero(held)[0])
    _refuse_empty(fold, "spec.data.split")
    return fold


def newest(facts: RowFacts, count: int, gap_ms: int) -> Fold:
    """Hold out the newest ``count`` rows by event time, and those of the same moment as the first.

    Raises:
        DataError: Nothing is left to fit on, or there are no times.
    """
    event, known = _times(facts)
    start = int(np.sort(event)[-count])
    fold = _between(event, known, start, None, gap_ms)
    _refuse_empty(fold, "spec.data.split")
    return fold


def folds(kind: Kind, facts: RowFacts, count: int, gap_ms: int, seed: int) -> Iterator[Fold]:
    """Yield ``count`` folds; temporal ones grow: each is fitted on all that came before it.

    Raises:
        DataError: A side of a fold would be empty.
    """
    if kind == "temporal":
        event, known = _times(facts)
        ordered = np.sort(event)
        cuts = [ordered[len(ordered) * i // (count + 1)] for i in range(1, count + 1)]
        for place, start in enumerate(cuts):
            end = int(cuts[place + 1]) if place + 1 < count else None
            fold = _between(event, known, int(start), end, gap_ms)
            _refuse_empty(fold, "spec.train.crossValidation")
            yield fold
        return
    unit = facts.strata if kind == "stratified" else _groups(facts)
    assigned = np.minimum((_scores(kind, unit, seed) * count).astype(np.int64), count - 1)
    for place in range(count):
        fold = Fold(np.nonzero(assigned != place)[0], np.nonzero(assigned == place)[0])
        _refuse_empty(fold, "spec.train.crossValidation")
        yield fold


def deciles(values: NDArray[np.float64]) -> Places:
    """Return strata of a number: the decile of each value."""
    edges = np.unique(np.quantile(values, np.arange(1, 10) / 10.0))
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def _between(event: Places, known: Places, start: int, end: int | None, gap_ms: int) -> Fold:
    test = event >= start if end is None else (event >= start) & (event < end)
    train = known_before(event, known, start, gap_ms)
    purged = int(((event < start) & ~train).sum())
    return Fold(np.nonzero(train)[0], np.nonzero(test)[0], purged)


def _scores(kind: Kind, unit: Places, seed: int) -> NDArray[np.float64]:
    """Return a place in [0, 1) per row: even within each stratum, equal within each group."""
    rng = np.random.default_rng(seed)
    scores = np.empty(unit.shape[0])
    if kind == "stratified":
        for stratum in np.unique(unit):
            places = np.nonzero(unit == stratum)[0]
            scores[places[rng.permutation(places.size)]] = np.arange(places.size) / places.size
        return scores
    names, inverse, sizes = np.unique(unit, return_inverse=True, return_counts=True)
    order = rng.permutation(names.size)
    # A group's score is the share of rows in the groups before it: groups differ in size.
    before = np.concatenate([[0.0], np.cumsum(sizes[order])[:-1]]) / unit.size
    of_group = np.empty(names.size)
    of_group[order] = before
    return np.asarray(of_group[inverse])


def _times(facts: RowFacts) -> tuple[Places, Places]:
    if facts.event is None:
        raise DataError(
            "spec.data.split.kind: temporal needs an event time",
            fix="give spec.data.eventTime, or choose stratified",
        )
    return facts.event, facts.event if facts.known is None else facts.known


def _groups(facts: RowFacts) -> Places:
    if facts.groups is None:
        raise DataError(
            "spec.data.split.groupKey: group needs a key", fix="name the column of the groups"
        )
    return facts.groups


def _refuse_empty(fold: Fold, path: str) -> None:
    if not fold.train.size or not fold.test.size:
        side = "fit on" if not fold.train.size else "hold out"
        raise DataError(
            f"{path}: no rows are left to {side} ({fold.purged} purged: their label came later, "
            "or they lie in the gap)",
            fix="give more rows, fewer folds, or a shorter gap",
        )
