"""From the tensors of a request to the columns that a predictor reads.

A client sends either one tensor per input column, in any order, of shape [n] or
[n, 1], and [n, width] of a vector; or, when every required input is a number or a vector, a
single tensor of shape [n, d] whose columns are the required inputs in the manifest's order,
under any name.

A value is read by the one rule of ``noria.values``, as in training: nothing is rounded,
truncated or parsed on the way.

| input         | accepted datatypes                                    | column       |
|---------------|-------------------------------------------------------|--------------|
| numeric FP*   | FP16..FP64, INT8..INT64, UINT8..UINT64                | float64      |
| numeric INT*  | INT8..INT64, UINT8..UINT64, in range                  | int64        |
| boolean       | BOOL (null is missing), or numbers 0 and 1            | bool, float64 |
| categorical   | BYTES, or any other: a number by its text (7 is "7")  | object (str) |
| text          | BYTES                                                 | object (str) |
| image         | BYTES: a file, in JSON as base64; UINT8 [n, h, w(, c)]| object       |
| vector        | FP16..FP64, INT8..INT64, UINT8..UINT64                | (n, width)   |
| series        | the same, [n, m] of any m from 1 to its width         | (n, width)   |
| timestamp     | INT64 (ms since 1970 UTC), BYTES (ISO-8601)           | int64 (ms)   |

A missing value (NaN, or null in JSON) is refused unless the input is optional or
the manifest's option ``allowMissing`` is true or names it. An infinity is refused
always. A vector is float32 or float64, and missing as a whole: all NaN. Of a series any value may
be missing: a shorter one is filled up with NaN in front. An optional time that only some rows have
is float64, NaN where it is missing.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from noria.errors import InvalidInput, shorten
from noria.exchange.datatypes import DATATYPES, Datatype
from noria.tasks.package import Input, Manifest
from noria.values import epoch_ms, text
from serving.oip.tensors import Tensor
from serving.refusal import Refusal, bad, listed

Columns = Mapping[str, np.ndarray[Any, Any]]

_INT64: Final = np.iinfo(np.int64)
_EXACT: Final = 2.0**53
_EXACT_BYTES: Final = 8
_MAX_ROWS: Final = 1 << 20
_FIRST_MS: Final = epoch_ms("0001-01-01T00:00:00Z")
_LAST_MS: Final = epoch_ms("9999-12-31T23:59:59.999Z")


@dataclass(frozen=True, slots=True)
class Batch:
    """The columns of one request, each of ``rows`` values."""

    columns: dict[str, np.ndarray[Any, Any]]
    rows: int


@dataclass(frozen=True, slots=True)
class _Slot:
    """How one input takes its values."""

    name: str
    kind: str
    datatype: Datatype
    optional: bool
    missing: bool
    width: int = 0
    """Numbers in each value of a vector; 0: it is a scalar."""


class InputBinder:
    """Checks a request's tensors against a manifest. Built once per model."""

    def __init__(self, manifest: Manifest) -> None:
        self._slots = {
            given.name: _slot(
                given,
                missing=manifest.may_be_missing(given.name) and given.name != manifest.event_time,
            )
            for given in manifest.inputs
        }
        required = [slot for slot in self._slots.values() if not slot.optional]
        self._required = tuple(slot.name for slot in required)
        numbers = all(slot.kind in ("numeric", "vector") for slot in required)
        self._matrix = tuple(required) if numbers else ()
        self._matrix_width = sum(slot.width or 1 for slot in self._matrix)
        self._matrix_is_scalar = not any(slot.width for slot in self._matrix)
        self._matrix_is_float = all(slot.datatype.group == "float" for slot in required)
        self._matrix_missing = all(slot.missing for slot in required)
        self.raw = frozenset(slot.name for slot in self._slots.values() if slot.kind == "image")
        """Inputs whose bytes are no texts."""

    @property
    def slots(self) -> Mapping[str, _Slot]:
        """The inputs by name."""
        return self._slots

    def bind(self, tensors: Sequence[Tensor]) -> Batch:
        """Return the columns that the tensors hold.

        Raises:
            Refusal: An input is unknown, missing, given twice, or does not fit.
        """
        if len(tensors) == 1:
            first = tensors[0]
            if len(first.shape) == 2 and self._is_matrix(first):
                return self._bind_matrix(first)
        columns: dict[str, np.ndarray[Any, Any]] = {}
        rows = -1
        for tensor in tensors:
            slot = self._slots.get(tensor.name)
            if slot is None:
                raise bad(
                    f"{tensor.field}.name",
                    f"{shorten(tensor.name)} is not an input of this model; "
                    f"its inputs are {listed(self._slots)}",
                )
            if tensor.name in columns:
                raise bad(
                    f"{tensor.field}.name",
                    f"{shorten(tensor.name)} was given before; send one tensor for each input",
                )
            shape = tensor.shape
            if slot.kind == "image" and tensor.datatype.name == "UINT8":
                if len(shape) not in (3, 4):
                    raise bad(
                        f"{tensor.field}.shape",
                        f"{list(shape)}; pixels of {tensor.name} are [n, height, width] or "
                        "[n, height, width, channels]",
                    )
            elif slot.kind == "series":
                if len(shape) != 2 or not 1 <= shape[1] <= slot.width:
                    raise bad(
                        f"{tensor.field}.shape",
                        f"{list(shape)}; {tensor.name} is a series: send [n, m] with its newest m "
                        f"values, at most {slot.width}",
                    )
            elif slot.width:
                if len(shape) != 2 or shape[1] != slot.width:
                    raise bad(
                        f"{tensor.field}.shape",
                        f"{list(shape)}; {tensor.name} is a vector of {slot.width} numbers: "
                        f"send [n, {slot.width}]",
                    )
            elif len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
                raise bad(
                    f"{tensor.field}.shape",
                    f"{list(shape)}; {tensor.name} is one column: send [n] or [n, 1]",
                )
            if rows < 0:
                rows = shape[0]
            elif shape[0] != rows:
                raise bad(
                    f"{tensor.field}.shape",
                    f"{shape[0]} rows; {tensors[0].field} has {rows}: send as many in each",
                )
            columns[tensor.name] = _column(slot, tensor)
        if len(columns) < len(self._slots):
            self._refuse_incomplete(columns)
        _check_rows(rows, tensors[0])
        return Batch(columns, rows)

    def _is_matrix(self, tensor: Tensor) -> bool:
        """Whether a tensor [n, d] holds all inputs: it is none of them, or not of its shape."""
        slot = self._slots.get(tensor.name)
        return slot is None or (not slot.width and tensor.shape[1] != 1)

    def _refuse_incomplete(self, columns: Columns) -> None:
        missing = [name for name in self._required if name not in columns]
        if missing:
            raise bad(
                "inputs",
                f"no tensor for {', '.join(map(shorten, missing[:24]))}; send one for each",
            )

    def _bind_matrix(self, tensor: Tensor) -> Batch:
        rows, width = tensor.shape
        if not self._matrix:
            raise bad(
                f"{tensor.field}.shape",
                f"{[rows, width]}; this model has inputs that are not numbers: "
                "send one tensor per input",
            )
        if width != self._matrix_width:
            many = len(self._matrix)
            numbers = "" if self._matrix_is_scalar else f" of {self._matrix_width} numbers"
            inputs = "input" if many == 1 else "inputs"
            raise bad(
                f"{tensor.field}.shape",
                f"{[rows, width]}; this model has {many} required {inputs}{numbers}: "
                f"{listed(self._required)}",
            )
        if tensor.datatype.group not in ("float", "integer"):
            raise bad(
                f"{tensor.field}.datatype",
                f"{tensor.datatype.name} is not a number; send FP64, FP32 or an integer type",
            )
        _check_rows(rows, tensor)
        if not (self._matrix_is_float and self._matrix_is_scalar):
            return self._bind_mixed_matrix(tensor)
        flat = _floats(self._matrix[0], tensor)
        if tensor.datatype.group == "float":
            self._check_finite_matrix(flat, tensor, width)
        # One column after another in memory: what a predictor reads next.
        matrix = flat.reshape(rows, width)
        return Batch({slot.name: matrix[:, place] for place, slot in enumerate(self._matrix)}, rows)

    def _bind_mixed_matrix(self, tensor: Tensor) -> Batch:
        rows, width = tensor.shape
        matrix = tensor.values.reshape(rows, width)
        columns = {}
        place = 0
        for slot in self._matrix:
            size = slot.width or 1
            part = Tensor(
                f"{tensor.field}.data[*][{place}]",
                slot.name,
                tensor.datatype,
                (rows, size) if slot.width else (rows,),
                matrix[:, place : place + size].ravel(),
            )
            columns[slot.name] = _column(slot, part)
            place += size
        return Batch(columns, rows)

    def _check_finite_matrix(self, flat: np.ndarray[Any, Any], tensor: Tensor, width: int) -> None:
        if np.isfinite(flat).all():
            return
        for place in np.flatnonzero(~np.isfinite(flat)).tolist():
            slot = self._matrix[place % width]
            if not (slot.missing and np.isnan(flat[place])):
                raise _not_finite(flat[place], f"{tensor.field}.data[{place}]", slot.name)


