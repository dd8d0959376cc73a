"""Runs an application as a process, or beside one: listens, says when, stops when told."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvicorn
import uvloop

from noria.asgi.bounds import Bounds
from noria.asgi.connection import Connection
from noria.asgi.crowd import Crowd
from noria.asgi.gate import Gate, loop_failures
from noria.errors import InvalidInput
from noria.files import write_json

_SWEEP_SECONDS: Final = 0.5
_OWN_FILES: Final = 256
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen. Port 0 is any free one; ``ready_file`` gets ``{"pid", "http", "url"}``."""

    host: str = "127.0.0.1"
    port: int = 0
    ready_file: Path | None = None

    def bind(self) -> socket.socket:
        """Start to listen; ``::`` listens on IPv4 too.

        Raises:
            InvalidInput: The address can't be listened on.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        both = self.host == "::" and socket.has_dualstack_ipv6()
        try:
            return socket.create_server(
                (self.host, self.port), backlog=_BACKLOG, family=family, dualstack_ipv6=both
            )
        except (OSError, OverflowError) as error:
            why = (isinstance(error, OSError) and error.strerror) or error
            raise InvalidInput(
                f"{self.host}:{self.port} can't be listened on: {why}",
                fix="choose another --port, or another --host",
            ) from error

    def url(self, listener: socket.socket) -> str:
        """Return the address, without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{listener.getsockname()[1]}"


def serve(gate: Gate, listen: Listen, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first."""
    # uvicorn stops at these, puts our handlers back and raises them again: nothing more to do then.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    crowd = Crowd(_within_open_files(gate.bounds))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(gate, crowd, _server(gate, crowd), listener, listen))


@contextmanager
def background(gate: Gate, listener: socket.socket) -> Iterator[None]:
    """Serve in a thread while the block runs."""
    crowd = Crowd(_within_open_files(gate.bounds))
    server = _server(gate, crowd)

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(gate, crowd, server, listener))

    thread = threading.Thread(target=run, name="http", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _server(gate: Gate, crowd: Crowd) -> uvicorn.Server:
    made: Any = partial(Connection, crowd, gate.refuse)
    config = uvicorn.Config(
        gate,
        http=made,
        ws="none",
        lifespan="off",
        # What goes wrong is the gate's to tell, within bounds.
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # The crowd's sweep decides; uvicorn's timer forgets a connection that sends line ends.
        timeout_keep_alive=int(gate.bounds.idle_seconds) + 1,
        timeout_graceful_shutdown=gate.bounds.drain_seconds,
    )
    return uvicorn.Server(config)


async def _serve(
    gate: Gate,
    crowd: Crowd,
    server: uvicorn.Server,
    listener: socket.socket,
    listen: Listen | None = None,
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(loop_failures(gate.failures))
    serving = loop.create_task(server.serve(sockets=[listener]))
    sweeping = loop.create_task(_sweep(crowd))
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.005)
        if listen is not None and listen.ready_file is not None and not serving.done():
            port = listener.getsockname()[1]
            ready = {"pid": os.getpid(), "http": port, "url": listen.url(listener)}
            write_json(listen.ready_file, ready)
        await serving
    finally:
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping
        # Whoever has not read their answer by now loses it: a loop that is closed sends nothing.
        while crowd.connections:
            for connection in tuple(crowd.connections):
                connection.abort()
            await asyncio.sleep(0.01)


async def _sweep(crowd: Crowd) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        crowd.sweep(loop.time())


def _within_open_files(bounds: Bounds) -> Bounds:
    """Leave files to everything else: a connection is an open file, and so is a database."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = bounds.max_connections + _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = bounds.max_connections if soft == resource.RLIM_INFINITY else soft - _OWN_FILES
    return replace(bounds, max_connections=max(8, min(bounds.max_connections, most)))
