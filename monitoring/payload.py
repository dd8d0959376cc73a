"""From a body of the Open Inference Protocol (V2), or of V1, to columns.

What can't be watched is set aside by its name, with the reason; the rest of the exchange is kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from math import prod
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from monitoring.config import MonitorConfig
from monitoring.events import Event
from monitoring.keys import KEYS, keys_of
from monitoring.limits import MAX_DEPTH, MAX_ROWS, epoch_ms
from monitoring.records import RequestRecord, ResponseRecord
from monitoring.table import MISSING, FloatArray, Kind, VectorArray, described, text_of
from monitoring.tensors import BYTES, Data, Tensor, read_binary, read_body
from monitoring.v1 import read_instances, read_predictions
from noria.cloudevents import MAX_ID_CHARS, REQUEST_TYPE
from noria.errors import InvalidInput, shorten
from noria.exchange.binary import BinaryData
from noria.predictions import (
    BINARY,
    LONG,
    MAX_TEXT_CHARS,
    NUMBER,
    RANK,
    TEXT,
    DictColumn,
    Values,
    Vectors,
)

_MATRIX: Final = 2
_BINARY: Final = 2
_FEW: Final = 8
_FLOAT_BYTES: Final = 8
_EXACT: Final = 1 << 53
_NAN: Final = float("nan")
_NO_BYTES: Final = BinaryData(memoryview(b""))
_FIRST: Final = bytes(4)
"""The int32 code 0."""


_Placed: TypeAlias = tuple[str, Tensor]
"""Where a tensor was, and the tensor."""


class _Request(msgspec.Struct):
    inputs: list[Tensor]


class _Response(msgspec.Struct):
    outputs: list[Tensor]
    model_version: str | None = None


_request = msgspec.json.Decoder(_Request)
_response = msgspec.json.Decoder(_Response)


def read_payload(event: Event, config: MonitorConfig) -> RequestRecord | ResponseRecord:
    """Return what the log keeps of an event: the watched columns, or the predictions.

    Raises:
        InvalidInput: the body is not a V2 or V1 request or response that fits the model.
    """
    try:
        try:
            if event.type == REQUEST_TYPE:
                return _requested(event, *read_body(_request, event), config)
            return _answered(event, *read_body(_response, event), config)
        except msgspec.ValidationError:
            found = _of_v1(event, config)
            if found is None:
                raise
            return found
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"data: not a V2 inference body: {error}",
            fix="send inputs or outputs as V2 has them, or instances or predictions as V1",
        ) from error


def _of_v1(event: Event, config: MonitorConfig) -> RequestRecord | ResponseRecord | None:
    """Read a body as one of V1; None when it is none."""
    try:
        if event.type == REQUEST_TYPE:
            tensors = read_instances(event.body, config.inputs)
            return _requested(event, _Request(tensors), _NO_BYTES, config)
        return _answered(event, _Response(read_predictions(event.body)), _NO_BYTES, config)
    except msgspec.ValidationError:
        return None


def _requested(
    event: Event, body: _Request, binary: BinaryData, config: MonitorConfig
) -> RequestRecord:
    unread = read_binary(body.inputs, binary, "inputs")
    tensors = _tensors(body.inputs, unread, config)
    if not body.inputs:
        raise InvalidInput("inputs: empty", fix="send one tensor at least")
    if config.inputs and not unread and not any(name in tensors for name in config.inputs):
        raise InvalidInput(
            f"inputs: none of the model's features is there, only {shorten(list(tensors))}",
            fix=f"expected {shorten(list(config.inputs))}",
        )
    columns: dict[str, Values] = {}
    vectors: dict[str, Vectors] = {}
    aside = {name[:MAX_ID_CHARS]: BINARY for name in sorted(unread)}
    rows: dict[str, int] = {}
    for name, kind in config.logged.items():
        if name not in tensors:
            continue
        where, tensor = tensors[name]
        # Most are one number or text a row: nothing more to ask.
        if len(tensor.shape) > 1 or (tensor.datatype == BYTES and kind != "categorical"):
            reason = _unwatchable(tensor, kind)
            if reason:
                aside[name] = reason
                continue
        data = _flat(tensor.data, where)
        rows[name] = len(data)
        if kind == "numeric":
            columns[name] = _packed(data, where)
        elif kind == "vector":
            vectors[name] = _vectors(tensor, data, where)
            rows[name] = tensor.shape[0]
        elif _holds_long(data):
            aside[name] = LONG
        else:
            columns[name] = _texts(data)
    for name, feature in config.texts.items():
        if name not in tensors:
            continue
        where, tensor = tensors[name]
        data = _flat(tensor.data, where)
        reason = _unwatchable(tensor, "categorical") or ("" if _are_texts(data) else NUMBER)
        if reason:
            aside[name] = reason
            continue
        rows[name] = len(data)
        columns[feature] = described(_texts(data))
    time = None
    if config.event_time in tensors:
        where, tensor = tensors[config.event_time]
        data = _flat(tensor.data, where)
        rows[config.event_time] = len(data)
        time = max(_times(data, where), default=None)
    keys, parts = None, []
    if config.entity_key and all(name in tensors for name in config.entity_key):
        parts = [
            _moments(*tensors[name])
            if name == config.event_time
            else _flat(tensors[name][1].data, tensors[name][0])
            for name in config.entity_key
        ]
        rows |= zip(config.entity_key, map(len, parts), strict=True)
    if len(set(rows.values())) > 1:
        raise InvalidInput(
            f"inputs: tensors of different lengths: {shorten(rows)}",
            fix="send as many rows in each",
        )
    if parts:
        keys, are_long = keys_of(parts)
        if are_long:
            aside[KEYS] = LONG
    count = rows.popitem()[1] if rows else _rows_by_shape("inputs[0]", body.inputs[0])
    return RequestRecord(event.id, event.version, count, columns, time, keys, vectors, aside)


def _moments(where: str, tensor: Tensor) -> list[int | None]:
    """Return the event time of each row as a part of its key."""
    data = _flat(tensor.data, where)
    return [None if value is None else epoch_ms(value, f"{where}.data") for value in data]


def _rows_by_shape(where: str, tensor: Tensor) -> int:
    if not tensor.shape or not 0 <= tensor.shape[0] <= MAX_ROWS:
        raise InvalidInput(
            f"{where}.shape: {shorten(tensor.shape)} does not begin with a number of rows",
            fix=f"send [n] or [n, d], with n from 0 to {MAX_ROWS}",
        )
    return tensor.shape[0]


def _unwatchable(tensor: Tensor, kind: Kind) -> str:
    """Return why a tensor can't be watched as a column of this kind; empty when it can."""
    if len(tensor.shape) > _MATRIX:
        return RANK
    if kind != "vector" and len(tensor.shape) == _MATRIX and tensor.shape[1] > 1:
        return RANK
    return TEXT if kind != "categorical" and _is_text(tensor) else ""