def _check_rows(rows: int, tensor: Tensor) -> None:
    if rows == 0:
        raise bad(f"{tensor.field}.shape", "no rows; send one at least")
    if rows > _MAX_ROWS:
        raise bad(
            f"{tensor.field}.shape",
            f"{rows} rows; at most {_MAX_ROWS} are answered at once: send less",
        )


def _slot(given: Input, *, missing: bool) -> _Slot:
    return _Slot(
        name=given.name,
        kind=given.kind,
        datatype=DATATYPES.get(given.datatype, DATATYPES["BYTES"]),
        optional=given.optional,
        missing=missing,
        width=given.shape[0] if given.shape else 0,
    )


def _column(slot: _Slot, tensor: Tensor) -> np.ndarray[Any, Any]:
    if slot.kind == "series":
        return _series(slot, tensor)
    if slot.kind == "image":
        return _images(slot, tensor)
    if slot.width:
        return _vectors(slot, tensor)
    if slot.kind == "timestamp":
        return _timestamps(slot, tensor)
    wanted = slot.datatype.group
    group = tensor.datatype.group
    values = tensor.values
    if wanted == "float" and group in ("float", "integer"):
        column = _floats(slot, tensor)
        _check_finite(slot, column, tensor)
        return column
    if wanted == "integer" and group == "integer":
        return _integers(slot, tensor)
    if wanted == "boolean" and group != "bytes":
        return _booleans(slot, tensor)
    if wanted == "bytes" and (group == "bytes" or slot.kind == "categorical"):
        column = values if group == "bytes" else _texts(tensor)
        if not slot.missing and None in column:
            place = column.tolist().index(None)
            raise bad(f"{tensor.field}.data[{place}]", f"null, and {slot.name} may not be missing")
        return column
    raise bad(
        f"{tensor.field}.datatype",
        f"{tensor.datatype.name} does not fit the input {slot.name}; send {slot.datatype.name}",
    )


