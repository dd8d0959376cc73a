"""The ``Registry`` port on MLflow, and the registration of new versions."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from noria.errors import InvalidInput, RegistryError
from noria.files import make_folder, sqlite_path, sqlite_uri
from noria.loop.values import GateResult, VersionInfo
from noria.registry.candidate import Candidate
from noria.registry.catalog import PREFIX, Catalog, VersionRow
from noria.registry.client import client, harden, load, locked, translated
from noria.registry.server_catalog import ServerCatalog
from noria.registry.sqlite_catalog import SqliteCatalog

_ANCHOR: Final = "ledger"
_ARTIFACT_ROOT: Final = "_MLFLOW_SERVER_ARTIFACT_ROOT"


class MlflowRegistry:
    """Versions and aliases in MLflow; artifacts below ``artifacts_dir``.

    With a ``sqlite:///`` tracking URI, reading and moving aliases needs no MLflow
    in the process; only ``initialise`` and ``register`` import it. All methods
    raise only ``RegistryError``, ``Conflict``, ``Unavailable`` and (for a lock that can't be
    made) ``StoreError``.
    """

    def __init__(self, tracking_uri: str, artifacts_dir: Path) -> None:
        harden()
        self._uri = tracking_uri
        self._artifacts = artifacts_dir.absolute()
        self._locks = self._artifacts / ".locks"
        self._database = sqlite_path(tracking_uri)
        self._catalog: Catalog = (
            ServerCatalog(tracking_uri) if self._database is None else SqliteCatalog(self._database)
        )

    def initialise(self) -> None:
        """Make MLflow's tables now, once, rather than in the first run: it takes seconds.

        They are made beside their place and put there whole, so that a kill leaves none half made.
        """
        make_folder(self._artifacts)
        if self._database is not None:
            make_folder(self._database.parent)
            with locked(self._locks, "initialise"):
                if not self.ready():
                    self._make_tables(self._database)

    def _make_tables(self, database: Path) -> None:
        draft = database.with_name(f".{database.name}.draft")
        draft.unlink(missing_ok=True)
        # MLflow writes it unquoted into its SQL: of itself it takes the folder that
        # we happen to be in, whose name may hold an apostrophe.
        os.environ[_ARTIFACT_ROOT] = self._artifacts.as_uri()
        server = client(sqlite_uri(draft))
        with translated("make the registry's tables"):
            server.search_registered_models(max_results=1)
        self._sweep()
        if not SqliteCatalog(draft).ready():
            raise RegistryError(
                f"MLflow has put its tables elsewhere than into {draft}",
                fix="choose a folder without ? and % in its path",
            )
        draft.replace(database)

    def _sweep(self) -> None:
        """Take away the folder that MLflow makes of the address as it is written, quotes and all.

        It is empty, and so are those above it that were made for it.
        """
        written = Path(self._uri.removeprefix("sqlite:///")).parent
        if self._database is not None and written != self._database.parent:
            with suppress(OSError):
                os.removedirs(written)

    def ready(self) -> bool:
        """Whether the registry has its tables (a server is taken to have them).

        Raises:
            RegistryError, Unavailable: There is a file, and it can't be read.
        """
        return self._database is None or SqliteCatalog(self._database).ready()

    def versions(self, model: str) -> tuple[VersionInfo, ...]:
        """Return every version, oldest first; empty for an unknown model."""
        return tuple(_info(model, row) for row in self._rows(model))

    def version(self, model: str, version: str) -> VersionInfo | None:
        """Return one version, or None."""
        row = self._row(model, version)
        return None if row is None else _info(model, row)

    def alias(self, model: str, alias: str) -> str | None:
        """Return the version an alias points at, or None."""
        return self._catalog.alias(model, alias)

    def set_alias(
        self, model: str, alias: str, version: str | None, *, expected: str | None
    ) -> None:
        """Point an alias at ``version`` (None removes it) if it now points at ``expected``.

        To promote, pass the champion that the candidate's gates were measured
        against (``VersionInfo.champion``): a candidate that finished late then
        meets another champion and loses, however good it looked.

        Raises:
            Conflict: It points elsewhere. Nothing changed.
            RegistryError: There is no such version. Nothing changed.
        """
        if version is not None and self._row(model, version) is None:
            raise RegistryError(f"{model}: there is no version {version}")
        self._catalog.set_alias(model, alias, version, expected=expected)

    def anchor(self, model: str, version: str, text: str) -> None:
        """Keep the ledger's anchor on a version, in place of the one before.

        Raises:
            RegistryError: There is no such version.
        """
        self._catalog.tag(model, version, _ANCHOR, text)

    def register(self, candidate: Candidate) -> str:
        """Log the run and its model, and make a version of it; return the version.

        Idempotent by ``candidate.run_id``, also across processes and crashes: the
        version appears in one transaction, after everything that it needs. The
        alias ``challenger`` then points at it, until it becomes the champion or a
        later version is registered.

        Raises:
            RegistryError: MLflow refused, or the candidate's package is broken.
            Unavailable: MLflow doesn't answer.
        """
        from noria.registry.record import record

        if not candidate.run_id:
            raise InvalidInput("run_id is empty", fix="give every run its own id")
        with locked(self._locks, f"register {candidate.model}"):
            version = self.version_of_run(candidate.model, candidate.run_id)
            if version is None:
                self.initialise()
                version = record(self._uri, self._artifacts, candidate)
                self._sweep()
            # Also of a version that is there: a crash may have come between.
            if version == self.versions(candidate.model)[-1].version:
                self._catalog.challenge(candidate.model, version)
            return version

    def version_of_run(self, model: str, run_id: str) -> str | None:
        """Return the version that a run registered, or None."""
        for row in self._rows(model):
            if row.tags.get("run_id") == run_id:
                return str(row.version)
        return None

    def package_path(self, model: str, version: str) -> Path:
        """Return the folder of a version's model package (downloaded if it is not local)."""
        return self._local(model, version, "package")

    def reference_path(self, model: str, version: str) -> Path:
        """Return the folder of a version's monitoring reference."""
        return self._local(model, version, "reference")

    def _rows(self, model: str) -> list[VersionRow]:
        return [row for row in self._catalog.versions(model) if row.tags.get("run_id")]

    def _row(self, model: str, version: str) -> VersionRow | None:
        return next((row for row in self._rows(model) if str(row.version) == version), None)

    def _local(self, model: str, version: str, what: str) -> Path:
        row = self._row(model, version)
        if row is None or what not in row.tags:
            raise RegistryError(f"{model}: there is no version {version} with a {what}")
        uri = row.tags[what]
        local = _local_path(uri)
        if local is not None:
            if not local.is_dir():
                raise RegistryError(f"{model} version {version}: its {what} {local} is gone")
            return local
        cache = self._artifacts / "cache" / model / version / what
        if not cache.is_dir():
            cache.parent.mkdir(parents=True, exist_ok=True)
            mlflow = load()
            with locked(self._locks, f"download {uri}"), translated(f"download {uri}"):
                found = mlflow.artifacts.download_artifacts(
                    artifact_uri=uri, dst_path=str(cache.parent), tracking_uri=self._uri
                )
            return Path(found)
        return cache


def _local_path(uri: str) -> Path | None:
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(uri) if not parts.scheme else None


def _info(model: str, row: VersionRow) -> VersionInfo:
    package = row.tags.get("package", "")
    local = _local_path(package)
    try:
        gates = msgspec.json.decode(row.tags.get("gates", "[]"), type=tuple[GateResult, ...])
        metrics = msgspec.json.decode(row.tags.get("metrics", "{}"), type=dict[str, float | None])
        rows = int(row.tags.get("rows", "0"))
    except (ValueError, msgspec.MsgspecError) as error:
        raise RegistryError(
            f"{model} version {row.version}: its {PREFIX}* tags are damaged: {error}"
        ) from error
    return VersionInfo(
        model=model,
        version=str(row.version),
        created=datetime.fromtimestamp(row.created_ms / 1000, tz=UTC),
        gates=gates,
        metrics=metrics,
        rows=rows,
        champion=row.tags.get("champion") or None,
        package=package if local is None else str(local),
        digest=row.tags.get("digest", ""),
        anchor=row.tags.get(_ANCHOR, ""),
    )
