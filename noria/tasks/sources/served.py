"""Rows that were served and got their label, as training rows: merged with those of the source.

A row is known from its label's arrival, or from its event, whichever is later; a label that was
corrected by then counts as corrected. Two rows are one when entity key and event time are the
same; where the spec has not both, or a part of the key is missing, when all that training reads
of them is the same, one for one. Where the source has the row, the source's counts.

A row of several targets has a column for each, by its name, and is known once all of them are.
Which there are the frame of the source says, by the columns that no request has, where the spec
names no target. Where the source is not read, the row that was labelled last does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd

from noria.errors import DataError, shorten
from noria.served.remote import opened, places
from noria.served.rows import LABELLED, NUMBER, REQUEST, ROW, TARGETS, Piece, labelled, names_of
from noria.served.used import ServedRows
from noria.spec import Data, ModelSpec
from noria.tasks.sources.rows import label_columns, moments, ordered, recent, row_columns
from noria.tasks.sources.typed import Part, frame_of, roles_of
from noria.values.columns import Role, read_column

_IDS: Final = [REQUEST, ROW, LABELLED]
ATTRIBUTE: Final = "noria.served"
"""Attribute of a frame: which rows of it were served, as a ``ServedRows`` in plain values."""


def ingested(
    spec: ModelSpec,
    model: str,
    location: str,
    as_of: datetime | None,
    source: Callable[[], pd.DataFrame],
) -> pd.DataFrame:
    """Return the training rows known at ``as_of``: those of the source, and those served.

    Args:
        spec: The model; ``spec.data.served`` is set.
        model: Its name.
        location: Folder of the table, or URL of the monitor that has it; empty: there is none.
            Of replicas the URLs of all, separated by spaces: each has the rows that it answered.
        as_of: A moment with a time zone; None: every labelled row counts.
        source: Reads the rows of the source.

    Raises:
        DataError: The rows of the source, or a value that was served, can't be read.
        StoreError, Unavailable: The table can't be read now.
    """
    table, told = _served(spec, model, location, as_of)
    needed = spec.data.validation.min_rows
    alone = _stands_alone(spec)
    served = _labelled(spec, table, _last_targets(spec, table), as_of) if alone else table
    if alone and len(served) >= needed:
        base, source_read = served.iloc[:0], False
    else:
        base, source_read = source(), True
        served = _labelled(spec, table, _targets_of(spec, base), as_of)
        served = _without_known(spec, base, served)
    ids = served[_IDS]
    served = served.drop(columns=_IDS)
    frame = recent(spec, _together(spec, base, served), as_of)
    frame = ordered(spec.data, frame)
    used = told | {
        "rows": len(served),
        "digest": _digest(ids, served) if len(served) else "",
        "first": _said(ids[LABELLED].min()),
        "last": _said(ids[LABELLED].max()),
        "source": source_read,
    }
    frame.attrs[ATTRIBUTE] = used
    return frame


def served_in(frame: pd.DataFrame) -> ServedRows | None:
    """Return which rows of a frame were served; None for a model that learns from no such rows."""
    found = frame.attrs.get(ATTRIBUTE)
    return None if found is None else msgspec.convert(found, ServedRows)


def _stands_alone(spec: ModelSpec) -> bool:
    return spec.data.served is not None and spec.data.served.use == "alone"


def _served(
    spec: ModelSpec, model: str, location: str, as_of: datetime | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the served rows with their samples and label times, and of what parts they are."""
    if not location:
        return _frame(spec, ()), {"known": 0}
    pieces: list[Piece] = []
    missing: list[str] = []
    for place in places(location):
        with opened(place, model) as (table, set_aside):
            found = labelled(table, None if as_of is None else as_of.timestamp())
        pieces += found.pieces
        missing += (*set_aside, *found.set_aside)
    frame = _frame(spec, pieces)
    return frame, {"known": len(frame), "parts": len(pieces), "set_aside": tuple(missing)}


def _labelled(
    spec: ModelSpec, table: pd.DataFrame, targets: Sequence[str], as_of: datetime | None
) -> pd.DataFrame:
    """Return the rows of a table that count: those with a label of each of the targets."""
    data, frame = spec.data, table
    if data.event_time is not None:
        frame = frame[frame[data.event_time].notna()]
        if as_of is not None:
            frame = frame[frame[data.event_time] <= pd.Timestamp(as_of)]
    there = [name for name in targets if name in frame.columns]
    if len(there) < len(targets):
        frame = frame.iloc[:0]
        frame = frame.assign(**{name: np.empty(0) for name in targets if name not in there})
    frame = frame[frame[list(targets)].notna().all(axis=1)]
    frame = frame[list(dict.fromkeys((*row_columns(data), *targets, *_IDS)))]
    return recent(spec, _once(data, frame), as_of)


