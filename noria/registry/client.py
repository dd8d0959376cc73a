"""The door to MLflow: settings that always hold, and errors that never leak.

MLflow is imported inside functions only, so that the rest of the package stays cheap.
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from noria import files
from noria.errors import NoriaError, RegistryError, Unavailable
from noria.files import sqlite_path

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
_SOON: Final = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
_TRANSIENT: Final = {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"}


def harden() -> None:
    """Put the settings that always hold into this process's environment (children inherit them)."""
    os.environ.update(_SETTINGS)


def ask_again_soon() -> None:
    """Let a server that does not answer fail soon: for a loop whose next turn asks again.

    MLflow's client would try eight times, with pauses that double, for minutes in which the loop
    says nothing and goes by what it saw before. Variables that are set already stay.
    """
    for name, value in _SOON.items():
        os.environ.setdefault(name, value)


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


def imports(tracking_uri: str) -> tuple[str, ...]:
    """Return the modules that registering a version imports, for a process that has time now."""
    local = sqlite_path(tracking_uri) is not None
    stores = (f"mlflow.store.{kind}.sqlalchemy_store" for kind in ("tracking", "model_registry"))
    # MLflow asks Git where a run's code is from; its stores look for migrations.
    found = ("noria.registry.record", "mlflow.pyfunc", "git")
    return (*found, *stores, "alembic.command", "sqlalchemy.dialects.sqlite") if local else found


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn whatever MLflow raises, or what it stands on, into ours."""
    try:
        yield
    except NoriaError:
        raise
    except Exception as error:
        kind = Unavailable if _does_not_answer(error) else RegistryError
        raise kind(f"{doing}: {_first_line(error)}") from error


def client(tracking_uri: str) -> Any:
    """Return an MLflow client of that server, for runs and for the registry."""
    mlflow = load()
    with translated(f"open the registry at {tracking_uri}"):
        return mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold a lock across processes of this machine; it falls with the process that holds it."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    with files.locked(folder / f"{digest}.lock"):
        yield


def registered(server: Any, name: str) -> Any:
    """Return what a server says of a registered model, None only when it says there is none.

    Raises:
        RegistryError: It answers with something else.
    """
    from mlflow.exceptions import MlflowException

    try:
        found = server.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    # A proxy's empty answer is a model without a name to MLflow's client.
    if found.name != name:
        raise RegistryError(f"what answers about the registered model {name} is not MLflow")
    return found


def ensure_registered(server: Any, name: str, description: str | None = None) -> None:
    """Make a registered model, unless it is there."""
    from mlflow.exceptions import MlflowException

    if registered(server, name) is not None:
        return
    try:
        server.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another was as quick
            raise


def _does_not_answer(error: Exception) -> bool:
    # A server that can't be reached is an internal error to MLflow's client; its text tells.
    if getattr(error, "error_code", "") in _TRANSIENT or "API request to" in str(error):
        return True
    try:
        from sqlalchemy.exc import OperationalError
    except ImportError:  # only a database needs it; a client of a server does without
        return False
    return isinstance(error, OperationalError)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
