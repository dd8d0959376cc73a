"""One client connection: its requests in order, its answers, its account and its time."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import deque
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from noria.http import rules
from noria.http.message import CLOSE, Refused, Request, Response, head_of
from noria.http.reader import RequestReader, overloaded

if TYPE_CHECKING:
    from noria.http.server import HttpServer

_PIECE: Final = 4 * 1024
_BODY_PIECE: Final = 64 * 1024
"""So much is parsed at once: of heads, which take time, and of bodies, which are copied."""
_LARGE: Final = 128 * 1024
"""Larger bodies are read one after another, over all connections."""
_LINGER_SECONDS: Final = 2.0
_UNCOUNTED: Final = 16 * 1024
"""Bytes that may wait to be sent until the next sweep, as a rule until the end of this turn."""
_SLOWEST: Final = 64 * 1024
"""Bytes per second that lengthen the time a client has to read an answer."""


@dataclass(slots=True)
class _Asked:
    """What waits to be answered; ``size`` bytes of it are on the account."""

    what: Request | Refused | Awaitable[Response]
    connection: bytes
    bodiless: bool
    size: int


class HttpConnection(RequestReader, asyncio.Protocol):
    """One client connection; requests on it are answered strictly in order.

    Nothing more is read while a request waits behind another one, or for the client to
    read: so it holds two bodies, or a body and an answer, and one read of its socket.

    Attributes:
        address: Whom it counts for: an IPv4 address, or the /64 network of an IPv6 one.
        held: Bytes that it holds: of bodies, of waiting requests, of unread answers.
    """

    def __init__(self, server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        self.address = ""
        self.held = 0
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._queue: deque[_Asked] = deque()
        self._unread: bytes = b""
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Event | None = None
        self._unsent = 0
        self._unsent_since = 0.0
        self._paused = False
        self._dropped = 0
        self._refused = False
        self._ended = False
        self._turn_taken = False
        self._owes_continue = False
        super().__init__(server)

    @property
    def answering(self) -> bool:
        """Whether an answer is awaited or not yet sent."""
        return self._task is not None or bool(self._queue) or self._unsent > 0

    @property
    def busy(self) -> bool:
        """Whether a request is being received or answered."""
        return self.answering or self.receiving

    def close(self) -> None:
        """End it: politely when nothing waits to be sent, at once when something does."""
        transport = self._transport
        if transport is None:
            return
        if self._unsent:
            transport.abort()
        else:
            transport.close()

    def cut(self, reason: str) -> None:
        """End it at once, and forget what it holds."""
        self._server.cut[reason] += 1
        transport = self._transport
        self._forget()
        if transport is not None:
            transport.abort()

    def expire(self, now: float) -> None:
        """End it when its client is slower than the limits allow."""
        limits = self._server.limits
        transport = self._transport
        if transport is None:
            return
        left = transport.get_write_buffer_size()
        if left and not self._unsent:
            self.pause_writing()  # too little for the transport to tell of it
        elif self._unsent and not left:
            self.resume_writing()
        elif self._unsent:
            sent = self._unsent - left
            if now - self._unsent_since > limits.write_seconds + sent / _SLOWEST:
                self.cut("slow reader")
        elif self.answering or self._refused:
            return
        elif self.receiving:
            allowed = limits.receive_seconds if self._in_body else limits.header_seconds
            if now - self.since > allowed:
                self._server.cut["slow sender"] += 1
                self._refuse(Refused(408, f"request: not whole within {allowed:g} s"))
        elif now - self.since > (limits.idle_seconds if self.used else limits.header_seconds):
            self._server.cut["idle"] += 1
            self.close()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        made = cast(asyncio.Transport, transport)
        if not self._server.admit():
            self._server.cut["connections"] += 1
            made.abort()
            return
        made.set_write_buffer_limits(high=_UNCOUNTED, low=0)
        self._transport = made
        self.address = _address_of(made.get_extra_info("peername"))
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; what was asked on it and not yet begun is not done."""
        del exc
        self._forget()

    def eof_received(self) -> bool:
        """Answer what was asked before the client stopped to send."""
        self._ended = True
        return self.answering

    def pause_writing(self) -> None:
        """Stop answering until the client reads: a slow reader must not fill the memory."""
        self._writable = asyncio.Event()
        self._unsent_since = monotonic()
        if self._transport is not None:
            self._unsent = self._transport.get_write_buffer_size()
            if not self._hold(self._unsent):
                self.cut("memory")

    def resume_writing(self) -> None:
        """Go on answering."""
        self._release(self._unsent)
        self._unsent = 0
        self.since = monotonic()
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        self._rest()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a first request that is whole is answered before this returns."""
        if self._refused:
            self._drop(data)
            return
        if not self._server.prompt and self._task is None:
            self._leave_unread(data)
            self._task = self._loop.create_task(self._serve())
            return
        began = monotonic()
        self._read(data)
        self._server.spend(monotonic() - began, self._loop)

    def _read(self, data: bytes) -> None:
        self._turn_taken = False
        if len(data) <= _PIECE:
            self._feed(data)
            return
        view = memoryview(data)
        start = 0
        while start < len(data):
            if self._queue:
                self._leave_unread(data[start:])
                return
            size = _BODY_PIECE if self._in_body else _PIECE
            if not self._feed(view[start : start + size]):
                return
            start += size

    def _drop(self, data: bytes) -> None:
        """Read on for a while after a refusal, so that the client gets to read it."""
        self._dropped += len(data)
        if self._dropped > self._server.limits.max_body:
            self._pause()

    def _leave_unread(self, data: bytes) -> None:
        """Keep what came behind requests that wait."""
        self._unread = data
        self._pause()
        if not self._hold(len(data)):
            self.cut("memory")

    # -- requests as they come

    def _expected(self) -> None:
        self._owes_continue = True
        self._continue()

    def _continue(self) -> None:
        """Tell the client to go on, once the answers before this request are out."""
        if self._owes_continue and not self.answering and self._transport is not None:
            self._owes_continue = False
            if self._in_body:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _take(self, request: Request) -> None:
        """Answer a request at once when it is its turn, else later."""
        self._owes_continue = False
        size, bodiless = len(request.body), request.method == b"HEAD"
        server = self._server
        if self._turn_taken or self.answering or size > _LARGE or self._coding or not server.prompt:
            self._enqueue(_Asked(request, self._connection, bodiless, size))
            return
        self._turn_taken = True
        server.small += 1
        try:
            answer = server.handler(request)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises has one place
            answer = server.failed(error)
        if isinstance(answer, Response):
            self._release(size)
            self._write(answer, self._connection, bodiless=bodiless)
        else:
            self._enqueue(_Asked(answer, self._connection, bodiless, size))

    # -- answering

    def _enqueue(self, asked: _Asked) -> None:
        if self.answering:
            self._pause()
        self._queue.append(asked)
        if self._task is None:
            self._task = self._loop.create_task(self._serve())

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    async def _serve(self) -> None:
        try:
            while self._queue or self._unread:
                if self._writable is not None:
                    await self._writable.wait()
                elif self._queue:
                    asked = self._queue.popleft()
                    answer = await self._answer(asked)
                    self._release(asked.size)
                    if isinstance(asked.what, Refused):
                        self._write_last(answer, bodiless=asked.bodiless)
                    else:
                        self._write(answer, asked.connection, bodiless=asked.bodiless)
                else:
                    async with self._server.small_turn():
                        unread, self._unread = self._unread, b""
                        self._release(len(unread))
                        self._read(unread)
        finally:
            self._task = None
            self._rest()

    async def _answer(self, asked: _Asked) -> Response:
        what = asked.what
        try:
            if isinstance(what, Request):
                if asked.size > _LARGE or rules.coding_of(what.headers):
                    async with self._server.large_turn():
                        self._decode(what, asked)
                        answer = self._server.handler(what)
                else:
                    async with self._server.small_turn():
                        answer = self._server.handler(what)
            elif isinstance(what, Refused):
                return self._refusal(what)
            else:
                answer = what
            return answer if isinstance(answer, Response) else await answer
        except Refused as refused:
            return self._refusal(refused)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises has one place
            return self._server.failed(error)

    def _decode(self, request: Request, asked: _Asked) -> None:
        coding = rules.coding_of(request.headers)
        if not coding:
            return
        request.body = rules.inflate(request.body, coding, self._server.limits.max_body)
        before, asked.size = asked.size, len(request.body)
        if not self._hold(asked.size - before):
            raise overloaded()

    def _rest(self) -> None:
        """Go on reading, when nothing is left to answer."""
        transport = self._transport
        if transport is None or self.answering or transport.is_closing():
            return
        if self._ended:
            transport.close()
            return
        if self._paused:
            self._paused = False
            transport.resume_reading()
        self._continue()

    def _write(self, response: Response, connection: bytes, *, bodiless: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self.since = monotonic()
        if self._server.draining:
            connection = CLOSE
        head = head_of(response, self._server.date, connection)
        transport.write(head if bodiless else head + response.body)
        if connection is CLOSE:
            transport.close()

    def _write_last(self, response: Response, *, bodiless: bool) -> None:
        # Closing with unread bytes makes the kernel send a reset, which can
        # overtake the answer: half-close, and drop what still comes for a while.
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        head = head_of(response, self._server.date, CLOSE)
        transport.write(head if bodiless else head + response.body)
        if transport.can_write_eof():
            transport.write_eof()
            self._loop.call_later(_LINGER_SECONDS, transport.abort)
        else:
            transport.close()

    def _refuse(self, refused: Refused) -> None:
        """Answer once, after the requests before this one, and end the connection."""
        self._refused = True
        self.receiving = self._in_body = self._owes_continue = False
        self._release(len(self._body) + len(self._unread) + self._loose)
        self._body = self._unread = b""
        self._loose = 0
        bodiless = bool(self._url) and self._parser.get_method() == b"HEAD"
        if self.answering:
            self._enqueue(_Asked(refused, CLOSE, bodiless, 0))
        else:
            self._write_last(self._refusal(refused), bodiless=bodiless)

    def _refusal(self, refused: Refused) -> Response:
        self._server.refused[refused.status] += 1
        response = self._server.refuse(refused.status, refused.message)
        return replace(response, headers=response.headers + refused.headers)

    # -- the account

    def _hold(self, size: int) -> bool:
        """Count what it holds; False when it has to let go of it."""
        server = self._server
        self.held += size
        server.held += size
        return server.held <= server.limits.max_held or server.relieve(self)

    def _release(self, size: int) -> None:
        if self._transport is not None:
            self.held -= size
            self._server.held -= size

    def _forget(self) -> None:
        self._server.connections.discard(self)
        self._server.held -= self.held
        self.held = 0
        self._transport = None
        for asked in self._queue:
            if isinstance(asked.what, Coroutine):
                asked.what.close()  # nobody will await it
        self._queue.clear()
        self._unread = self._body = b""
        self._unsent = self._loose = 0
        self.receiving = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        if self._task is not None:
            self._task.cancel()
            self._task = None


def _address_of(peer: object) -> str:
    """Return whom a connection counts for; one client easily has a whole /64 of IPv6."""
    if not isinstance(peer, tuple):
        return ""
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    except ValueError:
        return str(peer[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)