def _is_text(tensor: Tensor) -> bool:
    """Whether a tensor holds texts; not every sender says BYTES of them alone."""
    return tensor.datatype == BYTES and _holds_text(tensor.data)


def _holds_text(data: Data) -> bool:
    return any(type(value) is str or (type(value) is list and _holds_text(value)) for value in data)


def _are_texts(data: Data) -> bool:
    return all(value is None or type(value) is str for value in data)


def _holds_long(data: Data) -> bool:
    return any(type(value) is str and len(value) > MAX_TEXT_CHARS for value in data)


def _vectors(tensor: Tensor, flat: Data, where: str) -> Vectors:
    shape = tensor.shape
    if len(shape) != _MATRIX or min(shape) < 0 or shape[1] < 1 or len(flat) != shape[0] * shape[1]:
        raise InvalidInput(
            f"{where}.shape: {shorten(shape)} with {len(flat)} values is no list of vectors"
        )
    return Vectors(shape[1], narrow(_numbers(flat, where)))


def narrow(values: FloatArray | VectorArray) -> bytes:
    """Return numbers as float32 bytes; what is not finite there has no place, as it is missing."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = values.astype(np.float32)
    return np.where(np.isfinite(found), found, np.float32(np.nan)).tobytes()


def _answered(
    event: Event, body: _Response, binary: BinaryData, config: MonitorConfig
) -> ResponseRecord:
    unread = read_binary(body.outputs, binary, "outputs")
    by_name = {tensor.name: i for i, tensor in enumerate(body.outputs)}
    if not by_name:
        raise InvalidInput("outputs: empty", fix="send one tensor at least")
    version = event.version or (body.model_version or "")[:64]
    name = prediction_of(by_name)
    reason, numbers = "", []
    if name in unread:
        # No other output takes its place: it would be another number.
        reason = BINARY
    elif reason := _no_number(body.outputs[by_name[name]]):
        numbers = [
            name
            for name, i in by_name.items()
            if name not in unread and not _no_number(body.outputs[i])
        ]
        name = prediction_of(numbers or by_name)
    i = by_name[name]
    tensor = body.outputs[i]
    where = f"outputs[{i}]"
    if reason and not numbers:
        rows = _rows_by_shape(where, tensor)
        return ResponseRecord(event.id, version, rows, b"", {name[:MAX_ID_CHARS]: reason})
    if len(tensor.shape) == 1 and len(tensor.data) <= _FEW and not config.baseline:
        packed = _packed(_flat(tensor.data, where), where)
        return ResponseRecord(event.id, version, len(packed) // _FLOAT_BYTES, packed)
    values = _numbers(_flat(tensor.data, where), where)
    if len(tensor.shape) == _MATRIX and tensor.shape[1] > 1:
        if min(tensor.shape) < 0 or values.size != tensor.shape[0] * tensor.shape[1]:
            raise InvalidInput(
                f"{where}.shape: {shorten(tensor.shape)} does not fit {values.size} values"
            )
        values = score_of(values.reshape(tensor.shape), config)
    beside = b""
    if config.baseline in by_name and config.baseline not in unread:
        beside = _beside(body.outputs[by_name[config.baseline]], tensor)
    return ResponseRecord(event.id, version, values.shape[0], values.tobytes(), baseline=beside)


def _beside(baseline: Tensor, prediction: Tensor) -> bytes:
    """Return a simple model's prediction; empty where it has not the shape of the model's."""
    if baseline.shape != prediction.shape or _no_number(baseline):
        return b""
    where = f"outputs.{baseline.name}"
    values = _numbers(_flat(baseline.data, where), where)
    return values.tobytes() if values.size == prod(baseline.shape) else b""


def _no_number(tensor: Tensor) -> str:
    """Return why an output can't be watched as the prediction; empty when it can."""
    if len(tensor.shape) > _MATRIX:
        return RANK
    return TEXT if _is_text(tensor) else ""


