"""What the log holds: one record per event, columns as compact blobs (msgpack, never pickle)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
from msgspec.structs import replace

from monitoring.table import FloatArray, VectorArray
from noria.labels import FEEDBACK, outranks
from noria.predictions import DictColumn, Values, Vectors
from noria.seen import hash_of


class RequestRecord(msgspec.Struct, frozen=True, array_like=True, tag="q"):
    """A request: ``rows`` feature rows. Numbers are float64 bytes, with NaN for missing.

    ``version`` is empty when the event does not say it; ``time`` is the largest
    event time of the rows in epoch ms; ``keys`` are the rows' entity keys. ``vectors`` are the
    columns of those, ``aside`` names what can't be watched, with the reason.
    """

    id: str
    version: str
    rows: int
    columns: dict[str, Values]
    time: int | None = None
    keys: tuple[str, ...] | None = None
    vectors: dict[str, Vectors] = {}
    aside: dict[str, str] = {}


class ResponseRecord(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """A response: the prediction of each row as float64 bytes, one number a row or several.

    Without any number it is empty, and ``aside`` says why. ``columns`` are what is watched of an
    answer that is a text, as a request's are; ``keys`` are its rows', where they have them.
    ``baseline`` is a simple model's prediction of each row, as wide; empty: there is none.
    """

    id: str
    version: str
    rows: int
    prediction: bytes
    aside: dict[str, str] = {}
    columns: dict[str, Values] = {}
    keys: tuple[str, ...] | None = None
    baseline: bytes = b""


class AsideRecord(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """A request that can't be read: ``aside`` says why. Whatever answers it has no rows."""

    id: str
    aside: dict[str, str]


class BlockRecord(msgspec.Struct, frozen=True, array_like=True, tag="b"):
    """Requests with their responses, in order: ``counts`` is the rows of each (int32 bytes).

    ``prediction``, ``columns`` and ``keys`` are of the rows of all; ``times`` is each
    request's largest event time in epoch ms (int64 bytes, ``NO_TIME`` for none). A row's
    prediction is one number or several, one row after another; none, and ``aside`` says why.
    ``baseline`` is a simple model's, as wide; empty: there is none.
    """

    ids: tuple[str, ...]
    counts: bytes
    version: str
    rows: int
    columns: dict[str, Values]
    prediction: bytes
    times: bytes | None = None
    keys: tuple[str, ...] | None = None
    vectors: dict[str, Vectors] = {}
    aside: dict[str, str] = {}
    baseline: bytes = b""


class Label(msgspec.Struct, frozen=True, array_like=True):
    """A label. ``key`` is ``id:<request>:<row>`` or ``key:<entity key>``; ``time`` is epoch ms.

    Of a target other than a row's first its number comes before that: ``2@id:<request>:<row>``.
    ``correct`` says that it takes the place of an earlier one. ``source`` is who says it; a log of
    an earlier version has feedback alone.
    """

    key: str
    value: float
    time: int | None = None
    correct: bool = False
    source: str = FEEDBACK


class Told(NamedTuple):
    """What a target of a row is said to be, and who says it."""

    value: float
    source: str = FEEDBACK

    def of(self, key: str) -> Label:
        """Return it as a label."""
        return Label(key, self.value, source=self.source)

    def gives_way(self, label: Label) -> bool:
        """Whether a label takes its place: feedback does of a judge's, a correction of an equal's.

        No judge's takes the place of feedback, whatever it says of itself.
        """
        if outranks(label.source, self.source):
            return True
        return label.correct and not outranks(self.source, label.source)


class Dated(NamedTuple):
    """What a target is said to be, by whom, and since when: epoch seconds.

    ``at`` is None where an earlier version took the label, which did not keep when.
    """

    value: float
    source: str
    at: float | None


class Outcomes(NamedTuple):
    """Rows of one version with their labels; ``arrivals`` is when each was predicted.

    ``scores`` is (n,), or (n, k) where a row has several numbers. ``labels`` is (n,), or of
    several targets (n, k), and ``sources`` are those of the labels, row by row; of none all is
    feedback. With ``again`` the rows had labels before, of sources that count otherwise.
    ``baseline`` is a simple model's prediction of each, as wide as ``scores``, NaN where a row has
    none; None: no row has one.
    """

    version: str
    scores: FloatArray
    labels: FloatArray
    arrivals: FloatArray
    sources: Sequence[str] = ()
    again: bool = False
    baseline: FloatArray | None = None


def of_target(key: str, target: int) -> str:
    """Return the key of a label of one of a row's targets, counted from 0."""
    return f"{target}@{key}" if target else key


def target_of(key: str) -> tuple[int, str]:
    """Return which target a label's key is of, and the key without it."""
    number, found, rest = key.partition("@")
    return (int(number), rest) if found and number.isdigit() else (0, key)


