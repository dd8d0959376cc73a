"""Our own service behind plain ASGI, on uvicorn or granian: what another HTTP server would cost.

The same decoding, prediction and encoding as ``python -m serving``, without its bounds on
what a client may hold; the adapter does as little as ASGI allows.
"""

# ruff: noqa: E402 - the variables have to be set before numpy starts

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import uvicorn
import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server as Granian

from noria.http import Request, Response
from serving.metrics import ServerMetrics
from serving.routes import Router
from serving.runner import Batching
from serving.service import READ_HEADERS, InferenceService, load

_HEADERS = READ_HEADERS | {b"content-type", b"content-length"}
Message = dict[str, Any]


def app_of(package: Path) -> Callable[..., Awaitable[None]]:
    metrics = ServerMetrics("m", "1")
    service = InferenceService("m", "1", metrics, None)
    service.become_ready(
        load(
            package, digest=None, feature_base=Path(), name="m", version="1",
            batching=Batching(), metrics=metrics,
        )
    )  # fmt: skip
    router = Router(service)

    async def app(
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        request = Request(
            scope["method"].encode(),
            scope.get("raw_path") or scope["path"].encode(),
            {name: value for name, value in scope["headers"] if name in _HEADERS},
            body,
            scope["query_string"],
        )
        answer = router(request)
        response = answer if isinstance(answer, Response) else await answer
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", b"%d" % len(response.body)),
        ]
        for line in response.headers.split(b"\r\n")[:-1]:
            name, _, value = line.partition(b": ")
            headers.append((name, value))
        start = {"type": "http.response.start", "status": response.status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": response.body})

    return app


if __name__ == "__main__":
    name, folder, port = sys.argv[1:4]
    application = app_of(Path(folder))
    if name == "uvicorn":
        uvicorn.run(
            application, port=int(port), loop="uvloop", http="httptools", interface="asgi3",
            lifespan="off", log_level="warning", access_log=False,
        )  # fmt: skip
    else:
        server = Granian(
            application, port=int(port), interface=Interfaces.ASGINL, websockets=False,
            log_enabled=False,
        )  # fmt: skip
        uvloop.run(server.serve())