def prediction_of(outputs: Iterable[str]) -> str:
    """Return which of the outputs (one at least) is watched as the prediction."""
    names = list(outputs)
    return next((name for name in ("probability", "prediction") if name in names), names[0])


def score_of(values: FloatArray, config: MonitorConfig) -> FloatArray:
    """Return what is kept of (n, k) numbers: of two classes the positive one's probability, (n,).

    Everything else, (n, k), is kept as it is.
    """
    is_binary = config.classification and values.shape[1] == _BINARY
    return np.ascontiguousarray(values[:, 1]) if is_binary else values


def _tensors(
    tensors: Sequence[Tensor], unread: Collection[str], config: MonitorConfig
) -> dict[str, _Placed]:
    """Return name to (where it was, tensor) of those that were read.

    One 2-D tensor is split into the features.
    """
    inputs = config.inputs
    alone = len(tensors) == 1 and tensors[0].name not in inputs
    if alone and inputs and not unread and len(tensors[0].shape) == _MATRIX:
        return _split(tensors[0], config)
    return {
        tensor.name: (f"inputs[{i}]", tensor)
        for i, tensor in enumerate(tensors)
        if tensor.name not in unread
    }


def _split(tensor: Tensor, config: MonitorConfig) -> dict[str, _Placed]:
    rows, width = tensor.shape
    flat = _flat(tensor.data, "inputs[0]")
    sizes = _sizes(config, width)
    if sum(sizes.values()) != width or len(flat) != rows * width or rows < 0:
        raise InvalidInput(
            f"inputs[0].shape: {shorten(tensor.shape)} with {len(flat)} values does not fit "
            f"{len(config.inputs)} features",
            fix=f"send a column for each of {shorten(list(config.inputs))}, in this order",
        )
    found: dict[str, _Placed] = {}
    first = 0
    for name, size in sizes.items():
        if config.features.get(name) == "vector":
            starts = range(first, first + len(flat), width)
            data = [value for start in starts for value in flat[start : start + size]]
            part = Tensor(name, [rows, size], tensor.datatype, data)
        else:
            part = Tensor(name, [rows], tensor.datatype, flat[first::width])
        found[name] = ("inputs[0]", part)
        first += size
    return found


