"""One monitor process per model: started, adopted, and told which versions to watch."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from monitoring.client import MonitorClient
from noria.embedded.home import MonitorClock
from noria.errors import MonitoringError, NoriaError
from noria.files import clear, read_json, write_json
from noria.process import (
    Pid,
    Port,
    ProcessId,
    command_line,
    find,
    free_port,
    last_words,
    log_tail,
    spawn,
)

_HOST: Final = "127.0.0.1"
_READY_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_STOP_SECONDS: Final = 10.0
_PATIENCE_SECONDS: Final = 30.0
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0


class _Note(msgspec.Struct, frozen=True):
    """Who the monitor is and where it listens; ``failures`` counts starts that came to nothing."""

    pid: Pid
    started: str
    port: Port
    at: float = 0.0
    failures: int = 0


class MonitorProcess:
    """The monitor of one model.

    Its port is chosen once and kept, so that model servers that were told where
    to send their events find it again after it was killed.

    Args:
        model_file: The model.yaml.
        folder: Where its log, its windows, its pid note and its output go.
        clock: ``event`` takes the newest event time for the time of arrival (replays).
    """

    def __init__(self, model_file: Path, folder: Path, clock: MonitorClock = "wall") -> None:
        self._model_file = model_file
        self._folder = folder
        self._clock = clock
        self._note = folder / "process.json"
        self._ready = folder / "ready.json"
        self._log = folder / "output.log"
        self._port: int | None = None
        self._silent_since: float | None = None
        self._client: MonitorClient | None = None

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process() is not None

    @property
    def url(self) -> str:
        """Its address; the port is kept over restarts.

        Raises:
            MonitoringError: It was never started.
        """
        note = self._known()
        if note is None:
            raise MonitoringError(
                f"the monitor of {self._model_file} was never started", fix="run `noria up`"
            )
        return f"http://{_HOST}:{note.port}"

    @property
    def client(self) -> MonitorClient:
        """A client of it; made once."""
        if self._client is None:
            self._client = MonitorClient(self.url)
        return self._client

    def fresh_client(self, timeout: float = 10.0) -> MonitorClient:
        """Return a client of one's own, to be closed after use; ``timeout`` is in seconds."""
        return MonitorClient(self.url, timeout=timeout)

    def launch(self) -> None:
        """Start it if it doesn't run, and return at once.

        One that does not come up is tried again at growing distances; one that has stopped
        answering is ended first.
        """
        note = self._known()
        if note is not None and not self._ended(note):
            return
        failures = self._failures(note)
        pause = min(_FIRST_PAUSE_SECONDS * 2 ** min(failures, 10), _LONGEST_PAUSE_SECONDS)
        if note is None or not failures or not 0 <= time.time() - note.at < pause:
            self._start(note)

    def _ended(self, note: _Note) -> bool:
        """Whether its process has ended; one that has stopped answering is ended here."""
        process = ProcessId(note.pid, note.started)
        if process.alive and self._silent_for_long():
            process.stop(_STOP_SECONDS)
        return not process.alive

    def _failures(self, note: _Note | None) -> int:
        return 0 if note is None or self._ready.exists() else note.failures + 1

    def _start(self, note: _Note | None) -> None:
        failures = self._failures(note)
        clear(self._ready)
        self._ready.unlink(missing_ok=True)
        # The port that servers were told; one that never came up may have found it taken.
        port = self._port if self._port is not None and failures < 2 else free_port(_HOST)
        self._spawn(port, failures)

    def ensure(self) -> None:
        """Start it if it doesn't run, and wait until it answers.

        Raises:
            MonitoringError: It doesn't start; the message has the end of its output.
        """
        note = self._known()
        if note is None or self._ended(note):
            self._start(note)
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            if self._ready.exists() and self.client.answers():
                return
            if not self.alive:
                break
            time.sleep(_POLL_SECONDS)
        raise MonitoringError(
            f"the monitor of {self._model_file} does not start",
            fix=f"its last words, in {self._log}:\n{log_tail(self._log)}",
        )

    def problem(self) -> str:
        """Return what is wrong with it now, empty when it runs and is well."""
        if not self.alive:
            said = last_words(self._log)
            return f"the monitor does not run{f': {said}' if said else ''}"
        try:
            self.client.check()
        except NoriaError as error:
            return error.message
        return ""

    def stop(self) -> None:
        """End it; what it acknowledged is on disk."""
        self.close()
        found = self._process()
        if found is not None:
            found.stop(_STOP_SECONDS)

    def close(self) -> None:
        """Close our connections; it goes on."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def pid(self) -> int | None:
        """Its process id, None when it doesn't run."""
        found = self._process()
        return None if found is None else found.pid

    def _process(self) -> ProcessId | None:
        note = self._known()
        if note is None:
            return None
        found = ProcessId(note.pid, note.started)
        return found if found.alive else None

    def _known(self) -> _Note | None:
        """Return who it is, and remember its port: its folder may be emptied while we run.

        Where the note was lost, the system's list of processes tells.
        """
        note = read_json(self._note, _Note) or self._found()
        if note is not None:
            self._port = note.port
        return note

    def _found(self) -> _Note | None:
        found = find("monitoring", str(self._ready))
        if found is None:
            return None
        words = command_line(found.pid)
        try:
            port = int(words[words.index("--port") + 1])
            note = msgspec.convert(
                {"pid": found.pid, "started": found.started, "port": port}, _Note
            )
        except (ValueError, IndexError, msgspec.ValidationError):
            found.stop(_STOP_SECONDS)  # where it listens can't be known
            return None
        write_json(self._note, note)
        return note

    def _silent_for_long(self) -> bool:
        """Whether it has not answered at all for a while, though it was ready."""
        if not self._ready.exists() or self.client.answers():
            self._silent_since = None
            return False
        self._silent_since = self._silent_since or time.monotonic()
        return time.monotonic() - self._silent_since > _PATIENCE_SECONDS

    def _spawn(self, port: int, failures: int) -> None:
        command = [
            *(sys.executable, "-m", "monitoring"),
            *("--model", str(self._model_file)),
            *("--state", str(self._folder)),
            *("--host", _HOST, "--port", str(port)),
            *("--ready-file", str(self._ready)),
            *("--clock", self._clock),
        ]
        self.close()
        try:
            process = spawn(command, self._log, {"OMP_NUM_THREADS": "1"})
        except OSError as error:
            raise MonitoringError(f"the monitor can't be started: {error}") from error
        note = _Note(process.pid, process.started, port, time.time(), failures)
        write_json(self._note, note)
