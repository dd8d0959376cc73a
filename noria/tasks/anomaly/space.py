"""Rows as detectors see them: columns on one scale.

A number is its distance from the median in standard deviations, as the middle half of a normal
distribution would have it; beyond three it grows slowly. A vector's numbers keep their proportions:
one scale for all of them. A category, a boolean and a value that is missing are columns of their
own that are 0 or sqrt(-2 ln share): so far out as a normal value is that is so rare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.tasks.package import Feature

Array = NDArray[np.float64]

MOST_CATEGORIES: Final = 20
"""Categories of a column that are columns of their own, the most frequent; the others share one."""

USUAL: Final = 3.0
"""Beyond so many deviations a value counts by the logarithm of how much farther it is: one column
with a long tail would else be all that a distance sees."""

_FARTHEST: Final = 1e100
"""No value is farther out than that."""

_NORMAL: Final = 0.7413
"""Standard deviation of a normal distribution over the width of its middle half."""


class Column(msgspec.Struct, frozen=True):
    """How one feature becomes columns.

    ``first`` and ``size`` are its place in the encoded matrix. ``centre`` (size,) and ``scale``
    standardise numbers; ``weights`` are those of the categories by their code, ``rare`` that of a
    category that is none of them, and ``missing`` that of a missing value.
    """

    kind: str
    first: int
    size: int
    missing: float
    centre: tuple[float, ...] = ()
    scale: float = 1.0
    codes: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    rare: float = 0.0

    @property
    def width(self) -> int:
        """How many columns it becomes."""
        return (self.size if self.kind == "number" else len(self.codes) + 1) + 1


@dataclass(frozen=True, slots=True)
class Space:
    """Standardises encoded rows."""

    columns: tuple[Column, ...]

    def of(self, matrix: Array) -> Array:
        """Return encoded rows (n, d) on one scale, (n, w)."""
        found = np.zeros((matrix.shape[0], sum(column.width for column in self.columns)))
        first = 0
        for column in self.columns:
            part = found[:, first : first + column.width]
            _fill(column, matrix[:, column.first : column.first + column.size], part)
            first += column.width
        return found


def space_of(features: Sequence[Feature], matrix: Array) -> Space:
    """Return the space of the rows that a detector is fitted on.

    Args:
        features: Of the matrix, in order.
        matrix: (n, d) encoded rows, n > 0.
    """
    columns, first = [], 0
    for feature in features:
        part = matrix[:, first : first + feature.size]
        if feature.kind in ("categorical", "boolean"):
            columns.append(_of_codes(first, part[:, 0]))
        else:
            columns.append(_of_numbers(first, part))
        first += feature.size
    return Space(tuple(columns))


def rarity(share: float) -> float:
    """Return how far out something is that so large a share of rows has."""
    return float(np.sqrt(-2.0 * np.log(min(share, 1.0))))


def squashed(values: Array) -> Array:
    """Return values as they are up to ``USUAL``, and of what is beyond the logarithm with one."""
    size = np.minimum(np.abs(values), _FARTHEST)
    beyond = USUAL + np.log1p(np.maximum(size - USUAL, 0.0))
    return np.where(size <= USUAL, values, np.sign(values) * beyond)


def _of_numbers(first: int, part: Array) -> Column:
    rows, size = part.shape
    known = ~np.isnan(part)
    missing = rarity((float((~known).all(axis=1).sum()) + 1.0) / (rows + 2.0))
    if not known.any():
        return Column("number", first, size, missing, (0.0,) * size)
    if size == 1:
        values = part[known[:, 0], 0]
        low, centre, high = np.quantile(values, [0.25, 0.5, 0.75])
        scale = _NORMAL * float(high - low) or float(values.std())
    else:
        with np.errstate(invalid="ignore"):
            centre = np.nan_to_num(np.nanmean(part[known.any(axis=1)], axis=0))
        scale = float(np.sqrt(np.nanmean((part - centre) ** 2)))
    if not (np.isfinite(scale) and scale > 0.0):
        scale = 1.0
    return Column("number", first, size, missing, tuple(np.atleast_1d(centre).tolist()), scale)


def _of_codes(first: int, part: Array) -> Column:
    rows = part.size
    known = part[~np.isnan(part)].astype(np.int64)
    codes, counts = np.unique(known, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]
    kept = np.sort(most)
    left = rows - int(counts[kept].sum()) - (rows - known.size)
    return Column(
        "code",
        first,
        1,
        rarity((rows - known.size + 1.0) / (rows + 2.0)),
        codes=tuple(codes[kept].tolist()),
        weights=tuple(rarity(float(count) / rows) for count in counts[kept]),
        rare=rarity((left / max(len(codes) - len(kept), 1) + 1.0) / (rows + 2.0)),
    )


def _fill(column: Column, part: Array, out: Array) -> None:
    """Write one feature's columns; the last says that its value is missing."""
    unknown = np.isnan(part)
    out[unknown.all(axis=1), -1] = column.missing
    if column.kind == "number":
        with np.errstate(over="ignore"):
            values = (part - np.array(column.centre)) / column.scale
        out[:, :-1] = squashed(np.where(unknown, 0.0, values))
        return
    codes = part[:, 0]
    other = ~unknown[:, 0]
    for place, (code, weight) in enumerate(zip(column.codes, column.weights, strict=True)):
        mine = codes == code
        out[mine, place] = weight
        other &= ~mine
    out[other, -2] = column.rare
