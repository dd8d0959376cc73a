"""Processes that fit one model together: which this is, and how an algorithm joins them.

Kubeflow Trainer's runtime says it by ``PET_*``, one process on each node. The process of rank 0
runs the tracker, by which the others find each other.
"""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from noria.errors import InvalidInput, TrainingError

_NAMES: Final = ("PET_NODE_RANK", "PET_NNODES", "PET_MASTER_ADDR", "PET_MASTER_PORT")
PATIENCE: Final = 300.0
"""Seconds that a process waits for the others: their images may still be pulled."""
RETRY: Final = 1.0
"""Seconds between two tries to find or to reach the process of rank 0."""
_RETRIES: Final = 20
"""Tries to connect, each of which waits longer than the one before it."""


@dataclass(frozen=True, slots=True)
class World:
    """One of ``size`` processes; the one of rank 0 is at ``address``.

    ``machines`` has ``host:port`` of each, by rank, where the algorithm needs to be told.
    """

    rank: int = 0
    size: int = 1
    address: str = ""
    port: int = 0
    machines: tuple[str, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> World:
        """Return what the variables say.

        Raises:
            InvalidInput: They are not there, or contradict themselves.
        """
        said = {name: environment.get(name, "") for name in _NAMES}
        rank, size, address, port = said.values()
        try:
            found = cls(int(rank), int(size), address, int(port))
        except ValueError as error:
            raise _contradicts(said) from error
        if not 0 <= found.rank < found.size or not found.address:
            raise _contradicts(said)
        return found


ALONE: Final = World()
"""A process that fits by itself."""


@contextmanager
def together(algorithm: str) -> Iterator[World]:
    """Join the processes that train with an algorithm, until the block ends. Once in a process.

    Raises:
        InvalidInput: The environment does not say which process this is.
        TrainingError: The others can't be reached, or one has ended.
    """
    from noria.tasks.tabular.ring import joined

    world = World.of(os.environ)
    with (joined if algorithm == "lightgbm" else _collective)(world) as found:
        yield found


@contextmanager
def _collective(world: World) -> Iterator[World]:
    """Join XGBoost's collective: it needs the address of rank 0, which runs its tracker."""
    from xgboost.collective import CommunicatorContext
    from xgboost.core import XGBoostError
    from xgboost.tracker import RabitTracker

    address = resolved(world.address)
    tracker = None
    try:
        if world.rank == 0:
            tracker = RabitTracker(
                world.size, address, world.port, sortby="task", timeout=int(PATIENCE)
            )
            tracker.start()
        ring = CommunicatorContext(
            dmlc_tracker_uri=address,
            dmlc_tracker_port=world.port,
            dmlc_task_id=f"{world.rank:06}",
            dmlc_timeout=int(PATIENCE),
            dmlc_retry=_RETRIES,
        )
        with warnings.catch_warnings():
            # It warns of each try until the tracker is there, and raises when it gives up.
            warnings.simplefilter("ignore", UserWarning)
            ring.__enter__()
        try:
            yield world
        finally:
            ring.__exit__(None, None, None)
        if tracker is not None:
            # The others say to it that they leave; without it they would try until they give up.
            tracker.wait_for(int(PATIENCE))
    except XGBoostError as error:
        raise TrainingError(
            f"process {world.rank} of {world.size}, which train together by {address}: {error}"
        ) from error
    finally:
        if tracker is not None:
            # One that still waits for a process says that it was stopped: that is no news.
            with suppress(XGBoostError):
                tracker.free()


def resolved(name: str) -> str:
    """Return an address; the name of a pod that has just started may not be published yet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.gethostbyname(name)
        except OSError as error:
            if time.monotonic() > deadline:
                raise TrainingError(f"the node of rank 0, {name}, has no address") from error
            time.sleep(RETRY)


def _contradicts(said: Mapping[str, str]) -> InvalidInput:
    told = ", ".join(f"{name}={value}" for name, value in said.items())
    return InvalidInput(
        f"processes that train together are told which they are, and this one is told {told}",
        fix="start them by Kubeflow Trainer's runtime torch-distributed",
    )
