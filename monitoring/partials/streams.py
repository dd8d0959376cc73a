"""What partials are about, and what may be in one that comes from outside."""

from __future__ import annotations

from typing import Final

import numpy as np

from monitoring.core import MAX_SOURCES
from monitoring.limits import LAST_SECOND, MAX_VERSION_CHARS, bounded_text
from monitoring.records import PartialRecord, width_of
from monitoring.sources import check_packed
from noria.errors import InvalidInput, shorten
from noria.labels import checked_source

FEATURES: Final = "features"
PREDICTION: Final = "prediction"
OUTCOMES: Final = "outcomes"
CORRECTIONS: Final = "corrections"
OF_OUTCOMES: Final = ("scores", "labels", "arrivals")
OF_CORRECTIONS: Final = ("partials", "places", "labels")
"""The columns of their tables, all float64; a row has one score or several, and so of labels."""
BASELINE: Final = "baseline"
"""A column of outcomes that have one, as wide as their scores."""

_MAX_ROWS: Final = 1 << 31
_MAX_COUNT: Final = 1 << 53
_MAX_CHARS: Final = 512
_MAX_VERSIONS: Final = 256
_MAX_COLUMNS: Final = 20_000
_MAX_WIDTH: Final = 20_000
_FLOAT_BYTES: Final = 8
_CELL_BYTES: Final = 4


def check_partial(record: PartialRecord, where: str) -> None:
    """Refuse a partial that no replica makes, by the field that is wrong.

    Raises:
        InvalidInput: the message names the field.
    """
    _within(record.seq, _MAX_COUNT, f"{where}.seq")
    _within(record.rows, _MAX_ROWS, f"{where}.rows")
    if not 0.0 <= record.at <= LAST_SECOND:
        raise InvalidInput(f"{where}.at: {shorten(record.at)} is no moment in epoch seconds")
    for name in ("life", "stream", "reference"):
        bounded_text(getattr(record, name), f"{where}.{name}", _MAX_CHARS)
    sizes = (len(record.versions), len(record.columns), len(record.table))
    if sizes[0] > _MAX_VERSIONS or max(sizes[1:]) > _MAX_COLUMNS:
        raise InvalidInput(f"{where}: {sizes} versions and columns are too many")
    for version, rows in record.versions.items():
        bounded_text(version, f"{where}.versions", MAX_VERSION_CHARS)
        _within(rows, _MAX_COUNT, f"{where}.versions.{shorten(version)}")
    if len(record.told) > MAX_SOURCES + 1:
        raise InvalidInput(f"{where}.told: {len(record.told)} sources are too many")
    for source, labels in record.told.items():
        checked_source(source, f"{where}.told")
        _within(labels, _MAX_COUNT, f"{where}.told.{shorten(source)}")
    if record.seq == 0:
        return
    match record.stream:
        case "features" | "prediction":
            _check_sketches(record, where)
        case "outcomes":
            beside = (BASELINE,) if BASELINE in record.table else ()
            _check_columns(record, (*OF_OUTCOMES, *beside), where)
            labels = len(record.table["labels"]) // _FLOAT_BYTES
            check_packed(record.sources, labels, f"{where}.sources")
            bounded_text(record.reference, f"{where}.reference", MAX_VERSION_CHARS)
        case "corrections":
            _check_columns(record, OF_CORRECTIONS, where)
            check_packed(record.sources, record.rows, f"{where}.sources")
        case _:
            raise InvalidInput(f"{where}.stream: {shorten(record.stream)} is unknown")


def _check_sketches(record: PartialRecord, where: str) -> None:
    for name, found in record.columns.items():
        path = f"{where}.columns.{shorten(name)}"
        if len(found.cells) != len(found.counts) or len(found.cells) % _CELL_BYTES:
            raise InvalidInput(f"{path}: cells and counts of different lengths")
        places = np.frombuffer(found.cells, np.uint32).astype(np.int64)
        if (np.diff(places) <= 0).any():
            raise InvalidInput(f"{path}.cells: not in order, or one comes twice")
        _within(found.missing, record.rows, f"{path}.missing")
        _within(found.outside, record.rows, f"{path}.outside")
        counted = int(np.frombuffer(found.counts, np.uint32).sum(dtype=np.int64)) + found.missing
        if counted != record.rows:
            raise InvalidInput(f"{path}.counts: {counted} values do not fit {record.rows} rows")
        _within(found.width, _MAX_WIDTH, f"{path}.width")
    widths = {name: found.width for name, found in record.columns.items()}
    one = _MAX_WIDTH if record.stream == PREDICTION else 1
    most = _FLOAT_BYTES * record.rows
    if any(len(body) > most * widths.get(name, one) for name, body in record.table.items()):
        raise InvalidInput(f"{where}.table: more values than {record.rows} rows")


def _check_columns(record: PartialRecord, names: tuple[str, ...], where: str) -> None:
    if set(record.table) != set(names):
        raise InvalidInput(f"{where}.table: {shorten(sorted(record.table))} is not {names}")
    for name in names:
        body = record.table[name]
        width = width_of(body, record.rows)
        # An answer may hold no number; of labels a row has as many as targets.
        said = name in ("scores", BASELINE)
        wide = said or (record.stream == OUTCOMES and name == "labels")
        least = 0 if said else 1
        if width is None or not least <= width <= (_MAX_WIDTH if wide else 1):
            raise InvalidInput(f"{where}.table.{name}: {len(body)} bytes, {record.rows} rows")
        values = np.frombuffer(body, np.float64)
        if not said and not (np.abs(values) < _LARGEST[name]).all():
            raise InvalidInput(f"{where}.table.{name}: a value is out of range")


_LARGEST: Final = {
    "labels": float("inf"),
    "arrivals": LAST_SECOND,
    "partials": float(_MAX_COUNT),
    "places": float(_MAX_ROWS),
}


def _within(value: int, most: int, where: str) -> None:
    if not 0 <= value <= most:
        raise InvalidInput(f"{where}: {shorten(value)} is not from 0 to {most}")