def _sizes(config: MonitorConfig, width: int) -> dict[str, int]:
    """Return how many of the columns of a matrix each feature has.

    Of vectors whose width only their rows say, one at most can be told: it has all that is left.
    """
    sizes = {name: config.widths.get(name, 1) for name in config.inputs}
    unknown = [name for name, size in sizes.items() if not size]
    if len(unknown) == 1:
        sizes[unknown[0]] = max(0, width - sum(sizes.values()))
    return sizes


def _flat(data: Data, where: str) -> Data:
    """Return the values of nested lists, row by row; each level is walked once."""
    if isinstance(data, np.ndarray):
        return data
    for _ in range(MAX_DEPTH):
        if not data or not isinstance(data[0], list):
            break
        if not all(isinstance(row, list) for row in data):
            raise InvalidInput(
                f"{where}.data: lists and values side by side",
                fix="send a flat list, or lists within lists as the shape says",
            )
        data = [value for row in data for value in row]
    if any(isinstance(value, list | dict) for value in data):
        raise InvalidInput(f"{where}.data: values nested in each other, or deeper than {MAX_DEPTH}")
    return data


def _packed(data: Data, where: str) -> bytes:
    """Return numbers as float64 bytes; a few of them without an array, which costs more."""
    if len(data) > _FEW or isinstance(data, np.ndarray):
        return _numbers(data, where).tobytes()
    found = array("d")
    for value in data:
        if type(value) is float:
            found.append(value if value - value == 0.0 else _NAN)
        elif type(value) is int and abs(value) < _EXACT:
            found.append(value)
        elif value is None:
            found.append(_NAN)
        else:
            return _numbers(data, where).tobytes()
    return found.tobytes()


def _numbers(data: Data, where: str) -> FloatArray:
    try:
        found = np.asarray(data, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        said = shorten(str(error))
        raise InvalidInput(f"{where}.data: not all numbers or null: {said}") from error
    # An infinite value has no place in a mean or a range: it counts as missing.
    return np.where(np.isfinite(found), found, np.nan)


def _times(data: Data, where: str) -> list[int]:
    path = f"{where}.data"
    data = data.tolist() if isinstance(data, np.ndarray) else data
    # Rows of one request often share their time. Numbers go into no set: whoever chooses them
    # chooses their hashes as well.
    texts = {value for value in data if type(value) is str}
    numbers = [value for value in data if type(value) in (int, float)]
    ends = (min(numbers), max(numbers)) if numbers else ()
    others = next((v for v in data if v is not None and type(v) not in (str, int, float)), None)
    if others is not None:
        epoch_ms(others, path)
    return [epoch_ms(value, path) for value in (*texts, *ends)]


def _texts(data: Data) -> DictColumn:
    if len(data) == 1 and not _is_missing(data[0]):
        return DictColumn((text_of(data[0]),), _FIRST)
    index: dict[str, int] = {}
    found = [
        MISSING if _is_missing(value) else index.setdefault(text_of(value), len(index))
        for value in data
    ]
    return DictColumn(tuple(index), np.array(found, np.int32).tobytes())


def _is_missing(value: Any) -> bool:
    # A binary tensor has NaN where JSON has null.
    return value is None or value != value
