"""A server of somebody else's making: started, found again, and on the same port each time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx
import msgspec

from noria.errors import MonitoringError, Unavailable
from noria.files import read_json, write_json
from noria.process import Pid, Port, ProcessId, find, free_port, last_words, log_tail, spawn

_HOST: Final = "127.0.0.1"
_READY_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_STOP_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 30.0
_LONGEST_PAUSE_SECONDS: Final = 60.0


class _Note(msgspec.Struct, frozen=True):
    """Where it listens, and who it is once it was started."""

    port: Port
    pid: Pid | None = None
    started: str = ""


class Program:
    """One process with an HTTP port on loopback.

    Args:
        name: What people know it by.
        folder: Where its note and its output go.
        ready: The path that answers 200 when it is.
        marks: Words that only its command line has, to find it by when its note is lost.
    """

    def __init__(self, name: str, folder: Path, ready: str, marks: Sequence[str]) -> None:
        self.name = name
        self.folder = folder
        self._ready = ready
        self._marks = tuple(marks)
        self._silent_since: float | None = None
        self._starts = 0
        self._not_before = 0.0
        self._note = folder / "process.json"
        self._log = folder / "output.log"

    @property
    def port(self) -> int:
        """Its port: chosen once and kept, so that others find it again."""
        note = read_json(self._note, _Note)
        if note is None:
            # One that runs unnoted listens where nobody knows.
            stray = find(*self._marks)
            if stray is not None:
                stray.stop(_STOP_SECONDS)
            note = _Note(free_port(_HOST))
            write_json(self._note, note)
        return note.port

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{_HOST}:{self.port}"

    @property
    def process(self) -> ProcessId | None:
        """Its process, None when it doesn't run."""
        note = read_json(self._note, _Note)
        if note is None or note.pid is None:
            return None
        found = ProcessId(note.pid, note.started)
        return found if found.alive else None

    def launch(
        self,
        command: Callable[[int], Sequence[str]],
        environment: Mapping[str, str] | None = None,
    ) -> bool:
        """Start it if it doesn't run, and return at once. ``command`` takes the port.

        One that ends again and again is started at growing distances; one that has not
        answered for a while is ended first. Returns whether it was started.

        Raises:
            MonitoringError: It can't be started.
        """
        found = self.process
        if found is not None:
            if not self._silent_for_long():
                return False
            found.stop(_STOP_SECONDS)
        if time.monotonic() < self._not_before:
            return False
        self._starts += 1
        self._not_before = time.monotonic() + min(2.0**self._starts, _LONGEST_PAUSE_SECONDS)
        port = self.port
        arguments = command(port)
        try:
            process = spawn(arguments, self._log, environment)
        except OSError as error:
            raise MonitoringError(f"{arguments[0]} can't be started: {error}") from error
        write_json(self._note, _Note(port, process.pid, process.started))
        return True

    def problem(self) -> str:
        """Return what is wrong with it now, empty when it answers."""
        if self.process is None:
            said = last_words(self._log)
            return f"{self.name} does not run{f': {said}' if said else ''}"
        return "" if self.answers() else f"{self.name} does not answer"

    def _silent_for_long(self) -> bool:
        if self.answers():
            self._silent_since, self._starts = None, 0
            return False
        self._silent_since = self._silent_since or time.monotonic()
        if time.monotonic() - self._silent_since < _PATIENCE_SECONDS:
            return False
        self._silent_since = None
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
                write_json(self._note, _Note(free_port(_HOST)))
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
