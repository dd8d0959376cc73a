"""A refused request: a status and a message that names the field."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from noria.errors import InvalidInput, shorten

_MAX_NAMES: Final = 24


class Refusal(InvalidInput):
    """The request is wrong, or can't be taken now; it is the client's turn.

    ``status`` is the HTTP status. ``retry_after`` (seconds) is set when the same
    request may succeed later, ``allow`` when another method would have.
    """

    def __init__(
        self, status: int, message: str, *, fix: str = "", retry_after: int = 0, allow: str = ""
    ) -> None:
        super().__init__(message, fix=fix)
        self.status = status
        self.retry_after = retry_after
        self.allow = allow


def bad(field: str, message: str) -> Refusal:
    """Return a 400 about one field of the request."""
    return Refusal(400, f"{field}: {message}")


def listed(names: Iterable[str]) -> str:
    """Return names as a list for a message: the first ones, when there are many."""
    shown = list(islice(names, _MAX_NAMES + 1))
    told = ", ".join(shorten(name, 80)[1:-1] for name in shown[:_MAX_NAMES])
    return f"{told}, …" if len(shown) > _MAX_NAMES else told
