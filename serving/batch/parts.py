"""The parts of a batch: what is answered, written and resumed as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal, TypeAlias

from noria.errors import DataError, InvalidInput, shorten

Format: TypeAlias = Literal["parquet", "jsonl"]

FORMATS: Final[dict[str, Format]] = {
    ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip
"""How a file is read, by the end of its name."""

ROWS: Final = 1_000_000
"""Rows that a part of a Parquet file has at least, unless the file ends."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of one file, and the name of their answers, relative to the folder of them.

    ``groups`` are the row groups of a Parquet file; of JSON lines a part is the whole file.
    ``first`` is its first row's place in the file, ``rows`` how many there are (None: not known
    before they are read). ``size`` (bytes) and ``modified`` (ns since 1970 UTC) are the file's: if
    they are as they were, so are its rows.
    """

    source: Path
    format: Format
    name: str
    first: int
    rows: int | None
    size: int
    modified: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Shard:
    """Every ``of``-th part, from the ``number``-th on, counted from 1: one of several processes."""

    number: int
    of: int

    def __post_init__(self) -> None:
        """Refuse a shard that is none.

        Raises:
            InvalidInput: The number is not between 1 and how many there are.
        """
        if not 1 <= self.number <= self.of:
            raise InvalidInput(
                f"shard {self.number}/{self.of}: the first number is not between 1 and the second",
                fix="give 1/4, 2/4, 3/4 and 4/4 to four processes",
            )

    def of_parts(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        """Return those of the parts that are this one's."""
        return tuple(parts[self.number - 1 :: self.of])


WHOLE: Final = Shard(1, 1)


def find(where: Path) -> tuple[Part, ...]:
    """Return the parts of a file, or of all files below a folder, in the order of their names.

    Names that begin with ``.`` or ``_`` are passed over, as Arrow and Spark do.

    Raises:
        InvalidInput: There is nothing to read, or two files' answers would have one name.
        DataError: A file is no Parquet file.
    """
    if where.is_dir():
        found = sorted(path for path in where.rglob("*") if _is_one(path.relative_to(where), path))
        base = where
    else:
        found, base = [where] if where.is_file() else [], where.parent
    known = [path for path in found if path.suffix.lower() in FORMATS]
    if not known:
        ends = ", ".join(FORMATS)
        there = f"; it has {shorten(found[0].name)}" if found else ""
        what = "no such file or folder" if not where.exists() else f"no file with rows{there}"
        raise InvalidInput(f"{where}: {what}", fix=f"give Parquet files or JSON lines ({ends})")
    parts = [part for path in known for part in _of_file(path, path.relative_to(base))]
    seen: dict[str, Path] = {}
    for part in parts:
        if part.name in seen:
            raise InvalidInput(
                f"{part.source} and {seen[part.name]}: the answers of both would be {part.name}",
                fix="rename one, or give them one at a time",
            )
        seen[part.name] = part.source
    return tuple(parts)


def _is_one(relative: Path, path: Path) -> bool:
    hidden = any(piece.startswith((".", "_")) for piece in relative.parts)
    return not hidden and path.is_file()


def _of_file(path: Path, relative: Path) -> Iterator[Part]:
    stat = path.stat()
    stem = PurePosixPath(relative.with_suffix(""))
    kind = FORMATS[path.suffix.lower()]
    if kind == "jsonl":
        yield Part(path, kind, f"{stem}-00000.parquet", 0, None, stat.st_size, stat.st_mtime_ns)
        return
    number = first = 0
    for groups, rows in _runs(_rows_of_groups(path)):
        name = f"{stem}-{number:05d}.parquet"
        yield Part(path, kind, name, first, rows, stat.st_size, stat.st_mtime_ns, groups)
        number, first = number + 1, first + rows


def _rows_of_groups(path: Path) -> list[int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        said = pq.read_metadata(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{path}: can't be read as Parquet: {error}", fix="write the file again"
        ) from error
    return [said.row_group(place).num_rows for place in range(said.num_row_groups)]


def _runs(rows: Sequence[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield runs of row groups of ``ROWS`` rows at least, with how many they have."""
    start = held = 0
    for place, count in enumerate(rows):
        held += count
        if held >= ROWS or place == len(rows) - 1:
            yield tuple(range(start, place + 1)), held
            start, held = place + 1, 0
    if not rows:
        yield (), 0
