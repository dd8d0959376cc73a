"""Rows in Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from noria.errors import DataError
from noria.tasks.sources.files import column_problems
from noria.tasks.sources.typed import Part

if TYPE_CHECKING:
    import pyarrow as pa

_MANY: Final = 50_000
"""Rows from which a file is worth to be opened again for each column."""


def read(paths: Sequence[Path], columns: Sequence[str]) -> list[Part]:
    """Return the columns of each file, with a problem for each that is absent or there twice.

    A column of a file with many rows is read when it is asked for, and no other with it.

    Raises:
        DataError: A file can't be read, then or now.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = []
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                present, rows = file.schema_arrow.names, file.metadata.num_rows
                problems = column_problems(path, columns, present)
                wanted = [name for name in columns if present.count(name) == 1]
                found: Mapping[str, pa.ChunkedArray] = _Columns(path, wanted)
                if rows < _MANY:
                    table = file.read(columns=wanted)
                    found = {name: table[name] for name in wanted}
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        parts.append(Part(str(path), found, problems))
    return parts


class _Columns(Mapping[str, "pa.ChunkedArray"]):
    """Columns of a file; the last one that was asked for is kept."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._path, self._names = path, tuple(names)
        self._last: tuple[str, pa.ChunkedArray] | None = None

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        if name not in self._names:
            raise KeyError(name)
        if self._last is None or self._last[0] != name:
            self._last = None
            self._last = (name, self._read(name))
        return self._last[1]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _read(self, name: str) -> pa.ChunkedArray:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self._path) as file:
                return file.read(columns=[name])[name]
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _unreadable(self._path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: can't be read as Parquet: {error}",
        fix="write the file again, or name it under its own kind of source",
    )
