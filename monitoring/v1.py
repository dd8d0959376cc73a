"""From a V1 body (``instances``, ``predictions``), as KServe's logger has it, to V2's tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from monitoring.tensors import BYTES, Tensor
from noria.errors import InvalidInput, shorten

_MOST_DIMENSIONS: Final = 8
_MATRIX: Final = 2


class _Request(msgspec.Struct):
    instances: list[Any]


class _Response(msgspec.Struct):
    predictions: list[Any]


_request = msgspec.json.Decoder(_Request)
_response = msgspec.json.Decoder(_Response)


def read_instances(body: bytes | memoryview, names: Sequence[str]) -> list[Tensor]:
    """Return the inputs of a request, one tensor each.

    Rows that are lists have the features ``names`` in their order, all of them; where there is
    one alone, a row may be its value, and so may be its vector.

    Raises:
        msgspec.DecodeError: it is no V1 request.
        InvalidInput: rows are of different kinds, or do not fit the features.
    """
    rows = _request.decode(body).instances
    if rows and isinstance(rows[0], dict):
        return _by_key(rows, "instances")
    if rows and isinstance(rows[0], list) and len(rows[0]) == len(names):
        nested = any(isinstance(value, list) for value in rows[0])
        if nested or len(names) > 1:
            _check_alike(rows, list, "instances")
            for place, row in enumerate(rows):
                if len(row) != len(names):
                    raise InvalidInput(
                        f"instances[{place}]: {len(row)} values for {len(names)} features",
                        fix=f"send one for each of {shorten(list(names))}",
                    )
            return [
                tensor_of(name, [row[place] for row in rows]) for place, name in enumerate(names)
            ]
    if len(names) == 1 and rows:
        return [tensor_of(names[0], rows)]
    raise InvalidInput(
        f"instances[0]: {shorten(rows[:1])} does not fit {len(names)} features",
        fix="send objects, with a key for each input",
    )


def read_predictions(body: bytes | memoryview) -> list[Tensor]:
    """Return the outputs of a response: one ``prediction``, or one for each key.

    Raises:
        msgspec.DecodeError: it is no V1 response.
        InvalidInput: rows are of different kinds.
    """
    rows = _response.decode(body).predictions
    if rows and isinstance(rows[0], dict):
        return _by_key(rows, "predictions")
    return [tensor_of("prediction", rows)] if rows else []


def tensor_of(name: str, values: list[Any]) -> Tensor:
    """Return a column of values, or of lists of them, as a tensor; its first row says the shape."""
    shape, first = [len(values)], values[0] if values else None
    while isinstance(first, list) and len(shape) < _MOST_DIMENSIONS:
        shape.append(len(first))
        first = first[0] if first else None
    # A vector that is missing is as many numbers that are.
    if len(shape) == _MATRIX and None in values:
        values = [[None] * shape[1] if value is None else value for value in values]
    texts = any(isinstance(value, str) for value in values) or isinstance(first, str)
    return Tensor(name, shape, BYTES if texts else "FP64", values)


def _by_key(rows: Sequence[Any], where: str) -> list[Tensor]:
    _check_alike(rows, dict, where)
    names: Mapping[str, None] = dict.fromkeys(name for row in rows for name in row)
    return [tensor_of(name, [row.get(name) for row in rows]) for name in names]


def _check_alike(rows: Sequence[Any], kind: type, where: str) -> None:
    for place, row in enumerate(rows):
        if not isinstance(row, kind):
            said = "an object" if kind is dict else "a list"
            raise InvalidInput(
                f"{where}[{place}]: {shorten(row)} is not like the first, which is {said}",
                fix="send all rows alike",
            )
