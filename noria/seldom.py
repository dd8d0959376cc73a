"""How often a line may be logged that a stranger can cause."""

from __future__ import annotations

import time
from collections.abc import Callable


class Seldom:
    """Says yes once per ``seconds``, and how many times it said no in between."""

    def __init__(self, seconds: float, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._elapsed = elapsed
        self._next = elapsed()
        self._held_back = 0

    def now(self) -> int:
        """Return 0 for not now, else how many times it was asked since the last yes."""
        self._held_back += 1
        moment = self._elapsed()
        if moment < self._next:
            return 0
        self._next = moment + self._seconds
        count, self._held_back = self._held_back, 0
        return count
