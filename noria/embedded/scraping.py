"""What Prometheus may scrape in a home: the loop's own endpoint, the monitors, the servers."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from prometheus_client.exposition import CONTENT_TYPE_LATEST

from noria.embedded.home import Home, read_json, write_json
from noria.embedded.survey import supervisor
from noria.errors import NoriaError
from noria.telemetry import Turned, render_all

Job: TypeAlias = Literal["noria-loop", "noria-monitor", "noria-server"]

_HOST: Final = "127.0.0.1"
_PATH: Final = "/metrics"
_CLIENT_SECONDS: Final = 5.0


class Target(NamedTuple):
    """One address to scrape. ``model`` is empty for the loop: all models share its endpoint."""

    job: Job
    model: str
    version: str | None
    url: str


def targets(home: Home) -> list[Target]:
    """Return what can be scraped now; nothing is started by looking."""
    from noria.embedded.monitor import MonitorProcess

    found = []
    url = (read_json(home.telemetry) or {}).get("url")
    if url and supervisor(home) is not None:
        found.append(Target("noria-loop", "", None, str(url)))
    for name in home.names():
        monitor = MonitorProcess(home.file(name), home.monitor(name))
        if monitor.alive:
            found.append(Target("noria-monitor", name, None, f"{monitor.url}{_PATH}"))
    return found + _servers(home)


def _servers(home: Home) -> list[Target]:
    from serving.traffic import TraefikTraffic

    if not home.traffic.exists():
        return []
    traffic = TraefikTraffic(home.traffic, _nothing_to_serve)
    try:
        found = []
        for what in sorted(traffic.processes):
            model, _, version = what.partition("/")
            url = traffic.server_url(model, version) if version else None
            if url is not None:
                found.append(Target("noria-server", model, version, f"{url}{_PATH}"))
        return found
    finally:
        traffic.close()


def _nothing_to_serve(model: str, version: str) -> Any:
    raise NoriaError(f"{model} {version}: looking starts nothing")


class Endpoint:
    """Serves what the loops last told of themselves, on loopback.

    The text is made once a turn, not at each scrape: a loop that hangs shows as one
    that no longer turns. The port is kept over restarts while nobody else takes it.
    """

    def __init__(self, home: Home) -> None:
        """Listen, and note the address in the home.

        Raises:
            NoriaError: No port can be listened on.
        """
        self._turned: dict[str, Turned] = {}
        self._text = b""
        self._server = self._listen(int((read_json(home.telemetry) or {}).get("port", 0)))
        port = self._server.server_address[1]
        self.url = f"http://{_HOST}:{port}{_PATH}"
        write_json(home.telemetry, {"port": port, "url": self.url})
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="telemetry", daemon=True
        )
        self._thread.start()

    def publish(self, turned: Turned) -> None:
        """Take one model's newest turn into the text."""
        self._turned[turned.model.name] = turned
        self._text = render_all(tuple(self._turned.values()))

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _listen(self, port: int) -> ThreadingHTTPServer:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            timeout = _CLIENT_SECONDS

            def do_GET(self) -> None:
                if self.path.partition("?")[0] == _PATH:
                    self._answer(HTTPStatus.OK, endpoint._text)
                else:
                    self._answer(HTTPStatus.NOT_FOUND, b"there is only /metrics here\n")

            def _answer(self, status: HTTPStatus, body: bytes) -> None:
                headers: Mapping[str, str] = {
                    "Content-Type": CONTENT_TYPE_LATEST,
                    "Content-Length": str(len(body)),
                }
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing: each scrape would be a line."""

        for wanted in (port, 0):
            try:
                return ThreadingHTTPServer((_HOST, wanted), Handler)
            except OSError as error:
                if wanted == 0:
                    raise NoriaError(f"{_HOST}: no port can be listened on: {error}") from error
        raise AssertionError  # the loop returns or raises
