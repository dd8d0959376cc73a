"""Detectors that test each column by itself: KS, chi-square, Fisher and tabular.

A detector over d columns alarms when the smallest p-value times d is at or
under its alpha (Bonferroni), which holds the level whatever the dependence
between the columns is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitoring.detectors.protocol import DetectorConfig, DetectorResult, FeatureResult
from monitoring.detectors.statistics import (
    chi_square,
    fisher_exact,
    ks_of_cells,
    ks_p_values,
    ks_statistic,
)
from monitoring.detectors.storage import save_table
from monitoring.table import Column, ColumnArray, FloatArray, Table
from noria.errors import InvalidInput

_BINARY: Final = 2


def suits(test: str, column: Column, values: ColumnArray) -> bool:
    """Whether ``test`` can watch this column of the reference."""
    match test:
        case "ks":
            return column.kind == "numeric"
        case "chi-square":
            return column.kind == "categorical"
        case "fisher":
            return column.kind != "vector" and _is_binary(column, values)
        case "tabular":
            return column.kind != "vector"
        case _:
            return True


def _is_binary(column: Column, values: ColumnArray) -> bool:
    if column.kind == "categorical":
        return len(column.categories) == _BINARY
    kept = values[~np.isnan(values)]
    return bool(kept.size) and bool(np.isin(kept, (0.0, 1.0)).all())


@dataclass(frozen=True, slots=True)
class _Numeric:
    """A column under the KS test: the reference, sorted once."""

    name: str
    reference: FloatArray


@dataclass(frozen=True, slots=True)
class _Counted:
    """A column under chi-square: the reference's counts per category; the last one is the others.

    Missing, unseen and rare values are one bucket, because a reference holds a
    category that was too rare for the model as missing.
    """

    name: str
    reference: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Binary:
    """A column under Fisher's test: what counts as "yes", and the reference's yes and no."""

    name: str
    yes: float
    counts: tuple[int, int]


class UnivariateDetector:
    """One test per column, combined by Bonferroni.

    The effect of a result is that of its strongest column: D for KS (0 to 1),
    Cramer's V for chi-square (0 to 1), the absolute difference of proportions
    for Fisher.
    """

    def __init__(self, config: DetectorConfig, reference: Table) -> None:
        """Sort or count every watched column of the reference once.

        Raises:
            InvalidInput: no column suits the test, or a named one does not.
        """
        self._config = config
        self._reference = _chosen(config, reference)
        self._numeric: list[_Numeric] = []
        self._counted: list[_Counted] = []
        self._binary: list[_Binary] = []
        for column in self._reference.schema:
            self._fit(column, self._reference.columns[column.name])

    @property
    def config(self) -> DetectorConfig:
        """How it was built."""
        return self._config

    def score(self, window: Table) -> DetectorResult:
        """Test every column; missing numbers are left out (their share is a quality rule)."""
        found = [*self._score_numeric(window), *self._score_counted(window)]
        found += self._score_binary(window)
        return self._combined(found, window.rows)

    def score_counts(self, rows: int, cells: Mapping[str, NDArray[np.int64]]) -> DetectorResult:
        """Test every column of a window that is given as counts; the same result, to the bit.

        Args:
            rows: rows in the window.
            cells: by column: of a category, missing first and unseen last; of a number, the
                values before, at and after each distinct value of the reference.
        """
        statistics = np.array([ks_of_cells(c.reference, cells[c.name]) for c in self._numeric])
        sizes = np.array([int(cells[c.name].sum()) for c in self._numeric], np.int64)
        found = self._tested_numeric(statistics, sizes)
        for counted in self._counted:
            found.append(_tested_counts(counted, _folded(cells[counted.name])))
        for binary in self._binary:
            yes, no = self._binary_cells(binary, cells[binary.name])
            found.append(_tested_binary(binary, yes, no))
        return self._combined(found, rows)

    def _binary_cells(self, column: _Binary, cells: NDArray[np.int64]) -> tuple[int, int]:
        values = self._reference.columns[column.name]
        if values.dtype.kind != "f":
            return int(cells[2]), int(cells[1])
        places = np.unique(values[~np.isnan(values)])
        by_value = {float(v): int(cells[2 * i + 1]) for i, v in enumerate(places)}
        return by_value.get(1.0, 0), by_value.get(0.0, 0)

    def _combined(self, found: list[FeatureResult], rows: int) -> DetectorResult:
        ranked = tuple(sorted(found, key=lambda result: (result.p_value, -result.effect)))
        first = ranked[0]
        p_value = min(1.0, first.p_value * len(ranked))
        return DetectorResult(
            statistic=first.statistic,
            p_value=p_value,
            threshold=self._config.alpha,
            drift=p_value <= self._config.alpha,
            effect=abs(first.effect),
            features=ranked,
            samples=rows,
        )

    def save(self, folder: Path) -> None:
        """Write the configuration and the reference; fitting again is cheaper than reading more."""
        save_table(folder, self._config, self._reference)

    def _fit(self, column: Column, values: ColumnArray) -> None:
        if self._config.kind == "fisher":
            yes = 1.0
            known = values[(values == 0) | (values == 1)]
            ones = int((known == yes).sum())
            self._binary.append(_Binary(column.name, yes, (ones, int(known.size) - ones)))
        elif column.kind == "numeric":
            kept = np.sort(values[~np.isnan(values)]).astype(np.float64)
            self._numeric.append(_Numeric(column.name, kept))
        else:
            self._counted.append(_Counted(column.name, count(values, len(column.categories))))

    def _score_numeric(self, window: Table) -> list[FeatureResult]:
        if not self._numeric:
            return []
        statistics = np.empty(len(self._numeric))
        sizes = np.empty(len(self._numeric), np.int64)
        for i, column in enumerate(self._numeric):
            kept = np.sort(window.columns[column.name].astype(np.float64, copy=False))
            # NaN sorts last.
            kept = kept[: np.searchsorted(kept, np.nan)]
            statistics[i] = ks_statistic(column.reference, kept)
            sizes[i] = kept.size
        return self._tested_numeric(statistics, sizes)

    def _tested_numeric(
        self, statistics: FloatArray, sizes: NDArray[np.int64]
    ) -> list[FeatureResult]:
        if not self._numeric:
            return []
        references = np.array([column.reference.size for column in self._numeric])
        p_values = ks_p_values(statistics, references, sizes)
        return [
            FeatureResult(column.name, "ks", d, p, d, (column.reference.size, rows))
            for column, d, p, rows in zip(
                self._numeric, statistics.tolist(), p_values.tolist(), sizes.tolist(), strict=True
            )
        ]

    def _score_counted(self, window: Table) -> list[FeatureResult]:
        return [
            _tested_counts(column, count(window.columns[column.name], column.reference.size - 1))
            for column in self._counted
        ]

    def _score_binary(self, window: Table) -> list[FeatureResult]:
        found = []
        for column in self._binary:
            values = window.columns[column.name]
            known = values[(values == 0) | (values == 1)]
            ones = int((known == column.yes).sum())
            found.append(_tested_binary(column, ones, int(known.size) - ones))
        return found


def _tested_counts(column: _Counted, counts: NDArray[np.int64]) -> FeatureResult:
    statistic, p_value, effect = chi_square(column.reference, counts)
    rows = (int(column.reference.sum()), int(counts.sum()))
    freedom = int(np.count_nonzero(column.reference + counts)) - 1
    return FeatureResult(column.name, "chi-square", statistic, p_value, effect, rows, freedom)


def _tested_binary(column: _Binary, yes: int, no: int) -> FeatureResult:
    odds, p_value, effect = fisher_exact(*column.counts, yes, no)
    rows = (sum(column.counts), yes + no)
    return FeatureResult(column.name, "fisher", odds, p_value, effect, rows)


def _chosen(config: DetectorConfig, reference: Table) -> Table:
    test = config.kind
    if config.columns:
        chosen = reference.select(config.columns)
        for column in chosen.schema:
            if not suits(test, column, chosen.columns[column.name]):
                raise InvalidInput(
                    f"detector {config.name!r}: a {test} test can't watch the {column.kind} "
                    f"column {column.name!r}",
                    fix="name other columns, or use kind: tabular",
                )
        return chosen
    names = [c.name for c in reference.schema if suits(test, c, reference.columns[c.name])]
    if not names:
        raise InvalidInput(
            f"detector {config.name!r}: no column of the reference suits a {test} test",
            fix="use kind: mmd or classifier"
            if any(column.kind == "vector" for column in reference.schema)
            else "use kind: tabular, or name columns",
        )
    return reference.select(names)


def count(values: ColumnArray, categories: int) -> NDArray[np.int64]:
    """Return how many rows each category has, and all other values after them."""
    # Missing is -1: shifted to 0, before the categories; unseen and rare come after them.
    cells = np.bincount(values.astype(np.int64) + 1, minlength=categories + 3)
    return _folded(cells.astype(np.int64))


def _folded(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the counts of the categories, and one of all other values after them."""
    return np.append(cells[1:-2], cells[0] + cells[-2] + cells[-1])
