"""A server of somebody else's making: started, found again, and on the same port each time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

from noria.embedded.home import read_json, write_json
from noria.errors import MonitoringError, Unavailable
from noria.process import ProcessId, log_tail, spawn
from serving.traffic.proxy import free_port

_HOST: Final = "127.0.0.1"
_READY_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_STOP_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 2.0


class Program:
    """One process with an HTTP port on loopback.

    Args:
        name: What people know it by.
        folder: Where its note and its output go.
        ready: The path that answers 200 when it is.
    """

    def __init__(self, name: str, folder: Path, ready: str) -> None:
        self.name = name
        self.folder = folder
        self._ready = ready
        self._note = folder / "process.json"
        self._log = folder / "output.log"

    @property
    def port(self) -> int:
        """Its port: chosen once and kept, so that others find it again."""
        port = int((read_json(self._note) or {}).get("port") or 0)
        if not port:
            port = free_port(_HOST)
            write_json(self._note, {"port": port})
        return port

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{_HOST}:{self.port}"

    @property
    def process(self) -> ProcessId | None:
        """Its process, None when it doesn't run."""
        note = read_json(self._note) or {}
        if "pid" not in note:
            return None
        found = ProcessId(int(note["pid"]), str(note["started"]))
        return found if found.alive else None

    def launch(
        self,
        command: Callable[[int], Sequence[str]],
        environment: Mapping[str, str] | None = None,
    ) -> bool:
        """Start it if it doesn't run, and return at once. ``command`` takes the port.

        Returns whether it was started.

        Raises:
            MonitoringError: It can't be started.
        """
        if self.process is not None:
            return False
        port = self.port
        arguments = command(port)
        try:
            process = spawn(arguments, self._log, environment)
        except OSError as error:
            raise MonitoringError(f"{arguments[0]} can't be started: {error}") from error
        note = {"pid": process.pid, "started": process.started, "port": port}
        write_json(self._note, note)
        return True

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            MonitoringError: It ended; the message has its last words.
            Unavailable: It does not answer in a minute.
        """
        deadline = time.monotonic() + _READY_SECONDS
        while not self.answers():
            if self.process is None:
                # Somebody else may have taken the port meanwhile: the next start takes another.
                write_json(self._note, {})
                raise MonitoringError(
                    f"{self.name} does not start",
                    fix=f"its last words, in {self._log}:\n{log_tail(self._log)}",
                )
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.name} at {self.url} is not ready", fix=f"see {self._log}")
            time.sleep(_POLL_SECONDS)

    def answers(self) -> bool:
        """Whether it is ready."""
        try:
            found = httpx.get(f"{self.url}{self._ready}", timeout=_ANSWER_SECONDS, trust_env=False)
        except httpx.HTTPError:
            return False
        return found.is_success

    def reload(self) -> None:
        """Let it read its configuration again."""
        found = self.process
        if found is not None:
            found.signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it."""
        found = self.process
        if found is not None:
            found.stop(_STOP_SECONDS)
