"""What a client may cost the model server: bytes, connections and time, each within its bound."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop

from noria.http import HttpLimits, HttpServer, Request, Response
from serving.faults import Faults
from serving.refusal import Refusal
from serving.service import refusal_response
from tests.serving.conftest import StartServer
from tests.serving.raw import connected

LIVE = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
MIB = 1 << 20


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on the event loop that serves."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        uvloop.run(test(*arguments, **named))

    return run


def echo(request: Request) -> Response:
    return Response(200, b"%d" % len(request.body))


@asynccontextmanager
async def serving(
    handler: Callable[[Request], Response | Awaitable[Response]] = echo,
    *,
    max_body: int = 2 * MIB,
    **limits: Any,
) -> AsyncIterator[tuple[HttpServer, int]]:
    """A server in this loop, with the limits of a test, and its port."""
    faults = Faults()
    server = HttpServer(
        handler,
        lambda status, message: refusal_response(Refusal(status, message)),
        lambda error: refusal_response(faults.refusal(error)),
        HttpLimits(max_body, **limits),
    )
    listener = await server.listen("127.0.0.1", 0)
    sweeper = asyncio.ensure_future(server.sweep())
    try:
        yield server, listener.sockets[0].getsockname()[1]
    finally:
        sweeper.cancel()
        listener.close()
        await server.drain(1.0)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, sent: bytes = LIVE) -> tuple[int, bytes]:
        self.writer.write(sent)
        return await self.answer()

    async def answer(self) -> tuple[int, bytes]:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), await self.reader.readexactly(size)

    async def ended(self) -> bool:
        """Wait for the server to end the connection."""
        try:
            while await asyncio.wait_for(self.reader.read(65536), 20):
                pass
        except ConnectionResetError:
            pass
        return True


@asynccontextmanager
async def client_of(
    port: int, address: str = "127.0.0.1", *, buffer: int = 0
) -> AsyncIterator[Client]:
    """A client; with a small buffer of its own, what it does not read stays at the server."""
    made = socket.socket()
    made.setblocking(False)
    made.bind((address, 0))
    if buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=made, limit=1024 if buffer else MIB)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


def post(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


# -- one element without end


@pytest.mark.parametrize(
    ("start", "more", "status"),
    [
        (b"GET /", b"a" * 1000, 414),
        (b"GET /?", b"a" * 1000, 414),
        (b"GET / HTTP/1.1\r\nX: ", b"a" * 1000, 431),
        (b"GET / HTTP/1.1\r\n", b"a" * 1000, 431),
        (b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 100, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: ", b"0" * 1000, 431),
        (b"\r\n", b"\r\n" * 500, 431),
        (CHUNKED + b"5", b";a" * 500, 431),
        (CHUNKED, b"0" * 1000, 431),
        (CHUNKED, b"1;%b\r\nx\r\n" % (b"a" * 500), 431),
        (CHUNKED + b"0\r\nX: ", b"a" * 1000, 431),
        (CHUNKED + b"0\r\n", b"a: b\r\n" * 100, 431),
        (CHUNKED + b"1\r\nx\r\n" * 90_000 + b"0\r\nX: ", b"a" * 1000, 431),
    ],
)
@on_uvloop
async def test_what_has_no_end_is_refused_while_it_comes(
    start: bytes, more: bytes, status: int
) -> None:
    async with serving() as (server, port), client_of(port) as client:
        client.writer.write(start)
        sent = 0
        while not server.refused and sent < 4 * MIB:
            client.writer.write(more)
            sent += len(more)
            await client.writer.drain()
            await asyncio.sleep(0)
        assert sent < MIB
        while (found := (await client.answer())[0]) == 200:
            pass
        assert found == status
        assert server.held == 0


@on_uvloop
async def test_a_body_in_chunks_of_one_byte_is_no_attack() -> None:
    async with serving() as (server, port), client_of(port) as client:
        sent = CHUNKED + b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n"
        assert await client.ask(sent) == (200, b"200000")
        assert await client.ask() == (200, b"0")
        assert server.held == 0


@on_uvloop
async def test_an_unfinished_head_counts() -> None:
    async with serving(header_seconds=20) as (server, port), client_of(port) as client:
        client.writer.write(b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000)
        await until(lambda: server.held >= 20_000)
        assert await client.ask(b"\r\nHost: x\r\n\r\n") == (200, b"0")
        assert server.held == 0


# -- clients that do not read, and clients that are slow


@on_uvloop
async def test_a_client_that_does_not_read_is_let_go() -> None:
    async with (
        serving(lambda _: Response(200, bytes(8 * MIB)), write_seconds=0.2) as (server, port),
        client_of(port, buffer=4096) as client,
    ):
        client.writer.write(LIVE)
        await until(lambda: server.held > MIB)
        await until(lambda: server.cut["slow reader"] == 1)
        assert (server.held, len(server.connections)) == (0, 0)


@on_uvloop
async def test_a_client_that_reads_steadily_is_not() -> None:
    async with (
        serving(lambda _: Response(200, bytes(8 * MIB)), write_seconds=1.0) as (server, port),
        client_of(port, buffer=64 * 1024) as client,
    ):
        client.writer.write(LIVE)
        got = 0
        while got < 8 * MIB:
            piece = await client.reader.read(65536)
            assert piece, server.cut
            got += len(piece)
            await asyncio.sleep(0.02)
        assert not server.cut


@pytest.mark.parametrize("closing", [b"", b"Connection: close\r\n"])
@on_uvloop
async def test_an_answer_that_is_never_read_does_not_outlive_its_time(closing: bytes) -> None:
    async with (
        serving(lambda _: Response(200, bytes(8 * MIB)), write_seconds=0.2) as (server, port),
        client_of(port, buffer=4096) as client,
    ):
        client.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n%b\r\n" % closing)
        client.writer.write_eof()
        await until(lambda: server.cut["slow reader"] == 1)
        assert server.held == 0


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", None),
        (b"\r\n", None),
        (b"GET / HT", 408),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", 408),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nslow", 408),
        (CHUNKED + b"5\r\nslo", 408),
    ],
)
@on_uvloop
async def test_a_client_that_sends_slowly_is_let_go(sent: bytes, status: int | None) -> None:
    limits = {"header_seconds": 0.2, "receive_seconds": 0.2}
    async with serving(**limits) as (server, port), client_of(port) as client:
        client.writer.write(sent)
        if status is not None:
            assert (await client.answer())[0] == status
        assert await client.ended()
        await until(lambda: not server.connections)
        assert server.held == 0


@on_uvloop
async def test_a_used_connection_may_idle_for_longer() -> None:
    async with (
        serving(header_seconds=0.2, idle_seconds=60) as (server, port),
        client_of(port) as used,
        client_of(port) as silent,
    ):
        assert await used.ask() == (200, b"0")
        assert await silent.ended()
        assert server.cut == {"idle": 1}
        assert await used.ask() == (200, b"0")


# -- bodies that wait


class Held:
    """Answers bodies when the test says so, everything else at once."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.asked = 0

    def __call__(self, request: Request) -> Response | Awaitable[Response]:
        return self._wait(request) if request.body else echo(request)

    async def _wait(self, request: Request) -> Response:
        self.asked += 1
        await self.open.wait()
        return echo(request)


