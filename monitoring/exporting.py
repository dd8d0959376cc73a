"""What a monitor keeps, as Parquet files: read from its disk, while it runs and when it is down.

Rows are read and written a few thousand at a time, each file from one snapshot, so memory stays
small however much there is. What is exported is what is kept: rows for twice the longest lag of
a label, and of a row's features what an open window or an open request still needs.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from monitoring.config import MonitorConfig
from monitoring.core import MonitorState
from monitoring.damage import is_sound
from monitoring.records import (
    BlockRecord,
    RequestRecord,
    as_rows,
    decode,
    decode_keys,
    floats,
    matrix_of,
    scores_of,
)
from monitoring.sources import unpack
from monitoring.state import PAIRS, Pair, outcome_of, translated
from monitoring.table import FloatArray, missing_vectors
from monitoring.tables import CORE, check_current
from noria.errors import InvalidInput, NoriaError
from noria.predictions import DictColumn, Values, Vectors

if TYPE_CHECKING:
    import pyarrow as pa

FILES: Final = ("exchanges", "labels", "windows")
_ROWS: Final = 20_000
_CACHED: Final = 32
_MICROS: Final = 1e6
_PERFORMANCE: Final = "performance/"


@dataclass(frozen=True, slots=True)
class Span:
    """From ``since`` on and before ``until``, in epoch seconds as the monitor counts time."""

    since: float = -inf
    until: float = inf


def watermark(folder: Path) -> float | None:
    """Return the largest event time that a monitor has seen, in epoch seconds; None before any."""
    path = folder / "state.db"
    if not path.exists():
        return None
    with translated(), _reading(path) as state:
        return _core(state).watermark or None


@dataclass(frozen=True, slots=True)
class Answered:
    """How many rows were answered and got their label, ever; ``waiting`` are not in the table yet.

    The table is that of labelled rows which are kept (``spec.data.served``).
    """

    rows: int
    labelled: int
    waiting: int


def answered(folder: Path) -> Answered:
    """Return what a monitor has counted of its rows; zeros where there is none."""
    path = folder / "state.db"
    if not path.exists():
        return Answered(0, 0, 0)
    with translated(), _reading(path) as state:
        core = _core(state)
        there = state.execute("SELECT 1 FROM sqlite_master WHERE name = 'served'").fetchone()
        waiting = state.execute("SELECT count(*) FROM served").fetchone()[0] if there else 0
    return Answered(core.counts.rows, core.counts.joined, waiting)


def export(folder: Path, config: MonitorConfig, out: Path, span: Span = Span()) -> dict[str, int]:
    """Write ``exchanges.parquet``, ``labels.parquet`` and ``windows.parquet``; return their rows.

    Args:
        folder: The monitor's own folder.
        config: What it watches: which features there are.
        out: The folder to write to; it is made when it is missing.
        span: Which arrivals, labels and windows.

    Raises:
        InvalidInput: No monitor has kept anything there, or one of an earlier version has.
        NoriaError: A file can't be written, or the monitor's not be read.
    """
    path = folder / "state.db"
    if not path.exists():
        raise InvalidInput(f"no monitor of {config.model} has kept anything in {folder}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with translated(), _reading(path) as state, _log_of(folder) as log:
            check_current(state, path)
            tables = {
                "exchanges": _Exchanges(state, log, config, span).batches(),
                "labels": _labels(state, span),
                "windows": _windows(state, span),
            }
            core = _core(state)
            said = {
                "noria.classes": json.dumps(core.classes),
                "noria.targets": json.dumps(core.targets),
            }
            return {
                name: _write(out / f"{name}.parquet", batches, said)
                for name, batches in tables.items()
            }
    except OSError as error:
        raise NoriaError(
            f"the export can't be written to {out}: {error.strerror or error}",
            fix="give another folder with --out",
        ) from error


def _write(path: Path, batches: Iterator[pa.RecordBatch], said: dict[str, str]) -> int:
    """Write batches, of which the first may be empty; a reader never finds half a file."""
    import pyarrow.parquet as pq

    partial = path.with_name(f"{path.name}.partial")
    first = next(batches)
    schema = first.schema.with_metadata(said)
    rows: int = first.num_rows
    with pq.ParquetWriter(partial, schema) as writer:
        writer.write_batch(first.cast(schema))
        for batch in batches:
            writer.write_batch(batch.cast(schema))
            rows += batch.num_rows
    partial.replace(path)
    return rows


class _Exchanges:
    """Answered rows in the order of their arrival."""

    def __init__(
        self,
        state: sqlite3.Connection,
        log: sqlite3.Connection | None,
        config: MonitorConfig,
        span: Span,
    ) -> None:
        self._state = state
        self._log = log
        self._features = config.features
        self._span = span
        self._record = lru_cache(2)(self._record_at)
        self._outcome = lru_cache(_CACHED)(self._outcome_of)

    def batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        typed = {
            "numeric": pa.float64(),
            "categorical": pa.string(),
            "vector": pa.list_(pa.float32()),
        }
        schema = pa.schema(
            {
                "time": _moment(),
                "version": pa.string(),
                "request": pa.string(),
                "row": pa.int32(),
                "key": pa.string(),
                "prediction": pa.float64(),
                "scores": pa.list_(pa.float64()),
                "label": pa.float64(),
                "labels": pa.list_(pa.float64()),
                "label_source": pa.string(),
                "label_sources": pa.list_(pa.string()),
                "labelled_at": _moment(),
                **{f"feature.{name}": typed[kind] for name, kind in self._features.items()},
            }
        )
        # By its number, not by the index of times: nothing has to be sorted then.
        pairs = self._state.execute(
            f"{PAIRS} WHERE +at >= ? AND +at < ? ORDER BY seq",
            (self._span.since, self._span.until),
        )
        requests = _Requests(self._state)
        yield from _batched(
            (self._columns(pair, requests.of(pair)) for pair in map(Pair._make, pairs)), schema
        )

    def _columns(self, pair: Pair, requests: tuple[list[str | None], list[int | None]]) -> _Columns:
        label, sources, labelled_at = self._labels(pair)
        keys: Sequence[str | None] = decode_keys(pair.keys) if pair.keys else [None] * pair.rows
        found = self._columns_of(pair)
        return {
            "time": _micros(np.full(pair.rows, pair.at)),
            "version": [pair.version] * pair.rows,
            "request": requests[0],
            "row": requests[1],
            "key": keys,
            **_predicted(scores_of(pair.prediction, pair.rows)),
            **_labelled(label, sources),
            "labelled_at": _micros(labelled_at),
            **{
                f"feature.{name}": _lists(found.get(name), pair)
                if kind == "vector"
                else _values(found.get(name), pair, kind == "numeric")
                for name, kind in self._features.items()
            },
        }

    def _labels(self, pair: Pair) -> tuple[FloatArray, list[list[str]], FloatArray]:
        """Return the labels of a pair's rows, who said them, and when; of several the newest."""
        label, at = np.full((pair.rows, 1), np.nan), np.full(pair.rows, np.nan)
        sources: list[list[str]] = [[] for _ in range(pair.rows)]
        for outcome, first, rows in self._state.execute(
            "SELECT outcome, first, rows FROM joins WHERE pair = ? ORDER BY outcome", (pair.seq,)
        ):
            found = self._outcome(outcome)
            if found is not None:
                places = np.frombuffer(rows, np.int32)
                taken = found[1][first : first + places.size].reshape(places.size, -1)
                if taken.shape[1] > label.shape[1]:
                    label = np.full((pair.rows, taken.shape[1]), np.nan)
                label[places] = taken
                at[places] = found[0]
                for place, row in enumerate(places.tolist(), first):
                    sources[row] = found[2][place]
        return as_rows(label.ravel(), pair.rows), sources, at

    def _outcome_of(self, seq: int) -> tuple[float, FloatArray, list[list[str]]] | None:
        row = self._state.execute(
            "SELECT at, body, rows, targets, sources FROM outcomes WHERE seq = ?", (seq,)
        ).fetchone()
        if row is None:
            return None
        at, body, rows, targets, sources = row
        return at, outcome_of(body, rows, targets)[1], _by_row(sources, rows, targets)

    def _columns_of(self, pair: Pair) -> Mapping[str, Any]:
        record = self._record(pair.request)
        fits = record is not None and pair.first + pair.rows <= record.rows
        return {**record.columns, **record.vectors} if record is not None and fits else {}

    def _record_at(self, offset: int) -> RequestRecord | BlockRecord | None:
        if self._log is None:
            return None
        row = self._log.execute(
            "SELECT offset, received, rows, body, sum FROM log WHERE offset = ?", (offset,)
        ).fetchone()
        if row is None or not is_sound(row):
            return None
        record = decode(row[3])
        return record if isinstance(record, RequestRecord | BlockRecord) else None