def _targets_of(spec: ModelSpec, base: pd.DataFrame) -> list[str]:
    """Return the columns of a source's rows that are labels.

    Raises:
        DataError: Rows that were served have other columns.
    """
    found = label_columns(spec.data, base)
    wanted, there = {*row_columns(spec.data), *found}, set(map(str, base.columns))
    said = [f"have no column {shorten(name)}" for name in sorted(wanted - there)]
    said += [f"have a column {shorten(name)}" for name in sorted(there - wanted)]
    said += [] if found else ["have no column of a label"]
    if said:
        raise DataError(
            f"spec.data.source: its rows {said[0]}, unlike rows that were served",
            fix="let the family's ingest return what requests hold, and each target, and no more; "
            "or remove spec.data.served",
        )
    return found


def _last_targets(spec: ModelSpec, table: pd.DataFrame) -> list[str]:
    """Return the target, or those of the row that was labelled last."""
    if spec.data.target is not None:
        return [spec.data.target]
    return list(table[TARGETS].iloc[-1]) if len(table) else []


def _frame(spec: ModelSpec, found: Sequence[Piece]) -> pd.DataFrame:
    """Return the rows of tables in the columns that the source has, in the order of their labels.

    A column that requests do not have is missing; ``labelTime`` is when the label came.
    """
    data, known = spec.data, roles_of(spec)
    named = [names_of(piece.table) for piece in found]
    targets = list(dict.fromkeys(name for rows in named for names in rows for name in names))
    roles: dict[str, Role] = dict.fromkeys(targets, "number")
    roles |= {name: known[name] for name in row_columns(data)}
    if data.label_time is not None:
        roles.pop(data.label_time)
    pieces = found or (None,)
    parts = [_part(piece, roles) for piece in pieces]
    samples = [_samples(piece) for piece in pieces]
    frame = frame_of(parts, roles, read_column)
    for name in (REQUEST, ROW, NUMBER, LABELLED, TARGETS):
        frame[name] = np.concatenate([sample[name] for sample in samples])
    frame[LABELLED] = pd.DatetimeIndex(frame[LABELLED], tz="UTC").as_unit("us")
    frame = frame.sort_values([LABELLED, NUMBER], kind="stable").drop(columns=NUMBER)
    if data.label_time is not None:
        known_from = frame[LABELLED]
        if data.event_time is not None:
            known_from = known_from.where(
                ~(known_from < frame[data.event_time]), frame[data.event_time]
            )
        frame[data.label_time] = known_from
    columns = dict.fromkeys((*row_columns(data), *targets, *_IDS, TARGETS))
    return frame[list(columns)].reset_index(drop=True)


def _part(piece: Piece | None, roles: dict[str, Role]) -> Part:
    import pyarrow as pa

    rows = 0 if piece is None else piece.table.num_rows
    there = set() if piece is None else set(piece.table.column_names)
    types = {
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
        "vector": pa.list_(pa.float32()),
    }
    return Part(
        "the table of what was served" if piece is None else piece.part.name,
        {
            name: piece.table[name]
            if piece is not None and name in there
            else pa.chunked_array([pa.nulls(rows, types.get(role, pa.string()))])
            for name, role in roles.items()
        },
    )


def _samples(piece: Piece | None) -> dict[str, np.ndarray]:
    import pyarrow as pa

    if piece is None:
        return {
            REQUEST: np.empty(0, object),
            ROW: np.empty(0, np.int64),
            NUMBER: np.empty(0, np.int64),
            LABELLED: np.empty(0, "datetime64[us]"),
            TARGETS: np.empty(0, object),
        }
    targets = np.empty(piece.table.num_rows, object)
    targets[:] = names_of(piece.table)
    labelled_at = piece.table[LABELLED].cast(pa.int64()).to_numpy().astype("datetime64[us]")
    return {
        REQUEST: np.array(piece.table[REQUEST].to_pylist(), object),
        ROW: piece.table[ROW].to_numpy().astype(np.int64),
        NUMBER: piece.table[NUMBER].to_numpy(),
        LABELLED: labelled_at,
        TARGETS: targets,
    }


