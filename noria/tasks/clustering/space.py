"""The space in which rows are near or far: every column weighs the same.

A number is standardised. A category is one column for each of its values, and a vector one for each
of its numbers, divided so that the whole of it has a variance of 1, as a number has: two rows
then are at an expected squared distance of 2 in each column, whatever its kind. Of categories the
divisor is the root of the Gini index, 1 - sum p^2, the total variance of the indicator columns
(multiple factor analysis weighs groups of columns likewise: Escofier and Pages, Computational
Statistics and Data Analysis 18, 1994; of two values it is the standardised boolean). What is
missing lies at the mean: it moves a row nowhere. Only numpy is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError
from noria.tasks.package import Feature

Array = NDArray[np.float64]

_FLAT: Final = 1e-12
"""Share of a column's size under which its spread is rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Turns encoded rows (n, d) into points (n, p).

    ``mean`` and ``scale`` (w,) are of the wide columns; a scale of 0 is a column that is
    the same in every row, and counts nothing. ``components`` (p, w) are principal components;
    None: points have the wide columns.
    """

    features: tuple[Feature, ...]
    mean: Array
    scale: Array
    components: Array | None = None
    _place: NDArray[np.int64] = field(init=False, repr=False)
    _code: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        place, code = _wide_columns(self.features)
        object.__setattr__(self, "_place", place)
        object.__setattr__(self, "_code", code)

    @classmethod
    def of(cls, features: Sequence[Feature], matrix: Array, explained: float | None) -> Space:
        """Learn a space from encoded rows (n, d), n > 0; see ``noria.tasks.encoding``.

        Args:
            features: Of the matrix.
            matrix: The rows.
            explained: Keep as few principal components as explain this share of the variance;
                None: all columns.
        """
        whole = cls(tuple(features), np.zeros(0), np.zeros(0))
        wide = whole.widened(matrix)
        known = ~np.isnan(wide)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, wide, 0.0).sum(axis=0) / count
        away = np.where(known, wide - mean, 0.0)
        variance = (away**2).sum(axis=0) / count
        variance[variance <= (_FLAT * np.abs(mean)) ** 2] = 0.0
        total = np.zeros_like(variance)
        first = 0
        for feature in features:
            width = _width(feature)
            total[first : first + width] = variance[first : first + width].sum()
            first += width
        scale = np.where(total > 0.0, 1.0 / np.sqrt(np.where(total > 0.0, total, 1.0)), 0.0)
        found = cls(tuple(features), mean, scale)
        if explained is None:
            return found
        return cls(found.features, mean, scale, _principal(found.points(matrix), explained))

    def points(self, matrix: Array) -> Array:
        """Return encoded rows (n, d) as points (n, p)."""
        points = np.nan_to_num((self.widened(matrix) - self.mean) * self.scale)
        return points if self.components is None else points @ self.components.T

    def widened(self, matrix: Array) -> Array:
        """Return a column for each category and each number, (n, w); NaN is missing."""
        wide = matrix[:, self._place]
        code = ~np.isnan(self._code)
        if code.any():
            codes = wide[:, code]
            wide[:, code] = np.where(np.isnan(codes), np.nan, codes == self._code[code])
        return wide

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a package keeps of it."""
        kept = {"mean": self.mean, "scale": self.scale}
        return kept if self.components is None else {**kept, "components": self.components}


def space_of(features: Sequence[Feature], arrays: Mapping[str, np.ndarray]) -> Space:
    """Return the space of ``Space.arrays``.

    Raises:
        IntegrityError: The arrays are not of these features.
    """
    width = sum(map(_width, features))
    components = arrays.get("components")
    if arrays["mean"].shape != (width,) or arrays["scale"].shape != (width,):
        raise IntegrityError("the arrays are of other columns", fix="train again")
    if components is not None and components.shape[1:] != (width,):
        raise IntegrityError("the components are of other columns", fix="train again")
    return Space(tuple(features), arrays["mean"], arrays["scale"], components)


def _width(feature: Feature) -> int:
    return max(1, len(feature.categories)) if feature.kind == "categorical" else feature.size


def _wide_columns(features: Sequence[Feature]) -> tuple[NDArray[np.int64], Array]:
    """Return for each wide column its place in the matrix, and the category that it tells."""
    place: list[int] = []
    code: list[float] = []
    first = 0
    for feature in features:
        if feature.kind == "categorical":
            place += [first] * _width(feature)
            code += [float(number) for number in range(_width(feature))]
        else:
            place += range(first, first + feature.size)
            code += [np.nan] * feature.size
        first += feature.size
    return np.array(place, np.int64), np.array(code, np.float64)


def _principal(points: Array, explained: float) -> Array:
    """Return as few principal components (p, w) as explain a share of the variance, at least 1.

    Each points towards its greatest loading, so that the same rows give the same signs.
    """
    spread = points.T @ points / len(points)
    values, vectors = np.linalg.eigh(spread)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1].T
    total = values.sum()
    share = np.cumsum(values) / total if total > 0.0 else np.ones_like(values)
    kept = vectors[: int(np.searchsorted(share, explained - _FLAT)) + 1]
    greatest = np.abs(kept).argmax(axis=1)
    signs = np.sign(kept[np.arange(len(kept)), greatest])
    return np.ascontiguousarray(kept * np.where(signs == 0.0, 1.0, signs)[:, None])
