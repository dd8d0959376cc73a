"""Labelled rows as they were known at a moment, in one order whatever the files' order is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from noria.errors import DataError, LeakageError
from noria.spec import Data, ModelSpec
from noria.tasks.sources import csv, parquet
from noria.tasks.sources.files import source_files
from noria.tasks.sources.typed import frame_of, roles_of
from noria.values.columns import read_column
from noria.values.notation import Notation

_WHOLE: Final = "^-?[0-9]{1,18}$"


def labelled_rows(spec: ModelSpec, base: Path, as_of: datetime | None) -> pd.DataFrame:
    """Return the rows whose label was known at ``as_of``, ordered by event time and entity key.

    Values are read by the one rule (``noria.values``): numbers are float64, booleans nullable,
    categories and keys texts, times datetime64[us, UTC], classes texts, integers or booleans.
    Without ``as_of`` every labelled row counts; of a family that learns without a target, every
    row: one without a label is known at its event. ``spec.retraining.trainOn`` limits how old a
    row may be.

    Args:
        spec: The model.
        base: The folder of model.yaml.
        as_of: A moment with a time zone.

    Raises:
        DataError: A file, column, value or time is missing or can't be read (``problems`` has
            all of them), or no row is left.
        LeakageError: A label was known before its event, or by ``as_of`` for a later event.
    """
    return labelled(spec, read_rows(spec, base), as_of)


def labelled(spec: ModelSpec, rows: pd.DataFrame, as_of: datetime | None) -> pd.DataFrame:
    """Return of the rows that ``read_rows`` gives those of ``labelled_rows``."""
    data = spec.data
    if as_of is not None and as_of.tzinfo is None:
        raise DataError(f"as_of {as_of.isoformat()} has no time zone", fix="give it in UTC")
    read = len(rows)
    if spec.family.target is None:
        rows = _known_at_once(data, rows)
    elif data.target is not None:
        rows = _where(rows, rows[data.target].notna())
        # Unlike ``assign``, this copies no other column.
        rows = rows.copy(deep=False)
        rows[data.target] = rows[data.target].infer_objects()
    rows = _with_times(data, rows)
    if as_of is not None and data.event_time is not None:
        rows = _known_at(data, rows, as_of)
    rows = recent(spec, rows, as_of)
    if rows.empty:
        raise DataError(
            f"no labelled row is left of the {read} that were read"
            + (f" (as of {as_of.isoformat()})" if as_of is not None else ""),
            fix="check spec.data.target, labelTime and spec.retraining.trainOn",
        )
    return ordered(data, rows)


def ordered(data: Data, rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows in the order of their event times and entity keys, with a new index."""
    order = [name for name in (data.event_time, *data.entity_key) if name is not None]
    rows = rows.copy(deep=False)
    rows.index = pd.RangeIndex(len(rows))
    if not order:
        return rows
    places = rows[order].sort_values(order, kind="stable", key=_order).index
    if places.is_monotonic_increasing:
        return rows
    return rows.take(places.to_numpy()).reset_index(drop=True)


def _order(column: pd.Series) -> pd.Series:
    """Return what a column is sorted by: keys that are whole numbers as such, the rest as texts."""
    if not pd.api.types.is_string_dtype(column.dtype):
        return column
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pa.array(column, pa.large_string(), from_pandas=True)
    if pc.all(pc.match_substring_regex(texts, _WHOLE)).as_py() is False:
        return column
    whole: pd.Series = texts.cast(pa.int64()).to_pandas(
        types_mapper={pa.int64(): pd.Int64Dtype()}.get
    )
    return whole.set_axis(column.index)


def row_columns(data: Data) -> list[str]:
    """Return the columns that the files must hold: all but looked-up and derived ones."""
    looked_up = {feature.name for feature in data.looked_up_features()}
    extra = (
        data.target,
        data.label_time,
        data.split.group_key,
        data.weight,
        *(name for name in data.validation.ranges if name not in looked_up),
    )
    names = (*data.request_columns(), *(name for name in extra if name is not None))
    return list(dict.fromkeys(names))


