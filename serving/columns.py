"""From the tensors of a request to the columns that a predictor reads.

A client sends either one tensor per input column, in any order, of shape [n] or
[n, 1]; or, when every required input is a number, a single tensor of shape [n, d]
whose columns are the required inputs in the manifest's order, under any name.

Datatypes are strict; nothing is parsed, rounded or truncated on the way:

| input         | accepted datatypes                             | column       |
|---------------|------------------------------------------------|--------------|
| numeric FP*   | FP16, FP32, FP64, INT8..INT64, UINT8..UINT64   | float64      |
| numeric INT*  | INT8..INT64, UINT8..UINT64, in range           | int64        |
| boolean       | BOOL                                           | bool         |
| categorical   | BYTES (or the manifest's own integer datatype) | object (str) |
| text          | BYTES                                          | object (str) |
| timestamp     | INT64 (ms since 1970 UTC), BYTES (ISO-8601)    | int64 (ms)   |

A missing value (NaN, or null in JSON) is refused unless the input is optional or
the manifest's option ``allowMissing`` is true or names it. An infinity is refused
always.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from noria.errors import shorten
from noria.tasks.package import Input, Manifest
from serving.oip.datatypes import DATATYPES, Datatype
from serving.oip.tensors import Tensor
from serving.refusal import Refusal, bad

Columns = Mapping[str, np.ndarray[Any, Any]]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_INT64: Final = np.iinfo(np.int64)


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


class InputBinder:
    """Checks a request's tensors against a manifest. Built once per model."""

    def __init__(self, manifest: Manifest) -> None:
        allowed = manifest.options.get("allowMissing", False)
        self._slots = {
            given.name: _slot(given, everywhere=allowed is True, names=_names(allowed))
            for given in manifest.inputs
        }
        required = [slot for slot in self._slots.values() if not slot.optional]
        self._required = tuple(slot.name for slot in required)
        self._matrix = tuple(required) if all(slot.kind == "numeric" for slot in required) else ()
        self._matrix_is_float = all(slot.datatype.group == "float" for slot in required)
        self._matrix_missing = all(slot.missing for slot in required)

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
            if len(first.shape) == 2 and (first.name not in self._slots or first.shape[1] != 1):
                return self._bind_matrix(first)
        columns: dict[str, np.ndarray[Any, Any]] = {}
        rows = -1
        for tensor in tensors:
            slot = self._slots.get(tensor.name)
            if slot is None:
                raise bad(
                    f"{tensor.field}.name",
                    f"{shorten(tensor.name)} is not an input of this model; "
                    f"its inputs are {', '.join(self._slots)}",
                )
            if tensor.name in columns:
                raise bad(f"{tensor.field}.name", f"{shorten(tensor.name)} was given before")
            shape = tensor.shape
            if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
                raise bad(
                    f"{tensor.field}.shape",
                    f"{list(shape)}; {tensor.name} is one column: send [n] or [n, 1]",
                )
            if rows < 0:
                rows = shape[0]
            elif shape[0] != rows:
                raise bad(
                    f"{tensor.field}.shape",
                    f"{shape[0]} rows; {tensors[0].field} has {rows}",
                )
            columns[tensor.name] = _column(slot, tensor)
        if len(columns) < len(self._slots):
            self._refuse_incomplete(columns)
        if rows == 0:
            raise bad(f"{tensors[0].field}.shape", "no rows; send one at least")
        return Batch(columns, rows)

    def _refuse_incomplete(self, columns: Columns) -> None:
        missing = [name for name in self._required if name not in columns]
        if missing:
            raise bad("inputs", f"no tensor for {', '.join(map(shorten, missing))}")

    def _bind_matrix(self, tensor: Tensor) -> Batch:
        rows, width = tensor.shape
        if not self._matrix:
            raise bad(
                f"{tensor.field}.shape",
                f"{[rows, width]}; this model has inputs that are not numbers: "
                "send one tensor per input",
            )
        if width != len(self._matrix):
            raise bad(
                f"{tensor.field}.shape",
                f"{[rows, width]}; this model has {len(self._matrix)} required inputs: "
                f"{', '.join(self._required)}",
            )
        if tensor.datatype.group not in ("float", "integer"):
            raise bad(
                f"{tensor.field}.datatype",
                f"{tensor.datatype.name} is not a number; send FP64, FP32 or an integer type",
            )
        if rows == 0:
            raise bad(f"{tensor.field}.shape", "no rows; send one at least")
        if not self._matrix_is_float:
            return self._bind_mixed_matrix(tensor)
        flat = tensor.values
        if flat.dtype != np.float64:
            flat = flat.astype(np.float64)
        if tensor.datatype.group == "float":
            self._check_finite_matrix(flat, tensor, width)
        # One column after another in memory: what a predictor reads next.
        matrix = flat.reshape(rows, width)
        return Batch({slot.name: matrix[:, place] for place, slot in enumerate(self._matrix)}, rows)

    def _bind_mixed_matrix(self, tensor: Tensor) -> Batch:
        rows, width = tensor.shape
        matrix = tensor.values.reshape(rows, width)
        columns = {}
        for place, slot in enumerate(self._matrix):
            part = Tensor(
                f"{tensor.field}.data[*][{place}]",
                slot.name,
                tensor.datatype,
                (rows,),
                matrix[:, place],
            )
            columns[slot.name] = _column(slot, part)
        return Batch(columns, rows)

    def _check_finite_matrix(self, flat: np.ndarray[Any, Any], tensor: Tensor, width: int) -> None:
        if np.isfinite(flat).all():
            return
        for place in np.flatnonzero(~np.isfinite(flat)).tolist():
            slot = self._matrix[place % width]
            if not (slot.missing and np.isnan(flat[place])):
                raise _not_finite(flat[place], f"{tensor.field}.data[{place}]", slot.name)