def _keyed(data: Data, rows: pd.DataFrame) -> tuple[list[str], pd.Series]:
    """Return the columns that identify a row, and for which rows none of them is missing."""
    if data.event_time is None or not data.entity_key:
        return [], pd.Series(data=False, index=rows.index)
    columns = [data.event_time, *data.entity_key]
    return columns, rows[columns].notna().all(axis=1)


def _once(data: Data, served: pd.DataFrame) -> pd.DataFrame:
    """Leave of rows with one key and one event time, asked about more than once, the last."""
    columns, keyed = _keyed(data, served)
    if not columns:
        return served
    marks = _marks(data, served, columns)
    return served[~(keyed & marks.duplicated(keep="last"))]


def _without_known(spec: ModelSpec, base: pd.DataFrame, served: pd.DataFrame) -> pd.DataFrame:
    """Return the served rows that the source does not have."""
    data = spec.data
    columns, keyed = _keyed(data, served)
    known = pd.Series(data=False, index=served.index)
    if columns:
        there = set(_marks(data, base, columns))
        known |= keyed & _marks(data, served, columns).isin(there)
    others = served[~keyed]
    if len(others):
        left = _content(spec, base)
        marks = _marks(data, others, left)
        counts = _marks(data, base, left).value_counts()
        # The first of as many as the source has: it takes the place of no more than that.
        taken = marks.groupby(marks).cumcount() < marks.map(counts).fillna(0)
        known |= taken.reindex(served.index, fill_value=False)
    return served[~known]


def _content(spec: ModelSpec, base: pd.DataFrame) -> list[str]:
    """Return what training reads of a row: all but when its label became known."""
    redacted = spec.data.served.redact if spec.data.served is not None else ()
    skipped = {spec.data.label_time, *redacted, *spec.serving.payload_log.redact}
    requested = {*spec.data.request_columns(), *label_columns(spec.data, base)}
    return [name for name in base.columns if name in requested and name not in skipped]


def _marks(data: Data, rows: pd.DataFrame, columns: list[str]) -> pd.Series:
    """Return a text of each row's values; moments by the millisecond, as requests have them."""
    found = pd.Series("", index=rows.index)
    for name in columns:
        if name in (data.event_time, data.label_time):
            values = pd.Series(moments(rows, name), index=rows.index)
        else:
            values = _plain(rows[name])
        texts = values.map(lambda value: "" if pd.isna(value) else f"{len(str(value))}:{value}")
        found = found + "|" + texts.astype(str)
    return found


def _together(spec: ModelSpec, base: pd.DataFrame, served: pd.DataFrame) -> pd.DataFrame:
    targets = label_columns(spec.data, served)
    if base.empty or served.empty:
        frame = (served if base.empty else base).copy()
    else:
        served = served.assign(**{name: served[name].astype(object) for name in targets})
        base = base.assign(**{name: base[name].astype(object) for name in targets})
        frame = pd.concat([base, served[list(base.columns)]], ignore_index=True)
    frame = frame.assign(**{name: frame[name].infer_objects() for name in targets})
    kinds = {type(value) for name in targets for value in frame[name].tolist()}
    if spec.is_classification and len(kinds) > 1:
        raise DataError(
            f"spec.data.served: the labels that were served are of another type than those of "
            f"the source: {', '.join(sorted(kind.__name__ for kind in kinds))}",
            fix="write the source's labels in one type, the one that its versions were trained on",
        )
    return frame


def _digest(ids: pd.DataFrame, served: pd.DataFrame) -> str:
    digest = hashlib.sha256()
    for name in served.columns:
        digest.update(f"{name} {served[name].dtype}\n".encode())
    whole = ids[[REQUEST, ROW]].assign(**{name: _plain(served[name]) for name in served.columns})
    digest.update(pd.util.hash_pandas_object(whole, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _plain(values: pd.Series) -> pd.Series:
    """Return values that can be compared and hashed: vectors as their float32 bytes."""
    if values.dtype != object:
        return values
    return values.map(lambda v: v.astype("<f4").tobytes() if isinstance(v, np.ndarray) else v)


def _said(moment: Any) -> str:
    return "" if pd.isna(moment) else str(moment.isoformat())
