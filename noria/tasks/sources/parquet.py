"""Rows in Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from noria.errors import DataError
from noria.tasks.sources.files import column_problems
from noria.tasks.sources.typed import Part


def read(paths: Sequence[Path], columns: Sequence[str]) -> list[Part]:
    """Return the columns of each file, with a problem for each that is absent or there twice.

    Raises:
        DataError: A file can't be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = []
    for path in paths:
        try:
            present = pq.read_schema(path).names
            problems = column_problems(path, columns, present)
            wanted = [name for name in columns if present.count(name) == 1]
            table = pq.ParquetFile(path).read(columns=wanted)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(
                f"{path}: can't be read as Parquet: {error}",
                fix="write the file again, or name it under its own kind of source",
            ) from error
        parts.append(Part(str(path), {name: table[name] for name in wanted}, problems))
    return parts
