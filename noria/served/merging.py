"""Small parts of a day become one, so that a day stays few files however often labels come."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from noria.errors import IntegrityError
from noria.served.table import Part, ServedTable

if TYPE_CHECKING:
    import pyarrow as pa

_MANY: Final = 16
_SMALL_BYTES: Final = 4 << 20


def parquet(table: pa.Table) -> bytes:
    """Return a table as a Parquet file."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def merge(table: ServedTable, day: str) -> Part | None:
    """Put a day's small parts together once they are many, and delete them; None: they are few.

    A crash in between leaves the parts and what they became: then they count no more, and the
    next call deletes them.

    Raises:
        StoreError: The folder can't be written.
    """
    for part in table.superseded(day):
        table.remove(part)
    run = _run(table.of(day), table)
    made = _merged(table, run) if len(run) >= _MANY else None
    if made is not None:
        for part in run:
            table.remove(part)
    return made


def _run(parts: Sequence[Part], table: ServedTable) -> list[Part]:
    """Return the longest row of neighbours that are small."""
    best: list[Part] = []
    run: list[Part] = []
    for part in parts:
        run = [*run, part] if table.size(part) < _SMALL_BYTES else []
        best = max(best, run, key=len)
    return best


def _merged(table: ServedTable, parts: list[Part]) -> Part | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = [pq.ParquetFile(pa.BufferReader(table.read(part))).read() for part in parts]
        whole = pa.concat_tables(found, promote_options="default")
    except (IntegrityError, pa.ArrowException):
        # One is damaged, which is set aside now; or a column has changed its type.
        return None
    return table.write(parts[0].day, parts[0].first, parts[-1].last, parquet(whole))
