"""One named tensor of a request, and how its values leave JSON, raw bytes and lists.

JSON numbers become a float64 buffer by ``struct.pack(f"{n}d", *values)``: three
times as fast as ``numpy.array(list)``, exact, and strict (a string, a null or a
nested list is an error, an integer too large for the datatype as well). Booleans
are the one thing it lets through; ``may_hold_booleans`` tells when to look for them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any, Final

import numpy as np

from noria.errors import shorten
from noria.exchange.datatypes import DATATYPES, Datatype
from noria.predictions import MAX_TEXT_CHARS
from serving.refusal import Refusal, bad

_MAX_DIMENSIONS: Final = 8
_MAX_ELEMENTS: Final = 1 << 26
_MAX_LITERALS_CHECKED: Final = 64
_EXACT: Final = 1 << 53
_FEW: Final = 16
_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor. ``values`` is flat, in row-major order; ``field`` says where it came from.

    ``values`` may hold NaN (a JSON null in a float tensor) and, for BYTES and BOOL, None.
    BYTES are ``str`` objects: every string of the protocol must be UTF-8 here.
    """

    field: str
    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    values: np.ndarray[Any, Any]


def datatype_of(value: object, field: str) -> Datatype:
    """Look a datatype up by its name.

    Raises:
        Refusal: There is no such datatype.
    """
    found = DATATYPES.get(value) if type(value) is str else None
    if found is None:
        raise bad(
            f"{field}.datatype", f"{shorten(value)} is not one of {', '.join(sorted(DATATYPES))}"
        )
    return found


def shape_of(value: object, field: str) -> tuple[int, ...]:
    """Check a shape.

    Raises:
        Refusal: It is not a list of one to eight non-negative integers.
    """
    if type(value) is not list or not 0 < len(value) <= _MAX_DIMENSIONS:
        raise bad(
            f"{field}.shape",
            f"{shorten(value)} is not a list of 1 to {_MAX_DIMENSIONS} integers, such as [3, 1]",
        )
    for size in value:
        if type(size) is not int or size < 0:
            raise bad(f"{field}.shape", f"{shorten(size)} is not a non-negative integer")
    if max(value) > _MAX_ELEMENTS or prod(value) > _MAX_ELEMENTS:
        raise bad(
            f"{field}.shape",
            f"{shorten(value)} has more than {_MAX_ELEMENTS} elements: send fewer rows",
        )
    return tuple(value)


def may_hold_booleans(body: bytes) -> bool:
    """Tell whether JSON text may hold ``true`` or ``false``; never a false negative.

    The keys of an inference request have few r and no f in them, so a body of
    numbers is cleared by one or two ``memchr`` passes.
    """
    return _may_hold(body, b"true", b"r", 1) or _may_hold(body, b"false", b"f", 0)


def _may_hold(body: bytes, literal: bytes, letter: bytes, offset: int) -> bool:
    at = body.find(letter)
    for _ in range(_MAX_LITERALS_CHECKED):
        if at < 0:
            return False
        if body.startswith(literal, max(at - offset, 0)):
            return True
        at = body.find(letter, at + 1)
    return True


def from_json(
    field: str,
    datatype: Datatype,
    shape: tuple[int, ...],
    data: object,
    *,
    look_for_booleans: bool,
) -> np.ndarray[Any, Any]:
    """Return the flat values of a JSON ``data`` list, flat or nested like ``shape``.

    Raises:
        Refusal: The structure does not fit the shape, or a value the datatype.
    """
    if type(data) is not list:
        raise bad(f"{field}.data", f"{shorten(data)} is not a list")
    count = prod(shape)
    if data and type(data[0]) is list:
        data = _flatten(data, shape, f"{field}.data")
    if len(data) != count:
        raise bad(f"{field}.data", f"{len(data)} values; the shape {list(shape)} needs {count}")
    group = datatype.group
    if group == "bytes":
        return _strings(data, f"{field}.data")
    if group == "boolean":
        kinds = set(map(type, data))
        if kinds - {bool, type(None)}:
            raise _explain(data, datatype, f"{field}.data")
        return np.array(data, dtype=object if type(None) in kinds else np.bool_)
    if look_for_booleans and bool in set(map(type, data)):
        raise _explain(data, datatype, f"{field}.data")
    try:
        packed = struct.pack(_format(datatype, count), *data)
    except (struct.error, OverflowError):
        if group == "float" and None in data:
            nulls_as_nan = [np.nan if value is None else value for value in data]
            return from_json(
                field, datatype, shape, nulls_as_nan, look_for_booleans=look_for_booleans
            )
        raise _explain(data, datatype, f"{field}.data") from None
    values = np.frombuffer(packed, dtype=datatype.dtype)
    if datatype.code == "d":
        _refuse_lost_digits(data, values, f"{field}.data")
    return values


