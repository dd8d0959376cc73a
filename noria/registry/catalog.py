"""The registry's list of versions and aliases, as rows.

Two catalogs read the same registry: ``SqliteCatalog`` (here) goes straight to
the tables of a local MLflow database, which takes milliseconds and no imports;
``ClientCatalog`` asks any MLflow server through its client. A test holds that
both say the same.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from noria.errors import Conflict, RegistryError, Unavailable

PREFIX: Final = "noria."
"""Every tag of ours starts so; a version without ``noria.run_id`` is not ours."""

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
"""Aliases: the version that is served, and the newest that was registered to take its place."""

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


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version: its number, creation time in ms since the epoch, and our tags without prefix."""

    version: int
    created_ms: int
    tags: Mapping[str, str]


class Catalog(Protocol):
    """Reads versions and aliases, and moves an alias by compare-and-swap."""

    def versions(self, model: str) -> tuple[VersionRow, ...]:
        """Return every version, oldest first; empty for an unknown model."""

    def alias(self, model: str, alias: str) -> str | None:
        """Return the version an alias points at, or None."""

    def set_alias(
        self, model: str, alias: str, version: str | None, *, expected: str | None
    ) -> None:
        """Move an alias if it points at ``expected``; raises Conflict or RegistryError.

        A version that becomes the champion is no longer the challenger.
        """


def our_tags(tags: Mapping[str, str | None]) -> dict[str, str]:
    """Return the tags that are ours, without their prefix."""
    return {
        key.removeprefix(PREFIX): value or ""
        for key, value in tags.items()
        if key.startswith(PREFIX)
    }


def refuse_stale(model: str, alias: str, expected: str | None, found: str | None) -> None:
    """Raise Conflict unless the alias points where the caller thinks it does."""
    if found != expected:
        raise Conflict(
            f"{model}: alias {alias!r} points at {found or 'nothing'}, "
            f"not at {expected or 'nothing'}",
            fix="somebody moved it first; read it again and decide again",
        )


def crowned(alias: str, version: str | None, challenger: str | None) -> bool:
    """Whether moving ``alias`` to ``version`` makes the challenger the champion."""
    return alias == CHAMPION and version is not None and version == challenger


class SqliteCatalog:
    """Reads and swaps in MLflow's own SQLite file, in one transaction of that file.

    The swap is therefore atomic against every other client of the same file,
    MLflow's included. Before MLflow has made its tables the registry is empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def ready(self) -> bool:
        """Whether MLflow has made its tables."""
        with self._session() as session:
            return session is not None

    def versions(self, model: str) -> tuple[VersionRow, ...]:
        """Return every version, oldest first; empty for an unknown model."""
        found: dict[int, tuple[int, dict[str, str | None]]] = {}
        with self._session() as session:
            if session is not None:
                for version, created, key, value in session.execute(_VERSIONS, (_WORKSPACE, model)):
                    tags = found.setdefault(version, (created, {}))[1]
                    if key is not None:
                        tags[key] = value
        return tuple(
            VersionRow(version, created, our_tags(tags))
            for version, (created, tags) in found.items()
        )

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
            Unavailable: The database stayed locked.
        """
        with self._session() as session:
            if session is None:
                refuse_stale(model, alias, expected, None)
                if version is not None:
                    raise RegistryError(f"{model}: there is no version {version}")
                return
            session.execute("BEGIN IMMEDIATE")
            try:
                refuse_stale(model, alias, expected, _read_alias(session, model, alias))
                _write_alias(session, model, alias, version)
                if crowned(alias, version, _read_alias(session, model, CHALLENGER)):
                    _write_alias(session, model, CHALLENGER, None)
            except BaseException:
                session.rollback()
                raise
            session.commit()

    @contextmanager
    def _session(self) -> Iterator[sqlite3.Connection | None]:
        """Yield a connection, or None when MLflow has not made its tables yet."""
        if not self._path.is_file():
            yield None
            return
        try:
            with closing(
                sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            ) as session:
                ready = session.execute(
                    "SELECT 1 FROM sqlite_master WHERE name = 'registered_model_aliases'"
                ).fetchone()
                if ready is not None:
                    columns = session.execute("PRAGMA table_info(model_versions)").fetchall()
                    ready = "workspace" in {column[1] for column in columns}
                yield session if ready else None
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the registry's database {self._path}: {error}") from error
        except sqlite3.Error as error:
            raise RegistryError(f"the registry's database {self._path}: {error}") from error


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
    known = {str(row[0]) for row in session.execute(_VERSIONS, (_WORKSPACE, model))}
    if version not in known:
        raise RegistryError(f"{model}: there is no version {version}")
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
