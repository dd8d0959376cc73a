"""From an Open Inference Protocol (V2) body to columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from monitoring.config import MonitorConfig
from monitoring.events import Event
from monitoring.keys import keys_of
from monitoring.limits import MAX_DEPTH, MAX_TEXT_CHARS, epoch_ms
from monitoring.records import RequestRecord, ResponseRecord
from monitoring.table import MISSING, FloatArray, text_of
from monitoring.v1 import as_v2
from noria.cloudevents import REQUEST_TYPE
from noria.errors import InvalidInput, shorten
from noria.predictions import DictColumn

_MATRIX: Final = 2
_BINARY: Final = 2
_FEW: Final = 8
_FLOAT_BYTES: Final = 8
_EXACT: Final = 1 << 53
_NAN: Final = float("nan")
_FIRST: Final = bytes(4)
"""The int32 code 0."""


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class _Request(msgspec.Struct):
    inputs: list[_Tensor]


class _Response(msgspec.Struct):
    outputs: list[_Tensor]
    model_version: str | None = None


_request = msgspec.json.Decoder(_Request)
_response = msgspec.json.Decoder(_Response)


def read_payload(event: Event, config: MonitorConfig) -> RequestRecord | ResponseRecord:
    """Return what the log keeps of an event: the watched columns, or the predictions.

    Raises:
        InvalidInput: the body is not a request or response that fits the model.
    """
    body = as_v2(event, list(config.features)) if config.protocol == "v1" else event.body
    try:
        if event.type == REQUEST_TYPE:
            return _requested(event, _request.decode(body), config)
        return _answered(event, _response.decode(body), config)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"data: not a V2 inference body: {error}") from error


def _requested(event: Event, body: _Request, config: MonitorConfig) -> RequestRecord:
    tensors = _columns(body.inputs, list(config.features))
    if not tensors:
        raise InvalidInput("inputs: empty")
    rows = {len(data) for _, data in tensors.values()}
    if len(rows) != 1:
        sizes = {name: len(data) for name, (_, data) in tensors.items()}
        raise InvalidInput(f"inputs: tensors of different lengths: {shorten(sizes)}")
    if config.features and not any(name in tensors for name in config.features):
        raise InvalidInput(
            f"inputs: none of the model's features is there, only {shorten(list(tensors))}",
            fix=f"expected {shorten(list(config.features))}",
        )
    columns: dict[str, bytes | DictColumn] = {}
    for name, kind in config.logged.items():
        if name in tensors:
            where, data = tensors[name]
            columns[name] = _packed(data, where) if kind == "numeric" else _texts(data, where)
    time = None
    if config.event_time in tensors:
        where, data = tensors[config.event_time]
        time = max(_times(data, where), default=None)
    keys = None
    if config.entity_key and all(name in tensors for name in config.entity_key):
        keys = keys_of([tensors[name][1] for name in config.entity_key], "inputs")
    return RequestRecord(event.id, event.version, rows.pop(), columns, time, keys)


def _answered(event: Event, body: _Response, config: MonitorConfig) -> ResponseRecord:
    by_name = {tensor.name: i for i, tensor in enumerate(body.outputs)}
    if not by_name:
        raise InvalidInput("outputs: empty")
    name = prediction_of(by_name)
    i = by_name[name]
    tensor = body.outputs[i]
    where = f"outputs[{i}]"
    version = event.version or (body.model_version or "")[:64]
    if len(tensor.shape) == 1 and len(tensor.data) <= _FEW:
        packed = _packed(_flat(tensor.data, where), where)
        return ResponseRecord(event.id, version, len(packed) // _FLOAT_BYTES, packed)
    values = _numbers(_flat(tensor.data, where), where)
    if len(tensor.shape) == _MATRIX and tensor.shape[1] > 1:
        if min(tensor.shape) < 0 or values.size != tensor.shape[0] * tensor.shape[1]:
            raise InvalidInput(
                f"{where}.shape: {shorten(tensor.shape)} does not fit {values.size} values"
            )
        values = score_of(values.reshape(tensor.shape), config)
    return ResponseRecord(event.id, version, values.shape[0], values.tobytes())


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


def _columns(
    tensors: Sequence[_Tensor], features: Sequence[str]
) -> dict[str, tuple[str, list[Any]]]:
    """Return name to (where it was, values); one 2-D tensor is split into the features."""
    if len(tensors) == 1 and tensors[0].name not in features and len(tensors[0].shape) == _MATRIX:
        tensor = tensors[0]
        rows, width = tensor.shape
        flat = _flat(tensor.data, "inputs[0]")
        if width != len(features) or len(flat) != rows * width or rows < 0:
            raise InvalidInput(
                f"inputs[0].shape: {shorten(tensor.shape)} with {len(flat)} values does not fit "
                f"{len(features)} features"
            )
        return {name: ("inputs[0]", flat[i::width]) for i, name in enumerate(features)}
    return {t.name: (f"inputs[{i}]", _flat(t.data, f"inputs[{i}]")) for i, t in enumerate(tensors)}


def _flat(data: list[Any], where: str) -> list[Any]:
    """Return the values of nested lists, row by row; each level is walked once."""
    for _ in range(MAX_DEPTH):
        if not data or not isinstance(data[0], list):
            break
        if not all(isinstance(row, list) for row in data):
            raise InvalidInput(f"{where}.data: lists and values side by side")
        data = [value for row in data for value in row]
    if any(isinstance(value, list | dict) for value in data):
        raise InvalidInput(f"{where}.data: values nested in each other, or deeper than {MAX_DEPTH}")
    return data


def _packed(data: list[Any], where: str) -> bytes:
    """Return numbers as float64 bytes; a few of them without an array, which costs more."""
    if len(data) > _FEW:
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


def _numbers(data: list[Any], where: str) -> FloatArray:
    try:
        found = np.asarray(data, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        said = shorten(str(error))
        raise InvalidInput(f"{where}.data: not all numbers or null: {said}") from error
    # An infinite value has no place in a mean or a range: it counts as missing.
    return np.where(np.isfinite(found), found, np.nan)


def _times(data: list[Any], where: str) -> list[int]:
    path = f"{where}.data"
    # Rows of one request often share their time. Numbers go into no set: whoever chooses them
    # chooses their hashes as well.
    texts = {value for value in data if type(value) is str}
    numbers = [value for value in data if type(value) in (int, float)]
    ends = (min(numbers), max(numbers)) if numbers else ()
    others = next((v for v in data if v is not None and type(v) not in (str, int, float)), None)
    if others is not None:
        epoch_ms(others, path)
    return [epoch_ms(value, path) for value in (*texts, *ends)]


def _check_texts(data: list[Any], where: str) -> None:
    for value in data:
        if isinstance(value, str) and len(value) > MAX_TEXT_CHARS:
            raise InvalidInput(
                f"{where}.data: {shorten(value)} is over {MAX_TEXT_CHARS} characters long"
            )


def _texts(data: list[Any], where: str) -> DictColumn:
    _check_texts(data, where)
    if len(data) == 1 and data[0] is not None:
        return DictColumn((text_of(data[0]),), _FIRST)
    index: dict[str, int] = {}
    found = [
        MISSING if value is None else index.setdefault(text_of(value), len(index)) for value in data
    ]
    return DictColumn(tuple(index), np.array(found, np.int32).tobytes())
