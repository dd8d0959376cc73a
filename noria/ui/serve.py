"""Runs the pages as a process: listens, says when it is ready, stops at SIGTERM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from noria.errors import InvalidInput

_BACKLOG: Final = 128
_DRAIN_SECONDS: Final = 3
_MOST_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen; port 0 is any free one. ``ready_file`` gets ``{"pid", "http", "url"}``."""

    host: str = "127.0.0.1"
    port: int = 0
    ready_file: Path | None = None

    def bind(self) -> socket.socket:
        """Start to listen.

        Raises:
            InvalidInput: The address can't be listened on.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            return socket.create_server((self.host, self.port), backlog=_BACKLOG, family=family)
        except OSError as error:
            raise InvalidInput(
                f"{self.host}:{self.port} can't be listened on: {error.strerror}",
                fix="choose another --port",
            ) from error

    def url(self, listener: socket.socket) -> str:
        """Return the address for a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{listener.getsockname()[1]}/"


def serve(app: ASGIApp, listen: Listen, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    # uvicorn stops at these, puts our handlers back and raises them again: nothing more to do then.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    asyncio.run(_serve(app, listen, listener))


async def _serve(app: ASGIApp, listen: Listen, listener: socket.socket) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_AT_ONCE,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    if listen.ready_file is not None and not serving.done():
        ready = {"pid": os.getpid(), "http": listener.getsockname()[1], "url": listen.url(listener)}
        partial = listen.ready_file.with_name(listen.ready_file.name + ".partial")
        partial.write_text(json.dumps(ready))
        partial.replace(listen.ready_file)
    await serving
