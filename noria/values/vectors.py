"""Columns of vectors: a list of so many numbers in each row.

A vector is whole or missing as a whole. In frames and in columns of requests between Noria's parts
a column of n vectors is an object array of n float arrays, None where missing (Parquet writes it as
lists), or, where it is one piece, a float matrix of n rows, all of a row NaN where missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput, shorten

if TYPE_CHECKING:
    import pyarrow as pa


def is_list(kind: Any) -> bool:
    """Whether an Arrow type is of lists."""
    import pyarrow as pa

    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def matrix_of_lists(array: pa.Array) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return n Arrow lists as the (m, d) float matrix of those that are there, and which are (n,).

    float32 and float16 stay float32, all else becomes float64.

    Raises:
        InvalidInput: They are no lists of numbers, or of different lengths; the message says what.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    types, inner = pa.types, array.type.value_type
    if not (types.is_floating(inner) or types.is_integer(inner) or types.is_boolean(inner)):
        raise InvalidInput(f"a list of {inner} is not a vector")
    known = np.asarray(array.is_valid())
    lengths = pc.list_value_length(array).drop_null().to_numpy(zero_copy_only=False)
    if lengths.size and (lengths != lengths[0]).any():
        other = int(np.argmax(lengths != lengths[0]))
        row = int(np.flatnonzero(known)[other])
        raise InvalidInput(
            f"row {row + 1}: {lengths[other]} numbers, and {lengths[0]} in the rows before"
        )
    narrow = types.is_float16(inner) or types.is_float32(inner)
    wanted = pa.float32() if narrow else pa.float64()
    flat = array.flatten().cast(wanted).to_numpy(zero_copy_only=False)
    width = int(lengths[0]) if lengths.size else 0
    return flat.reshape(lengths.size, width), known


def objects(matrix: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[Any]:
    """Return an object array of vectors: the rows of the matrix where ``known``, else None."""
    found = np.empty(known.size, dtype=object)
    for place, row in zip(np.flatnonzero(known).tolist(), matrix, strict=True):
        found[place] = row
    return found


def holds_vectors(column: Iterable[Any]) -> bool:
    """Whether the first value of a frame's column that is there is a vector."""
    return isinstance(next((value for value in column if value is not None), None), np.ndarray)


def width_of(column: NDArray[Any]) -> int:
    """Return how many numbers the vectors of a column have; 0 when all are missing."""
    if column.ndim > 1:
        return int(column.shape[1])
    return next((len(vector) for vector in column if vector is not None), 0)


def stacked(column: NDArray[Any], width: int) -> NDArray[Any]:
    """Return a column of n vectors as an (n, width) float matrix, rows of NaN where missing.

    Raises:
        InvalidInput: A vector is of another width, or no list of numbers.
    """
    if column.ndim > 1:
        if column.shape[1:] != (width,) or column.dtype.kind not in "fiub":
            raise InvalidInput(
                f"shape {column.shape} of {column.dtype} where (n, {width}) numbers are expected"
            )
        return column
    nothing = np.full(width, np.nan, np.float32)
    kept = [nothing if vector is None else vector for vector in column]
    try:
        found = np.stack(kept) if kept else np.empty((0, width))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"its vectors have different lengths: {error}") from error
    if found.shape[1:] != (width,) or found.dtype.kind not in "fiub":
        raise InvalidInput(f"vectors of shape {found.shape[1:]} where {width} numbers are expected")
    return found


def aligned(column: Iterable[Any], width: int) -> NDArray[np.float64]:
    """Return n series, the newest value last, as an (n, width) matrix.

    A shorter one has NaN in front, of a longer one the newest values are there; None is NaN
    alone. A series may have NaN or None where a value is missing.

    Raises:
        InvalidInput: One holds something other than numbers, or an infinite one; it names the row.
    """
    rows = list(column)
    found = np.full((len(rows), width), np.nan)
    for place, one in enumerate(rows):
        if one is None:
            continue
        try:
            held = np.asarray(one, np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidInput(
                f"row {place + 1}: {shorten(one)} is no list of numbers", fix="send numbers"
            ) from error
        if held.ndim != 1 or np.isinf(held).any():
            raise InvalidInput(
                f"row {place + 1}: {shorten(one)} is no list of finite numbers",
                fix="send one list for each row; a missing value is null",
            )
        held = held[-width:]
        found[place, width - held.size :] = held
    return found