class _Requests:
    """Which request each row of a pair came with; asked for in the order of the pairs."""

    def __init__(self, state: sqlite3.Connection) -> None:
        self._events = state.execute(
            "SELECT pair, first, rows, id FROM events WHERE pair > 0 ORDER BY pair, first"
        )
        self._next: tuple[int, int, int | None, str] | None = self._events.fetchone()

    def of(self, pair: Pair) -> tuple[list[str | None], list[int | None]]:
        """Return the request's id and the row's number in it; None where it is forgotten."""
        ids: list[str | None] = [None] * pair.rows
        places: list[int | None] = [None] * pair.rows
        while self._next is not None and self._next[0] <= pair.seq:
            seq, first, rows, identity = self._next
            if seq == pair.seq:
                stop = pair.rows if rows is None else min(first + rows, pair.rows)
                ids[first:stop] = [identity] * (stop - first)
                places[first:stop] = range(stop - first)
            self._next = self._events.fetchone()
        return ids, places


def _predicted(scores: FloatArray) -> _Columns:
    """Return predictions of one number as that, of several as lists."""
    nothing = [None] * scores.shape[0]
    if scores.ndim > 1 and not scores.shape[1]:
        return {"prediction": nothing, "scores": nothing}
    if scores.ndim == 1:
        return {"prediction": scores, "scores": nothing}
    return {"prediction": nothing, "scores": scores.tolist()}


