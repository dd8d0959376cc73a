"""Posts predictions to the monitor, or to any sink of CloudEvents, over one connection.

What the sink may do to us is bounded: an exchange ends at its time-out however slowly the
answer comes, an answer is read up to a limit and never decompressed, a redirect is not
followed (predictions go where they were told to, and nowhere else).
"""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

from noria.cloudevents import BATCH_TYPE
from noria.errors import InvalidInput, shorten
from noria.predictions import ACCEPT_POST, MEDIA_TYPE
from serving.blocks import group_by_schema, write_block
from serving.cloudevents import EventWriter, write_batch, write_one
from serving.predicted import Predicted, Source

_UNSUPPORTED_MEDIA_TYPE: Final = 415
_RETRIED: Final = frozenset({408, 425, 429})
_AWAY: Final = frozenset({502, 503, 504})
_REDIRECTS: Final = range(300, 400)
_BATCH: Final = 100
"""Predictions in one batch of CloudEvents."""
_RUN_CELLS: Final = 250_000
"""Values in one request, about 2 MB as a block."""
_MAX_ANSWER: Final = 64 * 1024

Transient = (OSError, http.client.HTTPException)
"""What a sink raises that is away or in trouble: it may take the same later."""


class Refused(Exception):
    """The sink answered that it will never take what was posted."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.redirected = status in _REDIRECTS


class Sink:
    """Where predictions go: as blocks if it reads them, else as CloudEvents in batches or singly.

    Raises:
        InvalidInput: The address is not an HTTP URL.
    """

    def __init__(self, url: str, source: Source, timeout: float) -> None:
        try:
            parts = urlsplit(url)
            self._port = parts.port
        except ValueError as error:
            raise InvalidInput(f"--sink: {shorten(url)} is not a URL: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(f"--sink: {shorten(url)} is not an http:// or https:// URL")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout = timeout
        self._source = source
        self._writer = EventWriter(source)
        self._blocks: bool | None = None
        self._batches = True
        self._connection: http.client.HTTPConnection | None = None

    def post(self, predicted: Sequence[Predicted]) -> int:
        """Post the first of them, those that fit in one request; returns how many that were.

        What it took twice, because a later request failed, the sink knows by the ids.

        Raises:
            Refused: The sink will never take one of them.
            OSError, http.client.HTTPException: The sink did not take them; it may later.
            Exception: One of them can't be written, by what it holds.
        """
        run = next(iter(group_by_schema(predicted, _RUN_CELLS)))
        if self._reads_blocks():
            body = write_block(run, self._source)
            if body is not None and self._took_block(body, alone=len(run) == 1):
                return len(run)
        return self._post_events(run)

    def close(self) -> None:
        """Close the connection. Who answers at the next one is asked again what it reads."""
        self._blocks = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _reads_blocks(self) -> bool:
        if self._blocks is None:
            status, said = self._send("OPTIONS", b"", {})
            if status in _AWAY:
                raise http.client.HTTPException(f"status {status}")
            read = [kind.strip() for kind in said.split(",")]
            self._blocks = status < 300 and MEDIA_TYPE in read
        return self._blocks

    def _took_block(self, body: bytes, *, alone: bool) -> bool:
        """Whether the sink took it; False: it is to go as events."""
        status, _ = self._send("POST", body, {"content-type": MEDIA_TYPE})
        if status == _UNSUPPORTED_MEDIA_TYPE:
            self._blocks = False  # another one answers now, at the same connection
            return False
        try:
            _check(status)
        except Refused:
            if not alone:
                raise
            return False
        return True

    def _post_events(self, predicted: Sequence[Predicted]) -> int:
        if self._batches:
            run = predicted[:_BATCH]
            body = write_batch([event for one in run for event in self._writer.events(one)])
            status, _ = self._send("POST", body, {"content-type": BATCH_TYPE})
            if status != _UNSUPPORTED_MEDIA_TYPE:
                _check(status)
                return len(run)
            self._batches = False
        for event in self._writer.events(predicted[0]):
            headers, body = write_one(event)
            _check(self._send("POST", body, headers)[0])
        return 1

    def _send(self, method: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        """Return the status, and the media types that may be posted."""
        connection = self._connection
        if connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            connection = self._connection = kind(self._host, self._port, timeout=self._timeout)
            connection.response_class = self._answer  # type: ignore[assignment]
        try:
            connection.request(method, self._path, body=body, headers=dict(headers))
            response = connection.getresponse()
            response.read(_MAX_ANSWER)
            said = response.getheader(ACCEPT_POST, "")
            if not response.isclosed():  # there is more of it than anybody needs
                self.close()
        except BaseException:
            self.close()
            raise
        return response.status, said

    def _answer(self, sock: socket.socket, *given: Any, **named: Any) -> http.client.HTTPResponse:
        """Return an answer whose bytes have to come within the time-out, all of them."""
        response = http.client.HTTPResponse(sock, *given, **named)
        response.fp.close()
        response.fp = io.BufferedReader(_Until(sock, monotonic() + self._timeout))
        return response


class _Until(io.RawIOBase):
    """Reads a socket until a moment: the socket's own time-out starts anew with each byte."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        super().__init__()
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._timeout = sock.gettimeout()
        self._deadline = deadline

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there, or wait for it as long as there is time."""
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError("its answer takes too long")
        self._sock.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(self._timeout)

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()


def _check(status: int) -> None:
    if 200 <= status < 300:
        return
    if status >= 500 or status in _RETRIED:
        raise http.client.HTTPException(f"status {status}")
    raise Refused(status)
