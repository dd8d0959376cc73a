"""The files of the table: ``day=YYYY-MM-DD/part-FIRST-LAST-DIGEST.parquet``, each written at once.

Every row has a number; a label that is corrected is a new row of the same sample. A day's parts
hold its rows in the order of their numbers, and a part's name has the first and the last one and
the digest of its bytes, so that the folder is its own manifest: what a crash cuts off is either
there whole or not at all, and what was written is known from the names alone. A part whose
numbers lie within those of another was merged into that one, and counts no more.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noria.errors import IntegrityError, StoreError
from noria.files import DAMAGED, set_aside, write_file

FOLDER: Final = "served"
"""The table's folder in that of the monitor that writes it."""

_DIGEST_CHARS: Final = 32
_DAY: Final = re.compile(r"day=(\d{4}-\d{2}-\d{2})", re.ASCII)
_PART: Final = re.compile(
    r"part-(\d{12})-(\d{12})-([0-9a-f]{32})\.parquet(" + re.escape(DAMAGED) + ")?", re.ASCII
)


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A file of the table: the numbers of its first and last row, and its digest."""

    day: str
    first: int
    last: int
    digest: str

    @property
    def name(self) -> str:
        """Where it lies in the table's folder."""
        return f"day={self.day}/part-{self.first:012d}-{self.last:012d}-{self.digest}.parquet"

    def holds(self, other: Part) -> bool:
        """Whether the rows of another part of its day are among its own."""
        return self != other and self.first <= other.first and other.last <= self.last


def part_of(name: str) -> Part | None:
    """Return the part that a path in the table's folder names; None when it names none."""
    folder, _, file = name.partition("/")
    day, found = _DAY.fullmatch(folder), _PART.fullmatch(file)
    if day is None or found is None or found[4]:
        return None
    return Part(day[1], int(found[1]), int(found[2]), found[3])


def digest_of(content: bytes) -> str:
    """Return what a part's name says of its bytes: the first half of their SHA-256."""
    return hashlib.sha256(content).hexdigest()[:_DIGEST_CHARS]


class ServedTable:
    """A folder with the table. One process writes; any number read meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def parts(self) -> tuple[Part, ...]:
        """Return the parts that count, by day and by the numbers of their rows.

        Raises:
            StoreError: A folder can't be read.
        """
        return tuple(part for day in self.days() for part in self.of(day))

    def of(self, day: str) -> tuple[Part, ...]:
        """Return the parts of a day that count, by the numbers of their rows."""
        every = self._every(day)
        return tuple(part for part in every if not any(other.holds(part) for other in every))

    def days(self) -> tuple[str, ...]:
        """Return the days that have a folder, in order."""
        found = (_DAY.fullmatch(path.name) for path in _entries(self.folder))
        return tuple(sorted(day[1] for day in found if day is not None))

    def superseded(self, day: str) -> tuple[Part, ...]:
        """Return the parts of a day that were merged into another, and still lie there."""
        every, counting = self._every(day), set(self.of(day))
        return tuple(part for part in every if part not in counting)

    def last_of(self, day: str) -> int:
        """Return the greatest number that was written to a day, damaged parts included; 0: none."""
        found = (_PART.fullmatch(path.name) for path in _entries(self._folder(day)))
        return max((int(part[2]) for part in found if part is not None), default=0)

    def highest(self) -> int:
        """Return the greatest number that was ever written; 0: none."""
        return max(map(self.last_of, self.days()), default=0)

    def damaged(self) -> tuple[str, ...]:
        """Return the parts that were set aside, as paths in the folder."""
        return tuple(
            f"day={day}/{path.name}"
            for day in self.days()
            for path in _entries(self._folder(day))
            if path.name.endswith(DAMAGED)
        )

    def write(self, day: str, first: int, last: int, content: bytes) -> Part:
        """Write a part durably: it is there whole, or not at all.

        Raises:
            StoreError: It can't be written.
        """
        part = Part(day, first, last, digest_of(content))
        write_file(self.folder / part.name, content)
        return part

    def read(self, part: Part) -> bytes:
        """Return a part's bytes.

        Raises:
            FileNotFoundError: It was merged or deleted meanwhile: list the parts again.
            IntegrityError: They are not what was written; the part is set aside.
            StoreError: The disk can't read it.
        """
        path = self.folder / part.name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"{path} can't be read: {error.strerror}") from error
        if digest_of(content) != part.digest:
            aside = set_aside(path, "its bytes are not what was written")
            raise IntegrityError(f"{aside} is damaged: its bytes are not what was written")
        return content

    def size(self, part: Part) -> int:
        """Return how many bytes a part has; 0 when it is gone."""
        try:
            return (self.folder / part.name).stat().st_size
        except OSError:
            return 0

    def remove(self, part: Part) -> None:
        """Delete a part."""
        (self.folder / part.name).unlink(missing_ok=True)

    def expire(self, before: str) -> int:
        """Delete whole days before a day (YYYY-MM-DD), set-aside parts too; return how many."""
        old = [day for day in self.days() if day < before]
        for day in old:
            for path in _entries(self._folder(day)):
                path.unlink(missing_ok=True)
            with suppress(OSError):
                self._folder(day).rmdir()
        return len(old)

    def _every(self, day: str) -> tuple[Part, ...]:
        found = (part_of(f"day={day}/{path.name}") for path in _entries(self._folder(day)))
        return tuple(sorted(part for part in found if part is not None))

    def _folder(self, day: str) -> Path:
        return self.folder / f"day={day}"


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise StoreError(f"{folder} can't be read: {error.strerror}") from error