def _labelled(labels: FloatArray, sources: Sequence[Sequence[str]]) -> _Columns:
    """Return labels of one target, with their sources, as that, of several as lists."""
    nothing = [None] * labels.shape[0]
    if labels.ndim == 1:
        said = [row[0] if row else None for row in sources]
        return {
            "label": labels,
            "labels": nothing,
            "label_source": said,
            "label_sources": nothing,
        }
    return {
        "label": nothing,
        "labels": labels.tolist(),
        "label_source": nothing,
        "label_sources": [list(row) or None for row in sources],
    }


def _by_row(sources: bytes | None, rows: int, targets: int) -> list[list[str]]:
    """Return the sources of the labels of each row of an outcome."""
    found = unpack(sources, rows * targets)
    return [found[first : first + targets] for first in range(0, rows * targets, targets)]


def _labels(state: sqlite3.Connection, span: Span) -> Iterator[pa.RecordBatch]:
    """Labels in the order in which they found their rows, then those that wait for one."""
    import pyarrow as pa

    schema = pa.schema(
        {
            "labelled_at": _moment(),
            "predicted_at": _moment(),
            "version": pa.string(),
            "prediction": pa.float64(),
            "scores": pa.list_(pa.float64()),
            "label": pa.float64(),
            "labels": pa.list_(pa.float64()),
            "label_source": pa.string(),
            "label_sources": pa.list_(pa.string()),
            "waiting_for": pa.string(),
        }
    )
    within = (span.since, span.until)

    def parts() -> Iterator[_Columns]:
        for version, at, body, rows, targets, sources in state.execute(
            "SELECT version, at, body, rows, targets, sources FROM outcomes "
            "WHERE at >= ? AND at < ? ORDER BY seq",
            within,
        ):
            scores, labels, arrivals = outcome_of(body, rows, targets)
            yield {
                "labelled_at": _micros(np.full(arrivals.size, at)),
                "predicted_at": _micros(arrivals),
                "version": [version] * arrivals.size,
                **_predicted(scores),
                **_labelled(labels, _by_row(sources, rows, targets)),
                "waiting_for": [None] * arrivals.size,
            }
        for key, value, at, source in state.execute(
            "SELECT key, value, at, source FROM labels WHERE at >= ? AND at < ? ORDER BY key",
            within,
        ):
            yield {
                "labelled_at": _micros(np.array([at])),
                "predicted_at": [None],
                "version": [None],
                "prediction": [None],
                "scores": [None],
                **_labelled(np.array([value]), [[source]]),
                "waiting_for": [key],
            }

    yield from _batched(parts(), schema)


