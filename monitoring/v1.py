"""KServe's V1 bodies as those of the Open Inference Protocol, which the monitor reads.

KServe, "V1 inference protocol": ``{"instances": [...]}`` and ``{"predictions": [...]}``. An
instance is an object by column, or a list of the watched features in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from monitoring.events import Event
from noria.cloudevents import REQUEST_TYPE
from noria.errors import InvalidInput, shorten

_UNTYPED: Final = ""
"""The monitor looks at the values, not at what they are said to be."""


class _Request(msgspec.Struct):
    instances: list[Any]


class _Response(msgspec.Struct):
    predictions: list[Any]


_request = msgspec.json.Decoder(_Request)
_response = msgspec.json.Decoder(_Response)


def as_v2(event: Event, features: Sequence[str]) -> bytes:
    """Return the V2 body that says the same.

    Raises:
        InvalidInput: The body is not a V1 request or response of this model.
    """
    try:
        if event.type == REQUEST_TYPE:
            rows = _request.decode(event.body).instances
            tensors = [
                {"name": name, "shape": [len(rows)], "datatype": _UNTYPED, "data": data}
                for name, data in _columns(rows, "instances", features).items()
            ]
            return msgspec.json.encode({"inputs": tensors})
        rows = _response.decode(event.body).predictions
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"data: not a V1 inference body: {error}") from error
    return msgspec.json.encode({"outputs": _outputs(rows)})


def _columns(rows: list[Any], where: str, names: Sequence[str]) -> dict[str, list[Any]]:
    if all(isinstance(row, dict) for row in rows):
        known = dict.fromkeys(name for row in rows for name in row)
        return {name: [row.get(name) for row in rows] for name in known}
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise InvalidInput(
                f"{where}[{i}]: {shorten(row)} is no list of the {len(names)} watched features",
                fix="send objects by column",
            )
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _outputs(rows: list[Any]) -> list[dict[str, Any]]:
    if rows and all(isinstance(row, dict) for row in rows):
        return [
            {"name": name, "shape": [len(rows)], "datatype": _UNTYPED, "data": data}
            for name, data in _columns(rows, "predictions", ()).items()
        ]
    widths = {len(row) if isinstance(row, list) else 0 for row in rows}
    if len(widths) > 1:
        raise InvalidInput(f"predictions: values of different lengths: {sorted(widths)}")
    width = next(iter(widths), 0)
    shape = [len(rows), width] if width else [len(rows)]
    return [{"name": "prediction", "shape": shape, "datatype": _UNTYPED, "data": rows}]
