"""The operator's own HTTP: /healthz, /readyz and /metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from noria.errors import InvalidInput

_OK: Final = 200
_NOT_FOUND: Final = 404
_UNAVAILABLE: Final = 503
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """What the probes ask. Each check returns what is wrong, empty when nothing is."""

    def __init__(
        self, alive: Callable[[], str], ready: Callable[[], str], metrics: Callable[[], bytes]
    ) -> None:
        self.alive = alive
        self.ready = ready
        self.metrics = metrics


@contextmanager
def serving(health: Health, port: int, host: str = "") -> Iterator[int]:
    """Answer in threads while the block runs; yields the port.

    Raises:
        InvalidInput: The port can't be listened on.
    """
    handler = type("_Asked", (_Handler,), {"health": health})
    try:
        server = ThreadingHTTPServer((host, port), handler)
    except OSError as error:
        raise InvalidInput(
            f"NORIA_METRICS_PORT: {port} can't be listened on: {error.strerror}",
            fix="give a free port",
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="http", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    health: Health
    timeout = 10

    def do_GET(self) -> None:
        """Answer a probe or a scrape."""
        match self.path.partition("?")[0]:
            case "/healthz":
                self._say(self.health.alive())
            case "/readyz":
                self._say(self.health.ready())
            case "/metrics":
                self._send(_OK, self.health.metrics())
            case _:
                self._send(_NOT_FOUND, b"not found\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Probes are not worth a line."""

    def _say(self, problem: str) -> None:
        self._send(_UNAVAILABLE if problem else _OK, f"{problem or 'ok'}\n".encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", _TEXT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
