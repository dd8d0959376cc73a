"""Processes that outlive the one that started them, and how to find them again.

A process is known by its id and its start time: an id alone may by now belong to
somebody else. Started in a session of their own, they get no signal of our
terminal, and whoever starts next adopts them.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Final

_POLL_SECONDS: Final = 0.02
_LOG_TAIL_BYTES: Final = 2000


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process and when it started, in the system's own notation."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether this very process runs. A zombie is dead; our own are reaped here."""
        with suppress(ChildProcessError):  # not our child when it was adopted
            os.waitpid(self.pid, os.WNOHANG)
        return start_time(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process still runs."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def stop(self, timeout: float) -> None:
        """Ask the process to end and wait; kill it after ``timeout`` seconds."""
        self.signal(signal.SIGTERM)
        if self.wait(timeout):
            return
        self.signal(signal.SIGKILL)
        self.wait(timeout)

    def wait(self, timeout: float) -> bool:
        """Wait for the end, for at most ``timeout`` seconds; returns whether it came."""
        deadline = monotonic() + timeout
        while self.alive:
            if monotonic() > deadline:
                return False
            sleep(_POLL_SECONDS)
        return True


def start_time(pid: int) -> str | None:
    """Return when a process started, or None when there is none or it is a zombie."""
    proc = Path("/proc")
    if (proc / "self" / "stat").exists():
        try:
            stat = (proc / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The name, in brackets, may itself hold brackets and spaces.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    said = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    state, _, started = said.partition(" ")
    return None if not said or state.startswith("Z") else started.strip()


def spawn(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> ProcessId:
    """Start a process in its own session, its output appended to ``log``.

    Raises:
        OSError: It can't be started.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        arguments[0],
        list(arguments),
        {**os.environ, **(environment or {})},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return ProcessId(pid, start_time(pid) or "")


def log_tail(log: Path) -> str:
    """Return the end of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - _LOG_TAIL_BYTES, 0))
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""
