"""What computes a plan's columns of a matrix, in training as in serving.

What the operations learnt from training rows (tables of categories, directions of components) is
in arrays beside the plan. All of a kind are computed at once, for one row as for many. Only numpy
is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from noria.errors import IntegrityError
from noria.tasks.arrays import pack, unpack
from noria.tasks.tabular.plans import ARITHMETIC, Plan
from noria.tasks.tabular.scorers import Scorer

Array = NDArray[np.float64]
Places = NDArray[np.int64]
FILE: Final = "derived.json"
ARRAYS: Final = "derived.npz"


@dataclass(frozen=True, slots=True, eq=False)
class Derived:
    """A plan with the places of its columns in a (n, d) matrix, and what was learnt for it.

    Args:
        plan: Of m computed columns.
        kept: Places of the columns that the model reads itself.
        pairs: (2, a) places that each arithmetic column reads.
        looked: (2, t) places of category and number of each column that looks a category up;
            -1 where there is no number.
        starts: (t + 1,) where the table of each begins; its last row is that of a missing value.
        table: What is looked up, tables one after another.
        numbers: (p,) places that components are of.
        centre: (p,) their means.
        directions: (p, c) of the components, divided by the numbers' spreads.
    """

    plan: Plan
    kept: Places
    pairs: Places
    looked: Places
    starts: Places
    table: Array
    numbers: Places
    centre: Array
    directions: Array

    def columns(self, matrix: Array) -> Array:
        """Return the (n, m) computed columns of n rows."""
        out = np.empty((matrix.shape[0], len(self.plan.made)))
        first = self._arithmetic(matrix, out)
        many = self.looked.shape[1]
        if many:
            out[:, first : first + many] = self._looked_up(matrix)
        if self.numbers.size:
            values = matrix[:, self.numbers] - self.centre
            out[:, first + many :] = np.where(np.isnan(values), 0.0, values) @ self.directions
        infinite = np.isinf(out)
        if infinite.any():
            out[infinite] = np.nan
        return out

    def widen(self, matrix: Array) -> Array:
        """Return what the model reads: the kept columns, then the computed ones."""
        return np.asarray(np.hstack([matrix[:, self.kept], self.columns(matrix)]))

    def _arithmetic(self, matrix: Array, out: Array) -> int:
        if not self.pairs.size:
            return 0
        left, right = matrix[:, self.pairs[0]], matrix[:, self.pairs[1]]
        first = 0
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for operation in ARITHMETIC:
                last = first + len(self.plan.of(operation))
                if last > first:
                    part = slice(first, last)
                    # A division by 0 is infinite, which counts as missing.
                    _UFUNCS[operation](left[:, part], right[:, part], out=out[:, part])
                first = last
        return first

    def _looked_up(self, matrix: Array) -> Array:
        codes = matrix[:, self.looked[0]]
        last = np.diff(self.starts) - 1
        known = (codes >= 0) & (codes < last)
        found = self.table[np.where(known, codes, last).astype(np.int64) + self.starts[:-1]]
        off = len(self.plan.of("deviation"))
        if off:
            found[:, -off:] = matrix[:, self.looked[1, -off:]] - found[:, -off:]
        return np.asarray(found)

    def files(self) -> dict[str, bytes]:
        """Return the plan and its arrays."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return {FILE: msgspec.json.encode(self.plan), ARRAYS: pack(arrays)}


_ARRAYS: Final = (
    "kept", "pairs", "looked", "starts", "table", "numbers", "centre", "directions",
)  # fmt: skip
_UFUNCS: Final[Mapping[str, Any]] = {
    "difference": np.subtract,
    "sum": np.add,
    "ratio": np.divide,
    "product": np.multiply,
}


@dataclass(frozen=True, slots=True, eq=False)
class DerivedScorer:
    """A scorer of a matrix with computed columns."""

    derived: Derived
    inner: Scorer

    def raw(self, matrix: Array) -> Array:
        """Return (n, k) scores."""
        return self.inner.raw(self.derived.widen(matrix))

    def files(self) -> dict[str, bytes]:
        """Return the inner scorer's files, the plan and its arrays."""
        return {**self.inner.files(), **self.derived.files()}


def load(files: Mapping[str, bytes], inner: Scorer, folder: str = "") -> Scorer:
    """Return the scorer that computes what ``inner`` reads, or ``inner`` when there is no plan.

    Raises:
        IntegrityError: A file is missing or malformed.
    """
    path = f"{folder}{FILE}"
    if path not in files:
        return inner
    try:
        plan = msgspec.json.decode(files[path], type=Plan)
        arrays = unpack(files[f"{folder}{ARRAYS}"], f"{folder}{ARRAYS}")
        return DerivedScorer(Derived(plan, **{name: arrays[name] for name in _ARRAYS}), inner)
    except (msgspec.DecodeError, KeyError) as error:
        raise IntegrityError(f"{path}: {error}", fix="train again") from error
