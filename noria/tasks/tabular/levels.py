"""Target statistics of categories of many levels: what the target was on average, and how often.

A level's mean is shrunk towards the mean of all rows, the more the fewer rows it has
(empirical Bayes: Micci-Barreca, 2001, "A preprocessing scheme for high-cardinality categorical
attributes"; the strength is the ratio of the variance within levels to that between them).
A training row reads the mean of rows of the other folds, so that its own target is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError
from noria.tasks.arrays import pack, unpack
from noria.tasks.tabular.scorers import Scorer

Array = NDArray[np.float64]
FILE: Final = "levels.npz"
FOLDS: Final = 5
MOST_CLASSES: Final = 10
"""With more classes the mean is left out: a column for each would be many."""


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """The statistics of one column: ``mean`` (levels + 1, k) and ``rows`` (levels + 1,).

    The last row is what a missing or unknown value reads. ``column`` is its place in the matrix.
    """

    column: int
    mean: Array
    rows: Array

    def read(self, codes: Array) -> Array:
        """Return (n, k + 1): the means of n codes, and how often each was there."""
        last = self.rows.size - 1
        known = np.where(np.isnan(codes), last, codes)
        places = np.minimum(known, last).astype(np.int64)
        return np.column_stack([self.mean[places], self.rows[places]])


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Statistics of the columns of a matrix that have them."""

    columns: tuple[Level, ...]

    def widen(self, matrix: Array) -> Array:
        """Return (n, d + e): the column itself reads the first mean, e others follow at the end."""
        read = {one.column: one.read(matrix[:, one.column]) for one in self.columns}
        return widened(matrix, read)


@dataclass(frozen=True, slots=True, eq=False)
class WideScorer:
    """A scorer of the widened matrix."""

    levels: Levels
    inner: Scorer

    def raw(self, matrix: Array) -> Array:
        """Return (n, k) scores."""
        return self.inner.raw(self.levels.widen(matrix))

    def files(self) -> dict[str, bytes]:
        """Return the inner scorer's files and ``levels.npz``."""
        arrays: dict[str, Array | NDArray[np.int64]] = {
            "columns": np.array([one.column for one in self.levels.columns], dtype=np.int64)
        }
        for one in self.levels.columns:
            arrays[f"mean{one.column}"] = one.mean
            arrays[f"rows{one.column}"] = one.rows
        return {**self.inner.files(), FILE: pack(arrays)}


def load(files: Mapping[str, bytes], inner: Scorer, folder: str = "") -> Scorer:
    """Return the scorer that widens what ``inner`` reads, or ``inner`` when the package has none.

    Raises:
        IntegrityError: The file is malformed.
    """
    path = f"{folder}{FILE}"
    if path not in files:
        return inner
    arrays = unpack(files[path], path)
    try:
        columns = [int(column) for column in arrays["columns"]]
        return WideScorer(
            Levels(tuple(Level(j, arrays[f"mean{j}"], arrays[f"rows{j}"]) for j in columns)), inner
        )
    except KeyError as error:
        raise IntegrityError(f"{path}: {error} is missing", fix="train again") from error


def widened(matrix: Array, read: Mapping[int, Array]) -> Array:
    """Return a copy of the matrix with read columns; see ``Levels.widen``."""
    wide = np.hstack([matrix, *(columns[:, 1:] for columns in read.values())])
    for column, columns in read.items():
        wide[:, column] = columns[:, 0]
    return wide


def of_column(column: int, codes: Array, levels: int, goal: Array, weight: Array | None) -> Level:
    """Return the statistics of one column.

    Args:
        column: Its place.
        codes: (n,) places in a table, NaN where missing.
        levels: Size of the table.
        goal: (n, k) what is averaged; k may be 0.
        weight: (n,) weights, or None for equal ones.
    """
    known = ~np.isnan(codes)
    places = np.where(known, codes, levels).astype(np.int64)
    share = np.ones(codes.size) if weight is None else weight
    rows = np.bincount(places, weights=share, minlength=levels + 1).astype(np.float64)
    mean = np.empty((levels + 1, goal.shape[1]))
    for k in range(goal.shape[1]):
        total = np.bincount(places, weights=share * goal[:, k], minlength=levels + 1)
        mean[:, k] = _shrunk(total.astype(np.float64), rows, goal[:, k], places, share)
    if known.all():  # what no training row lacked reads as a level that was never there
        rows[levels] = 0.0
    else:
        mean[levels] = rows[levels] = np.nan
    return Level(column, mean, rows)


def _shrunk(
    total: Array, rows: Array, goal: Array, places: NDArray[np.int64], share: Array
) -> Array:
    """Return the levels' means by empirical Bayes, variances by the method of moments (ANOVA)."""
    whole = float(rows.sum())
    grand = float(total.sum() / whole)
    raw = np.where(rows > 0, total / np.maximum(rows, 1e-300), grand)
    groups = int((rows > 0).sum())
    within_squares = float((share * (goal - raw[places]) ** 2).sum())
    between_squares = float((rows * (raw - grand) ** 2).sum())
    if groups < 2 or whole <= groups:
        return np.full(rows.size, grand)
    within = within_squares / (whole - groups)
    spread = whole - float((rows**2).sum()) / whole
    between = (between_squares - (groups - 1) * within) / max(spread, 1e-300)
    if between <= 0.0:
        return np.full(rows.size, grand)
    strength = within / between
    return np.asarray((total + strength * grand) / (rows + strength))


def goal_of(target: Array, classes: int) -> Array:
    """Return (n, k) what levels are averaged by: the target, or whether it is each class."""
    if classes > MOST_CLASSES:
        return np.zeros((target.size, 0))
    if classes > 2:
        return np.eye(classes)[target.astype(np.int64)]
    return target[:, None]


def fit_levels(
    matrix: Array,
    sizes: Mapping[int, int],
    goal: Array,
    weight: Array | None,
    seed: int,
) -> tuple[Levels, Array]:
    """Return the statistics, and the training rows widened by those of other folds.

    Args:
        matrix: (n, d) encoded rows.
        sizes: Of each such column, the size of its table.
        goal: See ``goal_of``.
        weight: (n,) weights of the rows, or None for equal ones.
        seed: Assigns the rows to folds.
    """
    n = matrix.shape[0]
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    columns: list[Level] = []
    read: dict[int, Array] = {}
    for column, size in sizes.items():
        codes = matrix[:, column]
        level = of_column(column, codes, size, goal, weight)
        own = level.read(codes)
        for k in range(min(FOLDS, n)):
            rest, mine = fold != k, fold == k
            part = None if weight is None else weight[rest]
            other = of_column(column, codes[rest], size, goal[rest], part)
            own[mine, :-1] = other.read(codes[mine])[:, :-1]
        columns.append(level)
        read[column] = own
    return Levels(tuple(columns)), widened(matrix, read)
