"""Runs a small ASGI application as a process: listens, says when it is ready, stops at SIGTERM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from noria.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen, and how much at once.

    Port 0 is any free one. ``ready_file`` gets ``{"pid", "http", "url"}``. More than
    ``most_at_once`` requests under way get a 503; they have ``drain_seconds`` to end.
    """

    host: str = "127.0.0.1"
    port: int = 0
    ready_file: Path | None = None
    most_at_once: int = 64
    drain_seconds: int = 3

    def bind(self) -> socket.socket:
        """Start to listen.

        Raises:
            InvalidInput: The address can't be listened on.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            return socket.create_server((self.host, self.port), backlog=1024, family=family)
        except OSError as error:
            raise InvalidInput(
                f"{self.host}:{self.port} can't be listened on: {error.strerror}",
                fix="choose another --port",
            ) from error

    def url(self, listener: socket.socket) -> str:
        """Return the address, without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{listener.getsockname()[1]}"


def serve(app: Any, listen: Listen, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first."""
    # uvicorn stops at these, puts our handlers back and raises them again: nothing more to do then.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    asyncio.run(_serve(app, listen, listener))


async def _serve(app: Any, listen: Listen, listener: socket.socket) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=listen.most_at_once,
            timeout_graceful_shutdown=listen.drain_seconds,
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
