"""A time limit that binds inside other people's loops.

Training libraries have no common way to be told how long they may take; all of them
come back to Python between two rounds. A timer's signal ends them there.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SOON: Final = 0.001
_AGAIN: Final = 1.0


class OutOfTime(BaseException):
    """The time is over. No ``Exception``: a library that catches those must not swallow it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End the block with ``OutOfTime`` after ``seconds``; a shorter limit around it stays.

    Python hands signals to the main thread only: in any other the block is not ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    started = time.monotonic()
    outer, _ = signal.getitimer(signal.ITIMER_REAL)
    if 0 < outer <= seconds:
        yield
        return

    rung = is_over = False

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal rung
        del number, frame
        if is_over:
            return
        rung = True
        raise OutOfTime

    handler = signal.signal(signal.SIGALRM, ring)
    # Again and again: compiled code may lose an exception that meets it at the wrong moment.
    signal.setitimer(signal.ITIMER_REAL, max(seconds, _SOON), _AGAIN)
    try:
        try:
            yield
        finally:
            # An alarm that comes in here leaves a second for what is below, which must be done.
            is_over = True
    except Exception as error:
        if rung:  # compiled code made another one of it
            raise OutOfTime from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if outer:
            left = outer - (time.monotonic() - started)
            signal.setitimer(signal.ITIMER_REAL, max(left, _SOON))
