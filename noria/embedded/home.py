"""The one directory that holds everything Noria knows on this machine."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from noria.errors import InvalidInput, StoreError
from noria.spec import Model, load_model

MonitorClock = Literal["wall", "event"]


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below the state directory (``.noria/`` or ``NORIA_HOME``).

    ``store.db`` is the loop's state and ledger, ``mlflow.db`` and ``artifacts/``
    the registry, ``runs/`` the pipeline runs, ``traffic/`` the proxy and the
    model servers, ``monitor/NAME/`` a model's monitor, ``models/NAME.json``
    which file describes which model,
    ``observability/`` its own Prometheus and Alertmanager.
    """

    root: Path

    @property
    def store(self) -> Path:
        """SQLite file of the loop's state and ledger."""
        return self.root / "store.db"

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking and registry store."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts."""
        return self.root / "artifacts"

    @property
    def runs(self) -> Path:
        """One folder per pipeline run."""
        return self.root / "runs"

    @property
    def traffic(self) -> Path:
        """The proxy's and the model servers' files."""
        return self.root / "traffic"

    @property
    def supervisor(self) -> Path:
        """Who supervises this home: a JSON file with its pid and start time."""
        return self.root / "up.json"

    @property
    def telemetry(self) -> Path:
        """Where the loop's metrics can be scraped: a JSON file with port and address."""
        return self.root / "telemetry.json"

    @property
    def observability(self) -> Path:
        """Files of the home's own Prometheus, Alertmanager and alert receiver."""
        return self.root / "observability"

    def monitor(self, model: str) -> Path:
        """A monitor's log and windows."""
        return self.root / "monitor" / model

    def create(self) -> Home:
        """Make the folder.

        Raises:
            StoreError: It can't be made.
        """
        try:
            (self.root / "models").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.root}: {error.strerror}", fix="choose another folder with NORIA_HOME"
            ) from error
        return self

    def remember(self, model: Model, path: Path, clock: MonitorClock | None = None) -> None:
        """Note which file describes a model, so that later commands need only its name.

        ``clock`` says whose time its loop goes by; None leaves that as it was.
        """
        name = model.metadata.name
        note = {"path": str(path.resolve()), "clock": clock or self.clock(name)}
        write_json(self._note(name), note)

    def names(self) -> tuple[str, ...]:
        """Return the names of the models that were ever started here, sorted."""
        return tuple(sorted(p.stem for p in (self.root / "models").glob("*.json")))

    def model(self, name: str) -> tuple[Model, Path]:
        """Return a model and the path of its file.

        Raises:
            InvalidInput: There is no such model here.
            SpecError: Its file is no longer valid.
        """
        if read_json(self._note(name)) is None:
            known = ", ".join(self.names()) or "none yet"
            raise InvalidInput(
                f"model {name!r} is not known in {self.root}; known: {known}",
                fix="start it with `noria up -f model.yaml`",
            )
        path = self.file(name)
        return load_model(path), path

    def file(self, name: str) -> Path:
        """Return the file of a known model, whether it can be read or not."""
        note = read_json(self._note(name)) or {}
        return Path(str(note.get("path", "model.yaml")))

    def clock(self, name: str) -> MonitorClock:
        """Return whose time a model's loop goes by: the wall's, or that of a replay's events."""
        note = read_json(self._note(name)) or {}
        return "event" if note.get("clock") == "event" else "wall"

    def served(self, name: str) -> bool:
        """Whether a model was being served here, if only by a proxy that is stopped now."""
        return any((self.traffic / "servers").glob(f"{name.replace('.', '%2E')}/*/server.json"))

    def _note(self, name: str) -> Path:
        return self.root / "models" / f"{name}.json"

    def forget_everything(self) -> None:
        """Delete the folder. For the demo, which starts afresh."""
        shutil.rmtree(self.root, ignore_errors=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a small JSON file at once: a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file, None when there is none or it is not whole."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