def _vectors(slot: _Slot, tensor: Tensor) -> np.ndarray[Any, Any]:
    if tensor.datatype.group not in ("float", "integer"):
        raise bad(
            f"{tensor.field}.datatype",
            f"{tensor.datatype.name} does not fit the vector {slot.name}; send FP32 or FP64",
        )
    kind = np.float32 if tensor.datatype.name in ("FP16", "FP32") else np.float64
    found = tensor.values.astype(kind, copy=False).reshape(-1, slot.width)
    finite = np.isfinite(found)
    if not finite.all():
        gone = np.isnan(found).all(axis=1) if slot.missing else np.zeros(len(found), np.bool_)
        for row, place in np.argwhere(~finite & ~gone[:, None]).tolist():
            field = f"{tensor.field}.data[{row * slot.width + place}]"
            if np.isnan(found[row, place]):
                said = "a vector is missing as a whole" if slot.missing else "it may not be missing"
                raise bad(field, f"NaN or null in {slot.name}, and {said}")
            raise bad(field, f"{found[row, place]} is not a finite number, as {slot.name} needs")
    return found


def _series(slot: _Slot, tensor: Tensor) -> np.ndarray[Any, Any]:
    if tensor.datatype.group not in ("float", "integer"):
        raise bad(
            f"{tensor.field}.datatype",
            f"{tensor.datatype.name} does not fit the series {slot.name}; send FP64",
        )
    given = _floats(slot, tensor)
    infinite = np.flatnonzero(np.isinf(given))
    if infinite.size:
        place = int(infinite[0])
        raise _not_finite(given[place], f"{tensor.field}.data[{place}]", slot.name)
    rows, length = tensor.shape
    found = np.full((rows, slot.width), np.nan)
    found[:, slot.width - length :] = given.reshape(rows, length)
    return found


def _images(slot: _Slot, tensor: Tensor) -> np.ndarray[Any, Any]:
    """Return the bytes of files, or (h, w) or (h, w, c) pixels, as they are: (n,) objects."""
    rows = tensor.shape[0]
    column = np.empty(rows, dtype=object)
    if tensor.datatype.name == "UINT8":
        pixels = tensor.values.reshape(tensor.shape)
        for row in range(rows):
            column[row] = pixels[row]
        return column
    if tensor.datatype.group != "bytes":
        raise bad(
            f"{tensor.field}.datatype",
            f"{tensor.datatype.name} does not fit the image {slot.name}; send BYTES (a file) or "
            "UINT8 (pixels)",
        )
    for row, value in enumerate(tensor.values.tolist()):
        field = f"{tensor.field}.data[{row}]"
        if value is None:
            raise bad(field, f"null, and {slot.name} may not be missing")
        if isinstance(value, str):
            try:
                value = b64decode(value, validate=True)
            except ValueError as error:
                raise bad(field, f"not base64: {error}; send the bytes of a file so") from error
        column[row] = value
    return column


