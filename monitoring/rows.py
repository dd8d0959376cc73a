"""From logged requests to one window's table, encoded against a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np

from monitoring.records import Requests, floats, matrix_of
from monitoring.table import (
    MISSING,
    CodeArray,
    Column,
    ColumnArray,
    FloatArray,
    Table,
    VectorArray,
    text_of,
)
from noria.predictions import DictColumn
from noria.seen import hash_of

Seen: TypeAlias = Mapping[str, frozenset[int] | None]


class Piece(NamedTuple):
    """Rows ``start`` to ``stop`` (exclusive) of a record; ``seq`` is its pair's number."""

    seq: int
    record: Requests
    start: int
    stop: int


def encode(
    schema: tuple[Column, ...], pieces: Sequence[Piece], seen: Seen = MappingProxyType({})
) -> Table:
    """Return the rows of ``pieces``, in order, as a table of this schema.

    A column that a request lacks is missing in its rows, and so is a vector of another width.
    ``seen`` are the hashes of categories that training had beyond the schema's, by column; None
    where any may have been seen.
    """
    rows = sum(piece.stop - piece.start for piece in pieces)
    are_whole = all(piece.stop - piece.start == piece.record.rows for piece in pieces)
    columns: dict[str, ColumnArray] = {}
    for column in schema:
        if column.kind == "vector":
            columns[column.name] = _vectors(column, pieces)
        elif column.kind == "numeric":
            columns[column.name] = _numbers(column, pieces, are_whole=are_whole)
        else:
            columns[column.name] = _codes(column, pieces, seen.get(column.name, frozenset()))
    return Table(schema, columns, rows)


def _numbers(column: Column, pieces: Sequence[Piece], *, are_whole: bool) -> FloatArray:
    found_in = (piece.record.columns.get(column.name) for piece in pieces)
    whole = [found for found in found_in if isinstance(found, bytes)]
    if len(whole) == len(pieces) and are_whole:
        return floats(b"".join(whole))
    size = 8
    parts: list[bytes] = []
    for piece in pieces:
        found = piece.record.columns.get(column.name)
        if isinstance(found, bytes):
            parts.append(
                found
                if piece.stop - piece.start == piece.record.rows
                else found[piece.start * size : piece.stop * size]
            )
        elif found is None:
            parts.append(np.full(piece.stop - piece.start, np.nan).tobytes())
        else:
            parts.append(_parsed(found)[piece.start : piece.stop].tobytes())
    # One copy, whatever the number of requests.
    return floats(b"".join(parts))


def _vectors(column: Column, pieces: Sequence[Piece]) -> VectorArray:
    parts: list[VectorArray] = []
    for piece in pieces:
        found = piece.record.vectors.get(column.name)
        if found is not None and found.width == column.width:
            parts.append(matrix_of(found)[piece.start : piece.stop])
        else:
            size = (piece.stop - piece.start, column.width)
            parts.append(np.full(size, np.nan, np.float32))
    return np.concatenate(parts) if parts else np.empty((0, column.width), np.float32)


class _Places(dict[str, int]):
    """Text to code: of a category its place, of others whether training saw them."""

    def __init__(self, column: Column, seen: frozenset[int] | None) -> None:
        super().__init__((category, i) for i, category in enumerate(column.categories))
        self._column = column
        self._seen = seen

    def __missing__(self, text: str) -> int:
        known = self._seen is None or (bool(self._seen) and hash_of(text) in self._seen)
        return self._column.rare if known else self._column.unseen


def _codes(column: Column, pieces: Sequence[Piece], seen: frozenset[int] | None) -> CodeArray:
    places = _Places(column, seen)
    parts: list[CodeArray | list[int]] = []
    for piece in pieces:
        found = piece.record.columns.get(column.name)
        if isinstance(found, bytes):
            found = _written(floats(found))
        if found is None:
            parts.append([MISSING] * (piece.stop - piece.start))
        elif piece.record.rows == 1:
            # Most requests have one row: no array for it.
            parts.append([places[found.values[0]] if found.values else MISSING])
        else:
            # The last element is where code -1 points to.
            table = np.array([*map(places.__getitem__, found.values), MISSING], np.int32)
            parts.append(table[np.frombuffer(found.codes, np.int32)][piece.start : piece.stop])
    if all(isinstance(part, list) for part in parts):
        return np.array([code for part in parts for code in part], np.int32)
    return np.concatenate([np.asarray(part, np.int32) for part in parts])


def _parsed(found: DictColumn) -> FloatArray:
    """Return texts as numbers where the reference has numbers: true is 1, no number is missing."""
    table = np.array([_number(value) for value in found.values] + [np.nan])
    chosen: FloatArray = table[np.frombuffer(found.codes, np.int32)]
    return chosen


def _number(value: str) -> float:
    if value in ("true", "false"):
        return float(value == "true")
    try:
        return float(value)
    except ValueError:
        return float("nan")


def _written(values: FloatArray) -> DictColumn:
    """Return numbers as texts where the reference has categories."""
    distinct, inverse = np.unique(values, return_inverse=True)
    kept = np.where(np.isnan(values), MISSING, inverse.reshape(values.shape)).astype(np.int32)
    return DictColumn(tuple(text_of(float(value)) for value in distinct), kept.tobytes())
