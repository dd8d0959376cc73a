"""Runs the receiver as a process: listens, says when it is ready, stops at SIGTERM."""

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

from monitoring.webhook.app import WebhookApp
from noria.errors import MonitoringError

_BACKLOG: Final = 1024
_DRAIN_SECONDS: Final = 10
_MOST_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen; port 0 is any free one. ``ready_file`` gets ``{"pid", "http", "url"}``."""

    host: str = "127.0.0.1"
    port: int = 0
    ready_file: Path | None = None


def serve(app: WebhookApp, listen: Listen) -> None:
    """Serve until SIGTERM or SIGINT; deliveries under way are answered first.

    Raises:
        MonitoringError: The address can't be listened on.
    """
    # uvicorn stops at these, puts our handlers back and raises them again: nothing more to do then.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        listener = socket.create_server(
            (listen.host, listen.port),
            backlog=_BACKLOG,
            family=socket.AF_INET6 if ":" in listen.host else socket.AF_INET,
        )
    except OSError as error:
        raise MonitoringError(
            f"{listen.host}:{listen.port} can't be listened on: {error.strerror}",
            fix="choose another --port",
        ) from error
    asyncio.run(_serve(app, listener, listen))


async def _serve(app: WebhookApp, listener: socket.socket, listen: Listen) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            limit_concurrency=_MOST_AT_ONCE,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    if listen.ready_file is not None and not serving.done():
        port = listener.getsockname()[1]
        ready = {"pid": os.getpid(), "http": port, "url": f"http://{listen.host}:{port}"}
        partial = listen.ready_file.with_name(listen.ready_file.name + ".partial")
        partial.write_text(json.dumps(ready))
        partial.replace(listen.ready_file)
    await serving
