"""The store of one machine: a SQLite file, safe across processes and power cuts.

One transaction writes the state, the ledger's new entries and the inbox's
consumed marks. WAL with ``synchronous=FULL``: what was acknowledged is on disk.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from noria.errors import Conflict, InvalidInput, StoreDamaged, StoreError
from noria.files import DAMAGED, clear, for_appending, make_folder, set_aside
from noria.loop.ledger import LedgerEntry
from noria.loop.state import State, Stored
from noria.loop.values import Message, from_json, message_from_json, to_json

T = TypeVar("T")

_BUSY_SECONDS: Final = 10.0
_CREATE_ATTEMPTS: Final = 20
_CREATE_PAUSE: Final = 0.05
_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PRIMARY: Final = 0xFF
_BESIDE: Final = ("-wal", "-shm")
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS state (
    model TEXT PRIMARY KEY, revision INTEGER NOT NULL, state BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS ledger (
    model TEXT NOT NULL, sequence INTEGER NOT NULL, entry BLOB NOT NULL,
    PRIMARY KEY (model, sequence)
) STRICT;
CREATE TABLE IF NOT EXISTS inbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, id TEXT NOT NULL,
    message BLOB NOT NULL, consumed INTEGER NOT NULL DEFAULT 0, UNIQUE (model, id)
) STRICT;
"""


class SqliteStore:
    """A ``Store`` in one file. Each call opens its own connection: use it from any thread.

    Raises:
        StoreError: The file can't be opened, read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        make_folder(path.parent)
        self._create()

    def models(self) -> tuple[str, ...]:
        """Return the names of the models that have a state here."""
        with self._connection() as connection:
            rows = connection.execute("SELECT model FROM state").fetchall()
        return tuple(str(row[0]) for row in rows)

    def set_aside(self, why: str) -> Path:
        """Move a damaged store out of the way and begin an empty one; returns where it is now.

        A ledger is never thrown away: one that was set aside before keeps its name with its
        time in it.

        Raises:
            StoreError: It can't be moved, or no new one be made.
        """
        before = self._path.with_name(self._path.name + DAMAGED)
        if before.exists():
            kept = f"{self._path.name}.{before.stat().st_mtime_ns}{DAMAGED}"
            before.replace(before.with_name(kept))
        for suffix in _BESIDE:
            beside = self._path.with_name(self._path.name + suffix)
            if beside.exists():
                set_aside(beside, why)
        aside = set_aside(self._path, why) if self._path.exists() else before
        self._create()
        return aside

    def load(self, model: str) -> Stored | None:
        """Return the state and its revision; None before the first write."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT state, revision FROM state WHERE model = ?", (model,)
            ).fetchone()
        return None if row is None else Stored(self._read(_state, row[0]), row[1])

    def compare_and_swap(
        self,
        model: str,
        state: State,
        revision: int,
        entries: Sequence[LedgerEntry],
        consumed: Sequence[str] = (),
    ) -> int:
        """Write state, entries and consumed marks in one transaction, or nothing at all."""
        with self._connection() as connection, _transaction(connection):
            now = self._revision(connection, model)
            if now != revision:
                raise Conflict(
                    f"the state of {model!r} is at revision {now}, not {revision}",
                    fix="load it and decide again",
                )
            connection.execute(
                "INSERT INTO state VALUES (?, ?, ?) ON CONFLICT (model) DO UPDATE "
                "SET revision = excluded.revision, state = excluded.state",
                (model, revision + 1, to_json(state)),
            )
            self._append(connection, model, entries)
            connection.executemany(
                "UPDATE inbox SET consumed = 1 WHERE model = ? AND id = ?",
                [(model, taken) for taken in consumed],
            )
        return revision + 1

    def entries(self, model: str, after: int = 0) -> Iterator[LedgerEntry]:
        """Yield ledger entries with a sequence above ``after``, in order."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT entry FROM ledger WHERE model = ? AND sequence > ? ORDER BY sequence",
                (model, after),
            )
            for (entry,) in rows:
                try:
                    yield _entry(entry)
                except InvalidInput as error:
                    raise StoreError(
                        f"{self._path} holds an entry of {model!r} that can't be read: {error}",
                        fix="put a backup in its place; the loop goes on without it",
                    ) from error

    def submit(self, model: str, message: Message) -> bool:
        """Put a message in the inbox, durably. False when its id was ever there before."""
        with self._connection() as connection:
            cursor = connection.execute(
                "INSERT INTO inbox (model, id, message) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (model, message.id, to_json(message)),
            )
            return cursor.rowcount == 1

    def inbox(self, model: str) -> tuple[Message, ...]:
        """Return the messages not yet consumed, in order of arrival."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT message FROM inbox WHERE model = ? AND consumed = 0 ORDER BY position",
                (model,),
            ).fetchall()
        return tuple(self._read(message_from_json, row[0]) for row in rows)

    def _create(self) -> None:
        """Make the tables. The switch to WAL does not wait for others by itself, so it tries."""
        for_appending(self._path)  # SQLite gives its other files the mode of this one
        for suffix in _BESIDE:
            clear(self._path.with_name(self._path.name + suffix))
        for attempt in range(1, _CREATE_ATTEMPTS + 1):
            try:
                with self._connection() as connection:
                    connection.execute("PRAGMA journal_mode=WAL")
                    connection.executescript(_SCHEMA)
            except StoreError as error:
                locked = isinstance(error.__cause__, sqlite3.OperationalError)
                if not locked or attempt == _CREATE_ATTEMPTS:
                    raise
                time.sleep(_CREATE_PAUSE)
            else:
                return

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            connection.execute("PRAGMA synchronous=FULL")
            yield connection
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
            if code in _DAMAGE or "no such table" in str(error):
                raise self._damaged(str(error)) from error
            fix = "make room on its disk" if code == sqlite3.SQLITE_FULL else ""
            raise StoreError(f"the store {self._path} failed: {error}", fix=fix) from error
        finally:
            if connection is not None:
                connection.close()

    @staticmethod
    def _revision(connection: sqlite3.Connection, model: str) -> int:
        row = connection.execute("SELECT revision FROM state WHERE model = ?", (model,)).fetchone()
        return 0 if row is None else int(row[0])

    @staticmethod
    def _append(connection: sqlite3.Connection, model: str, entries: Sequence[LedgerEntry]) -> None:
        row = connection.execute(
            "SELECT max(sequence) FROM ledger WHERE model = ?", (model,)
        ).fetchone()
        last = row[0] or 0
        for entry in entries:
            if entry.sequence != last + 1:
                raise Conflict(
                    f"ledger entry {entry.sequence} of {model!r} does not follow entry {last}"
                )
            last = entry.sequence
            connection.execute(
                "INSERT INTO ledger VALUES (?, ?, ?)", (model, entry.sequence, to_json(entry))
            )

    def _read(self, read: Callable[[bytes], T], data: bytes) -> T:
        try:
            return read(data)
        except InvalidInput as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> StoreDamaged:
        return StoreDamaged(
            f"the store {self._path} is damaged: {why}",
            fix="put a backup in its place; or let `noria up` set it aside and begin anew from "
            "what the registry knows",
        )


def _state(data: bytes) -> State:
    return from_json(data, State)


def _entry(data: bytes) -> LedgerEntry:
    return from_json(data, LedgerEntry)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE takes the write lock before the revision is read: no other writer in between.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
