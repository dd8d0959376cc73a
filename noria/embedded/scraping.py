"""What Prometheus may scrape in a home: the loop's own endpoint, the monitors, the servers."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from noria.asgi import Answer, Api, Bounds, Gate, Hosts, Listen, Refused, Request, background
from noria.asgi.api import not_allowed
from noria.asgi.gate import as_text
from noria.embedded.home import Home
from noria.embedded.survey import supervisor
from noria.errors import InvalidInput, NoriaError
from noria.files import read_json, write_json
from noria.process import Port
from noria.telemetry import Turned, render_all

Job: TypeAlias = Literal["noria-loop", "noria-monitor", "noria-server"]

_HOST: Final = "127.0.0.1"
_PATH: Final = "/metrics"
_BOUNDS: Final = Bounds(max_body=0, max_connections=64, at_once=16, drain_seconds=1)


class _Told(msgspec.Struct, frozen=True):
    """Where the loop's metrics are."""

    port: Port
    url: str


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
    told = read_json(home.telemetry, _Told)
    if told is not None and supervisor(home) is not None:
        found.append(Target("noria-loop", "", None, told.url))
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
        self._served = ExitStack()
        listener = self._served.enter_context(_bind(_known_port(home)))
        port = listener.getsockname()[1]
        gate = Gate(Api(self._answer), _BOUNDS, Hosts(_HOST), refuse=as_text)
        self._served.enter_context(background(gate, listener))
        self.url = f"http://{_HOST}:{port}{_PATH}"
        self._told, self._note = _Told(port, self.url), home.telemetry
        write_json(self._note, self._told)

    def publish(self, turned: Turned) -> None:
        """Take one model's newest turn into the text."""
        if read_json(self._note, _Told) != self._told:  # damaged meanwhile
            write_json(self._note, self._told)
        self._turned[turned.model.name] = turned
        self._text = render_all(tuple(self._turned.values()))

    def close(self) -> None:
        """Stop listening."""
        self._served.close()

    async def _answer(self, request: Request) -> Answer:
        if request.path != _PATH:
            raise Refused(404, f"path: there is only {_PATH} here")
        if request.method != "GET":
            raise not_allowed(request, ("GET",))
        return Answer(200, self._text, CONTENT_TYPE_LATEST.encode())


def _known_port(home: Home) -> int:
    told = read_json(home.telemetry, _Told)
    return 0 if told is None else told.port


def _bind(port: int) -> socket.socket:
    """Listen where it was listened before, or else on a free port."""
    try:
        return Listen(_HOST, port).bind()
    except InvalidInput:
        return Listen(_HOST).bind()