def _windows(state: sqlite3.Connection, span: Span) -> Iterator[pa.RecordBatch]:
    """What each kept window said: a row a detector, a rule of quality, or a metric."""
    import pyarrow as pa

    schema = pa.schema(
        {
            "stream": pa.string(),
            "window": pa.int64(),
            "at": _moment(),
            "version": pa.string(),
            "kind": pa.string(),
            "name": pa.string(),
            "value": pa.float64(),
            "low": pa.float64(),
            "high": pa.float64(),
            "p_value": pa.float64(),
            "threshold": pa.float64(),
            "alarm": pa.bool_(),
            "samples": pa.int64(),
            "body": pa.string(),
        }
    )

    def parts() -> Iterator[_Columns]:
        for stream, number, body in state.execute(
            "SELECT stream, number, body FROM windows ORDER BY stream, number"
        ):
            said = json.loads(body)
            if not span.since <= said["at"] < span.until:
                continue
            shared = {
                "stream": stream,
                "window": number,
                "at": round(said["at"] * _MICROS),
                "version": stream.removeprefix(_PERFORMANCE)
                if stream.startswith(_PERFORMANCE)
                else said["champion"],
                "body": body.decode(),
            }
            for row in _said(said):
                yield {name: [(shared | row).get(name)] for name in schema.names}

    yield from _batched(parts(), schema)


def _said(window: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, report in dict(window.get("drift") or {}).items():
        yield {
            "kind": "drift",
            "name": name,
            "value": report["statistic"],
            "p_value": report["p_value"],
            "threshold": report["threshold"],
            "alarm": report["drift"],
            "samples": report["samples"],
        }
    quality = window.get("quality") or {}
    broken = {breach["rule"] for breach in quality.get("breaches", ())}
    for rule in ("missing", "unseen", "out_of_range"):
        if rule in quality:
            yield {"kind": "quality", "name": rule, "value": quality[rule], "alarm": rule in broken}
    for name, metric in dict(window.get("metrics") or {}).items():
        yield {"kind": "performance", "name": name} | {
            key: metric[key] for key in ("value", "low", "high", "samples")
        }


_Columns = Mapping[str, Sequence[Any] | np.ndarray[Any, Any]]


def _batched(parts: Iterator[_Columns], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Put parts together to batches of some thousand rows; at least one, if an empty one."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    rows, any_yet = 0, False

    def together() -> pa.RecordBatch:
        return pa.Table.from_batches(held, schema).combine_chunks().to_batches()[0]

    for part in parts:
        arrays = [pa.array(part[f.name], f.type, from_pandas=True) for f in schema]
        held.append(pa.record_batch(arrays, schema))
        rows += held[-1].num_rows
        if rows >= _ROWS:
            yield together()
            any_yet = True
            held.clear()
            rows = 0
    if rows:
        yield together()
    elif not any_yet:
        yield pa.record_batch([pa.array([], f.type) for f in schema], schema)


def _values(values: Values | None, pair: Pair, numeric: bool) -> Sequence[Any] | FloatArray:  # noqa: FBT001 - a column is one or the other
    part = slice(pair.first, pair.first + pair.rows)
    if numeric and isinstance(values, bytes):
        return floats(values)[part]
    if not numeric and isinstance(values, DictColumn):
        codes = np.frombuffer(values.codes, np.int32)[part]
        return [values.values[code] if code >= 0 else None for code in codes.tolist()]
    return [None] * pair.rows


def _lists(vectors: Values | Vectors | None, pair: Pair) -> Sequence[Any]:
    if not isinstance(vectors, Vectors):
        return [None] * pair.rows
    rows = matrix_of(vectors)[pair.first : pair.first + pair.rows]
    return [None if gone else row for gone, row in zip(missing_vectors(rows), rows, strict=True)]


def _micros(seconds: FloatArray) -> Sequence[int | None]:
    return [None if value != value else round(value * _MICROS) for value in seconds.tolist()]


def _moment() -> pa.DataType:
    import pyarrow as pa

    return pa.timestamp("us", tz="UTC")


def _core(state: sqlite3.Connection) -> MonitorState:
    row = state.execute("SELECT body FROM core").fetchone()
    return MonitorState() if row is None else CORE.decode(row[0])


@contextmanager
def _log_of(folder: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the log, which forgets what is processed: without it there are no features."""
    path = folder / "log.db"
    if not path.exists():
        yield None
        return
    with _reading(path) as log:
        yield log


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open one of the monitor's files to read it as it is now, whatever is written meanwhile."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10.0)) as found:
        found.execute("BEGIN")
        yield found
