"""Rows as points in a Euclidean space, for the joint tests (MMD, LSDD, classifier)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from monitoring.table import CodeArray, Column, ColumnArray, FloatArray, Table

_MAX_CATEGORIES: Final = 50


@dataclass(frozen=True, slots=True)
class _Scale:
    name: str
    shift: float
    spread: float
    fill: float


@dataclass(frozen=True, slots=True)
class _OneHot:
    name: str
    codes: CodeArray


class MatrixEncoder:
    """Turns a table into an n x d matrix, always in the way the reference set.

    Numeric columns are standardised with the reference's mean and standard
    deviation and a missing value becomes the mean. Each of the (at most 50)
    most frequent categories becomes one column of 0 or 1/sqrt(2), so that two
    different categories are 1 apart; missing, rare and unseen values share the
    origin.
    """

    def __init__(self, reference: Table, *, standardize: bool = True) -> None:
        self._parts: list[_Scale | _OneHot] = [
            self._fit(column, reference.columns[column.name], standardize=standardize)
            for column in reference.schema
        ]

    def encode(self, table: Table) -> FloatArray:
        """Return the (rows, d) float64 matrix of a table with the reference's columns."""
        blocks = [self._encode(part, table.columns[part.name]) for part in self._parts]
        return np.concatenate(blocks, axis=1)

    @staticmethod
    def _fit(column: Column, values: ColumnArray, *, standardize: bool) -> _Scale | _OneHot:
        if column.kind == "numeric":
            kept = values[~np.isnan(values)]
            mean = float(kept.mean()) if kept.size else 0.0
            if not standardize:
                return _Scale(column.name, 0.0, 1.0, mean)
            spread = float(kept.std()) if kept.size else 0.0
            return _Scale(column.name, mean, spread or 1.0, 0.0)
        counts = np.bincount(values[values >= 0], minlength=len(column.categories))
        frequent = np.argsort(-counts, kind="stable")[:_MAX_CATEGORIES]
        return _OneHot(column.name, np.sort(frequent).astype(np.int32))

    @staticmethod
    def _encode(part: _Scale | _OneHot, values: ColumnArray) -> FloatArray:
        if isinstance(part, _OneHot):
            picked: FloatArray = (values[:, None] == part.codes[None, :]) * np.sqrt(0.5)
            return picked
        scaled = (values - part.shift) / part.spread
        return np.where(np.isnan(scaled), part.fill, scaled)[:, None].astype(np.float64)