def _names(allowed: object) -> frozenset[str]:
    return frozenset(map(str, allowed)) if isinstance(allowed, list | tuple) else frozenset()


def _slot(given: Input, *, everywhere: bool, names: frozenset[str]) -> _Slot:
    return _Slot(
        name=given.name,
        kind=given.kind,
        datatype=DATATYPES.get(given.datatype, DATATYPES["BYTES"]),
        optional=given.optional,
        missing=given.optional or everywhere or given.name in names,
    )


def _column(slot: _Slot, tensor: Tensor) -> np.ndarray[Any, Any]:
    if slot.kind == "timestamp":
        return _timestamps(slot, tensor)
    wanted = slot.datatype.group
    group = tensor.datatype.group
    values = tensor.values
    if wanted == "float":
        if group == "float":
            column = values if values.dtype == np.float64 else values.astype(np.float64)
            _check_finite(slot, column, tensor)
            return column
        if group == "integer":
            return values.astype(np.float64)
    elif wanted == "integer" and group == "integer":
        return _integers(slot, tensor)
    elif wanted == group == "boolean":
        return values
    elif wanted == group == "bytes":
        if not slot.missing and None in values:
            place = values.tolist().index(None)
            raise bad(f"{tensor.field}.data[{place}]", f"null, and {slot.name} may not be missing")
        return values
    raise bad(
        f"{tensor.field}.datatype",
        f"{tensor.datatype.name} does not fit the input {slot.name}; send {slot.datatype.name}",
    )


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
    return bad(field, f"{value} is not a finite number")


def _integers(slot: _Slot, tensor: Tensor) -> np.ndarray[Any, Any]:
    values = tensor.values
    limits = np.iinfo(slot.datatype.dtype)
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < limits.min or high > min(int(limits.max), int(_INT64.max)):
        raise bad(
            f"{tensor.field}.data",
            f"{low if low < limits.min else high} is out of the range of {slot.datatype.name}",
        )
    return values.astype(np.int64)


def _timestamps(slot: _Slot, tensor: Tensor) -> np.ndarray[Any, Any]:
    if tensor.datatype.name == "INT64":
        return tensor.values
    if tensor.datatype.group != "bytes":
        raise bad(
            f"{tensor.field}.datatype",
            f"{tensor.datatype.name} does not fit the time {slot.name}; send INT64 "
            "(milliseconds since 1970 UTC) or BYTES (ISO-8601)",
        )
    out = np.empty(len(tensor.values), dtype=np.int64)
    for place, text in enumerate(tensor.values.tolist()):
        out[place] = _milliseconds(text, f"{tensor.field}.data[{place}]")
    return out


def _milliseconds(text: str | None, field: str) -> int:
    if text is None:
        raise bad(field, "null is not a time")
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError) as error:
        raise bad(
            field, f"{shorten(text, 40)} is not an ISO-8601 time such as 2013-02-01T06:00:00Z"
        ) from error
