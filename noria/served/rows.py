"""Which rows of the table count at a moment: of each sample the newest label known then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noria.errors import IntegrityError, StoreError
from noria.files import DAMAGED
from noria.labels import FEEDBACK
from noria.served.table import Part, ServedTable

if TYPE_CHECKING:
    import pyarrow as pa

OURS: Final = "noria."
"""What the names of Noria's own columns begin with."""

REQUEST: Final = "noria.request"
ROW: Final = "noria.row"
NUMBER: Final = "noria.number"
VERSION: Final = "noria.version"
PREDICTED: Final = "noria.predicted_at"
LABELLED: Final = "noria.labelled_at"
PREDICTION: Final = "noria.prediction"
SOURCE: Final = "noria.label_source"
TARGETS: Final = "noria.targets"
"""Names of a row's targets, in the order of its prediction's numbers; missing where it has one.

Targets that have no names are ``noria.labels.counted``.
"""

_TRIES: Final = 5
_MICROS: Final = 1_000_000


def of_target(column: str, name: str) -> str:
    """Return the column that says of one target what ``LABELLED`` and ``SOURCE`` say of a row."""
    return f"{column}.{name}"


def names_of(rows: pa.Table) -> list[tuple[str, ...]]:
    """Return what the targets of each row are called, in order; of a row that has one, nothing."""
    if TARGETS not in rows.column_names:
        return [()] * rows.num_rows
    return [tuple(names or ()) for names in rows[TARGETS].to_pylist()]


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows of one part that count."""

    part: Part
    table: pa.Table


@dataclass(frozen=True, slots=True)
class Labelled:
    """What the table says at a moment.

    ``written`` counts the rows of all parts, corrected ones and later ones too; ``set_aside``
    are damaged parts, whose rows are missing.
    """

    pieces: tuple[Piece, ...]
    written: int
    set_aside: tuple[str, ...]

    @property
    def rows(self) -> int:
        """How many samples it has."""
        return sum(piece.table.num_rows for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Written:
    """All that was written, part by part, without the damaged parts that are ``set_aside``."""

    pieces: tuple[Piece, ...]
    set_aside: tuple[str, ...]

    def known(self, as_of: float | None = None) -> Labelled:
        """Return the samples whose label was known at ``as_of`` (epoch seconds; None: all)."""
        written = sum(piece.table.num_rows for piece in self.pieces)
        return Labelled(_newest(self.pieces, as_of), written, self.set_aside)

    @property
    def corrections(self) -> int:
        """How many labels there are in place of which newer ones came."""
        return _corrections(self.pieces)


def labelled(table: ServedTable, as_of: float | None = None) -> Labelled:
    """Return the samples whose label was known at ``as_of`` (epoch seconds; None: all).

    Raises:
        StoreError: See ``written``.
    """
    return written(table).known(as_of)


def written(table: ServedTable) -> Written:
    """Return all rows of a table.

    A part that is damaged is set aside, named, and read no more.

    Raises:
        StoreError: The folder can't be read, or changes all the time.
    """
    for _ in range(_TRIES):
        try:
            found = [(part, _opened(table, part)) for part in table.parts()]
        except FileNotFoundError:
            continue  # merged, or past its time: the folder says what there is now
        whole = tuple(Piece(part, content) for part, content in found if content is not None)
        aside = table.damaged()
        # Where it can't be moved, on a disk that others write, it is named all the same.
        left = (part.name for part, content in found if content is None)
        stuck = tuple(name for name in left if f"{name}{DAMAGED}" not in aside)
        return Written(whole, (*aside, *stuck))
    raise StoreError(f"{table.folder} changes while it is read", fix="try again")


def _opened(table: ServedTable, part: Part) -> pa.Table | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.ParquetFile(pa.BufferReader(table.read(part))).read()
    except IntegrityError:
        return None
    return _with_sources(found)


def _with_sources(rows: pa.Table) -> pa.Table:
    """Return rows with the sources of their labels; an earlier version's are feedback."""
    import pyarrow as pa
    import pyarrow.compute as pc

    place = rows.schema.get_field_index(SOURCE)
    if place < 0:
        sources = pa.array([FEEDBACK] * rows.num_rows, pa.string())
        return rows.add_column(rows.schema.get_field_index(PREDICTION), SOURCE, sources)
    # Parts that were merged have nothing where the earlier one said none.
    return rows.set_column(place, SOURCE, pc.fill_null(rows[SOURCE], FEEDBACK))


def _newest(pieces: Sequence[Piece], as_of: float | None) -> tuple[Piece, ...]:
    """Keep of each sample the row with the greatest number among those known at the moment."""
    best: dict[tuple[str, int], tuple[int, int, int]] = {}
    until = None if as_of is None else round(as_of * _MICROS)
    for place, piece in enumerate(pieces):
        known = _micros(piece.table.column(LABELLED))
        numbers = piece.table.column(NUMBER).to_pylist()
        samples = zip(
            piece.table.column(REQUEST).to_pylist(),
            piece.table.column(ROW).to_pylist(),
            strict=True,
        )
        for index, sample in enumerate(samples):
            if until is not None and known[index] > until:
                continue
            if sample not in best or best[sample][0] < numbers[index]:
                best[sample] = (numbers[index], place, index)
    taken: list[list[int]] = [[] for _ in pieces]
    for _, place, index in best.values():
        taken[place].append(index)
    return tuple(
        Piece(piece.part, piece.table.take(np.array(sorted(indices), np.int64)))
        for piece, indices in zip(pieces, taken, strict=True)
        if indices
    )


def _corrections(pieces: Sequence[Piece]) -> int:
    """Count the labels that gave way; what a row of several targets says again is none of them."""
    samples: set[tuple[str, int, str]] = set()
    told: set[tuple[str, int, str, Any, Any, Any]] = set()
    count = 0
    for piece in pieces:
        table = piece.table
        ids = list(zip(table[REQUEST].to_pylist(), table[ROW].to_pylist(), strict=True))
        named = names_of(table)
        for (request, row), names in zip(ids, named, strict=True):
            if not names:
                samples.add((request, row, ""))
                count += 1
        for name in dict.fromkeys(name for names in named for name in names):
            values = table[name].to_pylist()
            since = table[of_target(LABELLED, name)].cast("int64").to_pylist()
            sources = table[of_target(SOURCE, name)].to_pylist()
            for (request, row), names, *label in zip(
                ids, named, values, since, sources, strict=True
            ):
                if name in names and label[0] is not None:
                    samples.add((request, row, name))
                    told.add((request, row, name, *label))
    return count + len(told) - len(samples)


def _micros(column: Any) -> list[int]:
    import pyarrow as pa

    found: list[int] = column.cast(pa.int64()).to_pylist()
    return found
