"""The folder of one local run: its request, its status, its log, and who is working on it.

A runner holds an exclusive ``flock`` on ``lock`` for as long as it lives. The
kernel lets go of it when the runner dies, however it dies, so "is it alive?"
needs no pid that another process may have got since.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from noria.errors import PipelineError
from noria.files import locked, make_folder, read_json, write_json
from noria.loop.values import RunPhase, RunRequest, RunStatus
from noria.process import ProcessId, find, start_time

_OVER = frozenset({RunPhase.SUCCEEDED, RunPhase.FAILED, RunPhase.CANCELLED})


class RunTaken(PipelineError):
    """A runner works on this run already."""


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
        return read_json(self.path / "request.json", RunRequest)

    def accept(self, request: RunRequest) -> None:
        """Write down what was asked for; from here on the run is known."""
        make_folder(self.path)
        write_json(self.path / "request.json", request)

    def status(self) -> RunStatus | None:
        """Return the last written status, or None."""
        return read_json(self.path / "status.json", RunStatus)

    def ended(self) -> RunStatus | None:
        """Return the status if it is final, or None."""
        status = self.status()
        return status if status is not None and status.phase in _OVER else None

    def write_status(self, status: RunStatus) -> None:
        """Replace the status."""
        write_json(self.path / "status.json", status)

    def progress(self) -> Progress:
        """Return where the run is."""
        return read_json(self.path / "progress.json", Progress) or Progress()

    def write_progress(self, progress: Progress) -> None:
        """Replace the progress."""
        write_json(self.path / "progress.json", progress)

    def ask_to_cancel(self) -> None:
        """Leave a mark that the run is to stop; a runner that starts later sees it too."""
        write_json(self.path / "cancel", {})

    def cancel_asked(self) -> bool:
        """Whether somebody asked to stop it."""
        return (self.path / "cancel").exists()

    def write_pid(self) -> None:
        """Write down this process as the leader of the run's process group."""
        pid = os.getpid()
        write_json(self.path / "runner.json", ProcessId(pid, start_time(pid) or ""))

    def runner(self) -> ProcessId | None:
        """Return the runner's process, None when it has ended or has not said yet who it is."""
        found = read_json(self.path / "runner.json", ProcessId) or find(str(self.path))
        return found if found is not None and found.alive else None

    def detached(self) -> bool:
        """Whether the runner was started as a process of its own, and not by hand."""
        return (self.path / "runner.txt").exists()

    def alive(self) -> bool:
        """Whether a runner works on it now."""
        if not (self.path / "lock").exists():
            return False
        with locked(self.path / "lock", wait=False) as lock:
            return lock is None

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the run in this process; yields the descriptor that holds it.

        Raises:
            RunTaken: A runner has it.
        """
        with locked(self.path / "lock", wait=False) as lock:
            if lock is None:
                raise RunTaken(
                    f"{self.path}: a runner works on this run already",
                    fix="wait for it, or cancel it",
                )
            yield lock
