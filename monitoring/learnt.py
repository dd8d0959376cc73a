"""What windows are compared with where training says nothing: the champion's first exchanges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from monitoring.reference import Reference, prediction_table
from monitoring.rows import Piece, encode
from monitoring.table import MISSING, Column, ColumnArray, Kind, Table
from noria.errors import InvalidInput
from noria.measures.measurement import Measurement
from noria.predictions import DictColumn

MOST_CATEGORIES: Final = 50
"""Of a column; the others were seen, and are told apart no more."""

NOTHING: Final = Reference(
    features=Table((), {}, 0),
    prediction=prediction_table(np.empty(0)),
    ranges={},
    missing={},
    seen={},
    performance={},
)
"""What is known before anything is learnt."""


class LearntColumn(msgspec.Struct, frozen=True, array_like=True):
    """A column: float64 bytes, or int32 codes into ``categories``, which are all when ``whole``."""

    name: str
    kind: Kind
    categories: tuple[str, ...]
    whole: bool
    values: bytes


class LearntFeatures(msgspec.Struct, frozen=True, array_like=True):
    """The first rows, as they are kept."""

    rows: int
    columns: tuple[LearntColumn, ...]

    def table(self) -> Table:
        """Return them as the detectors see them.

        Raises:
            InvalidInput: The columns do not fit the rows.
        """
        schema = tuple(Column(one.name, one.kind, one.categories) for one in self.columns)
        return Table(schema, {one.name: _values(one) for one in self.columns}, self.rows)

    def missing(self) -> dict[str, float]:
        """Return the share of the rows that lack each column, 0 to 1."""
        return {one.name: _missing(_values(one)) for one in self.columns}

    def seen(self) -> dict[str, frozenset[int] | None]:
        """Return, as of a ``Reference``, that nothing but the categories was seen; None: more."""
        return {
            one.name: frozenset() if one.whole else None
            for one in self.columns
            if one.kind == "categorical"
        }


def learn_features(kinds: Mapping[str, Kind], pieces: Sequence[Piece]) -> LearntFeatures:
    """Take rows as what later ones are compared with.

    Args:
        kinds: The columns: numbers and categories.
        pieces: The rows, in order.
    """
    found = {name: _categories(name, pieces) for name, kind in kinds.items() if kind != "numeric"}
    schema = tuple(
        Column(name, kind, found.get(name, ())[:MOST_CATEGORIES]) for name, kind in kinds.items()
    )
    table = encode(schema, pieces)
    columns = tuple(
        LearntColumn(
            column.name,
            column.kind,
            column.categories,
            len(found.get(column.name, ())) <= MOST_CATEGORIES,
            _within(column, table.columns[column.name]).tobytes(),
        )
        for column in schema
    )
    return LearntFeatures(table.rows, columns)


def read_features(body: bytes) -> LearntFeatures:
    """Read rows that were kept.

    Raises:
        InvalidInput: They are damaged.
    """
    try:
        return msgspec.msgpack.decode(body, type=LearntFeatures)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"the learnt rows can't be read: {error}") from error


def read_performance(body: bytes) -> dict[str, Measurement]:
    """Read metrics that were kept, by name.

    Raises:
        InvalidInput: They are damaged.
    """
    try:
        return msgspec.msgpack.decode(body, type=dict[str, Measurement])
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"the learnt performance can't be read: {error}") from error


def _categories(name: str, pieces: Sequence[Piece]) -> tuple[str, ...]:
    """Return the values of a column, the most frequent first."""
    counts: Counter[str] = Counter()
    for piece in pieces:
        column = piece.record.columns.get(name)
        if isinstance(column, DictColumn):
            codes = np.frombuffer(column.codes, np.int32)[piece.start : piece.stop]
            counts.update(column.values[code] for code in codes.tolist() if code != MISSING)
    return tuple(sorted(counts, key=lambda value: (-counts[value], value)))


def _within(column: Column, values: ColumnArray) -> ColumnArray:
    """Return codes with what is not among the categories as missing, as training keeps them."""
    if column.kind == "numeric":
        return values
    return np.where(values >= len(column.categories), MISSING, values).astype(np.int32)


def _values(column: LearntColumn) -> ColumnArray:
    try:
        if column.kind == "numeric":
            return np.frombuffer(column.values, np.float64)
        return np.frombuffer(column.values, np.int32)
    except ValueError as error:
        raise InvalidInput(f"{column.name}: {len(column.values)} bytes are no column") from error


def _missing(values: ColumnArray) -> float:
    if not values.size:
        return 0.0
    return float((np.isnan(values) if values.dtype.kind == "f" else values < 0).mean())