class LabelsRecord(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """Labels that no earlier record holds."""

    labels: tuple[Label, ...]


class ReferenceRecord(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    """A version's reference became known; ``folder`` is its copy in the monitor's state.

    ``thresholds`` are the reference's.
    """

    version: str
    folder: str
    champion: bool
    thresholds: tuple[float, ...] = ()


class ColumnSketch(msgspec.Struct, frozen=True, array_like=True):
    """One column of some rows: the cells that are not empty (uint32) and their counts (uint32).

    A category's cell is its code + 1, so that missing is 0; each comes once, in order.
    ``missing`` and ``outside`` the training range are counted of numbers. ``width`` is a vector's.
    ``dependence`` is how rows that came together are alike (float64, see
    ``monitoring.dependence``).
    """

    cells: bytes
    counts: bytes
    missing: int = 0
    outside: int = 0
    dependence: bytes = b""
    width: int = 1


class PartialRecord(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """What a replica made of some of its rows.

    ``seq`` counts the partials of one ``life`` of a replica from 1 without a gap; 0 only says
    that it lives. ``columns`` are sketches, ``table`` the columns themselves (float64,
    int32 or, of vectors, float32 bytes) where a detector needs rows. Of ``stream`` "outcomes"
    ``table`` holds scores, labels and arrivals; of "prediction" the predictions, and there are
    no sketches. ``sources`` are those of the labels (``monitoring.sources``), empty when all are
    feedback; with ``again`` the rows had labels before, of sources that count otherwise. ``told``
    is how many labels the replica has received by then, by source.
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
    sources: bytes = b""
    again: bool = False
    told: dict[str, int] = {}


_FLOAT_BYTES: Final = 8
_NARROW_BYTES: Final = 4
_CODE_BYTES: Final = 4
NO_TIME: Final = -(1 << 63)
Requests: TypeAlias = RequestRecord | BlockRecord
"""What holds the features of rows."""
Record: TypeAlias = (
    RequestRecord
    | ResponseRecord
    | AsideRecord
    | BlockRecord
    | LabelsRecord
    | ReferenceRecord
    | PartialRecord
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
        case RequestRecord() | ResponseRecord() | AsideRecord():
            return (record.id,)
        case BlockRecord():
            return record.ids
    return ()


def is_whole(record: RequestRecord) -> bool:
    """Whether every column has as many rows as the record says: a damaged one may not."""
    return all(len_of(column) == record.rows for column in record.columns.values()) and all(
        fits(column, record.rows) for column in record.vectors.values()
    )


def exchange_of(request: RequestRecord, response: ResponseRecord) -> RequestRecord:
    """Return a request with what is watched of its answer beside its own columns.

    Of a damaged answer nothing is.
    """
    found = {
        name: column
        for name, column in response.columns.items()
        if len_of(column) == request.rows and name not in request.columns
    }
    if not found:
        return request
    keys = response.keys if request.keys is None else request.keys
    return replace(request, columns={**request.columns, **found}, keys=keys)


def fits(column: Vectors, rows: int) -> bool:
    """Whether a column of vectors has so many rows."""
    return column.width > 0 and len(column.values) == _NARROW_BYTES * column.width * rows


def matrix_of(column: Vectors) -> VectorArray:
    """Return vectors as (rows, width), read-only, without copying."""
    return np.frombuffer(column.values, np.float32).reshape(-1, column.width)


def len_of(values: Values) -> float:
    """Return how many rows a column has; no whole number when it is damaged."""
    if isinstance(values, DictColumn):
        return len(values.codes) / _CODE_BYTES
    return len(values) / _FLOAT_BYTES


def floats(blob: bytes) -> FloatArray:
    """Return a float64 column, read-only, without copying."""
    return np.frombuffer(blob, np.float64)


def width_of(prediction: bytes, rows: int) -> int | None:
    """Return how many numbers each of so many rows has; None when the bytes do not divide so.

    Of no rows nobody can tell: 0, as of rows without a number.
    """
    if rows <= 0:
        return None if prediction else 0
    width, rest = divmod(len(prediction), _FLOAT_BYTES * rows)
    return None if rest else width


def scores_of(prediction: bytes, rows: int) -> FloatArray:
    """Return predictions as (rows,), or (rows, width) where a row has several numbers."""
    return as_rows(floats(prediction), rows)


def as_rows(values: FloatArray, rows: int) -> FloatArray:
    """Return numbers, row by row, as (rows,), or (rows, width) where a row has several."""
    return values if values.size == rows else values.reshape(rows, -1)


def end_to_end(parts: Sequence[Sequence[FloatArray]]) -> tuple[FloatArray, ...]:
    """Return rows one after another, column by column.

    Parts of which a column has another width than in the last one are left out: files of an
    earlier version kept one number a row of every model.
    """
    wide = [column.shape[1:] for column in parts[-1]]
    alike = (part for part in parts if [column.shape[1:] for column in part] == wide)
    return tuple(np.concatenate(column) for column in zip(*alike, strict=True))


def beside_each_other(
    parts: Sequence[tuple[FloatArray, FloatArray | None]],
) -> FloatArray | None:
    """Return what stands beside rows, one part after another: NaN where a part has nothing.

    Args:
        parts: Scores, and what stands beside them, as wide; scores of another width than the last
            are left out, as ``end_to_end`` does.

    Returns:
        As many rows as the scores have; None where no part has anything.
    """
    wide = parts[-1][0].shape[1:]
    alike = [(scores, found) for scores, found in parts if scores.shape[1:] == wide]
    if all(found is None for _, found in alike):
        return None
    return np.concatenate(
        [np.full(scores.shape, np.nan) if found is None else found for scores, found in alike]
    )


_keys = msgspec.msgpack.Decoder(tuple[str, ...])


def encode_keys(keys: tuple[str, ...]) -> bytes:
    """Write the entity keys of a request's rows."""
    return _encoder.encode(keys)


def decode_keys(body: bytes) -> tuple[str, ...]:
    """Read the entity keys of a request's rows."""
    return _keys.decode(body)


def key_hashes(keys: Sequence[str]) -> list[int]:
    """Return a signed 64-bit hash per entity key: what the index holds instead of the text."""
    return [hash_of(key) for key in keys]
