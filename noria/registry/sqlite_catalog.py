"""The registry's rows in MLflow's own SQLite file, without MLflow.

MLflow's store in the process would cost seconds and some 150 MiB (docs/benchmarks.md), for
rows that SQLite reads in milliseconds, each second. The tables are MLflow's own affair, so
they are only read and written at the one revision of its schema that is known here.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from noria.errors import RegistryError, Unavailable
from noria.registry.catalog import (
    CHALLENGER,
    CHAMPION,
    PREFIX,
    VersionRow,
    our_tags,
    refuse_stale,
)

REVISION: Final = "dc11669786a5"
"""The schema of MLflow 3.17, as alembic names it. A test compares it with the installed MLflow."""

_BUSY_SECONDS: Final = 20.0
_WORKSPACE: Final = "default"

_VERSIONS: Final = """
    SELECT v.version, v.creation_time, t.key, t.value
    FROM model_versions v
    LEFT JOIN model_version_tags t
        ON t.workspace = v.workspace AND t.name = v.name AND t.version = v.version
    WHERE v.workspace = ? AND v.name = ? AND v.status = 'READY'
        AND coalesce(v.current_stage, '') != 'Deleted_Internal'
    ORDER BY v.version
"""
_ALIAS: Final = """
    SELECT version FROM registered_model_aliases WHERE workspace = ? AND name = ? AND alias = ?
"""


class SqliteCatalog:
    """Reads and swaps in MLflow's own SQLite file, in one transaction of that file.

    The swap is therefore atomic against every other client of the same file, MLflow's
    included. Where there is no file the registry is empty; a file that is anything else than
    MLflow's tables at ``REVISION`` raises RegistryError, one that stays locked Unavailable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def ready(self) -> bool:
        """Whether the file is there, and can be read; raises when it can't."""
        with self._session() as session:
            return session is not None

    def versions(self, model: str) -> tuple[VersionRow, ...]:
        """Return every version, oldest first; empty for an unknown model."""
        with self._session() as session:
            return () if session is None else _read_versions(session, model)

    def alias(self, model: str, alias: str) -> str | None:
        """Return the version an alias points at, or None."""
        with self._session() as session:
            return None if session is None else _read_alias(session, model, alias)

    def set_alias(
        self, model: str, alias: str, version: str | None, *, expected: str | None
    ) -> None:
        """Move an alias if it points at ``expected``; the new champion is no longer the challenger.

        Raises:
            Conflict: It points elsewhere.
            RegistryError: There is no such version.
        """
        with self._writing() as session:
            refuse_stale(model, alias, expected, _read_alias(session, model, alias))
            _write_alias(session, model, alias, version)
            if alias == CHAMPION and version == _read_alias(session, model, CHALLENGER):
                _write_alias(session, model, CHALLENGER, None)

    def challenge(self, model: str, version: str) -> None:
        """Point the challenger at a version, unless that is the champion already."""
        with self._writing() as session:
            if _read_alias(session, model, CHAMPION) != version:
                _write_alias(session, model, CHALLENGER, version)

    def tag(self, model: str, version: str, key: str, value: str) -> None:
        """Set a tag of ours (``key`` without the prefix) on a version, in place of its value."""
        with self._writing() as session:
            _refuse_unknown(session, model, version)
            session.execute(
                "INSERT INTO model_version_tags (workspace, name, version, key, value) "
                "VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (workspace, key, name, version) DO UPDATE SET value = excluded.value",
                (_WORKSPACE, model, int(version), f"{PREFIX}{key}", value),
            )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection in a transaction, which is undone when the block raises."""
        with self._session() as session:
            if session is None:
                raise RegistryError(f"there is no registry yet: {self._path} is not there")
            with session:
                session.execute("BEGIN IMMEDIATE")
                yield session

    @contextmanager
    def _session(self) -> Iterator[sqlite3.Connection | None]:
        """Yield a connection, or None when there is no file."""
        try:
            self._path.lstat()
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise RegistryError(f"{self._path} can't be read: {error.strerror}") from error
        address = f"{self._path.absolute().as_uri()}?mode=rw"
        try:
            with closing(
                sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
            ) as session:
                _refuse_other_revision(session, self._path)
                yield session
        except sqlite3.Error as error:
            problem = f"the registry's database {self._path} can't be read: {error}"
            # The low byte is the kind of error, the rest says more of it.
            kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Unavailable(problem) from error
            raise RegistryError(problem, fix="put a backup in its place") from error


def _refuse_other_revision(session: sqlite3.Connection, path: Path) -> None:
    found = [row[0] for row in session.execute("SELECT version_num FROM alembic_version")]
    if found != [REVISION]:
        raise RegistryError(
            f"the registry's database {path} can't be read: its tables are of revision "
            f"{', '.join(map(str, found)) or 'none'}, and {REVISION} (MLflow 3.17) is known here",
            fix="an older file: back it up and run `mlflow db upgrade` on it; a newer one: "
            "install the Noria that wrote it",
        )


def _read_versions(session: sqlite3.Connection, model: str) -> tuple[VersionRow, ...]:
    found: dict[int, tuple[int, dict[str, str | None]]] = {}
    for version, created, key, value in session.execute(_VERSIONS, (_WORKSPACE, model)):
        tags = found.setdefault(version, (created, {}))[1]
        if key is not None:
            tags[key] = value
    return tuple(
        VersionRow(version, created, our_tags(tags)) for version, (created, tags) in found.items()
    )


def _read_alias(session: sqlite3.Connection, model: str, alias: str) -> str | None:
    row = session.execute(_ALIAS, (_WORKSPACE, model, alias)).fetchone()
    return None if row is None else str(row[0])


def _write_alias(session: sqlite3.Connection, model: str, alias: str, version: str | None) -> None:
    if version is None:
        session.execute(
            "DELETE FROM registered_model_aliases WHERE workspace = ? AND name = ? AND alias = ?",
            (_WORKSPACE, model, alias),
        )
        return
    _refuse_unknown(session, model, version)
    session.execute(
        "INSERT INTO registered_model_aliases (workspace, name, alias, version) "
        "VALUES (?, ?, ?, ?) "
        "ON CONFLICT (workspace, name, alias) DO UPDATE SET version = excluded.version",
        (_WORKSPACE, model, alias, int(version)),
    )
    session.execute(
        "UPDATE registered_models SET last_updated_time = ? WHERE workspace = ? AND name = ?",
        (time.time_ns() // 1_000_000, _WORKSPACE, model),
    )


def _refuse_unknown(session: sqlite3.Connection, model: str, version: str) -> None:
    if version not in {str(row.version) for row in _read_versions(session, model)}:
        raise RegistryError(f"{model}: there is no version {version}")
