"""The one way in which a request is refused: a status and a message that names the field."""

from __future__ import annotations

from noria.errors import InvalidInput


class Refusal(InvalidInput):
    """The request is wrong, or can't be taken now; it is the client's turn.

    ``status`` is the HTTP status. ``retry_after`` (seconds) is set when the same
    request may succeed later.
    """

    def __init__(self, status: int, message: str, *, fix: str = "", retry_after: int = 0) -> None:
        super().__init__(message, fix=fix)
        self.status = status
        self.retry_after = retry_after


def bad(field: str, message: str) -> Refusal:
    """Return a 400 about one field of the request."""
    return Refusal(400, f"{field}: {message}")
