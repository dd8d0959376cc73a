"""What a monitor really does now, and how each of its threads is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from noria.worker import Worker

SET_ASIDE: Final = "damaged files"
"""The problem that names files of the monitor that were set aside."""


class WorkerState(msgspec.Struct, frozen=True):
    """How a thread is: seconds since its last step ended, steps that failed, what is wrong."""

    age_seconds: float
    failures: int
    problem: str


class Health(msgspec.Struct, frozen=True):
    """What a monitor really does now. ``ok`` is whether it does all that it is for.

    ``blind`` says why it can't compare what it sees with its reference; empty when it can.
    """

    ok: bool
    problem: str
    can_write: bool
    can_process: bool
    blind: str
    backlog: int
    workers: dict[str, WorkerState]


def states(workers: Iterable[tuple[Worker, float]]) -> dict[str, WorkerState]:
    """Return how threads are; each comes with the seconds that a step of it may take."""
    return {
        worker.name: WorkerState(worker.age, worker.failures, trouble(worker, patience))
        for worker, patience in workers
    }


def trouble(worker: Worker, patience: float) -> str:
    """Return what is wrong with a thread whose steps may take ``patience`` seconds."""
    if worker.stuck(patience):
        return f"the thread {worker.name!r} has not ended a step for {worker.age:.0f} s"
    return worker.problem
