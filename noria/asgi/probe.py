"""Health that is looked at, not taken for granted, and that can't be kept waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future

from noria.errors import NoriaError


class Probe:
    """Asks something slow whether it is well, in a thread of its own.

    However many ask, one check runs at a time and all hear of it. One that does not end is
    what is wrong, and is said while it lasts.

    Args:
        check: Raises ``NoriaError`` when something is wrong.
        what: What is looked at, in words.
        seconds: How long a check may take.
    """

    def __init__(self, check: Callable[[], None], what: str, seconds: float = 3.0) -> None:
        self._check = check
        self._what = what
        self._seconds = seconds
        self._running: Future[str] | None = None

    async def problem(self) -> str:
        """Return what is wrong; empty when nothing is."""
        if self._running is None or self._running.done():
            self._running = Future()
            # A daemon: a check that never ends must not keep the process from ending.
            threading.Thread(
                target=self._run, args=(self._running,), name="health", daemon=True
            ).start()
        waiting = asyncio.wrap_future(self._running)
        done, _ = await asyncio.wait({waiting}, timeout=self._seconds)
        if not done:
            return f"{self._what} does not answer within {self._seconds:g} s"
        return waiting.result()

    def _run(self, outcome: Future[str]) -> None:
        try:
            self._check()
        except NoriaError as error:
            outcome.set_result(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not well
            outcome.set_result(f"{self._what}: {type(error).__name__}")
        else:
            outcome.set_result("")
