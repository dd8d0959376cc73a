"""What a recipe said of the judged rows before it could know them; one Parquet file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from noria.errors import DataError
from noria.tasks.protocol import Choice

if TYPE_CHECKING:
    import pandas as pd

BLOCK: Final = "block"
BASELINE: Final = "baseline."
_CHOICE: Final = b"noria.choice"


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Out-of-fold predictions, one row per judged row, in their order.

    ``rows`` has the family's prediction columns, the same of the baseline with the prefix
    ``baseline.`` where there is one, and ``block``, from 0. ``choice`` is the recipe.
    """

    rows: pd.DataFrame
    choice: Choice

    @property
    def model(self) -> pd.DataFrame:
        """The recipe's predictions."""
        return self.rows[[name for name in self.rows if not _is_beside(str(name))]]

    @property
    def baseline(self) -> pd.DataFrame | None:
        """The baseline's predictions, under the names that the recipe's have."""
        names = [name for name in self.rows if str(name).startswith(BASELINE)]
        if not names:
            return None
        return self.rows[names].rename(columns=lambda name: str(name).removeprefix(BASELINE))

    def write(self, path: Path) -> None:
        """Write the file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.rows, preserve_index=False)
        said = {**(table.schema.metadata or {}), _CHOICE: msgspec.json.encode(self.choice)}
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata(said), path)


def read_held_out(path: Path) -> HeldOut:
    """Read the file.

    Raises:
        DataError: It is none.
    """
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        choice = msgspec.json.decode((table.schema.metadata or {})[_CHOICE], type=Choice)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: no held-out predictions: {error}") from error
    return HeldOut(table.to_pandas(), choice)


def _is_beside(name: str) -> bool:
    return name == BLOCK or name.startswith(BASELINE)