def _refuse_lost_digits(data: list[Any], values: np.ndarray[Any, Any], field: str) -> None:
    """Refuse a whole number that float64 can't hold; its fraction is all that JSON may lose."""
    if len(data) <= _FEW:
        large = [i for i, v in enumerate(data) if type(v) is int and not -_EXACT <= v <= _EXACT]
    elif values.max() > _EXACT or values.min() < -_EXACT:
        large = np.flatnonzero(np.abs(values) > _EXACT).tolist()
    else:
        return
    for place in large:
        if type(data[place]) is int and int(values[place]) != data[place]:
            raise bad(
                f"{field}[{place}]",
                f"{data[place]} is beyond 2^53, where FP64 does not hold every whole number",
            )


def check_texts(tensors: Sequence[Tensor]) -> None:
    """Refuse texts that are too long. A body that is no longer itself holds none.

    Raises:
        Refusal: One is longer than ``MAX_TEXT_CHARS``.
    """
    for tensor in tensors:
        if tensor.datatype.group != "bytes":
            continue
        for place, text in enumerate(tensor.values.tolist()):
            if text is not None and len(text) > MAX_TEXT_CHARS:
                raise bad(
                    f"{tensor.field}.data[{place}]",
                    f"{len(text)} characters; at most {MAX_TEXT_CHARS} are read: send less",
                )


def to_raw(values: np.ndarray[Any, Any], datatype: Datatype) -> bytes:
    """Return the binary form of an output tensor."""
    if datatype.group != "bytes":
        return np.ascontiguousarray(values, dtype=datatype.dtype).tobytes()
    parts: list[bytes] = []
    for value in values.ravel().tolist():
        encoded = str(value).encode()
        parts.append(_LENGTH.pack(len(encoded)))
        parts.append(encoded)
    return b"".join(parts)


def _format(datatype: Datatype, count: int) -> str:
    # Native doubles are packed faster; native floats would turn 1e39 into infinity.
    return f"{count}d" if datatype.code == "d" else f"<{count}{datatype.code}"


def _flatten(data: list[Any], shape: tuple[int, ...], field: str) -> list[Any]:
    if len(data) != shape[0]:
        raise bad(field, f"{len(data)} items; the shape {list(shape)} needs {shape[0]}")
    for size in shape[1:]:
        for place, item in enumerate(data):
            if type(item) is not list or len(item) != size:
                raise bad(
                    f"{field}[{place}]",
                    f"{shorten(item, 40)} is not a list of {size}, as the shape {list(shape)} says",
                )
        data = list(chain.from_iterable(data))
    return data


def _strings(data: list[Any], field: str) -> np.ndarray[Any, Any]:
    if set(map(type, data)) - {str, type(None)}:
        raise _explain(data, DATATYPES["BYTES"], field)
    out = np.empty(len(data), dtype=object)
    out[:] = data
    return out


def _explain(data: list[Any], datatype: Datatype, field: str) -> Refusal:
    """Find the value that does not fit, now that one is known not to."""
    wanted = {
        "float": "a number",
        "integer": "an integer",
        "boolean": "true or false",
        "bytes": "a string",
    }[datatype.group]
    for place, value in enumerate(data):
        if not _fits(value, datatype):
            said = shorten(value, 40)
            return bad(f"{field}[{place}]", f"{said} is not {wanted} that {datatype.name} can hold")
    return bad(field, f"not a list of {datatype.name} values")


def _fits(value: object, datatype: Datatype) -> bool:
    group = datatype.group
    if group == "bytes":
        return value is None or type(value) is str
    if group == "boolean":
        return value is None or type(value) is bool
    if type(value) is bool:
        return False
    try:
        struct.pack(_format(datatype, 1), value)
    except (struct.error, OverflowError, TypeError):
        return False
    return True
