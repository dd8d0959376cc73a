"""How many fields a message has, before protobuf makes objects of them.

A field of two bytes becomes an object of a hundred: a message within the size limit could
ask for forty times its size. Small messages are not looked at. Wire format: protobuf.dev,
"Encoding".
"""

from __future__ import annotations

from typing import Final

from serving.refusal import Refusal

_SMALL: Final = 1 << 16
_MAX_FIELDS: Final = 100_000
"""Of the request and of its tensors: ten each for as many tensors as are read."""
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_INPUTS: Final = 5
_MAX_VARINT: Final = 10


def check_fields(message: bytes) -> None:
    """Refuse a message of more fields than any request needs, its tensors' own included.

    Raises:
        Refusal: It has too many, or it is cut short or malformed at this depth.
    """
    if len(message) <= _SMALL:
        return
    fields = 0
    spans = [(0, len(message), True)]
    while spans:
        at, end, outer = spans.pop()
        while at < end:
            fields += 1
            if fields > _MAX_FIELDS:
                raise Refusal(400, f"request: more than {_MAX_FIELDS} fields")
            tag, at = _varint(message, at, end)
            kind = tag & 7
            if kind == _LENGTH:
                length, at = _varint(message, at, end)
                if outer and tag >> 3 == _INPUTS:
                    spans.append((at, at + length, False))
                at += length
            elif kind == _VARINT:
                _, at = _varint(message, at, end)
            elif kind in (_FIXED64, _FIXED32):
                at += 8 if kind == _FIXED64 else 4
            else:
                raise _malformed(message)
            if at > end:
                raise _malformed(message)


def _varint(message: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for place in range(_MAX_VARINT):
        if at >= end:
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at
    raise _malformed(message)


def _malformed(message: bytes) -> Refusal:
    return Refusal(400, f"request: {len(message)} bytes that are no message")
