"""Processes that outlive the one that started them, and how to find them again.

A process is known by its id and its start time: an id alone may by now belong to
somebody else. Started in a session of their own, they get no signal of our
terminal, and whoever starts next adopts them.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated, Final

import msgspec

from noria.files import for_appending

Pid = Annotated[int, msgspec.Meta(gt=1, le=2**31 - 1)]
"""A process id that may be a process of ours; a note on disk can say anything."""
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
"""A TCP port."""

_POLL_SECONDS: Final = 0.02
_LOG_TAIL_BYTES: Final = 2000
_MOST_WORDS: Final = 400
_LOGGED: Final = re.compile(r"^\S+ \S+ [A-Z]+ [\w.]+: ")
_FATAL: Final = re.compile(r"^(?:\S+ \S+ (?:ERROR|CRITICAL) |error: |[\w.]+(?:Error|Exception): )")


class ProcessId(msgspec.Struct, frozen=True):
    """A process and when it started, in the system's own notation."""

    pid: Pid
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
    if _has_proc():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The name, in brackets, may itself hold brackets and spaces.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    said = _ps("-o", "stat=,lstart=", "-p", str(pid)).strip()
    state, _, started = said.partition(" ")
    return None if not said or state.startswith("Z") else started.strip()


def spawn(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> ProcessId:
    """Start a process in its own session, its output appended to ``log``.

    Raises:
        OSError: It can't be started.
        StoreError: Its log can't be written.
    """
    for_appending(log)
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


def free_port(host: str) -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])


def find(*arguments: str) -> ProcessId | None:
    """Return a process of this account whose command line has all of these arguments.

    For when a note that says who runs is damaged: the system's own list knows better.
    """
    for pid in _mine():
        if pid != os.getpid() and set(arguments) <= set(command_line(pid)):
            started = start_time(pid)
            if started is not None:
                return ProcessId(pid, started)
    return None


def command_line(pid: int) -> list[str]:
    """Return the words of a process's command line; empty when there is no such process."""
    if _has_proc():
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return []
        return [os.fsdecode(word) for word in raw.removesuffix(b"\0").split(b"\0")]
    return _ps("-o", "command=", "-p", str(pid)).split()


def _mine() -> list[int]:
    """Return the ids of this account's processes."""
    if not _has_proc():
        return [int(word) for word in _ps("-U", str(os.getuid()), "-o", "pid=").split()]
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == os.getuid():
                found.append(int(entry.name))
    return found


def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()


def _ps(*options: str) -> str:
    return subprocess.run(["ps", *options], capture_output=True, text=True, check=False).stdout


def log_tail(log: Path) -> str:
    """Return the end of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - _LOG_TAIL_BYTES, 0))
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""


def last_words(log: Path) -> str:
    """Return the last error in a log, or its last line, without time and level; or nothing."""
    lines = [line for line in log_tail(log).splitlines() if line.strip()]
    said = [line for line in lines if _FATAL.match(line)] or lines
    return _LOGGED.sub("", said[-1]).strip()[:_MOST_WORDS] if said else ""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C in the block: pressed twice, it must not cut short what ends our processes.

    Python hands signals to the main thread only: in any other nothing has to be done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
