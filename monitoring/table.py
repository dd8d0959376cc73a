"""Columns of rows, as detectors see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput, shorten
from noria.exchange.texts import lengths
from noria.predictions import DictColumn
from noria.values import text

Kind: TypeAlias = Literal["numeric", "categorical", "vector"]
FloatArray: TypeAlias = NDArray[np.float64]
CodeArray: TypeAlias = NDArray[np.int32]
VectorArray: TypeAlias = NDArray[np.float32]
ColumnArray: TypeAlias = FloatArray | CodeArray | VectorArray

MISSING: int = -1
"""The code of a missing categorical value."""


def text_of(value: Any) -> str:
    """Return a value as it is written in a category or an entity key; see ``noria.values.text``.

    What is missing is empty; what the rule has no text for is written as it comes.
    """
    if type(value) is str:
        return value
    try:
        return text(value) or ""
    except InvalidInput:
        return shorten(value)


def described(texts: DictColumn) -> bytes:
    """Return what is watched of a column of texts, whoever sent it: float64 bytes, NaN: missing."""
    # The last element is where code -1 points to.
    table = np.array(lengths((*texts.values, None)), np.float64)
    return table[np.frombuffer(texts.codes, np.int32)].tobytes()


def missing_vectors(values: ColumnArray) -> NDArray[np.bool_]:
    """Return which of n vectors are missing, in part or as a whole."""
    return np.asarray(np.isnan(values).any(axis=1))


@dataclass(frozen=True, slots=True)
class Column:
    """What one column holds.

    A numeric column is float64 with NaN for missing. A categorical column is
    int32 codes into ``categories``: -1 is missing, ``len(categories)`` is a
    value that training never saw, and one more is a value that it saw and that
    is not among the categories. A vector column is float32, ``width`` numbers a row, with NaN
    in all of them for missing.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    width: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row: empty but for a vector."""
        return (self.width,) if self.kind == "vector" else ()

    @property
    def unseen(self) -> int:
        """The code of every value that is not in ``categories``."""
        return len(self.categories)

    @property
    def rare(self) -> int:
        """The code of every value that training saw beyond ``categories``."""
        return len(self.categories) + 1


@dataclass(frozen=True, slots=True)
class Table:
    """Rows by column; every array has ``rows`` elements, or rows of a vector's width."""

    schema: tuple[Column, ...]
    columns: Mapping[str, ColumnArray]
    rows: int

    def __post_init__(self) -> None:
        for column in self.schema:
            values = self.columns.get(column.name)
            if values is None or values.shape != (self.rows, *column.shape):
                got = "nothing" if values is None else f"shape {values.shape}"
                raise InvalidInput(
                    f"column {column.name!r}: {got} where {self.rows} rows are expected"
                )

    @classmethod
    def from_matrix(cls, matrix: NDArray[np.float64], names: Sequence[str] = ()) -> Table:
        """Return the columns of an n x d matrix as a numeric table; names default to x0, x1, ..."""
        chosen = tuple(names) or tuple(f"x{i}" for i in range(matrix.shape[1]))
        columns = {
            name: np.ascontiguousarray(matrix[:, i], dtype=np.float64)
            for i, name in enumerate(chosen)
        }
        return cls(tuple(Column(name, "numeric") for name in chosen), columns, matrix.shape[0])

    def select(self, names: Sequence[str]) -> Table:
        """Return only the columns called ``names``, in that order.

        Raises:
            InvalidInput: the table has no column of that name.
        """
        known = {column.name: column for column in self.schema}
        absent = [name for name in names if name not in known]
        if absent:
            raise InvalidInput(
                f"column {absent[0]!r} is not in the reference",
                fix=f"use some of: {', '.join(known)}",
            )
        return Table(
            tuple(known[name] for name in names),
            {name: self.columns[name] for name in names},
            self.rows,
        )

    def vectors(self) -> tuple[str, ...]:
        """Return the names of the columns that are vectors."""
        return tuple(column.name for column in self.schema if column.kind == "vector")

    def whole(self) -> Table:
        """Return the rows that lack no vector: a joint test has no place for the others."""
        there = np.ones(self.rows, dtype=bool)
        for name in self.vectors():
            there &= ~missing_vectors(self.columns[name])
        return self if there.all() else self.take(np.flatnonzero(there))

    def take(self, rows: NDArray[np.int64]) -> Table:
        """Return the rows at these positions."""
        return Table(
            self.schema, {name: values[rows] for name, values in self.columns.items()}, len(rows)
        )

    def slice(self, start: int, stop: int) -> Table:
        """Return rows ``start`` to ``stop`` (exclusive) without copying."""
        stop = min(stop, self.rows)
        return Table(
            self.schema,
            {name: values[start:stop] for name, values in self.columns.items()},
            stop - start,
        )
