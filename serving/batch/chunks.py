"""Some rows at a time of a part: what the predictor is asked, and what is kept beside its answers.

Parquet columns are read by the rule that training reads them by (``noria.values.columns``), rows of
JSON as the V1 protocol reads instances.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import orjson

from noria.errors import DataError, InvalidInput, shorten
from noria.exchange.datatypes import DATATYPES
from noria.tasks.package import Input, Manifest
from noria.values.columns import ROLES, Fault, Role, read_column
from serving.batch.parts import Part
from serving.oip.tensors import Tensor
from serving.oip.v1 import tensors_of_rows

if TYPE_CHECKING:
    import pyarrow as pa

_VALUES: Final = 2_000_000
_MOST_ROWS: Final = 65_536
_TEXT_VALUES: Final = 128
"""As how many numbers a text counts."""

_IMAGE_VALUES: Final = 50_000
"""The same of an image, whose file may have megabytes."""

_LONGEST_LINE: Final = 16 << 20
_MOST_BYTES: Final = 32 << 20
"""Of JSON lines that are read at a time."""


class Chunk(Protocol):
    """Rows of one part that are next to each other."""

    @property
    def first(self) -> int:
        """The place of the first one in its file, from 0."""
        ...

    @property
    def rows(self) -> int:
        """How many there are."""
        ...

    def cut(self, start: int, stop: int) -> Chunk:
        """Return some of the rows."""
        ...

    def tensors(self) -> tuple[Tensor, ...]:
        """Return them as a request has them.

        Raises:
            InvalidInput: A value can't be read.
        """
        ...

    def kept(self, row: int) -> dict[str, Any]:
        """Return what is kept of one row, as it can be written as JSON."""
        ...

    def columns(self) -> dict[str, pa.Array]:
        """Return what is kept, by name."""
        ...


def rows_at_once(manifest: Manifest) -> int:
    """Return how many rows are read, asked and written at a time."""
    known = {"text": _TEXT_VALUES, "image": _IMAGE_VALUES}
    width = sum(
        given.shape[0] if given.shape else known.get(given.kind, 1) for given in manifest.inputs
    )
    answers = sum(int(np.prod(output.shape, initial=1)) for output in manifest.outputs)
    return max(1, min(_MOST_ROWS, _VALUES // (width + answers)))


def read(part: Part, inputs: Sequence[Input], keep: Sequence[str], rows: int) -> Iterator[Chunk]:
    """Yield the rows of a part, ``rows`` at a time.

    Raises:
        DataError: The file can't be read, or has no such column.
    """
    return (_of_parquet if part.format == "parquet" else _of_lines)(part, inputs, keep, rows)


def kept_of(part: Part, manifest: Manifest, keep: Sequence[str] | None) -> pa.Schema:
    """Return the columns that are kept beside a part's answers.

    None asks for the model's entity key and event time, where the file has them. Of JSON lines all
    are texts: what is no text is written as JSON.

    Raises:
        DataError: The file has no such column, or can't be read.
    """
    import pyarrow as pa

    usual = [*manifest.entity_key, *([manifest.event_time] if manifest.event_time else [])]
    names = list(dict.fromkeys(usual if keep is None else keep))
    if part.format == "jsonl":
        return pa.schema([pa.field(name, pa.string()) for name in names])
    schema = _schema(part)
    if keep is None:
        names = [name for name in names if schema.names.count(name) == 1]
    _wanted(part, schema.names, manifest.inputs, names)
    return pa.schema([schema.field(name).remove_metadata() for name in names])


def _schema(part: Part) -> pa.Schema:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(part.source)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{part.source}: can't be read as Parquet: {error}", fix="write the file again"
        ) from error


# -- Parquet


@dataclass(frozen=True, slots=True)
class _Table:
    """See ``Chunk``."""

    inputs: Sequence[Input]
    keep: Sequence[str]
    first: int
    table: pa.RecordBatch

    @property
    def rows(self) -> int:
        return int(self.table.num_rows)

    def cut(self, start: int, stop: int) -> _Table:
        part = self.table.slice(start, stop - start)
        return _Table(self.inputs, self.keep, self.first + start, part)

    def tensors(self) -> tuple[Tensor, ...]:
        present = set(self.table.schema.names)
        return tuple(
            _tensor(given, self.table.column(given.name))
            for given in self.inputs
            if given.name in present
        )

    def kept(self, row: int) -> dict[str, Any]:
        return {name: self.table.column(name)[row].as_py() for name in self.keep}

    def columns(self) -> dict[str, pa.Array]:
        return {name: self.table.column(name) for name in self.keep}


def _of_parquet(
    part: Part, inputs: Sequence[Input], keep: Sequence[str], rows: int
) -> Iterator[Chunk]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = part.first
    try:
        with pq.ParquetFile(part.source) as file:
            names = _wanted(part, file.schema_arrow.names, inputs, keep)
            batches = file.iter_batches(rows, row_groups=list(part.groups), columns=names)
            for batch in batches if part.groups else ():
                if batch.num_rows:
                    yield _Table(inputs, keep, first, batch)
                    first += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{part.source}: can't be read as Parquet from row {first + 1:,} on: {error}",
            fix="write the file again",
        ) from error


def _wanted(
    part: Part, present: Sequence[str], inputs: Sequence[Input], keep: Sequence[str]
) -> list[str]:
    optional = {given.name for given in inputs if given.optional}
    names = dict.fromkeys((*(given.name for given in inputs), *keep))
    missing = [name for name in names if name not in present and name not in optional - {*keep}]
    twice = [name for name in names if present.count(name) > 1]
    if missing or twice:
        said = "has no column" if missing else "has twice the column"
        raise DataError(
            f"{part.source}: {said} {', '.join(map(shorten, (missing or twice)[:8]))}",
            fix="the model asks for it, or --keep does; write it, or rename one that means it",
        )
    return [name for name in names if name in present]


def _tensor(given: Input, column: pa.Array) -> Tensor:
    datatype = DATATYPES.get(given.datatype, DATATYPES["BYTES"])
    if given.kind == "series":
        values = _series(given, column)
        return Tensor(given.name, given.name, datatype, values.shape, values.ravel())
    if given.kind == "image":
        return Tensor(given.name, given.name, datatype, (len(column),), _files(given, column))
    role: Role = "text" if datatype.group == "bytes" else ROLES[given.kind]
    if given.kind == "timestamp":
        role = "time"
    found, fault = read_column(column, role)
    if fault is not None:
        raise _unreadable(given.name, fault)
    if role == "time":
        return Tensor(given.name, given.name, DATATYPES["INT64"], found.shape, _milliseconds(found))
    if role == "vector":
        values = _vectors(given, found)
        return Tensor(given.name, given.name, DATATYPES["FP64"], values.shape, values.ravel())
    if datatype.group in ("integer", "boolean") and not np.isnan(found).any():
        whole = found.astype(np.int64) if datatype.group == "integer" else found.astype(np.bool_)
        if (whole == found).all():
            wanted = DATATYPES["INT64"] if datatype.group == "integer" else datatype
            return Tensor(given.name, given.name, wanted, found.shape, whole)
    named = datatype if role == "text" else DATATYPES["FP64"]
    return Tensor(given.name, given.name, named, found.shape, found)


def _unreadable(name: str, fault: Fault) -> InvalidInput:
    return InvalidInput(f"{name}: {fault.said}", fix=fault.fix)


def _milliseconds(moments: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    found = moments.astype("datetime64[ms]").astype(np.int64)
    unknown = np.isnat(moments)
    return np.where(unknown, np.nan, found) if unknown.any() else found


def _vectors(given: Input, found: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    width = given.shape[0]
    values = np.full((len(found), width), np.nan)
    for row, one in enumerate(found):
        if one is None:
            continue
        if len(one) != width:
            raise InvalidInput(f"{given.name}: {len(one)} numbers; it is a vector of {width}")
        values[row] = one
    return values


def _files(given: Input, column: pa.Array) -> np.ndarray[Any, Any]:
    import pyarrow as pa

    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise InvalidInput(
            f"{given.name}: {column.type} is no column of files", fix="write the bytes of each"
        )
    files = np.empty(len(column), dtype=object)
    files[:] = column.to_pylist()
    return files


def _series(given: Input, column: pa.Array) -> np.ndarray[Any, Any]:
    """Return the newest values of each row, (n, width): a shorter one has NaN in front."""
    width = given.shape[0]
    values = np.full((len(column), width), np.nan)
    for row, one in enumerate(column.to_pylist()):
        newest = one[-width:] if isinstance(one, list) else None
        if not newest or any(isinstance(value, bool) for value in newest):
            raise InvalidInput(f"{given.name}: {shorten(one, 40)} is no list of numbers")
        try:
            values[row, width - len(newest) :] = [
                np.nan if value is None else float(value) for value in newest
            ]
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"{given.name}: {shorten(one, 40)} is no list of numbers") from error
    return values


# -- JSON lines


@dataclass(frozen=True, slots=True)
class _Lines:
    """See ``Chunk``. A line that is no object is what is wrong with it."""

    inputs: Sequence[Input]
    keep: Sequence[str]
    first: int
    lines: Sequence[Mapping[str, Any] | str]

    @property
    def rows(self) -> int:
        return len(self.lines)

    def cut(self, start: int, stop: int) -> _Lines:
        return _Lines(self.inputs, self.keep, self.first + start, self.lines[start:stop])

    def tensors(self) -> tuple[Tensor, ...]:
        known = {given.name for given in self.inputs}
        rows = []
        for line in self.lines:
            if isinstance(line, str):
                raise InvalidInput(line)
            rows.append({name: value for name, value in line.items() if name in known})
        return tensors_of_rows(rows, self.inputs)

    def kept(self, row: int) -> dict[str, Any]:
        line = self.lines[row]
        return {} if isinstance(line, str) else {name: line.get(name) for name in self.keep}

    def columns(self) -> dict[str, pa.Array]:
        import pyarrow as pa

        found = {}
        for name in self.keep:
            texts = [None if value is None else _text(value) for value in self._values(name)]
            found[name] = pa.array(texts, pa.string())
        return found

    def _values(self, name: str) -> Iterator[Any]:
        return (None if isinstance(line, str) else line.get(name) for line in self.lines)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _of_lines(
    part: Part, inputs: Sequence[Input], keep: Sequence[str], rows: int
) -> Iterator[Chunk]:
    first, held = part.first, 0
    lines: list[Mapping[str, Any] | str] = []
    try:
        with part.source.open("rb") as file:
            while line := file.readline(_LONGEST_LINE + 1):
                if len(line) > _LONGEST_LINE:
                    raise DataError(
                        f"{part.source}: row {first + len(lines) + 1:,} has over "
                        f"{_LONGEST_LINE:,} bytes",
                        fix="write one JSON object a line",
                    )
                if line.isspace():
                    continue
                lines.append(_line(line))
                held += len(line)
                if len(lines) == rows or held >= _MOST_BYTES:
                    yield _Lines(inputs, keep, first, lines)
                    first, held, lines = first + len(lines), 0, []
    except OSError as error:
        raise DataError(f"{part.source}: can't be read: {error}", fix="check the file") from error
    if lines:
        yield _Lines(inputs, keep, first, lines)


def _line(line: bytes) -> Mapping[str, Any] | str:
    try:
        found = orjson.loads(line)
    except ValueError as error:
        return f"not JSON: {error}"
    if isinstance(found, dict):
        return found
    return f"{shorten(found, 40)} is no object with a key for each input"
