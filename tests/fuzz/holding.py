"""Clients that hold on: silent, slow, never reading, sending without end."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable
from typing import Final

from tests.fuzz.other import another_client
from tests.fuzz.servers import Server
from tests.fuzz.tally import Tally

_CONNECTIONS: Final = 300
_PIECE: Final = 64 * 1024

_LARGE: Final = (
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b"Content-Length: 900000\r\n\r\n"
)

Step = Callable[[socket.socket, int], None]


def silent(sock: socket.socket, turn: int) -> None:
    """Say nothing."""


def endless_header(sock: socket.socket, turn: int) -> None:
    """Send one header without its end."""
    sock.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " if turn == 0 else b"a" * _PIECE)


def many_headers(sock: socket.socket, turn: int) -> None:
    """Send headers without their end."""
    sock.send(b"GET / HTTP/1.1\r\nHost: a\r\n" if turn == 0 else b"x: y\r\n" * 500)


def slow_body(sock: socket.socket, turn: int) -> None:
    """Send a body a byte at a time."""
    sock.send(_LARGE if turn == 0 else b"[")


def large_bodies(sock: socket.socket, turn: int) -> None:
    """Begin a large body on each connection, and keep it from its end."""
    sock.send(_LARGE if turn == 0 else b" " * min(_PIECE, 890_000 // 40))


def unread(sock: socket.socket, turn: int) -> None:
    """Ask again and again, and read no answer."""
    sock.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 200)


STEPS: Final[tuple[Step, ...]] = (
    silent, endless_header, many_headers, slow_body, large_bodies, unread,
)  # fmt: skip


def hold(name: str, server: Server, asked: bytes, seconds: float) -> list[Tally]:
    """Hold connections in each way for ``seconds``; another client must be answered meanwhile."""
    tallies = []
    server.start()
    try:
        for step in STEPS:
            tally = Tally(f"{name}: {step.__name__}", start=server.resident, peak=server.resident)
            with another_client(server, asked) as alone:
                time.sleep(1.0)
            with another_client(server, asked) as beside:
                _hold(server, tally, step, seconds)
            tally.alone, tally.beside = alone.p99, beside.p99
            if beside.p99 is None:
                tally.hangs += 1
                tally.keep("nobody else was answered", step.__name__.encode())
            if not server.alive:
                tally.dead += 1
                server.start()
            tallies.append(tally)
    finally:
        server.stop()
    return tallies


def _hold(server: Server, tally: Tally, step: Step, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    turns: dict[socket.socket, int] = {}
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as writable:
        for _ in range(_CONNECTIONS):
            sock = socket.socket()
            stack.enter_context(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with contextlib.suppress(OSError):
                sock.connect((server.host, server.port))
                sock.setblocking(False)
                writable.register(sock, selectors.EVENT_WRITE)
                turns[sock] = 0
                tally.tried += 1
        while time.monotonic() < deadline:
            for key, _ in writable.select(0.05):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                try:
                    step(sock, turns[sock])
                except BlockingIOError:
                    pass
                except OSError:
                    writable.unregister(sock)
                    tally.closed += 1
                    continue
                turns[sock] += 1
            tally.peak = max(tally.peak, server.resident)
            time.sleep(0.01)
