"""Rows in Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from noria.errors import DataError
from noria.tasks.sources.files import missing_columns


def read(paths: Sequence[Path], columns: Sequence[str]) -> pd.DataFrame:
    """Return the columns of all files, one below the other, in the order of ``paths``.

    Raises:
        DataError: A file can't be read or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    frames: list[pd.DataFrame] = []
    for path in paths:
        try:
            present = pq.read_schema(path).names
            missing_columns(path, columns, present)
            table = pq.read_table(path, columns=list(columns))
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{path}: can't be read as Parquet: {error}",
                fix="write the file again, or name it under its own kind of source",
            ) from error
        frames.append(table.to_pandas())
    return pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