def label_columns(data: Data, rows: pd.DataFrame) -> list[str]:
    """Return the columns of ingested rows that are labels.

    It is ``data.target``. Of a model that has none, as of one of several targets, they are those
    that the spec names for nothing else.
    """
    if data.target is not None:
        return [data.target]
    named = row_columns(data)
    return [str(name) for name in rows.columns if name not in named]


def moments(rows: pd.DataFrame, column: str) -> np.ndarray:
    """Return a time column of ingested rows as int64 milliseconds since 1970 UTC."""
    return rows[column].to_numpy(dtype="datetime64[ms]").astype(np.int64)


def read_rows(spec: ModelSpec, base: Path) -> pd.DataFrame:
    """Return every row of the files, with a label or not; values as in ``labelled_rows``.

    Raises:
        DataError: A file, column or value is missing or can't be read.
    """
    data = spec.data
    files = source_files(data, base)
    columns = row_columns(data)
    known = roles_of(spec)
    roles = {name: known[name] for name in columns}
    source = data.source.csv
    if source is None:
        return frame_of(parquet.read(files, columns), roles, read_column)
    notation = Notation(frozenset(source.missing_values), source.decimal, source.date_format)
    return frame_of(csv.read(files, columns, source), roles, notation.read_column)


def _with_times(data: Data, rows: pd.DataFrame) -> pd.DataFrame:
    if data.event_time is None:
        return rows
    missing = int(rows[data.event_time].isna().sum())
    if missing:
        raise DataError(
            f"spec.data.eventTime: {data.event_time} is missing in {missing} of {len(rows)} rows",
            fix="drop those rows in the data module, or fill them",
        )
    if data.label_time is None:
        return rows
    # Without the time of its label, a row may not be called labelled at any moment.
    rows = _where(rows, rows[data.label_time].notna())
    early = rows[data.label_time] < rows[data.event_time]
    if early.any():
        first = rows[early].iloc[0]
        raise LeakageError(
            f"spec.data.labelTime: {int(early.sum())} of {len(rows)} labels were known before "
            f"their event, the first by {data.label_time} {first[data.label_time]} for "
            f"{data.event_time} {first[data.event_time]}",
            fix="correct the times, or drop those rows in the data module",
        )
    return rows


def _known_at_once(data: Data, rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of which those without a time of the label have that of their event."""
    if data.label_time is None or data.event_time is None:
        return rows
    rows = rows.copy(deep=False)
    rows[data.label_time] = rows[data.label_time].fillna(rows[data.event_time])
    return rows


def _known_at(data: Data, rows: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    cut = pd.Timestamp(as_of.astimezone(UTC))
    rows = _where(rows, rows[data.label_time or data.event_time] <= cut)
    late = rows[data.event_time] > cut
    if late.any():
        raise LeakageError(
            f"spec.data.eventTime: {int(late.sum())} rows lie after {as_of.isoformat()} although "
            "their labels do not",
            fix="correct eventTime and labelTime",
        )
    return rows


def recent(spec: ModelSpec, rows: pd.DataFrame, as_of: datetime | None) -> pd.DataFrame:
    """Return the rows that ``spec.retraining.trainOn`` does not leave out for their age."""
    train_on = spec.retraining.train_on
    event_time = spec.data.event_time
    if train_on.kind == "all" or train_on.window is None or event_time is None or rows.empty:
        return rows
    end = rows[event_time].max() if as_of is None else pd.Timestamp(as_of.astimezone(UTC))
    return _where(rows, rows[event_time] > end - pd.Timedelta(train_on.window))


def _where(rows: pd.DataFrame, kept: pd.Series) -> pd.DataFrame:
    """Return the rows that are kept: a copy, unless they are all."""
    return rows if kept.all() else rows[kept]
