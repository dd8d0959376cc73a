"""The connections of one listening socket: what they may hold together, and how they end."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from time import monotonic
from typing import Final

from noria.http.connection import HttpConnection
from noria.http.message import Request, Response

Handler = Callable[[Request], "Response | Awaitable[Response]"]
"""Answers a request, at once or later."""

_OWN_HEADERS: Final = frozenset(
    {b"content-type", b"content-length", b"content-encoding", b"transfer-encoding"}
)
_SWEEP_SECONDS: Final = 1.0
_SHED: Final = 0.1
"""The share that is set free when a total is reached, so that the next one finds room."""

_PROMPT_SECONDS: Final = 0.004
_BACKLOG: Final = 2048
_SOCKET_BUFFER: Final = 256 * 1024
_REST: Final = 3.0
"""How many times as long as a large body took the next one waits."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What connections may do: sizes in bytes, times in seconds.

    ``max_body`` is of one body, decoded. ``max_held`` is of all connections together:
    bodies that come, requests that wait or are answered, answers that are not read.
    A client has ``header_seconds`` for a request's head (the first one counts from the
    connection), ``receive_seconds`` for all of it, ``write_seconds`` to take what was
    written, and may idle for ``idle_seconds``.
    """

    max_body: int
    header_seconds: float = 10.0
    receive_seconds: float = 30.0
    write_seconds: float = 30.0
    idle_seconds: float = 150.0
    max_connections: int = 10_000
    max_held: int = 256 << 20


@dataclass(slots=True)
class HttpServer:
    """The connections of one listening socket, and how they end.

    Attributes:
        handler: Answers requests.
        refuse: Makes the answer to a request that is refused before it is read.
        failed: Makes the answer when a handler raised, and logs it within bounds.
        limits: What connections may do.
        headers: Names of the headers that handlers get, in lower case, besides
            ``content-type``, ``content-length``, ``content-encoding`` and
            ``transfer-encoding``.
        refused: How many requests were refused before they were read, by status.
        cut: How many connections were ended, by reason.
        small: How many requests were answered without waiting for a turn.
    """

    handler: Handler
    refuse: Callable[[int, str], Response]
    failed: Callable[[Exception], Response]
    limits: HttpLimits
    headers: frozenset[bytes] = frozenset()
    connections: set[HttpConnection] = field(default_factory=set)
    held: int = 0
    draining: bool = False
    refused: Counter[int] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    date: bytes = b""
    small: int = 0
    _next_small: asyncio.Lock = field(default_factory=asyncio.Lock)
    _next_large: asyncio.Lock = field(default_factory=asyncio.Lock)
    _large_free: float = 0.0
    _small_before: int = 0
    _spent: float = 0.0
    _renewing: bool = False

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Start to accept connections; port 0 takes a free one, ``::`` is every address."""
        loop = asyncio.get_running_loop()
        self.headers |= _OWN_HEADERS
        self._tell_time()

        def connect() -> HttpConnection:
            return HttpConnection(self, loop)

        listener = _bind(host, port)
        return await loop.create_server(connect, sock=listener, backlog=_BACKLOG)

    async def sweep(self) -> None:
        """End connections whose time is up. Runs until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self._tell_time()
            now = monotonic()
            for connection in tuple(self.connections):
                connection.expire(now)

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

    @property
    def prompt(self) -> bool:
        """Whether this turn of the loop has time for one more read of a socket."""
        return self._spent < _PROMPT_SECONDS

    def spend(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        """Count the time that a read took of this turn of the loop."""
        self._spent += seconds
        if not self._renewing:
            self._renewing = True
            loop.call_soon(self._renew)

    def _renew(self) -> None:
        self._renewing = False
        self._spent = 0.0

    @asynccontextmanager
    async def small_turn(self) -> AsyncIterator[None]:
        """Wait for a turn of the loop of one's own, behind others that wait."""
        async with self._next_small:
            await asyncio.sleep(0)
            yield

    @asynccontextmanager
    async def large_turn(self) -> AsyncIterator[None]:
        """Wait for the turn of a large body: one after another, with everybody else between.

        While small requests come, large ones take no more than a quarter of the time.
        """
        async with self._next_large:
            met_small = self.small != self._small_before
            rest = self._large_free - monotonic() if met_small else 0.0
            await asyncio.sleep(max(rest, 0.0))
            self._small_before = self.small
            began = monotonic()
            try:
                yield
            finally:
                now = monotonic()
                self._large_free = now + _REST * (now - began)

    def admit(self) -> bool:
        """Make room for one more connection; False when every other one is being answered.

        At the most, those of the busiest address go that have waited longest: it is
        who opened too many that loses some.
        """
        if len(self.connections) < self.limits.max_connections:
            return True
        addresses = Counter(connection.address for connection in self.connections)
        busiest = addresses.most_common(1)[0][0]
        waiting = [c for c in self.connections if not c.answering]
        waiting.sort(key=lambda c: (c.address != busiest, c.receiving, c.since))
        most = max(1, int(_SHED * self.limits.max_connections))
        for place, connection in enumerate(waiting[:most]):
            if place and connection.address != busiest:
                break
            connection.cut("connections")
        return bool(waiting)

    def relieve(self, grown: HttpConnection) -> bool:
        """Get below the most that may be held; False when ``grown`` has to let go itself.

        The heaviest connections of the heaviest address go: whoever holds little is
        not the one to lose it.
        """
        weights: Counter[str] = Counter()
        for connection in self.connections:
            weights[connection.address] += connection.held
        heaviest = weights.most_common(1)[0][0]
        for connection in sorted(
            (c for c in self.connections if c.address == heaviest),
            key=lambda c: c.held,
            reverse=True,
        ):
            if connection is grown:
                return False
            connection.cut("memory")
            if self.held <= (1 - _SHED) * self.limits.max_held:
                break
        return True

    def _tell_time(self) -> None:
        self.date = formatdate(usegmt=True).encode()


def _bind(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit these: what the kernel keeps for each is bounded, too.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        if host == "::" and socket.has_dualstack_ipv6():
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
