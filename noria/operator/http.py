"""The operator's own HTTP: /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from noria.asgi import Answer, Api, Bounds, Gate, Hosts, Listen, Refused, Request, background
from noria.asgi.api import not_allowed
from noria.asgi.gate import as_text
from noria.errors import InvalidInput

_BOUNDS: Final = Bounds(max_body=0, max_connections=128, at_once=16, drain_seconds=1)
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - inside a pod; a NetworkPolicy says who may come
_TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"
_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})


class Health:
    """What the probes ask. Each check returns what is wrong, empty when nothing is."""

    def __init__(
        self, alive: Callable[[], str], ready: Callable[[], str], metrics: Callable[[], bytes]
    ) -> None:
        self.alive = alive
        self.ready = ready
        self.metrics = metrics

    async def answer(self, request: Request) -> Answer:
        """Answer a probe or a scrape."""
        if request.path not in _PATHS:
            raise Refused(404, "path: there is no such path here")
        if request.method != "GET":
            raise not_allowed(request, ("GET",))
        if request.path == "/metrics":
            return Answer(200, await asyncio.to_thread(self.metrics), _TEXT)
        problem = self.alive() if request.path == "/healthz" else self.ready()
        return Answer(503 if problem else 200, f"{problem or 'ok'}\n".encode(), _TEXT)


@contextmanager
def serving(health: Health, port: int, host: str = _EVERYWHERE) -> Iterator[int]:
    """Answer in a thread while the block runs; yields the port.

    Raises:
        InvalidInput: The port can't be listened on.
    """
    try:
        listener = Listen(host, port).bind()
    except InvalidInput as error:
        raise InvalidInput(
            f"NORIA_METRICS_PORT: {error.message}", fix="give a free port"
        ) from error
    # Nothing can be changed here, and what is asked is no secret: any name will do.
    gate = Gate(Api(health.answer), _BOUNDS, Hosts(host, anybody=True), refuse=as_text)
    with listener, background(gate, listener):
        yield int(listener.getsockname()[1])