@on_uvloop
async def test_pipelined_bodies_wait_in_the_socket_not_here() -> None:
    held = Held()
    async with serving(held) as (server, port), AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(port)) for _ in range(4)]
        for client in clients:
            client.writer.write(post(bytes(2 * MIB)) * 8)
        await until(lambda: held.asked == 4)
        await asyncio.sleep(0.3)  # what they send meanwhile must not be taken
        assert server.held <= 4 * (4 * MIB + 256 * 1024)
        held.open.set()
        for client in clients:
            for _ in range(8):
                assert await client.answer() == (200, b"%d" % (2 * MIB))
        assert server.held == 0


@on_uvloop
async def test_a_request_counts_until_it_is_answered() -> None:
    held = Held()
    async with serving(held) as (server, port), client_of(port) as client:
        client.writer.write(post(bytes(MIB)))
        await until(lambda: held.asked == 1)
        assert server.held == MIB
        held.open.set()
        assert await client.answer() == (200, b"%d" % MIB)
        assert server.held == 0


@on_uvloop
async def test_a_client_that_breaks_off_frees_what_it_held() -> None:
    held = Held()
    async with serving(held) as (server, port):
        async with client_of(port) as client:
            client.writer.write(post(bytes(MIB)) * 2)
            await until(lambda: held.asked == 1)
            made: socket.socket = client.writer.get_extra_info("socket")
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        held.open.set()
        await until(lambda: not server.connections)
        assert server.held == 0


@on_uvloop
async def test_at_the_most_the_heaviest_client_loses_and_others_are_answered() -> None:
    held = Held()
    async with serving(held, max_held=8 * MIB) as (server, port), AsyncExitStack() as stack:
        modest = await stack.enter_async_context(client_of(port, "127.0.0.2"))
        modest.writer.write(post(bytes(MIB)))
        await until(lambda: held.asked == 1)
        for _ in range(8):
            greedy = await stack.enter_async_context(client_of(port))
            greedy.writer.write(post(bytes(2 * MIB)))
            await asyncio.sleep(0.05)
            assert server.held <= 8 * MIB
        await until(lambda: server.cut["memory"] + server.refused[503] > 0)
        late = await stack.enter_async_context(client_of(port, "127.0.0.2"))
        assert await late.ask() == (200, b"0")
        held.open.set()
        assert await modest.answer() == (200, b"%d" % MIB)


