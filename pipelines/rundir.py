"""The folder of one local run: its request, its status, its log, and who is working on it.

A runner holds an exclusive ``flock`` on ``lock`` for as long as it lives. The
kernel lets go of it when the runner dies, however it dies, so "is it alive?"
needs no pid that another process may have got since.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from noria.errors import InvalidInput, PipelineError
from noria.loop.values import RunPhase, RunRequest, RunStatus, from_json, to_json

T = TypeVar("T")

_OVER = frozenset({RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.CANCELLED})


class StepTime(msgspec.Struct, frozen=True):
    """A step that is over, and the wall-clock seconds it took."""

    name: str
    seconds: float


class Progress(msgspec.Struct, frozen=True):
    """Where a run is: the step it is in (empty before the first), and the steps behind it."""

    step: str = ""
    done: tuple[StepTime, ...] = ()


@dataclass(frozen=True, slots=True)
class RunDir:
    """Reads and writes the files of one run; every write is a rename, so none is seen half done."""

    path: Path

    @property
    def work(self) -> Path:
        """Where the steps leave their artifacts, until the run is over."""
        return self.path / "work"

    @property
    def log(self) -> Path:
        """Everything that the steps printed."""
        return self.path / "log.txt"

    @property
    def search(self) -> Path:
        """Where a search keeps its trials: a run that was killed in it carries on with them."""
        return self.path / "search"

    def request(self) -> RunRequest | None:
        """Return what was asked for, or None before the run was accepted."""
        return self._read("request.json", RunRequest)

    def accept(self, request: RunRequest) -> None:
        """Write down what was asked for; from here on the run is known."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._write("request.json", to_json(request))

    def status(self) -> RunStatus | None:
        """Return the last written status, or None."""
        return self._read("status.json", RunStatus)

    def ended(self) -> RunStatus | None:
        """Return the status if it is final, or None."""
        status = self.status()
        return status if status is not None and status.phase in _OVER else None

    def write_status(self, status: RunStatus) -> None:
        """Replace the status."""
        self._write("status.json", to_json(status))

    def progress(self) -> Progress:
        """Return where the run is."""
        return self._read("progress.json", Progress) or Progress()

    def write_progress(self, progress: Progress) -> None:
        """Replace the progress."""
        self._write("progress.json", to_json(progress))

    def ask_to_cancel(self) -> None:
        """Leave a mark that the run is to stop; a runner that starts later sees it too."""
        (self.path / "cancel").touch()

    def cancel_asked(self) -> bool:
        """Whether somebody asked to stop it."""
        return (self.path / "cancel").exists()

    def write_pid(self) -> None:
        """Write down this process as the leader of the run's process group."""
        self._write("pid", str(os.getpid()).encode())

    def pid(self) -> int | None:
        """Return the runner's pid; it means something only while the lock is held."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.path / "pid").read_text())
        return None

    def try_lock(self) -> int | None:
        """Take the run; return the descriptor that holds it, or None when a runner has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def alive(self) -> bool:
        """Whether a runner works on it now."""
        if not (self.path / "lock").exists():
            return False
        descriptor = self.try_lock()
        if descriptor is None:
            return True
        os.close(descriptor)
        return False

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run in this process.

        Raises:
            PipelineError: A runner has it.
        """
        descriptor = self.try_lock()
        if descriptor is None:
            raise PipelineError(
                f"{self.path}: a runner works on this run already",
                fix="wait for it, or cancel it",
            )
        try:
            yield
        finally:
            os.close(descriptor)

    def _read(self, name: str, kind: type[T]) -> T | None:
        try:
            return from_json((self.path / name).read_bytes(), kind)
        except FileNotFoundError:
            return None
        except (OSError, InvalidInput) as error:
            raise PipelineError(f"{self.path / name}: can't be read: {error}") from error

    def _write(self, name: str, content: bytes) -> None:
        try:
            handle, draft = tempfile.mkstemp(dir=self.path, prefix=f".{name}.")
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(draft).replace(self.path / name)
        except OSError as error:
            raise PipelineError(f"{self.path / name}: can't be written: {error}") from error
