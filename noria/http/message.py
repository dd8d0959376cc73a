"""Requests, answers, and how an answer's head is written."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

KEEP: Final = b""
CLOSE: Final = b"connection: close\r\n"
KEEP_1_0: Final = b"connection: keep-alive\r\n"
"""What an answer says about its connection; HTTP/1.0 has to be told that it stays open."""


@dataclass(slots=True)
class Request:
    """One request. ``path`` and ``query`` are raw (still percent-encoded).

    A header that came several times holds all its values, joined by ``", "``.
    ``body`` is decoded: no content coding is left on it.
    """

    method: bytes
    path: bytes
    headers: dict[bytes, bytes]
    body: bytes
    query: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. ``headers`` are complete header lines, each ended by CR LF."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    headers: bytes = b""


class Refused(Exception):
    """A request is refused before a handler sees it. ``headers`` as in ``Response``."""

    def __init__(self, status: int, message: str, headers: bytes = b"") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


_STATUS_LINES: Final = {
    int(status): f"HTTP/1.1 {int(status)} {status.phrase}\r\n".encode() for status in HTTPStatus
}


def head_of(response: Response, date: bytes, connection: bytes) -> bytes:
    """Return the status line and the headers. ``connection`` is KEEP, CLOSE or KEEP_1_0."""
    return b"%bdate: %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n" % (
        _STATUS_LINES[response.status],
        date,
        response.content_type,
        len(response.body),
        response.headers,
        connection,
    )
