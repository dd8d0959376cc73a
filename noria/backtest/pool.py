"""Fits in processes, cached by content: what was fitted once is read from its folder."""

from __future__ import annotations

import hashlib
import itertools
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

import noria
from noria.backtest.jobs import Done, Job, Made, read_made
from noria.errors import TrainingError

_SHOWN: Final = 300


def code_digest() -> str:
    """Return a digest of the code that a fit runs: the families, the measures, the spec."""
    home = Path(noria.__file__).parent
    found = hashlib.sha256(version("noria").encode())
    for folder in ("tasks", "measures", "values", "spec"):
        for path in sorted((home / folder).rglob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()


def digest_of(parts: Sequence[str]) -> str:
    """Return the name of a cached result made from these."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


class Pool:
    """Does jobs in ``jobs`` processes; those of the loop go before those of its rivals.

    Use as a context manager: leaving it ends the processes, and what they were at is lost.
    """

    def __init__(self, jobs: int) -> None:
        self._queue: queue.PriorityQueue[tuple[int, int, Job | None, Future[Made]]] = (
            queue.PriorityQueue()
        )
        self._order = itertools.count()
        self._asked: dict[str, Future[Made]] = {}
        self._workers: list[subprocess.Popen[bytes]] = []
        self._threads = [
            threading.Thread(target=self._work, name=f"fit-{i}", daemon=True) for i in range(jobs)
        ]
        self._closed = False
        self.fitted = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        for worker in self._workers:
            worker.kill()
        for _ in self._threads:
            self._queue.put((-1, next(self._order), None, Future()))
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            with worker:  # waits, and closes its pipes
                pass

    def submit(self, job: Job, *, urgent: bool) -> Future[Made]:
        """Have a job done, unless its folder is there already; the same job is done once."""
        known = self._asked.get(job.folder)
        if known is not None:
            return known
        future: Future[Made] = Future()
        self._asked[job.folder] = future
        made = read_made(Path(job.folder))
        if made is not None:
            future.set_result(made)
        else:
            self._queue.put((0 if urgent else 1, next(self._order), job, future))
        return future

    def _work(self) -> None:
        worker: subprocess.Popen[bytes] | None = None
        while True:
            _, _, job, future = self._queue.get()
            if job is None or self._closed:
                break
            try:
                if worker is None or worker.poll() is not None:
                    worker = self._start()
                future.set_result(self._do(worker, job))
            except BaseException as error:  # noqa: BLE001 - whoever waits is told
                future.set_exception(error)

    def _start(self) -> subprocess.Popen[bytes]:
        worker = subprocess.Popen(
            [sys.executable, "-m", "noria.backtest.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._workers.append(worker)
        if self._closed:  # it was started while the others were ended
            worker.kill()
        return worker

    def _do(self, worker: subprocess.Popen[bytes], job: Job) -> Made:
        if worker.stdin is None or worker.stdout is None:
            raise TrainingError("the process that fits has no pipes")
        with suppress(BrokenPipeError):
            worker.stdin.write(msgspec.json.encode(job) + b"\n")
        answer = worker.stdout.readline()
        if not answer:
            raise TrainingError(
                f"the process that fits ended with {worker.wait()}",
                fix="see its last words above; it may have run out of memory",
            )
        done = msgspec.json.decode(answer, type=Done)
        made = read_made(Path(job.folder))
        if made is None:
            raise TrainingError(done.problem[:_SHOWN] or "a fit left nothing")
        self.fitted += 1
        return made
