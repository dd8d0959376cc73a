"""The ``Registry`` port on MLflow, and the registration of new versions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from noria.errors import Conflict, InvalidInput, RegistryError
from noria.loop.values import GateResult, VersionInfo
from noria.registry.candidate import Candidate
from noria.registry.catalog import (
    CHALLENGER,
    CHAMPION,
    PREFIX,
    Catalog,
    SqliteCatalog,
    VersionRow,
)
from noria.registry.client import ClientCatalog, client, harden, load, locked, translated

_SQLITE: Final = "sqlite:///"


class MlflowRegistry:
    """Versions and aliases in MLflow; artifacts below ``artifacts_dir``.

    With a ``sqlite:///`` tracking URI, reading and moving aliases needs no MLflow
    in the process; only ``initialise`` and ``register`` import it. All methods
    raise only ``RegistryError``, ``Conflict`` and ``Unavailable``.
    """

    def __init__(self, tracking_uri: str, artifacts_dir: Path) -> None:
        harden()
        self._uri = tracking_uri
        self._artifacts = artifacts_dir.absolute()
        self._locks = self._artifacts / ".locks"
        self._database = _database(tracking_uri)
        self._catalog: Catalog = (
            ClientCatalog(tracking_uri, self._locks)
            if self._database is None
            else SqliteCatalog(self._database)
        )

    def initialise(self) -> None:
        """Make MLflow's tables now, once, rather than in the first run: it takes seconds."""
        self._artifacts.mkdir(parents=True, exist_ok=True)
        if self._database is not None:
            self._database.parent.mkdir(parents=True, exist_ok=True)
            with locked(self._locks, "initialise"):
                if not self.ready():
                    server = client(self._uri)
                    with translated("make the registry's tables"):
                        server.search_registered_models(max_results=1)

    def ready(self) -> bool:
        """Whether the registry has its tables (a server is taken to have them)."""
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
            known = self.version_of_run(candidate.model, candidate.run_id)
            if known is not None:
                if self.versions(candidate.model)[-1].version == known:
                    self._challenge(candidate.model, known)  # a crash may have come before it
                return known
            self.initialise()
            version = record(self._uri, self._artifacts, candidate)
            self._challenge(candidate.model, version)
            return version

    def _challenge(self, model: str, version: str) -> None:
        """Point the challenger at the newest version, unless that is the champion already."""
        while self._catalog.alias(model, CHAMPION) != version:
            before = self._catalog.alias(model, CHALLENGER)
            try:
                self._catalog.set_alias(model, CHALLENGER, version, expected=before)
            except Conflict:  # the challenger of before has just become the champion
                continue
            return

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


def _database(tracking_uri: str) -> Path | None:
    if not tracking_uri.startswith(_SQLITE):
        return None
    return Path(tracking_uri.removeprefix(_SQLITE).partition("?")[0]).absolute()


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
        metrics: dict[str, Any] = json.loads(row.tags.get("metrics", "{}"))
        rows = int(row.tags.get("rows", "0"))
    except ValueError as error:
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
    )
