"""The ``Pipelines`` port on this machine: each run is a detached process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from noria.errors import InvalidInput, PipelineError
from noria.files import for_appending
from noria.loop.values import RunPhase, RunRequest, RunStatus
from noria.registry import MlflowRegistry
from pipelines.local import registered_result
from pipelines.rundir import RunDir, RunTaken

_GRACE_SECONDS: Final = 3.0
_POLL_SECONDS: Final = 0.02
_MAX_NAME_BYTES: Final = 200
_TRIES: Final = 10


class LocalPipelines:
    """Starts the local runner, and finds its runs again after a restart.

    Args:
        runs_dir: One folder per run lives below it.
        model_file: Returns the ``model.yaml`` of a model's name.
        tracking_uri: MLflow's.
        artifacts: Folder of the registry's artifacts.
        runner: The command that runs a pipeline and takes ``pipelines.local``'s arguments.
        served: Returns the folder of the rows that were served, of a model's name.
    """

    def __init__(
        self,
        runs_dir: Path,
        model_file: Callable[[str], Path],
        tracking_uri: str,
        artifacts: Path,
        runner: Sequence[str] = (sys.executable, "-m", "pipelines.local"),
        served: Callable[[str], Path] | None = None,
    ) -> None:
        self._runner = tuple(runner)
        self._runs = runs_dir.absolute()
        self._model_file = model_file
        self._served = served
        self._tracking_uri = tracking_uri
        self._artifacts = artifacts.absolute()
        self._registry = MlflowRegistry(tracking_uri, artifacts)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, request: RunRequest) -> None:
        """Start a run and return at once; a run that was ever started is left alone.

        Raises:
            PipelineError: The process can't be started, or the model has no file.
        """
        folder = self.run_dir(request.run_id)
        for _ in range(_TRIES):
            try:
                with folder.locked() as lock:
                    # A request without a status is a start that a crash cut off before the
                    # process.
                    if folder.status() is None:
                        folder.accept(request)
                        # The runner has its own copy of the descriptor, and with it the lock.
                        self._spawn(folder, request, lock)
                return
            except RunTaken:
                # Somebody works on it; or somebody who only asks for its status holds it briefly.
                time.sleep(_POLL_SECONDS)

    def status(self, run_id: str) -> RunStatus:
        """Say where a run is.

        Raises:
            PipelineError: The run's folder can't be read.
        """
        self._reap(run_id)
        folder = self.run_dir(run_id)
        request = folder.request() if folder.path.is_dir() else None
        alive = folder.alive() if folder.path.is_dir() else False  # it may end in between
        if request is None and not alive:
            return RunStatus(run_id, RunPhase.UNKNOWN)
        status = folder.status() or RunStatus(run_id, RunPhase.PENDING)
        if folder.ended() is not None:
            return status
        step = folder.progress().step
        if alive or request is None:
            return RunStatus(run_id, status.phase, step)
        if folder.cancel_asked():
            return RunStatus(run_id, RunPhase.CANCELLED, f"cancelled in step {step or 'none'}")
        made = registered_result(self._registry, request.model, run_id)
        if made is not None:
            return RunStatus(run_id, RunPhase.SUCCEEDED, "", made)
        return RunStatus(
            run_id, RunPhase.FAILED, f"{step or 'start'}: the runner was killed; see {folder.log}"
        )

    def cancel(self, run_id: str) -> None:
        """Stop a run and every process of it. Does nothing when it is unknown or over."""
        folder = self.run_dir(run_id)
        if not folder.path.is_dir() or folder.ended() is not None:
            return
        folder.ask_to_cancel()
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + _GRACE_SECONDS
            sent = False
            while time.monotonic() < deadline:
                self._reap(run_id)
                if not folder.alive():
                    return
                leader = folder.runner()
                if not sent and leader is not None:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.killpg(leader.pid, number)
                    sent = True
                time.sleep(_POLL_SECONDS)
        raise PipelineError(f"run {run_id} doesn't stop", fix=f"see {folder.log}")

    def working(self) -> tuple[str, ...]:
        """Return the runs that a process of their own works on now."""
        folders = [RunDir(path) for path in sorted(self._runs.glob("*")) if path.is_dir()]
        return tuple(
            unquote(folder.path.name)
            for folder in folders
            if folder.detached() and folder.ended() is None and folder.alive()
        )

    def run_dir(self, run_id: str) -> RunDir:
        """Return the folder of a run, whether it exists or not.

        Raises:
            InvalidInput: The id can't be a folder's name.
        """
        name = quote(run_id, safe="")
        if not name.strip(".") or len(name) > _MAX_NAME_BYTES:
            raise InvalidInput(f"run id {run_id!r} can't name a folder", fix="use a shorter id")
        return RunDir(self._runs / name)

    def _spawn(self, folder: RunDir, request: RunRequest, lock: int) -> None:
        command = [
            *self._runner,
            *("--model", str(self._model_file(request.model).absolute())),
            *("--request", str(folder.path / "request.json")),
            *("--run-dir", str(folder.path)),
            *("--tracking-uri", self._tracking_uri),
            *("--artifacts", str(self._artifacts)),
            *("--lock-fd", str(lock)),
        ]
        if self._served is not None:
            command += ["--served", str(self._served(request.model).absolute())]
        try:
            with for_appending(folder.path / "runner.txt").open("ab") as output:
                self._children[request.run_id] = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=folder.path,
                    pass_fds=(lock,),
                    # It outlives us, and takes its steps with it when it is killed as a group.
                    start_new_session=True,
                )
        except OSError as error:
            raise PipelineError(f"run {request.run_id} can't be started: {error}") from error

    def _reap(self, run_id: str) -> None:
        child = self._children.get(run_id)
        if child is not None and child.poll() is not None:
            del self._children[run_id]
