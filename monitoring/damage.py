"""What a crash, a full disk or a bad one may have done to the log, found when it is opened.

SQLite keeps a log whole through every crash of the process or of the machine. What
it can't see is bytes that change under it: its pages have no checksums, and a
write-ahead log that was cut or overwritten ends, for SQLite, where its first bad
frame is. So each record carries a checksum, the last offset that was acknowledged
is noted beside the log, and a file whose structure is broken is rewritten with all
that can be read.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias
from zlib import crc32

from noria.errors import MonitoringError

_log = logging.getLogger(__name__)
_HEAD: Final = struct.Struct("<dq")
_MARK: Final = struct.Struct("<qI")
_PAGE: Final = 500
_ROWS: Final = (
    "SELECT offset, received, rows, body, sum FROM log WHERE offset > ? ORDER BY offset LIMIT ?"
)
_ROWS_WITHOUT_SUM: Final = (
    "SELECT offset, received, rows, body, NULL FROM log WHERE offset > ? ORDER BY offset LIMIT ?"
)
Row: TypeAlias = tuple[int, float, int, bytes, int | None]
"""Offset, received, rows, body, checksum."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS log (
    offset INTEGER PRIMARY KEY AUTOINCREMENT,
    received REAL NOT NULL,
    rows INTEGER NOT NULL,
    body BLOB NOT NULL,
    sum INTEGER
);
CREATE TABLE IF NOT EXISTS labels (
    key TEXT PRIMARY KEY,
    received REAL NOT NULL,
    corrected INTEGER,
    judged INTEGER
) WITHOUT ROWID;
"""


def checksum(received: float, rows: int, body: bytes) -> int:
    """Return the CRC-32 of a record."""
    return crc32(body, crc32(_HEAD.pack(received, rows)))


def is_sound(row: Row) -> bool:
    """Whether a record is what was written; one without a checksum is of an earlier version."""
    _, received, rows, body, found = row
    if found is None:
        # A damaged page has such rows as well, of nothing at all.
        kinds = (type(received), type(rows), type(body))
        return kinds == (float, int, bytes)
    try:
        return found == checksum(received, rows, body)
    except (TypeError, struct.error):
        return False


class Mark:
    """The last offset that was acknowledged, in a file of its own.

    It is not synchronised: it outlives the process, and after a power failure it is
    behind the log, never before it.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            MonitoringError: it can't be opened.
        """
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            found = os.pread(self._file, _MARK.size, 0)
        except OSError as error:
            raise MonitoringError(f"{path} can't be opened: {error}") from error
        self.known: int | None = None
        if len(found) == _MARK.size:
            offset, sum_ = _MARK.unpack(found)
            if offset >= 0 and sum_ == crc32(found[:8]):
                self.known = offset

    def put(self, offset: int) -> None:
        """Note an offset. A disk that has no room for it has none for records either."""
        number = offset.to_bytes(8, "little", signed=True)
        with suppress(OSError):
            os.pwrite(self._file, number + crc32(number).to_bytes(4, "little"), 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def ailment(path: Path) -> str:
    """Return what is wrong with the structure of a SQLite file; empty when nothing is.

    Reads the file once: about a second for each gigabyte.
    """
    try:
        connection = sqlite3.connect(path)
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else " ".join(str(found).split())


def mend(path: Path, upto: int) -> bool:
    """Rewrite a log whose structure is broken; return whether it was.

    The damaged files stay beside it, as ``log.db.damaged``. A crash on the way is
    mended by the next start.

    Args:
        path: the log.
        upto: no record is looked for after this offset, besides those that come in order.

    Raises:
        MonitoringError: there is no room for the copy, or a file can't be read.
    """
    rewritten = path.with_name(path.name + ".rewritten")
    try:
        if not rewritten.exists():
            problem = ailment(path) if path.exists() else ""
            if not problem:
                return False
            _log.error("%s is damaged (%s); what can be read of it is kept", path, problem)
            for suffix in ("", "-wal"):
                if (source := path.with_name(path.name + suffix)).exists():
                    shutil.copyfile(source, path.with_name(f"{path.name}.damaged{suffix}"))
            _rewrite(path, rewritten, upto)
        # Without this the frames of the damaged file would be applied to the new one.
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        rewritten.replace(path)
    except (OSError, sqlite3.Error) as error:
        raise MonitoringError(
            f"{path} is damaged and can't be rewritten: {error}",
            fix="make room, or move the file away: what it holds is lost then",
        ) from error
    return True


def first_of(connection: sqlite3.Connection, mark: int | None) -> int:
    """Return the offset before the first record that is there; the last one when none is."""
    first = connection.execute("SELECT min(offset) FROM log").fetchone()[0]
    if first is not None:
        return int(first) - 1
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
    return max(row[0] if row else 0, mark or 0)


def fill(connection: sqlite3.Connection, mark: int | None, processed: int, now: float) -> int:
    """Put an unreadable record where one was lost, so that it is counted once; return the end.

    Every offset after the last processed one must be there: offsets have no gaps.

    Args:
        connection: the log.
        mark: the last offset that was acknowledged; None when it is not known.
        processed: the last offset of the state.
        now: wall clock, epoch seconds.
    """
    last, there = connection.execute(
        "SELECT coalesce(max(offset), 0), count(*) FILTER (WHERE offset > ?) FROM log", (processed,)
    ).fetchone()
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
    end: int = max(last, processed, (row[0] if row else 0) if mark is None else mark)
    lost = end - processed - there
    if lost > 0:
        _log.error("%d records of the log are lost; they are counted as unreadable", lost)
        connection.execute(
            "WITH RECURSIVE n(o) AS (SELECT ? UNION ALL SELECT o + 1 FROM n WHERE o < ?) "
            "INSERT OR IGNORE INTO log (offset, received, rows, body) SELECT o, ?, 0, x'' FROM n",
            (processed + 1, end, now),
        )
    if row is None or row[0] != end:
        connection.execute("DELETE FROM sqlite_sequence WHERE name = 'log'")
        connection.execute("INSERT INTO sqlite_sequence VALUES ('log', ?)", (end,))
    return end


def _rewrite(path: Path, target: Path, upto: int) -> None:
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    kept = sqlite3.connect(partial, isolation_level=None)
    damaged = sqlite3.connect(path, isolation_level=None)
    try:
        kept.executescript(SCHEMA)
        kept.execute("BEGIN")
        for row in _readable(damaged, upto):
            kept.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?)", row)
        with suppress(sqlite3.DatabaseError):
            for label in damaged.execute("SELECT * FROM labels"):
                values = (*label, None, None)[:4]
                kept.execute("INSERT OR IGNORE INTO labels VALUES (?, ?, ?, ?)", values)
        kept.execute("COMMIT")
    finally:
        kept.close()
        damaged.close()
    partial.replace(target)


def _readable(damaged: sqlite3.Connection, upto: int) -> Iterator[Row]:
    """Yield every sound record; over a place that can't be read it goes in growing steps."""
    after, step = -1, 1
    query = _ROWS
    with suppress(sqlite3.DatabaseError):
        if all(row[1] != "sum" for row in damaged.execute("PRAGMA table_info(log)")):
            query = _ROWS_WITHOUT_SUM
    while True:
        found: list[Row] = []
        try:
            for row in damaged.execute(query, (after, _PAGE)):
                found.append(row)
        except sqlite3.DatabaseError:
            failed = True
        else:
            failed = False
        for row in found:
            # A damaged page may lead back to an earlier one.
            if row[0] > after and is_sound(row):
                yield row
                after, step = row[0], 1
            after = max(after, row[0])
        if not failed:
            if len(found) < _PAGE:
                return
            continue
        if after + step > upto:
            return
        after, step = after + step, step * 2
