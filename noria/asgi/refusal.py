"""A request that is refused, with its status."""

from __future__ import annotations

from collections.abc import Sequence


class Refused(Exception):
    """A request that is not answered as asked. ``headers`` go into the answer."""

    def __init__(
        self, status: int, message: str, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = tuple(headers)
