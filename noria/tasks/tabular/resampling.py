"""More rows of rarer classes by SMOTE, among the rows that a model is fitted on and no others.

(Chawla and others, 2002, "SMOTE: synthetic minority over-sampling technique".) A made row lies
between a row and one of its nearest neighbours of the same class. Numbers are standardised for the
distances; a category, and whether a number is missing, is what most neighbours have (SMOTE-NC).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import DataError, NotInstalled
from noria.tasks.tabular.plans import RESAMPLED

if TYPE_CHECKING:
    from noria.tasks.tabular.fit import Design

Array = NDArray[np.float64]

NEIGHBOURS: Final = 5
"""Of a row, between which and itself rows are made."""


class Against(msgspec.Struct, frozen=True):
    """Metrics of held-out rows, with rows made and without, probabilities calibrated for both."""

    made: dict[str, float]
    without: dict[str, float]
    rows: int


def counts(codes: NDArray[np.int64], classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of each class before and after: afterwards all have as many."""
    before = np.bincount(codes, minlength=classes)
    return before, np.full(classes, before.max())


def resampled(design: Design) -> Design:
    """Return the rows with those that are made at their end.

    A made row weighs what rows of its class do on average. The same rows and seed give the same.

    Raises:
        DataError: A class has too few rows.
        NotInstalled: imbalanced-learn is not installed.
    """
    codes = design.target.astype(np.int64)
    before, after = counts(codes, design.classes)
    for name, count in zip(design.resampling, before.tolist(), strict=True):
        if count <= NEIGHBOURS:
            raise DataError(
                f"spec.task.options.resample: {name} has {count} of the {codes.size} rows to fit "
                f"on, and smote needs {NEIGHBOURS + 1} of each class",
                fix="give more rows of it, fewer folds, or write none",
            )
    if (before == after).all():
        return design
    wide, kinds = _as_smote_reads(design)
    sampler = _sampler(kinds, design.seed, dict(enumerate(after.tolist())))
    rows, made = sampler.fit_resample(wide.values, codes)
    matrix = wide.back(np.asarray(rows, dtype=np.float64))
    # The rows that there are stay as they are, to the last bit.
    matrix[: codes.size] = design.matrix
    weight = design.weight
    if weight is not None:
        mean = np.bincount(codes, weights=weight, minlength=design.classes) / before
        weight = np.concatenate([weight, mean[made[codes.size :]]])
    return replace(
        design,
        matrix=np.ascontiguousarray(matrix),
        target=np.asarray(made, dtype=np.float64),
        weight=weight,
        resampling=(),
    )


class _Read:
    """A matrix as SMOTE reads it: standardised numbers, categories without gaps, and the gaps."""

    def __init__(self, design: Design) -> None:
        matrix = design.matrix
        self._sizes = design.categories
        self._numbers = [j for j, size in enumerate(design.categories) if not size]
        gaps = np.isnan(matrix)
        self.gappy = [j for j in self._numbers if gaps[:, j].any()]
        values = matrix.copy()
        for j, size in enumerate(design.categories):
            if size:
                values[gaps[:, j], j] = size
        numbers = values[:, self._numbers]
        known = ~np.isnan(numbers)
        count = np.maximum(known.sum(axis=0), 1)
        self._mean = np.where(known, numbers, 0.0).sum(axis=0) / count
        off = np.where(known, numbers - self._mean, 0.0)
        spread = np.sqrt((off**2).sum(axis=0) / count)
        self._scale = np.where(spread > 0.0, spread, 1.0)
        values[:, self._numbers] = off / self._scale
        self.values = np.hstack([values, gaps[:, self.gappy].astype(np.float64)])

    def back(self, rows: Array) -> Array:
        """Return rows as they were before, with their gaps."""
        width = len(self._sizes)
        matrix = rows[:, :width].copy()
        matrix[:, self._numbers] = matrix[:, self._numbers] * self._scale + self._mean
        for place, j in enumerate(self.gappy):
            matrix[rows[:, width + place] > 0.5, j] = np.nan
        for j, size in enumerate(self._sizes):
            if size:
                matrix[matrix[:, j] >= size, j] = np.nan
        return matrix


def _as_smote_reads(design: Design) -> tuple[_Read, list[bool]]:
    read = _Read(design)
    kinds = [bool(size) for size in design.categories] + [True] * len(read.gappy)
    return read, kinds


def _sampler(categorical: Sequence[bool], seed: int, strategy: Mapping[int, int]) -> Any:
    try:
        from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC
    except ImportError as error:
        raise NotInstalled(
            "spec.task.options.resample: smote is imbalanced-learn's, which is not installed",
            fix="pip install 'noria[resampling]', or write none",
        ) from error
    settings = {"random_state": seed, "k_neighbors": NEIGHBOURS, "sampling_strategy": strategy}
    if not any(categorical):
        return SMOTE(**settings)
    if all(categorical):
        return SMOTEN(**settings)
    return SMOTENC([j for j, one in enumerate(categorical) if one], **settings)


def sentences_of(options: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[str]:
    """Say how many rows were made, and what they brought."""
    said = []
    rows = options.get("resampled")
    if rows:
        each = ", ".join(f"{name} {one:,} to {other:,}" for name, (one, other) in rows.items())
        said.append(f"rows to fit on, by class, before SMOTE and after it: {each}.")
    if RESAMPLED in parameters:
        found = msgspec.convert(parameters[RESAMPLED], Against)
        each = ", ".join(
            f"{name} {value:.4g} (without: {found.without[name]:.4g})"
            for name, value in found.made.items()
        )
        said.append(f"with SMOTE, on {found.rows:,} held-out training rows: {each}.")
    return said
