"""The door to MLflow: settings that always hold, errors that never leak, and any server's catalog.

MLflow is imported inside functions only, so that the rest of the package stays cheap.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from noria.errors import RegistryError, Unavailable
from noria.registry.catalog import CHALLENGER, VersionRow, crowned, our_tags, refuse_stale

_SETTINGS: Final = {
    # No artifact may run code when it is read: pickles are refused, always.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # A dry run of pip against a package index has no place in a training step.
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
_TRANSIENT: Final = {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"}


def harden() -> None:
    """Put the settings that always hold into this process's environment (children inherit them)."""
    os.environ.update(_SETTINGS)


def load() -> ModuleType:
    """Import MLflow with the settings that always hold.

    Raises:
        RegistryError: MLflow is not installed.
    """
    harden()
    try:
        with warnings.catch_warnings():
            # MLflow's own imports warn about its dependencies; nobody can act on that here.
            warnings.simplefilter("ignore")
            import mlflow
    except ImportError as error:
        raise RegistryError(
            f"MLflow can't be imported: {error}", fix="install noria[training]"
        ) from error
    # Its progress notes are not for our users; its errors reach them as exceptions.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    module: ModuleType = mlflow
    return module


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn MLflow's exceptions, and those of what it stands on, into ours."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        # A server that can't be reached is an internal error to MLflow's client; its text tells.
        down = error.error_code in _TRANSIENT or "API request to" in str(error)
        kind = Unavailable if down else RegistryError
        raise kind(f"{doing}: {_first_line(error)}") from error
    except OSError as error:
        raise RegistryError(f"{doing}: {_first_line(error)}") from error
    except Exception as error:
        # Only a database needs SQLAlchemy; a client of a server does without.
        lost = _of_sqlalchemy(error)
        if lost is None:
            raise
        kind = Unavailable if lost else RegistryError
        raise kind(f"{doing}: {_first_line(error)}") from error


def client(tracking_uri: str) -> Any:
    """Return an MLflow client of that server, for runs and for the registry."""
    mlflow = load()
    with translated(f"open the registry at {tracking_uri}"):
        return mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold a lock across processes of this machine; it falls with the process that holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    with (folder / f"{digest}.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class ClientCatalog:
    """Asks an MLflow server.

    MLflow has no compare-and-swap, so swaps are serialised by a lock file: safe
    between the processes that share ``locks``, which must then be the only writers.
    """

    def __init__(self, tracking_uri: str, locks: Path) -> None:
        self._uri = tracking_uri
        self._locks = locks
        self._known: Any = None

    def versions(self, model: str) -> tuple[VersionRow, ...]:
        """Return every version, oldest first; empty for an unknown model."""
        found = []
        with self._asking(f"list the versions of {model}") as server:
            quoted = model.replace("'", "''")
            token = None
            while True:
                page = server.search_model_versions(f"name = '{quoted}'", page_token=token)
                found.extend(page)
                token = page.token
                if not token:
                    break
        rows = [
            VersionRow(int(item.version), item.creation_timestamp, our_tags(item.tags))
            for item in found
            if item.status == "READY"
        ]
        return tuple(sorted(rows, key=lambda row: row.version))

    def alias(self, model: str, alias: str) -> str | None:
        """Return the version an alias points at, or None."""
        with self._asking(f"read the aliases of {model}") as server:
            quoted = model.replace("'", "''")
            for registered in server.search_registered_models(f"name = '{quoted}'"):
                version = registered.aliases.get(alias)
                return None if version is None else str(version)
        return None

    def set_alias(
        self, model: str, alias: str, version: str | None, *, expected: str | None
    ) -> None:
        """Move an alias if it points at ``expected``; the new champion is no longer the challenger.

        Raises:
            Conflict: It points elsewhere.
            RegistryError: There is no such version.
            Unavailable: The server doesn't answer.
        """
        with locked(self._locks, f"alias {model}"):
            refuse_stale(model, alias, expected, self.alias(model, alias))
            done = crowned(alias, version, self.alias(model, CHALLENGER))
            with self._asking(f"move alias {alias!r} of {model} to {version}") as server:
                if version is None:
                    if expected is not None:
                        server.delete_registered_model_alias(model, alias)
                else:
                    server.set_registered_model_alias(model, alias, version)
                if done:
                    server.delete_registered_model_alias(model, CHALLENGER)

    @contextmanager
    def _asking(self, doing: str) -> Iterator[Any]:
        if self._known is None:
            self._known = client(self._uri)
        with translated(doing):
            yield self._known


def _of_sqlalchemy(error: Exception) -> bool | None:
    """Whether SQLAlchemy says that its database does not answer; None: it is not its error."""
    try:
        from sqlalchemy.exc import OperationalError, SQLAlchemyError
    except ImportError:
        return None
    return isinstance(error, OperationalError) if isinstance(error, SQLAlchemyError) else None


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
