"""Rows in CSV files with a header."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from noria.errors import DataError
from noria.tasks.sources.files import missing_columns


def read(paths: Sequence[Path], columns: Sequence[str], texts: Collection[str]) -> pd.DataFrame:
    """Return the columns of all files, one below the other, in the order of ``paths``.

    Args:
        paths: The files.
        columns: The columns to read.
        texts: Those of them that are read as text, so that ``007`` stays ``007``.

    Raises:
        DataError: A file can't be read or lacks a column.
    """
    frames = []
    for path in paths:
        try:
            missing_columns(path, columns, list(pd.read_csv(path, nrows=0).columns))
            frames.append(
                pd.read_csv(
                    path,
                    usecols=list(columns),
                    dtype={name: "str" for name in columns if name in texts},
                )
            )
        except (OSError, ValueError) as error:  # pandas' and the decoder's errors are ValueErrors
            raise DataError(
                f"{path}: can't be read as CSV: {error}",
                fix="give comma-separated UTF-8 with a header",
            ) from error
    rows = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    return rows[list(columns)]
