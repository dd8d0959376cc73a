"""Binary tensors of the Open Inference Protocol: what follows a body's JSON, one after another.

The header ``Inference-Header-Content-Length`` says how many bytes the JSON has, and each tensor's
``binary_data_size`` how many of those that follow are its own. Source: Triton's
``extension_binary_data.md``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final

import numpy as np

from noria.errors import InvalidInput, shorten
from noria.exchange.datatypes import Datatype

LENGTH_HEADER: Final = "Inference-Header-Content-Length"
SIZE: Final = "binary_data_size"
"""The parameter of a tensor that is binary."""

_MAX_DIGITS: Final = 12
_LENGTH: Final = struct.Struct("<I")
_decoder: Final = json.JSONDecoder()


class BinaryData:
    """The bytes after a body's JSON, taken tensor by tensor in the order of the tensors."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._taken = 0

    def take(self, field: str, size: object) -> memoryview:
        """Return the bytes of the next tensor.

        Args:
            field: Where its ``size`` was said, for messages.
            size: What its parameter ``SIZE`` holds.

        Raises:
            InvalidInput: So many are not there.
        """
        if type(size) is not int or size < 0:
            raise InvalidInput(f"{field}: {shorten(size)} is not a number of bytes")
        left = len(self._data) - self._taken
        if size > left:
            raise InvalidInput(f"{field}: {size}, but only {left} bytes are left in the body")
        start, self._taken = self._taken, self._taken + size
        return self._data[start : start + size]

    def check_end(self) -> None:
        """Refuse bytes that no tensor took.

        Raises:
            InvalidInput: There are some.
        """
        if left := len(self._data) - self._taken:
            raise InvalidInput(f"body: {left} bytes after the last binary tensor")


def split(body: bytes, length: str) -> tuple[bytes, BinaryData]:
    """Return a body's JSON and what follows it; ``length`` is the value of ``LENGTH_HEADER``.

    Raises:
        InvalidInput: It is no such number.
    """
    if not (length.isascii() and length.isdigit()) or len(length) > _MAX_DIGITS:
        raise InvalidInput(f"{LENGTH_HEADER}: {shorten(length)} is not a number of bytes")
    if int(length) > len(body):
        raise InvalidInput(f"{LENGTH_HEADER}: {length}, but the body has {len(body)} bytes")
    return body[: int(length)], BinaryData(memoryview(body)[int(length) :])


def split_untold(body: bytes) -> tuple[bytes, BinaryData]:
    """Return the same of a body whose header nobody kept: its JSON ends where its object does.

    Raises:
        InvalidInput: It does not begin with a JSON object.
    """
    # A byte is a character so, and none of UTF-8's further bytes is one of JSON's signs.
    text = body.decode("latin-1")
    try:
        _, end = _decoder.raw_decode(text, len(text) - len(text.lstrip(" \t\r\n")))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"body: does not begin with JSON: {shorten(str(error))}") from error
    return body[:end], BinaryData(memoryview(body)[end:])


def from_raw(
    field: str,
    datatype: Datatype,
    shape: Sequence[int],
    raw: bytes | memoryview,
    read: Callable[[str, Sequence[bytes]], np.ndarray[Any, Any]] | None = None,
) -> np.ndarray[Any, Any]:
    """Return the values of a binary tensor: little-endian, or length-prefixed for BYTES.

    ``read`` makes values of the elements of BYTES; None: texts, by ``decode_strings``.

    Raises:
        InvalidInput: The size does not fit the shape, or a string is not UTF-8.
    """
    count = prod(shape)
    if datatype.group == "bytes":
        return (read or decode_strings)(field, _length_prefixed(field, count, raw))
    expected = count * datatype.size
    if len(raw) != expected:
        raise InvalidInput(
            f"{field}: {len(raw)} bytes of data; {datatype.name} of shape {list(shape)} needs "
            f"{expected}"
        )
    values = np.frombuffer(raw, dtype=datatype.dtype)
    if datatype.group == "boolean":
        given = values.view(np.uint8)
        if given.max(initial=0) > 1:
            place = int(np.argmax(given > 1))
            raise InvalidInput(
                f"{field}: the byte of element {place} is {given[place]}, and a BOOL is 0 or 1"
            )
    return values


def decode_strings(field: str, values: Sequence[bytes]) -> np.ndarray[Any, Any]:
    """Return BYTES elements as an object array of str.

    Raises:
        InvalidInput: One of them is not UTF-8.
    """
    out = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        try:
            out[place] = value.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{field}: the string of element {place} is not UTF-8") from error
    return out


def keep_bytes(field: str, values: Sequence[bytes]) -> np.ndarray[Any, Any]:
    """Return BYTES elements as an object array of bytes: files, which are no texts."""
    del field
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def _length_prefixed(field: str, count: int, raw: bytes | memoryview) -> list[bytes]:
    elements: list[bytes] = []
    offset = 0
    end = len(raw)
    while offset < end and len(elements) < count:
        if end - offset < _LENGTH.size:
            raise InvalidInput(
                f"{field}: BYTES data ends inside the length of element {len(elements)}"
            )
        (length,) = _LENGTH.unpack_from(raw, offset)
        offset += _LENGTH.size
        if length > end - offset:
            raise InvalidInput(
                f"{field}: BYTES element {len(elements)} has {length} bytes, and {end - offset} "
                "are left"
            )
        elements.append(bytes(raw[offset : offset + length]))
        offset += length
    if len(elements) != count or offset != end:
        raise InvalidInput(
            f"{field}: BYTES data does not hold exactly the {count} elements that the shape says: "
            f"{len(elements)} are there, and {end - offset} bytes after them"
        )
    return elements
