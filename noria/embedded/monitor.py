"""One monitor process per model: started, adopted, and told which versions to watch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from monitoring.client import MonitorClient
from noria.embedded.home import MonitorClock, read_json, write_json
from noria.errors import MonitoringError, NoriaError
from noria.process import ProcessId, log_tail, spawn

_HOST: Final = "127.0.0.1"
_READY_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_STOP_SECONDS: Final = 10.0


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
        port = self._port()
        if not port:
            raise MonitoringError(
                f"the monitor of {self._model_file} was never started", fix="run `noria up`"
            )
        return f"http://{_HOST}:{port}"

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
        """Start it if it doesn't run, and return at once."""
        if self.alive:
            return
        port = self._port()
        self._ready.unlink(missing_ok=True)
        self._spawn(port)

    def ensure(self) -> None:
        """Start it if it doesn't run, and wait until it answers.

        Raises:
            MonitoringError: It doesn't start; the message has the end of its output.
        """
        self.launch()
        if not self._answers():
            self._wait(self._answers)

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
        note = read_json(self._note)
        if note is None:
            return None
        found = ProcessId(int(note["pid"]), str(note["started"]))
        return found if found.alive else None

    def _spawn(self, port: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [
            *(sys.executable, "-m", "monitoring"),
            *("--model", str(self._model_file)),
            *("--state", str(self._folder)),
            *("--host", _HOST, "--port", str(port)),
            *("--ready-file", str(self._ready)),
            *("--clock", self._clock),
        ]
        self.close()
        log = self._folder / "output.log"
        process = spawn(command, log, {"OMP_NUM_THREADS": "1"})
        # The port too: it may be killed before it is ready, and must come back on it all the same.
        note = {"pid": process.pid, "started": process.started, "port": port}
        write_json(self._note, note)

    def _port(self) -> int:
        """Return the port that it listens on, or did last; 0 when it never listened."""
        known = (read_json(self._ready) or {}).get("http") or (read_json(self._note) or {}).get(
            "port"
        )
        return int(known or 0)

    def _answers(self) -> bool:
        try:
            return self._ready.exists() and self.client.healthy()
        except NoriaError:
            return False

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            if not self.alive:
                break
            if condition():
                return
            time.sleep(_POLL_SECONDS)
        log = self._folder / "output.log"
        raise MonitoringError(
            f"the monitor of {self._model_file} does not start",
            fix=f"its last words, in {log}:\n{log_tail(log)}",
        )
