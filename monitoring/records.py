"""What the log holds: one record per event, columns as compact blobs (msgpack, never pickle)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, TypeAlias

import msgspec
import numpy as np

from monitoring.table import MISSING, CodeArray, FloatArray
from noria.predictions import Texts, Values


class RequestRecord(msgspec.Struct, frozen=True, array_like=True, tag="q"):
    """A request: ``rows`` feature rows. Numbers are float64 bytes, with NaN for missing.

    ``version`` is empty when the event does not say it; ``time`` is the largest
    event time of the rows in epoch ms; ``keys`` are the rows' entity keys.
    """

    id: str
    version: str
    rows: int
    columns: dict[str, Values]
    time: int | None = None
    keys: tuple[str, ...] | None = None


class ResponseRecord(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """A response: the prediction of each row, float64 bytes."""

    id: str
    version: str
    rows: int
    prediction: bytes


class BlockRecord(msgspec.Struct, frozen=True, array_like=True, tag="b"):
    """Requests with their responses, in order: ``counts`` is the rows of each (int32 bytes).

    ``prediction``, ``columns`` and ``keys`` are of the rows of all; ``times`` is each
    request's largest event time in epoch ms (int64 bytes, ``NO_TIME`` for none).
    """

    ids: tuple[str, ...]
    counts: bytes
    version: str
    rows: int
    columns: dict[str, Values]
    prediction: bytes
    times: bytes | None = None
    keys: tuple[str, ...] | None = None


class Label(msgspec.Struct, frozen=True, array_like=True):
    """A label. ``key`` is ``id:<request>:<row>`` or ``key:<entity key>``; ``time`` is epoch ms."""

    key: str
    value: float
    time: int | None = None


class LabelsRecord(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """Labels that no earlier record holds."""

    labels: tuple[Label, ...]


class ReferenceRecord(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    """A version's reference became known; ``folder`` is its copy in the monitor's state."""

    version: str
    folder: str
    champion: bool


class ColumnSketch(msgspec.Struct, frozen=True, array_like=True):
    """One column of some rows: the cells that are not empty (uint32) and their counts (uint32).

    A category's cell is its code + 1, so that missing is 0 and unseen is the last.
    ``missing`` and ``outside`` the training range are counted of numbers.
    """

    cells: bytes
    counts: bytes
    missing: int = 0
    outside: int = 0


class PartialRecord(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """What a replica made of some of its rows.

    ``seq`` counts the partials of one ``life`` of a replica from 1 without a gap; 0 only says
    that it lives. ``columns`` are sketches, ``table`` the columns themselves (float64 or
    int32 bytes) where a detector needs rows. Of ``stream`` "outcomes" ``table`` holds
    scores, labels and arrivals.
    """

    replica: int
    life: str
    seq: int
    stream: str = ""
    reference: str = ""
    rows: int = 0
    at: float = 0.0
    versions: dict[str, int] = {}
    columns: dict[str, ColumnSketch] = {}
    table: dict[str, bytes] = {}


_FLOAT_BYTES: Final = 8
_CODE_BYTES: Final = 4
NO_TIME: Final = -(1 << 63)
Requests: TypeAlias = RequestRecord | BlockRecord
"""What holds the features of rows."""
Record: TypeAlias = (
    RequestRecord | ResponseRecord | BlockRecord | LabelsRecord | ReferenceRecord | PartialRecord
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def encode(record: Record) -> bytes:
    """Write a record for the log."""
    return _encoder.encode(record)


def decode(body: bytes) -> Record:
    """Read a record of the log.

    Raises:
        msgspec.MsgspecError: the bytes are not a record.
    """
    return _decoder.decode(body)


def ids_of(record: Record | None) -> tuple[str, ...]:
    """Return the request ids that a record is about."""
    match record:
        case RequestRecord() | ResponseRecord():
            return (record.id,)
        case BlockRecord():
            return record.ids
    return ()


def is_whole(record: RequestRecord | ResponseRecord) -> bool:
    """Whether every column has as many rows as the record says: a damaged one may not."""
    if isinstance(record, ResponseRecord):
        return len(record.prediction) == _FLOAT_BYTES * record.rows
    return all(len_of(column) == record.rows for column in record.columns.values())


def len_of(values: Values) -> float:
    """Return how many rows a column has; no whole number when it is damaged."""
    if isinstance(values, Texts):
        return len(values.codes) / _CODE_BYTES
    return len(values) / _FLOAT_BYTES


def floats(blob: bytes) -> FloatArray:
    """Return a float64 column, read-only, without copying."""
    return np.frombuffer(blob, np.float64)


def codes(texts: Texts, categories: dict[str, int]) -> CodeArray:
    """Return a text column as codes into ``categories``; what is not in them gets their number."""
    unseen = len(categories)
    # The last element is where code -1 points to.
    table = np.array([categories.get(v, unseen) for v in texts.values] + [MISSING], np.int32)
    found: CodeArray = table[np.frombuffer(texts.codes, np.int32)]
    return found


_keys = msgspec.msgpack.Decoder(tuple[str, ...])


def encode_keys(keys: tuple[str, ...]) -> bytes:
    """Write the entity keys of a request's rows."""
    return _encoder.encode(keys)


def decode_keys(body: bytes) -> tuple[str, ...]:
    """Read the entity keys of a request's rows."""
    return _keys.decode(body)


def key_hashes(keys: Sequence[str]) -> list[int]:
    """Return a signed 64-bit hash per entity key: what the index holds instead of the text."""
    return [
        int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)
        for key in keys
    ]
