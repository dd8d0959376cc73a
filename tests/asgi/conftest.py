"""A small application behind a gate, on a port, and raw connections to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from noria.asgi import Answer, Api, Bounds, Gate, Hosts, Listen, Request, background

HEAD = b"host: localhost\r\n"


class Line:
    """One raw connection."""

    def __init__(self, port: int, host: str = "127.0.0.1", *, buffer: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(20)
        self.socket.connect((host, port))
        self._rest = b""

    def send(self, data: bytes) -> Line:
        self.socket.sendall(data)
        return self

    def ask(self, line: str, headers: bytes = HEAD, body: bytes = b"") -> SimpleNamespace:
        self.send(f"{line} HTTP/1.1\r\n".encode() + headers + b"\r\n" + body)
        return self.answer(head=line.startswith("HEAD"))

    def answer(self, *, head: bool = False) -> SimpleNamespace:
        """The next answer; what follows it is left for the next."""
        while b"\r\n\r\n" not in self._rest:
            got = self.socket.recv(65536)
            assert got, f"closed after {self._rest!r}"
            self._rest += got
        top, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        headers = {}
        for each in lines:
            name, _, value = each.partition(":")
            headers[name.lower()] = value.strip()
        length = 0 if head else int(headers.get("content-length", 0))
        rest = bytearray(self._rest)
        while len(rest) < length:
            got = self.socket.recv(1 << 20)
            assert got
            rest += got
        self._rest = bytes(rest[length:])
        body = bytes(rest[:length])
        return SimpleNamespace(status=int(first.split()[1]), headers=headers, body=body)

    def ended(self, seconds: float = 20.0) -> bool:
        """Whether the server ends the connection within so many seconds; all is read until then."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                got = self.socket.recv(65536)
            except TimeoutError:
                return False
            except OSError:
                return True
            if not got:
                return True
            self._rest += got
        return False

    def close(self) -> None:
        self.socket.close()


class Server:
    """The application on a port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.lines: list[Line] = []

    def line(self, host: str = "127.0.0.1", *, buffer: int = 0) -> Line:
        made = Line(self.port, host, buffer=buffer)
        self.lines.append(made)
        return made

    def ask(self, line: str, headers: bytes = HEAD, body: bytes = b"") -> SimpleNamespace:
        return self.line().ask(line, headers, body)


class App:
    """What is asked of it, it does: say, wait, answer much, break."""

    def __init__(self) -> None:
        self.waiting = 0
        self.go = False

    async def __call__(self, request: Request) -> Answer:
        match request.method, request.path:
            case _, "/healthz":
                return Answer(200, b"well")
            case "POST", "/size":
                return Answer(200, str(len(await request.body())).encode())
            case "GET", "/big":
                return Answer(200, bytes(int(request.query["size"])))
            case "GET", "/wait":
                self.waiting += 1
                while not self.go:
                    await asyncio.sleep(0.01)
                return Answer(200, b"waited")
            case "GET", "/break":
                raise ZeroDivisionError("x" * 100_000)
        return Answer(404, b"{}")


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def serve(app: App) -> Iterator[Callable[..., Server]]:
    """Serve the application with bounds of its own."""
    with ExitStack() as stack:
        made: list[Server] = []

        def run(host: str = "127.0.0.1", **bounds: float) -> Server:
            listen = Listen(host)
            gate = Gate(Api(app), Bounds(drain_seconds=1, **bounds), Hosts(host))  # type: ignore[arg-type]
            listener = stack.enter_context(contextlib.closing(listen.bind()))
            port = listener.getsockname()[1]
            stack.enter_context(background(gate, listener))
            made.append(Server(port))
            return made[-1]

        yield run
        app.go = True
        for server in made:
            for line in server.lines:
                line.close()


@pytest.fixture
def resident() -> Callable[[], float]:
    """Return the MiB that a process (this one) has in memory."""

    def measure(pid: int = 0) -> float:
        status = Path(f"/proc/{pid or os.getpid()}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    return measure
