"""A linear model: a weight per number, a weight per category, a weight for what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noria.tasks.arrays import pack, unpack
from noria.tasks.tabular.scorers import required

Array = NDArray[np.float64]
_FILE = "linear.npz"


@dataclass(frozen=True, slots=True, eq=False)
class LinearScorer:
    """Scores are ``intercept + sum of weights``; k outputs, p numbers, c categorical features.

    ``numeric`` (p,) and ``categorical`` (c,) are places in the matrix.
    ``weights`` (p, k) multiply the numbers, ``missing`` (p, k) stand in for a
    missing one. ``table`` (t, k) holds the weights of all categories; feature
    j's begin at ``starts[j]``, and ``absent[j]`` is where its missing value's are.
    """

    numeric: NDArray[np.int64]
    categorical: NDArray[np.int64]
    weights: Array
    missing: Array
    table: Array
    starts: NDArray[np.int64]
    absent: NDArray[np.int64]
    intercept: Array

    def raw(self, matrix: Array) -> Array:
        """Return (n, k) scores."""
        numbers = matrix[:, self.numeric]
        gone = np.isnan(numbers)
        if gone.any():
            scores = np.where(gone, 0.0, numbers) @ self.weights
            scores += gone @ self.missing
        else:
            scores = numbers @ self.weights
        scores += self.intercept
        if self.categorical.size:
            codes = matrix[:, self.categorical]
            known = codes == codes
            places = np.where(known, codes + self.starts, self.absent).astype(np.int64)
            scores += self.table[places].sum(axis=1)
        return np.asarray(scores, dtype=np.float64)

    def files(self) -> dict[str, bytes]:
        """Return ``linear.npz``."""
        return {_FILE: pack({name: getattr(self, name) for name in self.__slots__})}


def load(files: Mapping[str, bytes], prefix: str = "", name: str = _FILE) -> LinearScorer:
    """Build the scorer from ``linear.npz`` (or another name of the same layout).

    Raises:
        IntegrityError: The file is missing or malformed.
    """
    from noria.errors import IntegrityError

    arrays = unpack(required(files, prefix + name), prefix + name)
    try:
        return LinearScorer(**arrays)
    except TypeError as error:
        raise IntegrityError(f"{prefix + name}: {error}") from error


def of_coefficients(coef: Array, intercept: Array) -> LinearScorer:
    """Return a scorer of numeric features only; ``coef`` (p, k), ``intercept`` (k,).

    A missing number counts as 0.
    """
    none = np.zeros(0, dtype=np.int64)
    outputs = coef.shape[1]
    return LinearScorer(
        numeric=np.arange(coef.shape[0]),
        categorical=none,
        weights=np.ascontiguousarray(coef, dtype=np.float64),
        missing=np.zeros_like(coef, dtype=np.float64),
        table=np.zeros((0, outputs)),
        starts=none,
        absent=none,
        intercept=np.asarray(intercept, dtype=np.float64),
    )
