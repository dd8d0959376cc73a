"""Waiting for what a loop comes to, whatever the machine is busy with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SECONDS = 180.0
_BETWEEN = 0.2


def until(look: Callable[[], T], found: Callable[[T], bool]) -> T:
    """Return what is seen first that is right; fail with what was seen last."""
    deadline = time.monotonic() + SECONDS
    while not found(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(_BETWEEN)
    return seen
