"""The thread that keeps the processor going."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from monitoring.core import Core
from monitoring.log import EventLog
from monitoring.processor import Processor
from noria.errors import MonitoringError, NoriaError, Unavailable

_log = logging.getLogger(__name__)
_GATHER: Final = 0.2
_BACK_OFF: Final = 0.5
_PRUNE_EVERY: Final = 64


class Runner:
    """Processes what is logged, soon after it is logged.

    Records that come within 200 ms of each other share a transaction; a failure
    of the disk is tried again every half second and told by ``problem``.
    """

    def __init__(self, processor: Processor, log: EventLog) -> None:
        """Take a processor; ``start`` starts it."""
        self._processor = processor
        self._log = log
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._turned = threading.Condition()
        self._stopping = False
        self._hurried = 0
        self._steps = 0
        self.problem = ""
        self._thread = threading.Thread(target=self._run, name="processor", daemon=True)

    @property
    def snapshot(self) -> Core:
        """The core as of the last commit."""
        return self._processor.snapshot

    def start(self) -> None:
        """Start processing."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something in the log."""
        self._wake.set()

    def drain(self, timeout: float) -> Core:
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

    def stop(self) -> None:
        """Finish the transaction that is under way, and stop."""
        self._stopping = True
        self._hurry.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait()
            self._wake.clear()
            self._hurry.wait(_GATHER)
            self._work()

    def _work(self) -> None:
        worked = True
        while worked and not self._stopping:
            try:
                worked = bool(self._processor.step())
                self._steps += worked
                if worked and self._steps % _PRUNE_EVERY == 0:
                    self._processor.prune()
                problem = ""
            except NoriaError as error:
                _log.error("processing is held up: %s", error)
                problem = str(error)
            with self._turned:
                self.problem = problem
                self._turned.notify_all()
            if problem:
                time.sleep(_BACK_OFF)
