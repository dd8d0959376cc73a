"""A tensor of a V2 body, as it is read: its values are looked at only where they are watched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
import numpy as np

from monitoring.events import Event
from noria.errors import InvalidInput, shorten
from noria.exchange.binary import SIZE, BinaryData, from_raw, split, split_untold
from noria.exchange.datatypes import DATATYPES

BYTES: Final = "BYTES"
_SIZE: Final = SIZE.encode()
_NOTHING: Final = BinaryData(memoryview(b""))

Data: TypeAlias = list[Any] | np.ndarray[Any, Any]
"""Values: flat or nested lists, or of a binary tensor a flat array."""
_Body = TypeVar("_Body")


class Tensor(msgspec.Struct):
    """A named tensor; ``data`` is ``Data``, or not there while it is still binary."""

    name: str
    shape: list[int]
    datatype: str
    data: Any = msgspec.UNSET
    parameters: Any = None


def read_body(decoder: msgspec.json.Decoder[_Body], event: Event) -> tuple[_Body, BinaryData]:
    """Return a body's JSON, and the bytes of its binary tensors.

    Raises:
        msgspec.DecodeError: it is no such JSON.
        InvalidInput: the length of the JSON, which the event says, is not that.
    """
    if event.header_length:
        head, data = split(bytes(event.body), event.header_length)
        return decoder.decode(head), data
    try:
        return decoder.decode(event.body), _NOTHING
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # KServe's logger keeps the header of no answer, and of a request only where it is told to.
        body = bytes(event.body)
        if _SIZE not in body:
            raise
        head, data = split_untold(body)
        return decoder.decode(head), data


def read_binary(tensors: Sequence[Tensor], data: BinaryData, side: str) -> frozenset[str]:
    """Give each binary tensor its values; return the names of those that can't be read.

    Where the sizes do not account for every byte, nobody can tell whose they are: that is all.

    Args:
        tensors: of a request or an answer.
        data: the bytes of the binary ones.
        side: ``inputs`` or ``outputs``, for messages.

    Raises:
        InvalidInput: a tensor has no values, neither in JSON nor in bytes.
    """
    binary = {i: one for i, one in enumerate(tensors) if type(one.data) is not list}
    sizes = {i: _size(one, f"{side}[{i}]") for i, one in binary.items()}
    unread: set[str] = set()
    try:
        parts = {i: data.take(f"{side}[{i}]", size) for i, size in sizes.items()}
        data.check_end()
    except InvalidInput:
        return frozenset(one.name for one in binary.values())
    for i, tensor in binary.items():
        datatype = DATATYPES.get(tensor.datatype)
        try:
            if datatype is None:
                unread.add(tensor.name)
            else:
                tensor.data = from_raw(f"{side}[{i}]", datatype, tensor.shape, parts[i])
        except InvalidInput:
            unread.add(tensor.name)
    return frozenset(unread)


def _size(tensor: Tensor, where: str) -> object:
    if tensor.data is not msgspec.UNSET:
        raise InvalidInput(f"{where}.data: {shorten(tensor.data)} is not a list")
    said = tensor.parameters.get(SIZE) if isinstance(tensor.parameters, dict) else None
    if said is None:
        raise InvalidInput(f"{where}.data: missing, and there is no {SIZE}")
    return said
