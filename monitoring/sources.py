"""The sources of many labels, as they are kept: each name once, and nothing for feedback alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from noria.errors import InvalidInput
from noria.labels import FEEDBACK, checked_source

_CODE: Final = np.dtype(np.uint32)
"""A name for each label of the largest request has a code."""


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """``codes`` (uint32) are places in ``names``, one for each label."""

    names: tuple[str, ...]
    codes: bytes


_decoder: Final = msgspec.msgpack.Decoder(_Packed)


def pack(sources: Sequence[str]) -> bytes | None:
    """Return sources as they are kept; None when all of them are feedback."""
    places = {name: place for place, name in enumerate(dict.fromkeys(sources))}
    if not places.keys() - {FEEDBACK}:
        return None
    codes = np.array([places[name] for name in sources], _CODE).tobytes()
    return msgspec.msgpack.encode(_Packed(tuple(places), codes))


def unpack(body: bytes | None, labels: int) -> list[str]:
    """Return the source of each of so many labels; those of an earlier version are feedback."""
    if not body:
        return [FEEDBACK] * labels
    found = _decoder.decode(body)
    return [found.names[code] for code in np.frombuffer(found.codes, _CODE).tolist()]


def check_packed(body: bytes, labels: int, where: str) -> None:
    """Refuse what ``pack`` makes of no so many sources.

    Raises:
        InvalidInput: The message names the field.
    """
    if not body:
        return
    try:
        found = _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"{where}: {error}") from error
    for name in found.names:
        checked_source(name, where)
    if len(found.codes) != _CODE.itemsize * labels:
        raise InvalidInput(f"{where}: {len(found.codes)} bytes do not fit {labels} labels")
    if np.frombuffer(found.codes, _CODE).max(initial=0) >= len(found.names):
        raise InvalidInput(f"{where}: a place beyond its {len(found.names)} names")
