"""What is known of the labels of one pair's rows, and what labels that come change of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np

from monitoring.records import Dated, Label, Told, floats
from monitoring.sources import pack, unpack
from monitoring.state import Pair
from monitoring.table import FloatArray
from noria.labels import FEEDBACK

_NONE: Final = float("nan")


class Truths:
    """The labels of a pair's rows while some come.

    Attributes:
        pair: The pair as it was kept.
        targets: How many labels a row has.
        first: (row, target) to the label of rows that did not have all of theirs.
        changed: (row, target) to another label of rows that have.
    """

    def __init__(self, pair: Pair, targets: int, at: float | None = None) -> None:
        """Start from what is kept of a pair.

        Args:
            pair: The pair.
            targets: How many labels a row has.
            at: When the labels that come are known, epoch seconds; None: nobody keeps that.
        """
        self.pair = pair
        self.targets = targets
        self._at = at
        self.first: dict[tuple[int, int], Told] = {}
        self.changed: dict[tuple[int, int], Told] = {}
        self._labelled = np.frombuffer(pair.labelled or bytes(pair.rows), np.uint8).copy()
        # Most rows have feedback alone: nothing is kept then.
        self._sources = unpack(pair.sources, pair.rows * targets) if pair.sources else None
        # Of one target the labels are with the outcomes alone: here are those that come.
        shape = (pair.rows, targets)
        kept = None if pair.truth is None or targets == 1 else floats(pair.truth).reshape(shape)
        self._values = np.full(shape, _NONE) if kept is None else kept.copy()
        self._told: FloatArray | None = None
        if at is not None:
            told = None if pair.told is None else floats(pair.told).reshape(shape)
            self._told = np.full(shape, _NONE) if told is None else told.copy()

    def tell(self, row: int, target: int, label: Label) -> None:
        """Take a label, unless the target has one that does not give way to it."""
        place = (row, target)
        known = self._known(place)
        if known is not None and not known.gives_way(label):
            return
        told = Told(label.value, label.source)
        if self._labelled[row]:
            self.changed[place] = told
        else:
            self.first[place] = told

    def complete(self) -> list[int]:
        """Take the first labels; return the rows that have all of theirs now."""
        for (row, target), told in self.first.items():
            self._put(row, target, told)
        rows = dict.fromkeys(row for row, _ in self.first)
        if self.targets == 1:
            found = list(rows)
        else:
            found = [row for row in sorted(rows) if np.isfinite(self._values[row]).all()]
        self._labelled[found] = 1
        self.first.clear()
        return found

    @property
    def first_rows(self) -> tuple[int, ...]:
        """The rows that get a label that they did not have, before they are complete."""
        return tuple(dict.fromkeys(row for row, _ in self.first))

    @property
    def changed_rows(self) -> tuple[int, ...]:
        """The rows of which a label is changed."""
        return tuple(dict.fromkeys(row for row, _ in self.changed))

    def take_changes(self) -> dict[int, dict[int, Told]]:
        """Take the changed labels; return them: row to target to label."""
        found: defaultdict[int, dict[int, Told]] = defaultdict(dict)
        for (row, target), told in self.changed.items():
            self._put(row, target, told)
            found[row][target] = told
        self.changed.clear()
        return dict(found)

    def known(self, row: int) -> list[Dated | None]:
        """Return what is known of each target of a row; None where no label has come.

        Of one target it is what came last.
        """
        return [self._dated(row, target) for target in range(self.targets)]

    def labels(self, rows: Sequence[int]) -> FloatArray:
        """Return the labels of rows: (n,), or (n, targets) of several."""
        found = self._values[rows]
        return found[:, 0] if self.targets == 1 else found

    @property
    def is_judged(self) -> bool:
        """Whether any label was ever a judge's."""
        return self._sources is not None

    def sources_of(self, row: int) -> list[str]:
        """Return who said each label of a row."""
        return [self._source(row, target) for target in range(self.targets)]

    @property
    def kept(self) -> tuple[bytes, bytes | None, bytes | None, bytes | None]:
        """What is kept of it: which rows have all of their labels, the labels, who said them, when.

        The labels of one target are not, nor is when they came.
        """
        several = self.targets > 1
        truth = self._values.tobytes() if several else None
        told = self._told.tobytes() if several and self._told is not None else None
        return self._labelled.tobytes(), truth, pack(self._sources or ()), told

    def _known(self, place: tuple[int, int]) -> Told | None:
        row, target = place
        fresh = self.changed.get(place) or self.first.get(place)
        if fresh is not None:
            return fresh
        source = self._source(row, target)
        if self._labelled[row]:
            return Told(_NONE, source)
        value = float(self._values[row, target])
        return None if np.isnan(value) else Told(value, source)

    def _put(self, row: int, target: int, told: Told) -> None:
        self._values[row, target] = told.value
        if self._told is not None:
            self._told[row, target] = self._at
        if told.source == self._source(row, target):
            return
        if self._sources is None:
            self._sources = unpack(None, self.pair.rows * self.targets)
        self._sources[row * self.targets + target] = told.source

    def _dated(self, row: int, target: int) -> Dated | None:
        value = float(self._values[row, target])
        if np.isnan(value):
            return None
        at = _NONE if self._told is None else float(self._told[row, target])
        return Dated(value, self._source(row, target), None if np.isnan(at) else at)

    def _source(self, row: int, target: int) -> str:
        return FEEDBACK if self._sources is None else self._sources[row * self.targets + target]
