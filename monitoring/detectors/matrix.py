"""Rows as points in a Euclidean space, for the joint tests (MMD, LSDD, classifier)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from monitoring.table import CodeArray, Column, ColumnArray, FloatArray, Table, missing_vectors

_MAX_CATEGORIES: Final = 50
_FAR: Final = 1e6
"""Deviations beyond which distances are all the same: their squares must keep their digits."""
_NORMAL_QUARTILES: Final = 1.349
"""Between the quartiles of a normal distribution, in standard deviations."""


@dataclass(frozen=True, slots=True)
class _Scale:
    name: str
    shift: float
    spread: float
    fill: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _OneHot:
    name: str
    codes: CodeArray


@dataclass(frozen=True, slots=True)
class _Vector:
    name: str
    shift: FloatArray
    spread: float


class MatrixEncoder:
    """Turns a table into an n x d matrix, always in the way the reference set.

    Numeric columns are standardised with the reference's mean and standard
    deviation and a missing value becomes the mean. A value more than a million
    deviations away counts as that far: it has its place, and no overflow. Each of the (at most 50)
    most frequent categories becomes one column of 0 or 1/sqrt(2), so that two
    different categories are 1 apart; missing, rare and unseen values share the
    origin. A vector is shifted to the reference's mean and scaled as one, so that it varies as
    much as a numeric column does, all its numbers together; directions keep their meaning.
    """

    def __init__(self, reference: Table, *, standardize: bool = True) -> None:
        self._parts: list[_Scale | _OneHot | _Vector] = [
            self._fit(column, reference.columns[column.name], standardize=standardize)
            for column in reference.schema
        ]

    def encode(self, table: Table) -> FloatArray:
        """Return the (rows, d) float64 matrix of a table with the reference's columns."""
        blocks = [self._encode(part, table.columns[part.name]) for part in self._parts]
        return np.concatenate(blocks, axis=1)

    @staticmethod
    def _fit(
        column: Column, values: ColumnArray, *, standardize: bool
    ) -> _Scale | _OneHot | _Vector:
        if column.kind == "vector":
            return _vector(column, values, standardize=standardize)
        if column.kind == "numeric":
            mean, spread = _centre(values[~np.isnan(values)])
            with np.errstate(over="ignore"):
                low, high = np.nan_to_num(np.array([mean - _FAR * spread, mean + _FAR * spread]))
            if not standardize:
                return _Scale(column.name, 0.0, 1.0, mean, float(low), float(high))
            return _Scale(column.name, mean, spread, 0.0, float(low), float(high))
        counts = np.bincount(values[values >= 0], minlength=len(column.categories))
        frequent = np.argsort(-counts, kind="stable")[:_MAX_CATEGORIES]
        return _OneHot(column.name, np.sort(frequent).astype(np.int32))

    @staticmethod
    def _encode(part: _Scale | _OneHot | _Vector, values: ColumnArray) -> FloatArray:
        if isinstance(part, _Vector):
            moved = (values.astype(np.float64) - part.shift) / part.spread
            return np.nan_to_num(np.clip(moved, -_FAR, _FAR), nan=0.0)
        if isinstance(part, _OneHot):
            picked: FloatArray = (values[:, None] == part.codes[None, :]) * np.sqrt(0.5)
            return picked
        near: FloatArray = np.clip(values, part.low, part.high)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.clip((near - part.shift) / part.spread, -_MOST, _MOST)
        return np.where(np.isnan(scaled), part.fill, scaled)[:, None].astype(np.float64)


def _vector(column: Column, values: ColumnArray, *, standardize: bool) -> _Vector:
    known = values[~missing_vectors(values)].astype(np.float64)
    if not (standardize and known.size):
        return _Vector(column.name, np.zeros(column.width), 1.0)
    mean = known.mean(axis=0)
    spread = float(np.sqrt(((known - mean) ** 2).sum(axis=1).mean()))
    return _Vector(column.name, mean, spread or _unit(float(np.abs(mean).max())))


def _centre(kept: ColumnArray) -> tuple[float, float]:
    """Return mean and standard deviation; median and quartiles' where one value rules both."""
    if not kept.size:
        return 0.0, 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean, spread = float(kept.mean()), float(kept.std())
        quartiles = np.quantile(kept, (0.25, 0.5, 0.75), method="lower")
        low, middle, high = (float(quartile) for quartile in quartiles)
        typical = (high / _NORMAL_QUARTILES) - (low / _NORMAL_QUARTILES)
    if math.isfinite(mean) and math.isfinite(spread) and not 0.0 < typical * _FAR < spread:
        return mean, spread or _unit(mean)
    return middle, typical if math.isfinite(typical) and typical else _unit(middle)


def _unit(centre: float) -> float:
    """Return the deviation of a column that is constant: 1, or what its digits can tell."""
    return max(1.0, abs(centre) * 1e-9)


_MOST: Final = 1e150
"""Of a coordinate that is not standardised: its square is still a number."""
