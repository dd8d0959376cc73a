"""The one directory that holds everything Noria knows on this machine."""

from __future__ import annotations

import os
import shlex
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from noria import files
from noria.errors import InvalidInput, NoriaError, StoreError, shorten
from noria.loop.sqlite_store import SqliteStore
from noria.served.table import FOLDER
from noria.spec import Model, load_model

MonitorClock = Literal["wall", "event"]

_FOREIGN: Final = ("artifacts", "work")


class _Known(msgspec.Struct, frozen=True):
    """Which file describes a model, and whose time its loop goes by."""

    path: str
    clock: MonitorClock = "wall"

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or "\0" in self.path:
            raise ValueError(f"{shorten(self.path)} is not an absolute path")


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

    def __post_init__(self) -> None:
        """Refuse a folder whose name is no text: nothing could be written about it.

        Raises:
            InvalidInput: It is not UTF-8.
        """
        refuse_odd(self.root)

    def command(self, *words: object) -> str:
        """Return a command about this home as it can be pasted, for a message."""
        here = () if self.root == Path(".noria").absolute() else ("--home", self.root)
        return f"`{shlex.join(map(str, ('noria', *words, *here)))}`"

    @property
    def store(self) -> Path:
        """SQLite file of the loop's state and ledger."""
        return self.root / "store.db"

    @property
    def database(self) -> Path:
        """SQLite file of the registry."""
        return self.root / "mlflow.db"

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking and registry store."""
        return files.sqlite_uri(self.database)

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

    def turn(self, model: str) -> Path:
        """What the last turn of a model's loop met; its time is that of the turn."""
        return self.root / "turns" / f"{model}.json"

    def monitor(self, model: str) -> Path:
        """A monitor's log and windows."""
        return self.root / "monitor" / model

    def served_rows(self, model: str) -> Path:
        """The table of a model's labelled rows that were served; its monitor writes it."""
        return self.monitor(model) / FOLDER

    def create(self) -> Home:
        """Make the folder; what is in it is its owner's alone.

        Raises:
            StoreError: It can't be made.
        """
        try:
            files.make_folder(self.root / "models")
        except StoreError as error:
            raise StoreError(
                error.message, fix=f"{error.fix}, or choose another folder with NORIA_HOME"
            ) from error
        return self

    def keep_private(self) -> Home:
        """Keep what this process and its children write, libraries too, to its owner alone.

        What an earlier release left open is tightened.
        """
        os.umask(0o077)
        files.tighten(self.root)
        return self

    def remember(self, model: Model, path: Path, clock: MonitorClock | None = None) -> None:
        """Note which file describes a model, so that later commands need only its name.

        ``clock`` says whose time its loop goes by; None leaves that as it was.

        Raises:
            InvalidInput: The file's name is no text.
        """
        name = model.metadata.name
        refuse_odd(path)
        note = _Known(str(path.resolve()), clock or self.clock(name))
        if self._known(name) != note:
            files.write_json(self._note(name), note)

    def names(self) -> tuple[str, ...]:
        """Return the names of the models that were ever started here, sorted.

        Also of those whose note is lost: the store and the monitors' folders know them.
        """
        found = {p.stem for p in (self.root / "models").glob("*.json") if p.is_file()}
        found |= {p.name for p in (self.root / "monitor").glob("*") if p.is_dir()}
        if self.store.is_file():
            with suppress(NoriaError):  # whoever needs the store itself says what is wrong with it
                found |= set(SqliteStore(self.store).models())
        return tuple(sorted(found))

    def known(self, name: str) -> str:
        """Return the name of a model that was ever started here.

        Raises:
            InvalidInput: There is no such model here.
        """
        names = self.names()
        if name not in names:
            raise InvalidInput(
                f"model {name!r} is not known in {self.root}; known: "
                f"{', '.join(names) or 'none yet'}",
                fix=f"start it with {self.command('up', '-f', 'model.yaml')}",
            )
        return name

    def model(self, name: str) -> tuple[Model, Path]:
        """Return a model and the path of its file.

        Raises:
            InvalidInput: There is no such model here, or which file describes it is not known.
            SpecError: Its file is no longer valid.
        """
        note = self._known(self.known(name))
        if note is None:
            raise InvalidInput(
                f"which file describes {name} is not known: {self._note(name)} is gone or was "
                "damaged",
                fix=f"say it again: {self.command('up', '-f', 'model.yaml')}",
            )
        path = Path(note.path)
        return load_model(path), path

    def file(self, name: str) -> Path:
        """Return the file of a known model, whether it can be read or not."""
        note = self._known(name)
        return Path("model.yaml" if note is None else note.path)

    def clock(self, name: str) -> MonitorClock:
        """Return whose time a model's loop goes by: the wall's, or that of a replay's events."""
        note = self._known(name)
        return "wall" if note is None else note.clock

    def served(self, name: str) -> bool:
        """Whether a model was being served here, if only by a proxy that is stopped now."""
        return any((self.traffic / "servers").glob(f"{name.replace('.', '%2E')}/*/server.json"))

    def damaged(self) -> tuple[str, ...]:
        """Return the files that were set aside because they could not be read, from the root."""
        found = files.damaged(self.root, skip=_FOREIGN)
        return tuple(str(path.relative_to(self.root)) for path in found)

    def _known(self, name: str) -> _Known | None:
        return files.read_json(self._note(name), _Known)

    def _note(self, name: str) -> Path:
        return self.root / "models" / f"{name}.json"

    def forget_everything(self) -> None:
        """Delete the folder. For the demo, which starts afresh."""
        shutil.rmtree(self.root, ignore_errors=True)


def refuse_odd(path: Path) -> None:
    """Refuse a path that no file of ours could name.

    Raises:
        InvalidInput: It is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{os.fsencode(path)!r} is not UTF-8 at character {error.start + 1}",
            fix="choose a folder whose name is text",
        ) from error