@on_uvloop
async def test_the_last_straw_is_refused_in_words() -> None:
    async with serving(max_held=MIB) as (server, port), client_of(port) as client:
        status, said = await client.ask(post(bytes(2 * MIB)))
        assert status == 503
        assert b"send again later" in said
        assert server.held == 0


# -- connections


@on_uvloop
async def test_silent_connections_keep_nobody_out() -> None:
    async with serving(max_connections=20) as (server, port), AsyncExitStack() as stack:
        kept = await stack.enter_async_context(client_of(port, "127.0.0.2"))
        assert await kept.ask() == (200, b"0")
        for _ in range(50):
            await stack.enter_async_context(client_of(port))
        late = await stack.enter_async_context(client_of(port, "127.0.0.3"))
        assert await late.ask() == (200, b"0")
        assert await kept.ask() == (200, b"0")
        assert len(server.connections) <= 20
        assert server.cut["connections"] >= 30


@on_uvloop
async def test_connections_that_wait_for_answers_are_not_ended_for_others() -> None:
    held = Held()
    async with serving(held, max_connections=4) as (_, port), AsyncExitStack() as stack:
        asking = [await stack.enter_async_context(client_of(port)) for _ in range(4)]
        for client in asking:
            client.writer.write(post(b"x"))
        await until(lambda: held.asked == 4)
        late = await stack.enter_async_context(client_of(port))
        assert await late.ended()
        held.open.set()
        assert [await client.answer() for client in asking] == [(200, b"1")] * 4


# -- turns


@on_uvloop
async def test_many_requests_at_once_leave_others_a_turn() -> None:
    order: list[bytes] = []

    def note(request: Request) -> Response:
        order.append(request.path)
        return Response(200, b"")

    async with serving(note) as (_, port), client_of(port) as many, client_of(port) as one:
        many.writer.write(b"GET /many HTTP/1.1\r\nHost: x\r\n\r\n" * 3000)
        one.writer.write(b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await one.answer())[0] == 200
        assert order.index(b"/one") < 1000
        assert [(await many.answer())[0] for _ in range(3000)] == [200] * 3000


@on_uvloop
async def test_large_bodies_take_turns_with_small_ones() -> None:
    order: list[int] = []

    def note(request: Request) -> Response:
        order.append(len(request.body))
        return Response(200, b"")

    async with serving(note) as (_, port), AsyncExitStack() as stack:
        large = [await stack.enter_async_context(client_of(port)) for _ in range(6)]
        for client in large:
            client.writer.write(post(bytes(MIB)))
        assert [(await client.answer())[0] for client in large] == [200] * 6
        assert order == [MIB] * 6


# -- what nobody foresaw


@on_uvloop
async def test_whatever_a_handler_raises_is_one_500_and_a_bounded_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(request: Request) -> Response | Awaitable[Response]:
        if request.path == b"/later":
            return later()
        raise RecursionError("x" * 100_000)

    async def later() -> Response:
        raise MemoryError

    async with serving(fail) as (server, port), client_of(port) as client:
        with caplog.at_level(logging.ERROR):
            for path in (b"/now", b"/later") * 100:
                status, said = await client.ask(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
                assert status == 500
                assert b"internal error, incident" in said
                assert b"Traceback" not in said
        assert len(caplog.text) < 50_000
        assert not server.refused


# -- the whole process


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / MIB


def test_memory_stays_within_the_stated_bound_when_nobody_reads(
    start_server: StartServer,
) -> None:
    server = start_server("--max-request-bytes", str(4 * MIB))
    before = _resident_mib(server.process.pid)
    request = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    request += b"Content-Length: %d\r\n\r\n" % (3 * MIB) + b" " * (3 * MIB)

    def attack() -> None:
        with connected(server.url, receive_buffer=4096) as client:
            client.socket.settimeout(3)
            with suppress(OSError):
                client.socket.sendall(request * 16)

    attackers = [threading.Thread(target=attack) for _ in range(8)]
    for thread in attackers:
        thread.start()
    peak = before
    while any(thread.is_alive() for thread in attackers):
        peak = max(peak, _resident_mib(server.process.pid))
        with connected(server.url) as client:
            assert client.ask(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
    for thread in attackers:
        thread.join()
    # Two bodies a connection, what is decoded of one, and what the allocator keeps.
    assert peak - before < 8 * 2 * 4 + 64
    assert server.metric("noria_http_held_bytes") == 0
