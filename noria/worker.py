"""Threads that do one thing again and again, and whose life can be measured.

A thread that ends by an exception nobody foresaw takes its work with it, silently.
A ``Worker`` lives on: what a step raises is counted, named and logged within
bounds, and the next step follows. What it can't survive (a step that never
returns) shows as the age of its last step.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from noria.errors import traceback_tail

_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
_log = logging.getLogger(__name__)


class Worker:
    """One thread that calls ``step`` until it is stopped.

    A step does what there is to do and returns; it may wait for work, but no longer
    than ``every`` seconds, so that its age tells a waiting thread from a stuck one.

    Args:
        name: The thread's name, and its label in health and metrics.
        step: What to do, again and again.
        every: Seconds within which a healthy step returns.
        elapsed: Seconds since some moment; it never goes back.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        *,
        every: float,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.every = every
        self.failures = 0
        self._step = step
        self._elapsed = elapsed
        self._beat = elapsed()
        self._trouble = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start to work."""
        self._beat = self._elapsed()
        self._thread.start()

    def stop(self, timeout: float | None = None) -> bool:
        """Ask for the end and wait; a step under way is finished. Returns whether it ended.

        Whoever makes a step wait has to wake it.
        """
        self._stop.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether the end was asked for."""
        return self._stop.is_set()

    @property
    def age(self) -> float:
        """Seconds since the last step returned, or failed."""
        return self._elapsed() - self._beat

    @property
    def problem(self) -> str:
        """What is wrong with it now; empty when nothing is."""
        if self._thread.ident is not None and not self._thread.is_alive() and not self.stopping:
            return f"the thread {self.name!r} has ended"
        if self._trouble:
            return f"the thread {self.name!r} fails: {self._trouble}"
        return ""

    def stuck(self, patience: float) -> bool:
        """Whether a step has been under way for longer than ``patience`` seconds."""
        return not self.stopping and self.age > max(patience, self.every)

    def _run(self) -> None:
        pause = _PAUSE_SECONDS
        while not self._stop.is_set():
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 - the thread must outlive what nobody foresaw
                self.failures += 1
                self._trouble = f"{type(error).__name__}: {error}"[:300]
                _log.error("the thread %r failed: %s", self.name, traceback_tail(error))
                self._beat = self._elapsed()
                self._stop.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                self._trouble = ""
                self._beat = self._elapsed()
                pause = _PAUSE_SECONDS
