"""What a person is told of the table of what was served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from noria.errors import InvalidInput
from noria.served.rows import (
    LABELLED,
    PREDICTED,
    PREDICTION,
    TARGETS,
    VERSION,
    Labelled,
    labelled,
    written,
)
from noria.served.table import ServedTable

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

_QUANTILES: Final = (0.5, 0.9, 1.0)
_MICROS: Final = 1_000_000
_SUFFIXES: Final = (".parquet", ".csv")


class Delays(msgspec.Struct, frozen=True):
    """How long after their answers the labels came, in seconds."""

    median: float
    p90: float
    longest: float


class Summary(msgspec.Struct, frozen=True):
    """The table as it is now.

    ``rows`` counts samples, by ``days`` of their events and by ``versions`` that answered;
    ``corrections`` are the labels in place of which newer ones came. ``set_aside`` names damaged
    files, whose rows are missing.
    """

    rows: int
    corrections: int
    days: dict[str, int]
    versions: dict[str, int]
    delays: Delays | None
    first_label: str | None
    last_label: str | None
    files: int
    bytes: int
    set_aside: tuple[str, ...]


def summary(table: ServedTable) -> Summary:
    """Return what is in the table.

    Raises:
        StoreError: It can't be read.
    """
    whole = written(table)
    found = whole.known()
    days: Counter[str] = Counter()
    versions: Counter[str] = Counter()
    delays: list[float] = []
    known: list[int] = []
    for piece in found.pieces:
        days[piece.part.day] += piece.table.num_rows
        versions.update(piece.table[VERSION].to_pylist())
        answered = _micros(piece.table, PREDICTED)
        told = _micros(piece.table, LABELLED)
        known += told
        delays += [(b - a) / _MICROS for a, b in zip(answered, told, strict=True)]
    parts = table.parts()
    return Summary(
        rows=found.rows,
        corrections=whole.corrections,
        days=dict(sorted(days.items())),
        versions=dict(sorted(versions.items())),
        delays=Delays(*_quantiles(delays)) if delays else None,
        first_label=_moment(min(known)) if known else None,
        last_label=_moment(max(known)) if known else None,
        files=len(parts),
        bytes=sum(map(table.size, parts)),
        set_aside=found.set_aside,
    )


def export(table: ServedTable, out: Path) -> Labelled:
    """Write the table to one file, each sample once with its newest label: Parquet, or CSV.

    Raises:
        InvalidInput: The file's name ends otherwise, there is nothing to write, or it can't be
            written.
        StoreError: The table can't be read.
    """
    import pyarrow as pa

    if out.suffix not in _SUFFIXES:
        raise InvalidInput(
            f"--out: {out} is neither Parquet nor CSV", fix="end the name in .parquet or .csv"
        )
    found = labelled(table)
    if not found.rows:
        raise InvalidInput(
            f"{table.folder} has no labelled row", fix="send labels of what was served"
        )
    tables = [piece.table for piece in found.pieces]
    try:
        whole = pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise InvalidInput(
            f"{table.folder}: a column has changed its type: {error}",
            fix="read the days' files one by one",
        ) from error
    partial = out.with_name(f"{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _write(whole, partial, csv=out.suffix == ".csv")
        partial.replace(out)
    except OSError as error:
        raise InvalidInput(f"--out: {out} can't be written: {error.strerror}") from error
    return found


def _write(table: pa.Table, path: Path, *, csv: bool) -> None:
    if not csv:
        import pyarrow.parquet as pq

        pq.write_table(table, path)
        return
    import pyarrow as pa
    from pyarrow import csv as arrow

    # A field of CSV is one value: several numbers are written as JSON.
    for name in (PREDICTION, TARGETS):
        place = table.schema.get_field_index(name)
        if place >= 0:
            texts = [msgspec.json.encode(value).decode() for value in table[name].to_pylist()]
            table = table.set_column(place, name, pa.array(texts))
    arrow.write_csv(table, path)


def _micros(table: pa.Table, name: str) -> list[int]:
    import pyarrow as pa

    found: list[int] = table[name].cast(pa.int64()).to_pylist()
    return found


def _quantiles(values: Sequence[float]) -> tuple[float, ...]:
    ordered = sorted(values)
    return tuple(ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in _QUANTILES)


def _moment(micros: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(micros / _MICROS, UTC).isoformat(timespec="seconds")
