"""Checks for the suites: plain ``AssertionError`` with what was found and what was wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final, TypeVar

T = TypeVar("T")
_PAUSE: Final = 0.02


def same(found: object, wanted: object, what: str) -> None:
    """Require equality."""
    if found != wanted:
        raise AssertionError(f"{what}: found {found!r}, wanted {wanted!r}")


def true(found: object, what: str) -> None:
    """Require truth."""
    if not found:
        raise AssertionError(f"{what}: found {found!r}")


def among(found: T, wanted: Collection[T], what: str) -> None:
    """Require membership."""
    if found not in wanted:
        raise AssertionError(f"{what}: found {found!r}, wanted one of {wanted!r}")


def refused(
    error: type[Exception] | tuple[type[Exception], ...], call: Callable[[], object]
) -> None:
    """Require that a call raises."""
    try:
        result = call()
    except error:
        return
    raise AssertionError(f"wanted {error}, got the result {result!r}")


def soon(look: Callable[[], T], wanted: Callable[[T], bool], patience: float, what: str) -> T:
    """Look until it is as wanted, for at most ``patience`` seconds; return what was seen."""
    end = time.monotonic() + patience
    while True:
        seen = look()
        if wanted(seen):
            return seen
        if time.monotonic() >= end:
            raise AssertionError(f"{what}: still {seen!r} after {patience} s")
        time.sleep(_PAUSE)
