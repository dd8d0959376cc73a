"""What of a window's rows can be added up, and still be tested exactly.

A window is always compared with a reference that is known beforehand. So a numeric
column needs no quantile sketch: between two neighbouring values of the reference its
distribution function is flat, and the largest distance to the window's is found at
the ends of that interval. The number of the window's values in each interval and at
each value of the reference ("cells") is all that the KS statistic depends on, and
counts add up without error, in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitoring.config import QualityRules
from monitoring.dependence import Dependence
from monitoring.quality import QualityResult, judge_shares
from monitoring.records import ColumnSketch
from monitoring.table import Column, ColumnArray, FloatArray, Table, missing_vectors

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sketch:
    """Columns of ``rows`` rows, added up: by name the counts of every cell."""

    rows: int
    cells: Mapping[str, Counts]
    missing: Mapping[str, int]
    outside: Mapping[str, int]
    dependence: Mapping[str, FloatArray]


class CellGrid:
    """Where the cells of a reference are."""

    def __init__(
        self,
        reference: Table,
        ranges: Mapping[str, tuple[float, float]],
        dependence: Dependence,
    ) -> None:
        """Take the reference that every replica and the aggregator have."""
        self._dependence = dependence
        self.schema: tuple[Column, ...] = reference.schema
        self._ranges = ranges
        self._values: dict[str, FloatArray] = {
            column.name: distinct(reference.columns[column.name])
            for column in reference.schema
            if column.kind == "numeric"
        }

    def sketch(self, window: Table) -> dict[str, ColumnSketch]:
        """Count the cells of every column."""
        together = self._dependence.measure(window)
        return {
            c.name: msgspec.structs.replace(
                self._sketch(c, window.columns[c.name]), dependence=together[c.name].tobytes()
            )
            for c in self.schema
        }

    def add_up(self, parts: Sequence[tuple[int, Mapping[str, ColumnSketch]]]) -> Sketch:
        """Add sketches of (rows, columns); the order does not matter."""
        cells = {column.name: np.zeros(self._size(column), np.int64) for column in self.schema}
        missing = dict.fromkeys(cells, 0)
        outside = dict.fromkeys(cells, 0)
        together: dict[str, FloatArray] = {}
        for _, columns in parts:
            for name, found in columns.items():
                places = np.frombuffer(found.cells, np.uint32)
                # A cell comes once in a sketch.
                cells[name][places] += np.frombuffer(found.counts, np.uint32)
                missing[name] += found.missing
                outside[name] += found.outside
                if found.dependence:
                    more = np.frombuffer(found.dependence, np.float64)
                    together[name] = more + together[name] if name in together else more
        dependence = {name: self._dependence.shaped(sums) for name, sums in together.items()}
        return Sketch(sum(rows for rows, _ in parts), cells, missing, outside, dependence)

    def fits(self, columns: Mapping[str, ColumnSketch]) -> bool:
        """Whether a sketch that came from outside is of these columns and cells."""
        if columns.keys() != {column.name for column in self.schema}:
            return False
        for column in self.schema:
            found = columns[column.name]
            if len(found.cells) != len(found.counts) or len(found.cells) % 4:
                return False
            if found.width != (column.width or 1):
                return False
            places = np.frombuffer(found.cells, np.uint32)
            if places.size and places.max() >= self._size(column):
                return False
            if not self._dependence.fits(column.name, found.dependence):
                return False
        return True

    def _size(self, column: Column) -> int:
        if column.kind == "numeric":
            return 2 * self._values[column.name].size + 1
        if column.kind == "vector":
            return 1
        return len(column.categories) + 3

    def _sketch(self, column: Column, values: ColumnArray) -> ColumnSketch:
        if column.kind == "categorical":
            return _packed(values.astype(np.int64) + 1)
        if column.kind == "vector":
            # Only whether it is there: what it is, rows say.
            gone = missing_vectors(values)
            there = _packed(np.zeros(int((~gone).sum()), np.int64))
            return msgspec.structs.replace(there, missing=int(gone.sum()), width=column.width)
        kept = values[~np.isnan(values)]
        low, high = self._ranges.get(column.name, (float("nan"), float("nan")))
        found = _packed(cells_of(self._values[column.name], kept))
        return msgspec.structs.replace(
            found,
            missing=int(values.size - kept.size),
            outside=int(((kept < low) | (kept > high)).sum()),
        )


def distinct(reference: ColumnArray) -> FloatArray:
    """Return the values of a numeric column of a reference, sorted, each once."""
    kept = np.asarray(reference, np.float64)
    return np.unique(kept[~np.isnan(kept)])


def cells_of(distinct_values: FloatArray, values: ColumnArray) -> Counts:
    """Return the cell of each value: 2i before the i-th of the reference, 2i + 1 equal to it."""
    left = distinct_values.searchsorted(values, side="left")
    found: Counts = left + distinct_values.searchsorted(values, side="right")
    return found


def check_sketch(
    schema: Sequence[Column],
    window: Sketch,
    lacked: Mapping[str, float],
    rules: QualityRules,
) -> QualityResult:
    """Measure a window against the quality rules, as ``check_quality`` does with rows."""
    rows = max(window.rows, 1)
    found: list[tuple[str, dict[str, int]]] = []
    for column in schema:
        if column.kind == "vector":
            counts = {"missing": window.missing[column.name]}
        elif column.kind == "numeric":
            counts = {
                "missing": window.missing[column.name],
                "out-of-range": window.outside[column.name],
            }
        else:
            cells = window.cells[column.name]
            counts = {"missing": int(cells[0]), "unseen": int(cells[column.unseen + 1])}
        found.append((column.name, counts))
    return judge_shares(found, rows, lacked, rules)


def _packed(cells: Counts) -> ColumnSketch:
    places, counts = np.unique(cells, return_counts=True)
    return ColumnSketch(places.astype(np.uint32).tobytes(), counts.astype(np.uint32).tobytes())
