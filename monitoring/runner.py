"""The thread that keeps the processor going."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from monitoring.core import MonitorState
from monitoring.log import EventLog
from monitoring.processor import Processor
from noria.errors import MonitoringError, NoriaError, Unavailable
from noria.worker import Worker

_log = logging.getLogger(__name__)
_GATHER: Final = 0.2
_BACK_OFF: Final = 0.5
_IDLE: Final = 1.0
_PRUNE_EVERY: Final = 64
_STOP: Final = 60.0
_SHOWN: Final = 300
STEP_PATIENCE: Final = 900.0
"""Seconds after which a step is taken for stuck: one may have a slow detector to fit."""


class Runner:
    """Processes what is logged, soon after it is logged.

    Records that come within 200 ms of each other share a transaction; a failure
    of the disk is tried again every half second and told by ``problem``.
    """

    def __init__(
        self,
        processor: Processor,
        log: EventLog,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a processor; ``start`` starts it."""
        self._processor = processor
        self._log = log
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._turned = threading.Condition()
        self._behind = False
        self._hurried = 0
        self._steps = 0
        self.problem = ""
        self.worker = Worker("processor", self._step, every=2 * _IDLE, elapsed=elapsed)

    @property
    def snapshot(self) -> MonitorState:
        """The core as of the last commit."""
        return self._processor.snapshot

    def start(self) -> None:
        """Start processing."""
        self.worker.start()

    def wake(self) -> None:
        """Say that there is something in the log."""
        self._wake.set()

    def drain(self, timeout: float) -> MonitorState:
        """Wait until all that is in the log now is processed.

        Raises:
            Unavailable: it took longer than ``timeout`` seconds.
            MonitoringError: the processor can't go on.
        """
        target = self._log.end
        deadline = time.monotonic() + timeout
        with self._turned:
            self._hurried += 1
            self._hurry.set()
            self._wake.set()
            try:
                while self.snapshot.offset < target:
                    if self.problem:
                        raise MonitoringError(self.problem)
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._turned.wait(left):
                        raise Unavailable(
                            f"{target - self.snapshot.offset} records are still to be processed",
                            fix="flush again",
                        )
                return self.snapshot
            finally:
                self._hurried -= 1
                if not self._hurried:
                    self._hurry.clear()

    def stop(self) -> bool:
        """Finish the transaction that is under way, and stop; return whether it has ended."""
        self._hurry.set()
        self._wake.set()
        return self.worker.stop(_STOP)

    def _step(self) -> None:
        if not self._behind:
            if not self._wake.wait(_IDLE):
                return
            self._wake.clear()
            self._hurry.wait(_GATHER)
        problem = ""
        try:
            self._behind = bool(self._processor.step())
            self._steps += self._behind
            if self._behind and self._steps % _PRUNE_EVERY == 0:
                self._processor.prune()
        except NoriaError as error:
            _log.error("processing is held up: %s", error)
            problem = str(error)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"[:_SHOWN]
            raise
        finally:
            self._behind = self._behind or bool(problem)
            with self._turned:
                self.problem = problem
                self._turned.notify_all()
        if problem:
            time.sleep(_BACK_OFF)
