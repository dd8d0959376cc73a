"""The tables of the monitor's state, and what is done with a file that is not of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from monitoring.core import MonitorState
from noria.errors import InvalidInput
from noria.files import set_aside

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS core (
    one INTEGER PRIMARY KEY, body BLOB NOT NULL, sum INTEGER
);
CREATE TABLE IF NOT EXISTS events (
    id TEXT PRIMARY KEY, request INTEGER, response INTEGER, pair INTEGER, at REAL NOT NULL,
    first INTEGER NOT NULL DEFAULT 0, rows INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_at ON events (at);
CREATE INDEX IF NOT EXISTS events_open ON events (request, response) WHERE pair IS NULL;
CREATE TABLE IF NOT EXISTS pairs (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL, request INTEGER NOT NULL, version TEXT NOT NULL,
    at REAL NOT NULL, rows INTEGER NOT NULL, prediction BLOB NOT NULL, keys BLOB, labelled BLOB,
    first INTEGER NOT NULL DEFAULT 0, truth BLOB, sources BLOB, told BLOB, baseline BLOB
);
CREATE INDEX IF NOT EXISTS pairs_at ON pairs (at);
CREATE TABLE IF NOT EXISTS keys (
    hash INTEGER, pair INTEGER, row INTEGER, PRIMARY KEY (hash, pair, row)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS labels (
    key TEXT PRIMARY KEY, value REAL NOT NULL, at REAL NOT NULL,
    source TEXT NOT NULL DEFAULT 'feedback'
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outcomes (
    seq INTEGER PRIMARY KEY, version TEXT NOT NULL, last REAL NOT NULL, at REAL NOT NULL,
    rows INTEGER NOT NULL, body BLOB NOT NULL, targets INTEGER NOT NULL DEFAULT 1, sources BLOB,
    measured INTEGER NOT NULL DEFAULT 1, again INTEGER NOT NULL DEFAULT 0, baseline BLOB
);
CREATE INDEX IF NOT EXISTS outcomes_version ON outcomes (version, seq);
CREATE TABLE IF NOT EXISTS joins (
    pair INTEGER, outcome INTEGER, first INTEGER NOT NULL, rows BLOB NOT NULL,
    PRIMARY KEY (pair, outcome)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS origins (
    replica INTEGER, life TEXT, partial INTEGER, outcome INTEGER NOT NULL,
    PRIMARY KEY (replica, life, partial)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS signals (
    id TEXT PRIMARY KEY, seq INTEGER NOT NULL, version TEXT NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS signals_seq ON signals (seq);
CREATE TABLE IF NOT EXISTS windows (
    stream TEXT, number INTEGER, body BLOB NOT NULL, PRIMARY KEY (stream, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS served (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS detectors (name TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
"""
ADDED: Final = (
    ("events", "first", "INTEGER NOT NULL DEFAULT 0"),
    ("events", "rows", "INTEGER"),
    ("pairs", "first", "INTEGER NOT NULL DEFAULT 0"),
    ("pairs", "truth", "BLOB"),
    ("pairs", "sources", "BLOB"),
    ("pairs", "told", "BLOB"),
    ("pairs", "baseline", "BLOB"),
    ("labels", "source", "TEXT NOT NULL DEFAULT 'feedback'"),
    ("outcomes", "targets", "INTEGER NOT NULL DEFAULT 1"),
    ("outcomes", "sources", "BLOB"),
    ("outcomes", "measured", "INTEGER NOT NULL DEFAULT 1"),
    ("outcomes", "again", "INTEGER NOT NULL DEFAULT 0"),
    ("outcomes", "baseline", "BLOB"),
    ("core", "sum", "INTEGER"),
)
"""Columns that files of earlier versions don't have."""

CORE: Final = msgspec.msgpack.Decoder(MonitorState)


def set_aside_database(path: Path, why: str) -> None:
    """Move a damaged SQLite file out of the way, with what SQLite keeps beside it."""
    aside = set_aside(path, why)
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        with suppress(OSError):
            if beside.exists():
                beside.replace(aside.with_name(aside.name + suffix))


def unreadable(path: Path) -> str:
    """Return what is wrong with the tables of a file whose structure is sound."""
    if not path.stat().st_size:
        # SQLite takes it for a new one.
        return "it is empty" if path.with_name("log.db").exists() else ""
    added = {(table, column) for table, column, _ in ADDED}
    with closing(sqlite3.connect(":memory:")) as model, closing(sqlite3.connect(path)) as found:
        model.executescript(SCHEMA)
        try:
            wanted = _columns(model)
            there = _columns(found)
            tables = {table for table, _ in there}
            for table, column in there ^ {one for one in wanted if one[0] in tables}:
                if (table, column) not in added:
                    return f"its table {table} is another one"
            if "core" in tables:
                for _, body, *sums in found.execute("SELECT * FROM core"):
                    CORE.decode(body)
                    if sums and sums[0] not in (None, crc32(body)):
                        return "the core is not what was written"
        except (sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError) as error:
            return str(error)
    return ""


def check_current(connection: sqlite3.Connection, where: Path) -> None:
    """Refuse a file that an earlier version wrote and no monitor has opened since.

    Raises:
        InvalidInput: It lacks columns; a monitor that starts adds them.
    """
    there = _columns(connection)
    if any((table, column) not in there for table, column, _ in ADDED):
        raise InvalidInput(
            f"{where} was written by an earlier version",
            fix="start the model once with this one (`noria up`): its monitor brings it up to date",
        )


def _columns(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    return set(
        connection.execute(
            "SELECT m.name, t.name FROM sqlite_master m, pragma_table_info(m.name) t "
            "WHERE m.type = 'table'"
        )
    )