def _floats(slot: _Slot, tensor: Tensor) -> np.ndarray[Any, Any]:
    values = tensor.values
    if values.dtype.kind == "O":  # booleans and null
        return np.array([np.nan if value is None else value for value in values], np.float64)
    column = values if values.dtype == np.float64 else values.astype(np.float64)
    if tensor.datatype.group == "integer" and tensor.datatype.size == _EXACT_BYTES:
        for place in np.flatnonzero(np.abs(column) >= _EXACT).tolist():
            if int(column[place]) != int(values[place]):
                raise bad(
                    f"{tensor.field}.data[{place}]",
                    f"{values[place]} is beyond 2^53, where the numbers of {slot.name} (FP64) do "
                    "not hold every whole number",
                )
    return column


def _booleans(slot: _Slot, tensor: Tensor) -> np.ndarray[Any, Any]:
    if tensor.values.dtype == np.bool_:
        return tensor.values
    column = _floats(slot, tensor)
    _check_finite(slot, column, tensor)
    wrong = ~(np.isnan(column) | (column == 0.0) | (column == 1.0))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise bad(
            f"{tensor.field}.data[{place}]",
            f"{tensor.values[place]} is neither 0 nor 1, and {slot.name} is a boolean",
        )
    return column


def _texts(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Return numbers and booleans as the categories or keys that they are in training."""
    column = np.empty(len(tensor.values), dtype=object)
    for place, value in enumerate(tensor.values):
        try:
            column[place] = text(value)
        except InvalidInput as error:
            raise bad(f"{tensor.field}.data[{place}]", str(error)) from error
    return column


def _check_finite(slot: _Slot, column: np.ndarray[Any, Any], tensor: Tensor) -> None:
    finite = np.isfinite(column)
    if finite.all():
        return
    for place in np.flatnonzero(~finite).tolist():
        if not (slot.missing and np.isnan(column[place])):
            raise _not_finite(column[place], f"{tensor.field}.data[{place}]", slot.name)


def _not_finite(value: float, field: str, name: str) -> Refusal:
    if np.isnan(value):
        return bad(field, f"NaN or null, and {name} may not be missing")
    return bad(field, f"{value} is not a finite number, as {name} needs")


def _integers(slot: _Slot, tensor: Tensor) -> np.ndarray[Any, Any]:
    values = tensor.values
    limits = np.iinfo(slot.datatype.dtype)
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < limits.min or high > min(int(limits.max), int(_INT64.max)):
        raise bad(
            f"{tensor.field}.data",
            f"{low if low < limits.min else high} is out of the range of {slot.name}, which is "
            f"{slot.datatype.name}: {limits.min} to {min(int(limits.max), int(_INT64.max))}",
        )
    return values.astype(np.int64)


def _timestamps(slot: _Slot, tensor: Tensor) -> np.ndarray[Any, Any]:
    may_be_missing = slot.optional or slot.missing
    if tensor.datatype.name == "INT64":
        values = tensor.values
        if values.dtype.kind == "f" and not may_be_missing:
            place = int(np.isnan(values).argmax())
            raise bad(f"{tensor.field}.data[{place}]", f"null, and {slot.name} may not be missing")
        beyond = (values < _FIRST_MS) | (values > _LAST_MS)
        if beyond.any():
            place = int(beyond.argmax())
            raise bad(
                f"{tensor.field}.data[{place}]",
                f"{values[place]} is no time in milliseconds of the years 1 to 9999",
            )
        return values
    if tensor.datatype.group != "bytes":
        raise bad(
            f"{tensor.field}.datatype",
            f"{tensor.datatype.name} does not fit the time {slot.name}; send INT64 "
            "(milliseconds since 1970 UTC) or BYTES (ISO-8601)",
        )
    texts = tensor.values.tolist()
    unknown = may_be_missing and None in texts
    out = np.empty(len(texts), dtype=np.float64 if unknown else np.int64)
    for place, written in enumerate(texts):
        if written is None and unknown:
            out[place] = np.nan
        else:
            out[place] = _milliseconds(written, f"{tensor.field}.data[{place}]")
    return out


def _milliseconds(written: str | None, field: str) -> int:
    if written is None:
        raise bad(
            field, "null is not a time; send ISO-8601, or leave the input out if it is optional"
        )
    try:
        return epoch_ms(written)
    except InvalidInput as error:
        raise bad(field, error.message) from error
