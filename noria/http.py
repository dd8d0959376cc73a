"""HTTP/1.1 on llhttp, straight to a handler: no ASGI scope, no task per request.

A request whose answer is ready is answered inside ``data_received``; one that has
to wait hands back an awaitable. The bench holds the reason: at one row the ASGI
cycle costs more than decoding, predicting and encoding together.

Limits are kept while bytes arrive: a body over the limit is refused at its
``Content-Length``, or at the chunk that passes the limit, before it is held.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from time import monotonic
from typing import Final, cast

import httptools

_OWN_HEADERS: Final = frozenset({b"content-type", b"content-length", b"transfer-encoding"})
_MAX_HEADER_BYTES: Final = 32 * 1024
_MAX_PIPELINED: Final = 16
_SWEEP_SECONDS: Final = 5.0
_LINGER_SECONDS: Final = 2.0


@dataclass(slots=True)
class Request:
    """One request. ``path`` and ``query`` are raw (still percent-encoded)."""

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


Handler = Callable[[Request], "Response | Awaitable[Response]"]
"""Answers a request, at once or later. It must not raise."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a connection may do: sizes in bytes, times in seconds.

    ``max_connections`` and ``max_held`` (bodies not yet whole) are of all together.
    """

    max_body: int
    idle_seconds: float = 150.0
    receive_seconds: float = 30.0
    max_connections: int = 10_000
    max_held: int = 1 << 30


@dataclass(slots=True)
class HttpServer:
    """The connections of one listening socket, and how they end.

    Attributes:
        handler: Answers requests.
        refuse: Makes the answer to a request that is refused before it is read.
        limits: What a connection may do.
        headers: Names of the headers that handlers get, in lower case, besides
            ``content-type``, ``content-length`` and ``transfer-encoding``.
    """

    handler: Handler
    refuse: Callable[[int, str], Response]
    limits: HttpLimits
    headers: frozenset[bytes] = frozenset()
    connections: set[HttpConnection] = field(default_factory=set)
    held: int = 0
    draining: bool = False

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Start to accept connections; port 0 takes a free one."""
        loop = asyncio.get_running_loop()
        self.headers |= _OWN_HEADERS
        return await loop.create_server(
            lambda: HttpConnection(self, loop), host, port, backlog=2048, reuse_address=True
        )

    async def sweep(self) -> None:
        """Close connections that idle, or that send a request too slowly. Runs until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = monotonic()
            for connection in tuple(self.connections):
                connection.close_if_stale(now)

    async def drain(self, timeout: float) -> bool:
        """Finish what is in flight, then close everything.

        Args:
            timeout: Seconds to wait for requests in flight.

        Returns:
            Whether every request was answered.
        """
        self.draining = True
        deadline = monotonic() + timeout
        while any(connection.busy for connection in self.connections):
            if monotonic() > deadline:
                break
            await asyncio.sleep(0.01)
        clean = not any(connection.busy for connection in self.connections)
        for connection in tuple(self.connections):
            connection.close()
        return clean


_STATUS_LINES: Final = {
    int(status): f"HTTP/1.1 {int(status)} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_CLOSE: Final = b"connection: close\r\n"


def _head(response: Response, *, closing: bool) -> bytes:
    return b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n" % (
        _STATUS_LINES[response.status],
        response.content_type,
        len(response.body),
        response.headers,
        _CLOSE if closing else b"",
    )


class HttpConnection(asyncio.Protocol):
    """One client connection; requests on it are answered strictly in order."""

    def __init__(self, server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[tuple[Request | Response, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Event | None = None
        self._paused = False
        self._receiving = False
        self._refused = False
        self._since = monotonic()
        self._start_request()

    def _start_request(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_size = 0
        self._expect = False
        self._keep_alive = True

    @property
    def busy(self) -> bool:
        """Whether a request is being received or answered."""
        return self._task is not None or bool(self._queue) or self._receiving

    def close(self) -> None:
        """Close after what is written is sent."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    def close_if_stale(self, now: float) -> None:
        """Close when idle, or receiving, for longer than the limits allow."""
        if self._task is not None or self._queue:
            return
        limits = self._server.limits
        allowed = limits.receive_seconds if self._receiving else limits.idle_seconds
        if now - self._since > allowed:
            self.close()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        if len(self._server.connections) >= self._server.limits.max_connections:
            cast(asyncio.Transport, transport).abort()
            return
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a prediction under way is left to finish for its batch."""
        del exc
        self._server.connections.discard(self)
        self._let_go()
        self._queue.clear()
        self._receiving = False
        self._transport = None
        self.resume_writing()

    def pause_writing(self) -> None:
        """Stop answering until the client reads: a slow reader must not fill the memory."""
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        """Go on answering."""
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; answers of complete requests are written before this returns."""
        if self._refused:
            return  # read and dropped, so that the client gets to read the refusal
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._ignore_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, "request: this is not valid HTTP/1.1")

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read the request as if it had not offered to upgrade (RFC 9110, 7.8).

        Java's client offers HTTP/2 with every request. The parser stops after the
        head of such a request, so a head without the offer is parsed in its place.
        """
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._refuse(405, "method: CONNECT is not answered here")
            return
        self._parser = httptools.HttpRequestParser(self)
        lines = [b"%b %b HTTP/1.1" % (method, self._url)]
        lines += [b"%b: %b" % header for header in self._headers.items()]
        self.data_received(b"\r\n".join((*lines, b"", b"")) + rest)

    # -- httptools callbacks

    def on_message_begin(self) -> None:
        """A request line starts."""
        self._start_request()
        self._receiving = not self._refused
        self._since = monotonic()

    def on_url(self, url: bytes) -> None:
        """Part of the request target."""
        self._url += url
        if len(self._url) > _MAX_HEADER_BYTES:
            self._refuse(414, f"path: longer than {_MAX_HEADER_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > _MAX_HEADER_BYTES:
            self._refuse(431, f"headers: longer than {_MAX_HEADER_BYTES} bytes in all")
            return
        name = name.lower()
        if name in self._server.headers:
            self._headers[name] = value
            # llhttp has refused a length of anything but digits.
            if name == b"content-length" and int(value) > self._server.limits.max_body:
                self._refuse_body()
        elif name == b"expect":
            self._expect = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """The headers are over; the body, if any, follows."""
        self._keep_alive = self._parser.should_keep_alive()
        if self._expect and not self._refused and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._refused:
            return
        self._body_size += len(body)
        self._server.held += len(body)
        if self._body_size > self._server.limits.max_body:
            self._refuse_body()
            return
        if self._server.held > self._server.limits.max_held:
            self._refuse(503, "body: too many bodies are being received; send again later")
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        """A whole request is here."""
        if self._refused or self._parser.should_upgrade():
            return
        self._receiving = False
        self._let_go()
        body = self._body
        url = self._url
        query = url.find(b"?")
        request = Request(
            method=self._parser.get_method(),
            path=url if query < 0 else url[:query],
            headers=self._headers,
            body=body[0] if len(body) == 1 else b"".join(body),
            query=b"" if query < 0 else url[query + 1 :],
        )
        self._body = []
        if self._task is not None or self._writable is not None:
            self._enqueue(request)
            return
        answer = self._server.handler(request)
        if isinstance(answer, Response):
            self._write(answer, keep_alive=self._keep_alive)
        else:
            self._task = self._loop.create_task(self._serve(answer, self._keep_alive))

    def _let_go(self) -> None:
        """Take what this connection holds of a body off the account."""
        self._server.held -= self._body_size
        self._body_size = 0

    # -- answering

    def _enqueue(self, item: Request | Response) -> None:
        self._queue.append((item, self._keep_alive))
        if self._task is None:
            self._task = self._loop.create_task(self._serve(None, self._keep_alive))
        if len(self._queue) >= _MAX_PIPELINED and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    async def _serve(self, answer: Awaitable[Response] | None, keep_alive: bool) -> None:  # noqa: FBT001
        try:
            if answer is not None:
                self._write(await answer, keep_alive=keep_alive)
            while self._queue:
                if self._writable is not None:
                    await self._writable.wait()
                    continue
                item, keep_alive = self._queue.popleft()
                if isinstance(item, Request):
                    reply = self._server.handler(item)
                    self._write(
                        reply if isinstance(reply, Response) else await reply,
                        keep_alive=keep_alive,
                    )
                else:
                    self._write_refusal(item)
        finally:
            self._task = None
            if self._paused and self._transport is not None:
                self._paused = False
                self._transport.resume_reading()

    def _write(self, response: Response, *, keep_alive: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._since = monotonic()
        closing = not keep_alive or self._server.draining
        transport.write(_head(response, closing=closing) + response.body)
        if closing:
            transport.close()

    def _refuse_body(self) -> None:
        limit = self._server.limits.max_body
        self._refuse(413, f"body: larger than {limit} bytes; send fewer rows per request")

    def _refuse(self, status: int, message: str) -> None:
        """Answer once, after the requests before this one, and end the connection."""
        if self._refused:
            return
        self._refused = True
        self._receiving = False
        self._let_go()
        self._body = []
        refusal = self._server.refuse(status, message)
        if self._task is None and self._writable is None:
            self._write_refusal(refusal)
        else:
            self._enqueue(refusal)

    def _write_refusal(self, refusal: Response) -> None:
        # Closing with unread bytes makes the kernel send a reset, which can
        # overtake the answer: half-close, and drop what still comes for a while.
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(_head(refusal, closing=True) + refusal.body)
        if transport.can_write_eof():
            transport.write_eof()
            self._loop.call_later(_LINGER_SECONDS, self.close)
        else:
            transport.close()
