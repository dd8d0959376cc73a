"""Rows that a step of the pipeline wrote, of which each column is read when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noria.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_ATTRIBUTES: Final = b"PANDAS_ATTRS"


class StoredRows:
    """A file of rows, or some of its rows, that holds no column: each is read when it is asked for.

    Args:
        path: A Parquet file that ``DataFrame.to_parquet`` wrote.
        places: Of the rows that it stands for, in this order; None: all.

    Raises:
        DataError: The file can't be read; so does every method.
    """

    def __init__(self, path: Path, places: NDArray[np.int64] | None = None) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path, self._places = path, places
        try:
            with pq.ParquetFile(path) as file:
                schema, rows = file.schema_arrow, file.metadata.num_rows
        except (pa.ArrowException, OSError, ValueError) as error:
            raise unreadable(path, error) from error
        self._rows: int = rows if places is None else places.size
        self.columns = pd.Index(columns_of(schema))
        self.attrs: dict[Any, Any] = attributes_of(schema)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return self._rows

    def __iter__(self) -> Iterator[str]:
        """Give the names of the columns, as a frame does."""
        return iter(self.columns)

    def __contains__(self, key: object) -> bool:
        """Say whether there is a column of that name."""
        return key in self.columns

    @overload
    def __getitem__(self, key: str) -> pd.Series: ...

    @overload
    def __getitem__(self, key: list[str]) -> pd.DataFrame: ...

    def __getitem__(self, key: str | list[str]) -> pd.Series | pd.DataFrame:
        """Read a column, or a frame of some; the index has the places of the rows in the file."""
        return self._read([key])[key] if isinstance(key, str) else self.whole(key)

    @property
    def iloc(self) -> _Places:
        """By places, the rows at them, which are not read yet."""
        return _Places(self)

    @property
    def index(self) -> pd.Index:
        """The places of the rows in the file."""
        return pd.RangeIndex(self._rows) if self._places is None else pd.Index(self._places)

    def at(self, places: NDArray[np.int64]) -> StoredRows:
        """Return the rows at places of these."""
        return StoredRows(self._path, places if self._places is None else self._places[places])

    def whole(self, names: Sequence[str] | None = None) -> pd.DataFrame:
        """Read a frame of some columns, or of all."""
        asked = list(self.columns if names is None else names)
        if self._places is None:
            found = self._read(asked)
        else:
            # One after another: what is left out of them is never there for all at once.
            taken = {name: self[name].array for name in asked}
            found = pd.DataFrame(taken, index=self.index, copy=False)
        found.attrs = self.attrs
        return found

    def _read(self, names: Sequence[str]) -> pd.DataFrame:
        found = read_frame(self._path, names)
        return found if self._places is None else found.iloc[self._places]


class _Places:
    def __init__(self, rows: StoredRows) -> None:
        self._rows = rows

    def __getitem__(self, places: NDArray[np.int64]) -> StoredRows:
        return self._rows.at(places)


def whole(rows: Any) -> pd.DataFrame:
    """Return rows as a frame: they are one already, or ``StoredRows``."""
    found: pd.DataFrame = rows.whole() if isinstance(rows, StoredRows) else rows
    return found


def read_frame(path: Path, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a frame that a step wrote; of some columns of it, with an index from 0.

    Raises:
        DataError: The file can't be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        asked = None if names is None else list(names)
        table = pq.read_table(path, columns=asked)
        attributes = attributes_of(table.schema)
        # As ``pandas.read_parquet``, but each column is let go of as soon as it is copied; nothing
        # may be asked of the table after that.
        frame: pd.DataFrame = table.to_pandas(self_destruct=True)
        frame.attrs = attributes
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, error) from error
    del table
    pa.default_memory_pool().release_unused()
    return frame


def read_index(path: Path) -> pd.DataFrame:
    """Read the index of a frame that a step wrote, as a frame without columns.

    Raises:
        DataError: The file can't be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            written = (file.schema_arrow.pandas_metadata or {}).get("index_columns", ())
            (only,) = written or ({"start": 0, "stop": file.metadata.num_rows, "step": 1},)
            if isinstance(only, str):
                return pd.DataFrame(index=file.read(columns=[only])[only].to_pandas().to_numpy())
            # Rows that follow one another are written as a range, and not as a column.
            return pd.DataFrame(index=pd.RangeIndex(only["start"], only["stop"], only["step"]))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, error) from error


def first_row(path: Path) -> pd.DataFrame:
    """Return the first row of a file that a step wrote, as a frame; an empty one of no rows.

    Raises:
        DataError: The file can't be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            batch = next(file.iter_batches(batch_size=1), None)
            table = file.schema_arrow.empty_table() if batch is None else pa.table(batch)
            frame: pd.DataFrame = table.to_pandas()
            frame.attrs = attributes_of(file.schema_arrow)
            return frame
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, error) from error


def columns_of(schema: pa.Schema) -> list[str]:
    """Return the names of the columns of a frame that was written, without those of its index."""
    metadata = schema.pandas_metadata or {}
    index = [name for name in metadata.get("index_columns", ()) if isinstance(name, str)]
    return [name for name in schema.names if name not in index]


def attributes_of(schema: pa.Schema) -> dict[Any, Any]:
    """Return ``DataFrame.attrs`` of a frame that was written."""
    written = (schema.metadata or {}).get(_ATTRIBUTES)
    found: dict[Any, Any] = {} if written is None else msgspec.json.decode(written)
    return found


def unreadable(path: Path, error: Exception) -> DataError:
    """Return that rows of a step can't be read."""
    return DataError(f"{path}: the rows can't be read: {error}")
